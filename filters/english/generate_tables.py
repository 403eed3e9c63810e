"""Writes `tables.npz` from spaCy's blank English: character classes, exceptions, units. Run by hand, spaCy is needed.

The kernels follow spaCy's expressions alternative by alternative; what stands in those as lists of characters and
strings is taken over here by asking spaCy, and everything else is held to the expressions' hashes.
Costs about 20 s, when spaCy's version is raised: `python -m midtrain.filters.english.generate_tables`.
"""

import hashlib
import importlib.metadata
import re
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ...errors import RunError
from . import classes, strings
from .special_cases import MOST_TOKENS
from .tables import FILE, Tables

SPACY_VERSION: Final = "3.8.18"
CODE_POINTS: Final = sys.maxunicode + 1
# First 16 hexadecimal digits of the SHA-256 of the expressions that the kernels were written for.
EXPRESSIONS: Final = {
    "prefix_search": "7aea2cc4f6485aee",
    "suffix_search": "dd56f4c42b61ebcd",
    "infix_finditer": "b63cbb601f975978",
    "url_match": "7adb1342672774f9",
}
_SLOTS: Final = 4096
_OFFSET, _PRIME, _MASK = 0xCBF29CE484222325, 0x100000001B3, (1 << 64) - 1


def _check_expressions(tokenizer: Any) -> None:
    """Raises a RunError unless the tokenizer's expressions are those that the kernels follow."""
    if tokenizer.token_match is not None:
        raise RunError("spaCy's English has a token_match", expected="None", fix="write a kernel for it")
    for name, expected in EXPRESSIONS.items():
        pattern = getattr(tokenizer, name).__self__.pattern
        seen = hashlib.sha256(pattern.encode()).hexdigest()[:16]
        if seen != expected:
            raise RunError(
                f"spaCy's {name} is not the one that the kernels follow",
                seen=seen,
                expected=expected,
                fix="compare the expressions, change the kernels, then EXPRESSIONS",
            )


def _code_point_classes(tokenizer: Any) -> npt.NDArray[np.uint16]:
    """uint16[1114112]: the classes of each code point; surrogates have none."""
    from spacy.lang import char_classes, punctuation

    marked = f"(?<=[0-9{char_classes.ALPHA_LOWER}"
    (before_period,) = [piece for piece in punctuation.TOKENIZER_SUFFIXES if piece.startswith(marked)]
    last_of_units = "".join(text[-1] for text in _units(char_classes))
    expressions = {
        classes.ALPHA: f"[{char_classes.ALPHA}]",
        classes.ALPHA_LOWER: f"[{char_classes.ALPHA_LOWER}]",
        classes.ALPHA_UPPER: f"[{char_classes.ALPHA_UPPER}]",
        classes.QUOTE: f"[{char_classes.CONCAT_QUOTES}]",
        classes.INFIX: f"…|[{char_classes.ICONS}]",
        classes.DIGIT: "[0-9]",
        classes.DECIMAL: r"\d",
        classes.BEFORE_PERIOD: before_period.removeprefix("(?<=").removesuffix(r")\."),
        classes.UNIT_END: f"[{re.escape(last_of_units)}]",
        classes.SCHEME: r"[\w\+\-\.]",
        classes.LABEL: r"[A-Za-z0-9\u00a1-\uffff_-]",
        classes.LABEL_EDGE: r"[A-Za-z0-9\u00a1-\uffff]",
        classes.DELIMITER: r"[.,:<>=/~+\-*^]|[^\x00-\x7f]",
        classes.OPERATOR: r"[+\-\*^]",
    }
    points = [point for point in range(CODE_POINTS) if not 0xD800 <= point < 0xE000]
    everything = "".join(map(chr, points))
    table = np.zeros(CODE_POINTS, np.uint16)
    for bit, expression in expressions.items():
        table[[ord(found) for found in re.findall(expression, everything)]] |= bit
    # A prefix whatever follows it, a suffix whatever comes before it: asked with a neighbour that rules hardly name.
    table[[point for point in points if tokenizer.find_prefix(chr(point) + "0")]] |= classes.PREFIX
    table[[point for point in points if tokenizer.find_suffix("\x01" + chr(point))]] |= classes.SUFFIX
    if (table & classes.INFIX != 0)[table & classes.PREFIX == 0].any():
        raise RunError(
            "a character is an infix anywhere but no prefix", fix="let infixes.py pass over one at the start"
        )
    return table


def _units(char_classes: Any) -> list[str]:
    """What is a suffix after a digit: units and currencies."""
    return [*char_classes.LIST_UNITS, *(text.replace("\\$", "$") for text in char_classes.LIST_CURRENCY)]


