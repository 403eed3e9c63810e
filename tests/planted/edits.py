"""Edits that leave a text a given share like itself: the five levels of the planted families, in four kinds.

A near-duplicate on the web is a page with another date in it, a paragraph more or less, or the same text set in other
type; which of them it is decides what a deduplication must see through. Each edit aims at a Jaccard of word 5-grams;
what it came to is computed afterwards. Costs a regular expression's walk over the text.
"""

import random
from collections.abc import Callable

from tests.planted.definition import NGRAM
from tests.planted.wording import PIECE, Wording

# The Jaccard of a copy with the original that each level aims at: the same words set otherwise, three that are
# duplicates at a threshold of .8 more and more barely, and one that is none.
LEVELS = (1.0, 0.95, 0.88, 0.83, 0.65)
WIDE = str.maketrans({chr(code): chr(code + 0xFEE0) for code in range(0x30, 0x3A)})  # digits as wide as a character


def reset(text: str, rng: random.Random) -> str:
    """The same words with other capitals, line ends and digits' width."""
    change: Callable[[str], str] = rng.choice((str.upper, str.lower, str.title, str.swapcase))
    changed = change(text) if change(text).lower() == text.lower() else text  # ß and its like become other letters
    return changed.translate(WIDE).replace(". ", "...  ").replace("\n", "\r\n\r\n") + rng.choice(("", "\n", " !"))


def scattered(text: str, share: float, wording: Wording, rng: random.Random) -> str:
    """Words replaced, left out and put in, evenly spread: each costs the n-grams that it stands in."""
    places = list(PIECE.finditer(text))
    count = len(places)
    edits = max(1, round(count * (1 - share) / (1 + share) / NGRAM))
    gap = count / edits
    chosen = {min(count - 1, int((number + rng.uniform(0.3, 0.7)) * gap)) for number in range(edits)}
    made, last = [], 0
    for place in sorted(chosen):
        first, stop = places[place].span()
        new = rng.choice((wording.piece(), wording.piece(), "", f"{text[first:stop]} {wording.piece()}"))
        made += [text[last:first], new]
        last = stop
    return "".join([*made, text[last:]])


def block(text: str, share: float, wording: Wording, rng: random.Random) -> str:
    """One run of words replaced by as many others."""
    places = list(PIECE.finditer(text))
    length = max(1, round(len(places) * (1 - share) / (1 + share)) - NGRAM + 1)
    start = rng.randrange(max(len(places) - length, 1))
    first, stop = places[start].start(), places[min(start + length, len(places)) - 1].end()
    return f"{text[:first]}{wording.invented(length)}{text[stop:]}"


def cut(text: str, share: float, wording: Wording, rng: random.Random) -> str:
    """The beginning or the end left out."""
    places = list(PIECE.finditer(text))
    length = max(1, round(len(places) * share))
    if rng.random() < 0.5:
        return text[: places[length - 1].end()]
    return text[places[len(places) - length].start() :]


def framed(text: str, share: float, wording: Wording, rng: random.Random) -> str:
    """Other words before and behind it."""
    more = max(2, round(len(PIECE.findall(text)) * (1 / share - 1)))
    before = rng.randrange(more)
    return "\n".join((wording.invented(max(before, 1)), text, wording.invented(max(more - before, 1))))


KINDS = (scattered, block, cut, framed)


def copies(text: str, wording: Wording, rng: random.Random) -> list[str]:
    """A near-duplicate for each of the five levels, of any kind."""
    return [reset(text, rng), *(rng.choice(KINDS)(text, share, wording, rng) for share in LEVELS[1:])]
