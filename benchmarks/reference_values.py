"""What datatrove's rules compare with their bounds, computed document by document with its own functions.

Its blocks give a reason and no value, so the values are taken from its words, lines and counts in the way its filters
use them. A share of nothing is 0, where datatrove divides by zero.
Costs what datatrove costs, and more: no rule ends the look at a document.
"""

import re

import numpy as np
from datatrove.pipeline.filters.gopher_quality_filter import STOP_WORDS
from datatrove.pipeline.filters.gopher_repetition_filter import (
    find_all_duplicate,
    find_duplicates,
    find_top_duplicate,
    get_n_grams,
)
from datatrove.utils.text import PUNCTUATION_SET, TERMINAL_PUNCTUATION, split_into_words


def _share(part: float, whole: int) -> float:
    return part / whole if whole else 0.0


def gopher_quality(text: str) -> dict[str, float]:
    """The eight values by the names of our rules."""
    words, lines = split_into_words(text, "eng"), text.splitlines()
    plain = [word for word in words if any(character not in PUNCTUATION_SET for character in word)]
    bullets = sum(line.lstrip().startswith(("•", "-")) for line in lines)
    ellipses = sum(line.rstrip().endswith(("...", "…")) for line in lines)
    return {
        "words": float(len(plain)),
        "mean_word_length": float(np.mean([len(word) for word in plain])) if plain else 0.0,
        "hash_ratio": _share(text.count("#"), len(words)),
        "ellipsis_ratio": _share(text.count("...") + text.count("…"), len(words)),
        "bullet_lines": _share(bullets, len(lines)),
        "ellipsis_lines": _share(ellipses, len(lines)),
        "alphabetic_words": _share(sum(any(map(str.isalpha, word)) for word in words), len(words)),
        "stop_words": float(len(set(STOP_WORDS).intersection(words))),
    }


def gopher_repetition(text: str) -> dict[str, float]:
    """The fourteen values by the names of our rules."""
    paragraphs, lines = re.split(r"\n{2,}", text.strip()), re.split(r"\n+", text)
    words = split_into_words(text, "eng")
    same_paragraphs, paragraph_characters = find_duplicates(paragraphs)
    same_lines, line_characters = find_duplicates(lines)
    values = {
        "characters": float(len(text)),
        "duplicate_paragraphs": same_paragraphs / len(paragraphs),
        "duplicate_paragraph_characters": _share(paragraph_characters, len(text)),
        "duplicate_lines": same_lines / len(lines),
        "duplicate_line_characters": _share(line_characters, len(text)),
    }
    for n in (2, 3, 4):
        n_grams = get_n_grams(words, n)
        values[f"top_{n}_gram"] = _share(find_top_duplicate(n_grams), len(text)) if n_grams else 0.0
    for n in range(5, 11):
        values[f"duplicate_{n}_grams"] = _share(find_all_duplicate(words, n), len(text))
    return values


def fineweb_quality(text: str) -> dict[str, float]:
    """The five values by the names of our rules."""
    lines = [line for line in text.split("\n") if line.strip() != ""]
    ended = sum(line.endswith(tuple(TERMINAL_PUNCTUATION)) for line in lines)
    return {
        "lines": float(len(lines)),
        "punctuated_lines": _share(ended, len(lines)),
        "short_lines": _share(sum(len(line) <= 30 for line in lines), len(lines)),
        "duplicate_line_characters": _share(find_duplicates(lines)[1], len(text.replace("\n", ""))),
        "newlines_per_word": _share(text.count("\n"), len(split_into_words(text, "eng"))),
    }