def _stops(tokens: list[str]) -> int:
    """Bit set of where the tokens stop, in bytes from the start of the first."""
    stops, at = 0, 0
    for token in tokens:
        at += len(token.encode())
        stops |= 1 << at
    return stops


def _exceptions(tokenizer: Any) -> dict[str, tuple[int, int]]:
    """Of each exception without white space: the token stops of its rule, and of its pattern or 0.

    The pattern is what the tokenizer makes of it without exceptions; spaCy looks for it among a document's tokens if
    the exception has an affix or infix. One of a single token changes nothing.
    """
    from spacy.symbols import ORTH
    from spacy.tokenizer import Tokenizer

    plain = Tokenizer(
        tokenizer.vocab,
        rules={},
        prefix_search=tokenizer.prefix_search,
        suffix_search=tokenizer.suffix_search,
        infix_finditer=tokenizer.infix_finditer,
        url_match=tokenizer.url_match,
    )
    found = {}
    for text, specification in tokenizer.rules.items():
        if any(character.isspace() for character in text):
            continue
        rule, pattern = [token[ORTH] for token in specification], []
        if tokenizer.find_prefix(text) or tokenizer.find_infix(text) or tokenizer.find_suffix(text):
            with tokenizer.vocab.memory_zone():
                pattern = [token.text for token in plain(text)]
        if len(pattern) == 1 and rule != pattern:
            raise RunError("an exception cuts a single token", seen=text, fix="let special_cases.py look for those")
        if len(pattern) > MOST_TOKENS or len(rule) > len(pattern) + 1 > 1:
            raise RunError("an exception has too many tokens", seen=text, fix="widen the runs of special_cases.py")
        found[text] = (_stops(rule), _stops(pattern) if len(pattern) > 1 else 0)
    return found


def _string_tables(exceptions: dict[str, tuple[int, int]], units: list[str]) -> dict[str, npt.NDArray[Any]]:
    """The tables `lengths`, `slots`, `strings` and `masks` of `tables.Tables`."""
    everything = sorted({*exceptions, *units})
    lengths = np.zeros(strings.LENGTH_ROWS, np.uint64)
    slots = np.full(_SLOTS, -1, np.int16)
    stored = np.zeros((len(everything), strings.LONGEST), np.uint8)
    masks = np.zeros((len(everything), 4), np.uint32)
    for number, text in enumerate(everything):
        piece = text.encode()
        if len(piece) > strings.LONGEST:
            raise RunError("a string is too long for the tables", seen=text, fix="raise strings.LONGEST")
        rule, pattern = exceptions.get(text, (0, 0))
        stored[number, : len(piece)] = list(piece)
        masks[number] = len(piece), rule, pattern, text in units
        row = (piece[0] | (piece[1] if len(piece) > 1 else 0) << 4) & (strings.LENGTH_ROWS - 1)
        lengths[row] |= np.uint64(bool(rule) << len(piece) | bool(pattern) << 32 + len(piece))
        state = _OFFSET
        for byte in piece:
            state = (state ^ byte) * _PRIME & _MASK
        slot = (state ^ state >> 33) % _SLOTS
        while slots[slot] >= 0:
            slot = (slot + 1) % _SLOTS
        slots[slot] = number
    return {"lengths": lengths, "slots": slots, "strings": stored, "masks": masks}


def generate() -> Tables:
    """The tables as spaCy has them.

    Raises:
        RunError: spaCy's version or its expressions are not those that the kernels follow.
    """
    import spacy
    from spacy.lang import char_classes

    version = importlib.metadata.version("spacy")
    if version != SPACY_VERSION:
        raise RunError("another spaCy", seen=version, expected=SPACY_VERSION, fix=f"pip install spacy=={SPACY_VERSION}")
    tokenizer = spacy.blank("en").tokenizer
    _check_expressions(tokenizer)
    blocks = _code_point_classes(tokenizer).reshape(-1, 256)
    unique: dict[bytes, int] = {}
    pages = np.array([unique.setdefault(block.tobytes(), len(unique)) for block in blocks], np.uint16)
    table = np.frombuffer(b"".join(unique), np.uint16)
    rest = _string_tables(_exceptions(tokenizer), _units(char_classes))
    return Tables(pages=pages, classes=table, **rest, spacy_version=version)


def write(tables: Tables, path: Path) -> None:
    """Writes the tables as `tables.load` reads them."""
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **vars(tables))


if __name__ == "__main__":
    write(generate(), FILE)
