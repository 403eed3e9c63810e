"""The code in a text: fenced blocks and inline code of Markdown, where a tag is quoted and marks nothing.

A trace about templates writes `</think>` in backticks, and to end the thought there would cut it in two.
Costs a scan for backticks and tildes; it is asked for only where a text holds tags.
"""

import re
from bisect import bisect_right
from collections import defaultdict
from typing import NamedTuple

Spans = list[tuple[int, int]]

_FENCE = re.compile(r"^[ \t]{0,3}(`{3,}|~{3,})([^\n]*)$", re.MULTILINE)
_RUN = re.compile(r"`+")
_BLANK_LINE = re.compile(r"\n[ \t\r]*\n")


class Code(NamedTuple):
    """Where code stands in a text: (start, stop) in characters, ascending, all apart from each other."""

    fenced: Spans
    inline: Spans


def find_code(text: str) -> Code:
    """The code of a text.

    A fence is closed by one of the same sign that is no shorter and has nothing behind it, as CommonMark has it; one
    that is never closed opens nothing here: what follows an odd fence in a trace is seldom code. Inline code is closed
    by a run of as many backticks in the same paragraph.
    """
    if "`" not in text and "~~~" not in text:
        return Code([], [])
    fenced, inline, start = _fenced(text), Spans(), 0
    for opened, closed in [*fenced, (len(text), len(text))]:
        inline += _inline(text, start, opened)
        start = closed
    return Code(fenced, inline)


def inside(spans: Spans, place: int) -> bool:
    """Whether a place lies in one of the spans."""
    at = bisect_right(spans, (place, 1 << 62)) - 1
    return at >= 0 and spans[at][0] <= place < spans[at][1]


def _fenced(text: str) -> Spans:
    """Pairs of fences; an opener without its closer is passed by, and the next fence may open."""
    fences = [(match.start(), match.end(), match[1], match[2].strip()) for match in _FENCE.finditer(text)]
    closers: dict[str, list[tuple[int, int]]] = defaultdict(list)  # by sign: place in `fences` and length, ascending
    for place, (_, _, mark, rest) in enumerate(fences):
        if not rest:
            closers[mark[0]].append((place, len(mark)))
    found: Spans = []
    place = 0
    while place < len(fences):
        start, _, mark, rest = fences[place]
        behind = closers[mark[0]]
        first = bisect_right(behind, (place, 1 << 62))
        closer = next((other for other, length in behind[first : first + 64] if length >= len(mark)), None)
        if closer is None or (mark[0] == "`" and "`" in rest):
            place += 1
            continue
        found.append((start, fences[closer][1]))
        place = closer + 1
    return found


def _inline(text: str, start: int, stop: int) -> Spans:
    """Runs of backticks in pairs of equal length, within a paragraph."""
    found: Spans = []
    begin = start
    while begin < stop:
        blank = _BLANK_LINE.search(text, begin, stop)
        end = blank.start() if blank else stop
        runs = [(match.start(), match.end()) for match in _RUN.finditer(text, begin, end)]
        by_length: dict[int, list[int]] = defaultdict(list)
        for place, (first, last) in enumerate(runs):
            by_length[last - first].append(place)
        place = 0
        while place < len(runs):
            first, last = runs[place]
            same = by_length[last - first]
            after = bisect_right(same, place)
            if after == len(same):
                place += 1
                continue
            found.append((first, runs[same[after]][1]))
            place = same[after] + 1
        begin = blank.end() if blank else stop
    return found
