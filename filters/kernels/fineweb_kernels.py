"""Numba kernels that count what FineWeb's quality rules ask about, and decide by it.

Nearly all documents are decided by their lines alone: lines are found 64 bytes at a time, and the words that the last
rule asks about are counted only where a lower bound (what stands between white space) does not settle it.
Costs about 0.8 ns per byte for a decision, words apart; importing this module imports Numba.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .byte_masks import count_bits, count_characters, mixed_block, range_bits, same_bytes
from .fineweb_lines import NEWLINE, ROOM, end_of_line, find_lines
from .kernel import inlined, kernel, view_leaf
from .verdict import judge, share

Bytes = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]
Float64 = npt.NDArray[np.float64]

# Columns of the counts of a document.
LINES: Final = 0  # lines that are not blank
PUNCTUATED_LINES: Final = 1
SHORT_LINES: Final = 2
DUPLICATE_CHARACTERS: Final = 3  # code points in lines that stand earlier in the document
CHARACTERS: Final = 4  # code points that are no newlines
NEWLINES: Final = 5
COUNTS: Final = 6

# What a line's last byte says about its ending, in `Endings.kinds`; 2 where it depends on the bytes before it.
NO_ENDING: Final = 0
AN_ENDING: Final = 1
PERHAPS: Final = 2

_PERHAPS: Final = np.uint64(PERHAPS)
_0, _1, _8, _16, _32, _48, _64 = (np.uint64(number) for number in (0, 1, 8, 16, 32, 48, 64))
_ONE: Final = np.uint8(1)
_PLACE: Final = np.uint64((1 << 48) - 1)
_FIRST_SLOTS: Final = 1024
_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio


@view_leaf
def _has_ending(text: Bytes, line: Any, stop: Any, ending_text: Bytes, ending_stops: UInt64, first: UInt64) -> Any:
    """Whether the line ends with one of the endings that share its last byte."""
    byte = np.uint64(text[stop - _1])
    for ending in range(first[byte], first[byte + _1]):
        place = np.uint64(ending)
        end = ending_stops[place]
        size = end - (ending_stops[place - _1] if place > _0 else _0)
        if size > stop - line:
            continue
        same = _1
        while same < size and ending_text[end - same - _1] == text[stop - same - _1]:
            same += _1
        if same == size:
            return True
    return False


@inlined
def _judge_lines(
    text: Bytes,
    count: Any,
    limit: Any,
    starts: UInt64,
    stops: UInt64,
    sizes: UInt64,
    ending_text: Bytes,
    ending_stops: UInt64,
    ending_first: UInt64,
    ending_kinds: Bytes,
) -> Any:
    """Of the lines found: (punctuated ones, short ones)."""
    punctuated, short = _0, _0
    for number in range(count):
        place = np.uint64(number)
        short += np.uint64(sizes[place] <= limit)
        kind = np.uint64(ending_kinds[text[stops[place] - _1]])
        if kind == _PERHAPS:
            kind = np.uint64(_has_ending(text, starts[place], stops[place], ending_text, ending_stops, ending_first))
        punctuated += kind
    return punctuated, short


@inlined
def _count_lines(
    text: Bytes,
    begin: Any,
    end: Any,
    limit: Any,
    starts: UInt64,
    stops: UInt64,
    sizes: UInt64,
    ending_text: Bytes,
    ending_stops: UInt64,
    ending_first: UInt64,
    ending_kinds: Bytes,
) -> Any:
    """Of the text from `begin` to `end`: (lines that are not blank, punctuated ones, short ones, newlines).

    Leaves the lines in `starts`, `stops` and `sizes` if there are less than `ROOM` - 64.
    """
    lines, punctuated, short, newlines = _0, _0, _0, _0
    at, here = begin, (begin, _0, _0)
    while at <= end:
        count, passed, at, here = find_lines(text, at, end, here, starts, stops, sizes)
        more_punctuated, more_short = _judge_lines(
            text, count, limit, starts, stops, sizes, ending_text, ending_stops, ending_first, ending_kinds
        )
        lines, newlines = lines + count, newlines + passed
        punctuated, short = punctuated + more_punctuated, short + more_short
    return lines, punctuated, short, newlines


@inlined
def _hash_line(text: Bytes, at: Any, stop: Any) -> Any:
    """64-bit hash of the bytes, 64 a step, for a table that compares what it finds."""
    state = stop - at
    while True:
        state = state * _FACTOR + mixed_block(text, at, stop)
        at += _64
        if at >= stop:
            break
        state ^= state >> _32
    state = (state ^ state >> _32) * _FACTOR
    return state ^ state >> _32


@kernel
def _larger_table(text: Bytes, begin: int, end: int, slots: UInt64) -> UInt64:
    """The lines of the document that starts at `begin` in a table with four times the slots."""
    start, stop = np.uint64(begin), np.uint64(end)
    larger = np.zeros(4 * len(slots), np.uint64)
    room = np.uint64(len(larger) - 1)
    for slot in slots:
        if slot & _PLACE <= start:
            continue
        line = (slot & _PLACE) - _1
        place = _hash_line(text, line, end_of_line(text, line, stop)) & room
        while larger[place]:
            place = (place + _1) & room
        larger[place] = slot
    return larger


@inlined
def _is_repeated(text: Bytes, begin: Any, line: Any, stop: Any, slots: UInt64, room: Any) -> Any:
    """Whether the line stands in the first `room` + 1 slots of the table; if not it is put there.

    A slot holds 16 bits of the line's hash, then its place in the text plus one. Lines are compared byte by byte, so no
    two are taken for one. Slots of earlier documents (places up to `begin`) count as empty, so nothing is cleared.
    """
    hashed = _hash_line(text, line, stop)
    tag, place = hashed >> _48, hashed & room
    while True:
        slot = slots[place]
        if slot & _PLACE <= begin:
            slots[place] = tag << _48 | (line + _1)
            return False
        other = (slot & _PLACE) - _1
        # The other line stands before this one, so a newline or this line's first byte follows its bytes.
        if slot >> _48 == tag and text[other + stop - line] == NEWLINE and same_bytes(text, other, line, stop - line):
            return True
        place = (place + _1) & room


@inlined
def _duplicate_characters(
    text: Bytes, begin: Any, end: Any, lines: Any, starts: UInt64, stops: UInt64, sizes: UInt64, slots: UInt64
) -> Any:
    """(code points in lines that stand earlier in the document, the table of lines, larger where it had to grow).

    Comes after `_count_lines`, whose lines it takes where all of them are there. A document uses no more of the table
    than its `lines` need, so that most stay in the fastest memory.
    """
    found, used = _0, _0
    room = _1
    while room < lines and room < np.uint64(len(slots)) >> _1:
        room <<= _1
    room = (room << _1) - _1
    at, here, count = begin, (begin, _0, _0), lines
    again = lines >= np.uint64(ROOM - 64)
    while True:
        if again:
            count, _, at, here = find_lines(text, at, end, here, starts, stops, sizes)
        for number in range(count):
            place = np.uint64(number)
            if _is_repeated(text, begin, starts[place], stops[place], slots, room):
                found += sizes[place]
            else:
                used += _1
                if used << _1 > room + _1:
                    slots = _larger_table(text, begin, end, slots)
                    room = np.uint64(len(slots) - 1)
        if not again or at > end:
            break
    return found, slots


@inlined
def _at_least_chunks(text: Bytes, at: Any, end: Any, enough: Any) -> Any:
    """A number no larger than that of the pieces between white space; the search ends where it reaches `enough`.

    Counts the bytes behind white space of ASCII that are none and can begin none.
    """
    found, before = _0, _1
    while at < end and found < enough:
        spaces = range_bits(text, at, end, np.uint8(0x09), np.uint8(5)) | range_bits(
            text, at, end, np.uint8(0x1C), np.uint8(5)
        )
        others = range_bits(text, at, end, np.uint8(0x21), np.uint8(0xC2 - 0x21))
        others |= range_bits(text, at, end, np.uint8(0xC3), np.uint8(0xE1 - 0xC3))
        others |= range_bits(text, at, end, np.uint8(0xE4), np.uint8(0x100 - 0xE4))
        found += count_bits(others & (spaces << _1 | before))
        before = spaces >> np.uint64(63)
        at += _64
    return found


@view_leaf
def _enough_words(newlines: Any, high: float) -> Any:
    """A number of words with which, and with any larger one, `newlines` per word are not above `high`."""
    if newlines == _0 or high == np.inf:
        return _0
    if not high * 2.0**62 > float(newlines):
        return np.uint64(1) << np.uint64(63)
    words = np.uint64(float(newlines) / high)
    while words == _0 or float(newlines) / float(words) > high:
        words += _1
    return words


@kernel
def count(
    text: Bytes,
    offsets: Int64,
    limit: int,
    ending_text: Bytes,
    ending_stops: UInt64,
    ending_first: UInt64,
    ending_kinds: Bytes,
) -> Int64:
    """What is counted in n documents beside their words.

    Args:
        text, offsets: the documents, as in `DocumentBatch`.
        limit: code points of the longest line that is short.
        ending_text, ending_stops, ending_first, ending_kinds: the endings, as `fineweb_quality.Endings` has them.

    Returns:
        int64[n, COUNTS], the columns named above.
    """
    counts = np.empty((len(offsets) - 1, COUNTS), np.int64)
    slots = np.zeros(_FIRST_SLOTS, np.uint64)
    starts, stops, sizes = np.empty(ROOM, np.uint64), np.empty(ROOM, np.uint64), np.empty(ROOM, np.uint64)
    for document in range(len(offsets) - 1):
        begin, end = np.uint64(offsets[document]), np.uint64(offsets[document + 1])
        lines, punctuated, short, newlines = _count_lines(
            text, begin, end, np.uint64(limit), starts, stops, sizes,
            ending_text, ending_stops, ending_first, ending_kinds,
        )  # fmt: skip
        duplicates, slots = _duplicate_characters(text, begin, end, lines, starts, stops, sizes, slots)
        row = counts[document]
        row[LINES], row[PUNCTUATED_LINES], row[SHORT_LINES], row[NEWLINES] = lines, punctuated, short, newlines
        row[DUPLICATE_CHARACTERS] = duplicates
        row[CHARACTERS] = count_characters(text, begin, end) - newlines
    return counts


@kernel
def decide(
    text: Bytes,
    offsets: Int64,
    limit: int,
    ending_text: Bytes,
    ending_stops: UInt64,
    ending_first: UInt64,
    ending_kinds: Bytes,
    bounds: Float64,
    allow_unpunctuated: bool,
) -> tuple[npt.NDArray[np.int16], Float64, Float64, Int64]:
    """For each document the first rule that it breaks, and no work for the rules after it.

    Args:
        bounds: float64[rules, 2], lowest and highest score that is kept, infinite where there is no bound.
        allow_unpunctuated: whether a share of punctuated lines of 0 is kept.
        others: as for `count`.

    Returns:
        rule int16[n] (-1 where none is broken), score float64[n] and broken bound float64[n] (NaN where none is), and
        newlines int64[n] of the documents whose words have to be counted for the last rule, -1 for all others.
    """
    documents = len(offsets) - 1
    undecided = np.full(documents, -1, np.int64)
    rules = np.full(documents, -1, np.int16)
    values, thresholds = np.full(documents, np.nan), np.full(documents, np.nan)
    slots = np.zeros(_FIRST_SLOTS, np.uint64)
    starts, stops, sizes = np.empty(ROOM, np.uint64), np.empty(ROOM, np.uint64), np.empty(ROOM, np.uint64)
    # The numbers of the rules are their places in FinewebQuality.rule_options.
    for document in range(documents):
        begin, end = np.uint64(offsets[document]), np.uint64(offsets[document + 1])
        lines, punctuated, short, newlines = _count_lines(
            text, begin, end, np.uint64(limit), starts, stops, sizes,
            ending_text, ending_stops, ending_first, ending_kinds,
        )  # fmt: skip
        if judge(document, 0, float(lines), bounds, rules, values, thresholds):
            continue
        score = share(punctuated, lines)
        if not (allow_unpunctuated and score == 0.0) and judge(document, 1, score, bounds, rules, values, thresholds):
            continue
        if judge(document, 2, share(short, lines), bounds, rules, values, thresholds):
            continue
        if bounds[3, 1] < np.inf:
            duplicates, slots = _duplicate_characters(text, begin, end, lines, starts, stops, sizes, slots)
            if duplicates > _0:
                score = share(duplicates, count_characters(text, begin, end) - newlines)
                if judge(document, 3, score, bounds, rules, values, thresholds):
                    continue
        enough = _enough_words(newlines, bounds[4, 1])
        if _at_least_chunks(text, begin, end, enough) < enough:
            undecided[document] = newlines
    return rules, values, thresholds, undecided
