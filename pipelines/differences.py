"""Where two texts differ, word by word: what a person looks at to judge whether one is a copy of the other.

Similar documents are alike for most of their length, so what both have in common is left out but for a few words around
each difference. Of long texts a window is compared that begins before the first difference, and words that are a
hundredth of it or more are no place to begin a match at, so a pair of any size costs milliseconds.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

MOST_CHARACTERS = 8_000  # of each text that are compared, from the first difference on
MOST_WORDS = 1_500  # with what stands between them
BEGINS = 200  # characters of texts that are the same
AROUND_CHARACTERS = 120  # before the first difference and behind the last that are looked at with them
AROUND = 12  # words, and what stands between them, that are shown on either side of a difference
ALONE = (  # scripts that put no space between words: a character is a word
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
WORD = re.compile(rf"\s+|[{ALONE}]|[^\W{ALONE}]+|.", re.DOTALL)
Kind = Literal["same", "kept", "dropped", "gap"]


@dataclass(frozen=True)
class Difference:
    """A piece of two texts.

    Args:
        kind: in both (`same`), in the one that is kept or dropped alone, or not shown (`gap`).
        text: the piece; of a gap, what it holds.
    """

    kind: Kind
    text: str


def differences(kept: str, dropped: str) -> tuple[Difference, ...]:
    """The pieces of two texts in order; those that only the dropped one has stand before those of the kept one."""
    if kept == dropped:
        return _the_same(kept)
    start = _alike(kept, dropped)
    first, behind = _before(kept, start), _behind(kept, dropped, start)
    one, cut_one = _words(kept[first : len(kept) - behind])
    other, cut_other = _words(dropped[first : len(dropped) - behind])
    pieces = list(_compared(one, other))
    if not (cut_one or cut_other):
        return tuple(_shortened(pieces, first, behind))
    # What a window has beyond the other one's end is no difference; where nothing else differs it may be one.
    last = max((place for place, (kind, _) in enumerate(pieces) if kind == "same"), default=0)
    if any(kind != "same" for kind, _ in pieces[:last]):
        pieces = pieces[: last + 1]
    rest = [
        len(text) - first - sum(len(word) for kind, words in pieces if kind in ("same", which) for word in words)
        for text, which in ((kept, "kept"), (dropped, "dropped"))
    ]
    untold = Difference("gap", f"not compared: {rest[0]:,} characters of the one kept, {rest[1]:,} of the one dropped")
    return (*_shortened(pieces, first, 0), untold)


def _the_same(text: str) -> tuple[Difference, ...]:
    """Its beginning, to know it by."""
    begins = Difference("same", text[:BEGINS])
    return (begins,) if len(text) <= BEGINS else (begins, Difference("gap", f"{len(text) - BEGINS:,} characters alike"))


def _compared(kept: list[str], dropped: list[str]) -> Iterator[tuple[Kind, list[str]]]:
    for tag, a, b, c, d in SequenceMatcher(None, dropped, kept).get_opcodes():
        if tag == "equal":
            yield "same", dropped[a:b]
            continue
        if a < b:
            yield "dropped", dropped[a:b]
        if c < d:
            yield "kept", kept[c:d]


def _shortened(pieces: Sequence[tuple[Kind, list[str]]], skipped: int, behind: int) -> Iterator[Difference]:
    """The pieces, with what is far from any difference left out; so many characters stand alike before and behind."""
    left_out = skipped
    for place, (kind, words) in enumerate(pieces):
        last = place + 1 == len(pieces)
        head = AROUND if place else 0
        tail = max(len(words) if last else len(words) - AROUND, head)
        beside_gap = (place == 0 and skipped > 0) or (last and behind > 0)
        if kind != "same" or (not beside_gap and tail - head <= AROUND):
            head = tail = 0
        for shown, hidden in ((words[:head], words[head:tail]), (words[tail:], [])):
            if shown:
                yield from _gap(left_out)
                yield Difference(kind, "".join(shown))
                left_out = 0
            left_out += sum(map(len, hidden))
    yield from _gap(left_out + behind)


def _gap(characters: int) -> Iterator[Difference]:
    if characters:
        yield Difference("gap", f"{characters:,} characters alike")


def _words(window: str) -> tuple[list[str], bool]:
    """Words and what stands between them, and whether the window goes on behind them."""
    found = WORD.findall(window[:MOST_CHARACTERS])[:MOST_WORDS]
    return found, sum(map(len, found)) < len(window)


def _alike(one: str, other: str) -> int:
    """The length of what two texts begin with alike."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return low


def _before(text: str, start: int) -> int:
    """Where a window begins that shows a few words before a place; at the beginning of a word where there is one."""
    if start <= AROUND_CHARACTERS:
        return 0
    spaces = [found.end() for found in re.finditer(r"\s+", text[start - AROUND_CHARACTERS : start])]
    return start - AROUND_CHARACTERS + (spaces[0] if spaces and spaces[0] < AROUND_CHARACTERS else 0)


def _behind(one: str, other: str, start: int) -> int:
    """The length of what two texts end with alike, behind what they begin with, but for a few words."""
    most = min(len(one), len(other)) - start
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        alike = one[len(one) - middle : len(one) - low] == other[len(other) - middle : len(other) - low]
        low, high = (middle, high) if alike else (low, middle - 1)
    if low <= AROUND_CHARACTERS:
        return 0
    shown = one[len(one) - low : len(one) - low + AROUND_CHARACTERS]
    spaces = [found.start() for found in re.finditer(r"\s+", shown)]
    return low - (spaces[-1] if spaces and spaces[-1] else AROUND_CHARACTERS)
