"""Numba kernels that count what Gopher's quality rules ask about, and decide by it.

What is asked about words comes summed from the chunk cache; symbols and lines are found 64 bytes at a time. The
decision takes them in the order of the rules and leaves the document at the first rule that it fails.
Costs about 0.3 ns per byte beside the words; importing this module imports Numba.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .byte_masks import count_bits, range_bits
from .kernel import inlined, kernel, view_leaf
from .line_ends import line_end_bits, line_end_bytes
from .machine import lowest_bit
from .verdict import judge, share
from .white_space import after_space, before_space
from .word_kernels import ALPHABETIC_WORDS, PLAIN_CHARACTERS, PLAIN_WORDS, WORDS

Bytes = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]
Float64 = npt.NDArray[np.float64]

# Columns of the counts of a document.
HASHES: Final = 0
ELLIPSES: Final = 1  # "..." (not overlapping) and "…"
LINES: Final = 2
BULLET_LINES: Final = 3
ELLIPSIS_LINES: Final = 4
COUNTS: Final = 5

_0, _1, _2, _3, _63, _64 = (np.uint64(number) for number in (0, 1, 2, 3, 63, 64))
_ONE: Final = np.uint8(1)
_HASH: Final = np.uint8(0x23)
_DOT: Final = np.uint8(0x2E)
_HYPHEN: Final = np.uint8(0x2D)
_E2: Final = np.uint8(0xE2)


@view_leaf
def _count_runs(dots: Any, run: Any) -> Any:
    """Of a block's dots, and `run` of them just before it: ("..." in the runs that end there, dots at its end)."""
    found, at = _0, _0
    while at < _64:
        rest = dots >> at
        size = min(lowest_bit(~rest), _64 - at)
        run += size
        at += size
        if at < _64:
            found += run // _3
            run = _0
            at += min(lowest_bit(rest >> size), _64 - at)
    return found, run


@view_leaf
def _count_symbols(text: Bytes, at: Any, end: Any) -> Any:
    """Of the bytes from `at` and before `end`: (hash characters, ellipses)."""
    hashes, ellipses, run = _0, _0, _0
    while at < end:
        hashes += count_bits(range_bits(text, at, end, _HASH, _ONE))
        dots = range_bits(text, at, end, _DOT, _ONE)
        if dots & (dots << _1) or run:
            found, run = _count_runs(dots, run)
            ellipses += found
        else:
            run = dots >> _63
        wide = range_bits(text, at, end, _E2, _ONE)
        if wide:
            wide &= range_bits(text, at + _1, end, np.uint8(0x80), _ONE)
            ellipses += count_bits(wide & range_bits(text, at + _2, end, np.uint8(0xA6), _ONE))
        at += _64
    return hashes, ellipses + run // _3


@inlined
def _is_bullet(text: Bytes, line: Any, stop: Any) -> Any:
    """Whether the line, stripped of white space, begins with "-" or "•"."""
    line = after_space(text, line, stop)
    if line == stop:
        return False
    byte = text[line]
    return byte == _HYPHEN or (byte == _E2 and text[line + _1] == 0x80 and text[line + _2] == 0xA2)


@inlined
def _is_ellipsis(text: Bytes, line: Any, stop: Any) -> Any:
    """Whether the line, stripped of white space, ends with "..." or "…"."""
    stop = before_space(text, line, stop)
    if stop - line < _3:
        return False
    last, second, third = text[stop - _1], text[stop - _2], text[stop - _3]
    return (last == _DOT and second == _DOT and third == _DOT) or (last == 0xA6 and second == 0x80 and third == _E2)


@view_leaf
def _count_lines(text: Bytes, at: Any, end: Any) -> Any:
    """Of the bytes from `at` and before `end`: (lines, lines with a bullet first, with an ellipsis last)."""
    lines, bullets, ellipses = _0, _0, _0
    line = at
    while at <= end and line < end:
        bits = line_end_bits(text, at, end) if at < end else _0
        if end - at < _64:
            bits |= _1 << (end - at)
        while bits:
            stop = at + lowest_bit(bits)
            bits &= bits - _1
            if stop < line or line == end:  # the second byte of "\r\n", or no text behind the last line's end
                continue
            lines += _1
            bullets += np.uint64(_is_bullet(text, line, stop))
            ellipses += np.uint64(_is_ellipsis(text, line, stop))
            line = stop + line_end_bytes(text, stop, end) if stop < end else end
        at += _64
    return lines, bullets, ellipses


@kernel
def count(text: Bytes, offsets: Int64) -> Int64:
    """What is counted in n documents beside their words.

    Args:
        text, offsets: the documents, as in `DocumentBatch`.

    Returns:
        int64[n, COUNTS], the columns named above.
    """
    counts = np.empty((len(offsets) - 1, COUNTS), np.int64)
    for document in range(len(offsets) - 1):
        begin, end = np.uint64(offsets[document]), np.uint64(offsets[document + 1])
        row = counts[document]
        row[HASHES], row[ELLIPSES] = _count_symbols(text, begin, end)
        row[LINES], row[BULLET_LINES], row[ELLIPSIS_LINES] = _count_lines(text, begin, end)
    return counts


@kernel
def decide(text: Bytes, offsets: Int64, sums: Int64, bounds: Float64) -> tuple[npt.NDArray[np.int16], Float64, Float64]:
    """For each document the first rule that it breaks but the last, and no work for the rules after it.

    Args:
        text, offsets: the documents, as in `DocumentBatch`.
        sums: int64[n, SUMS], the sums of their words, as in `word_kernels`.
        bounds: float64[rules, 2], lowest and highest score that is kept, infinite where there is no bound.

    Returns:
        rule int16[n] (-1 where none is broken), score float64[n] and broken bound float64[n] (NaN where none is).
    """
    documents = len(offsets) - 1
    rules = np.full(documents, -1, np.int16)
    values, thresholds = np.full(documents, np.nan), np.full(documents, np.nan)
    # The numbers of the rules are their places in GopherQuality.rule_options.
    for document in range(documents):
        begin, end = np.uint64(offsets[document]), np.uint64(offsets[document + 1])
        words, plain = sums[document, WORDS], sums[document, PLAIN_WORDS]
        if judge(document, 0, float(plain), bounds, rules, values, thresholds):
            continue
        length = share(sums[document, PLAIN_CHARACTERS], plain)
        if judge(document, 1, length, bounds, rules, values, thresholds):
            continue
        hashes, ellipses = _count_symbols(text, begin, end)
        if judge(document, 2, share(hashes, words), bounds, rules, values, thresholds):
            continue
        if judge(document, 3, share(ellipses, words), bounds, rules, values, thresholds):
            continue
        lines, bullets, ends = _count_lines(text, begin, end)
        if judge(document, 4, share(bullets, lines), bounds, rules, values, thresholds):
            continue
        if judge(document, 5, share(ends, lines), bounds, rules, values, thresholds):
            continue
        judge(document, 6, share(sums[document, ALPHABETIC_WORDS], words), bounds, rules, values, thresholds)
    return rules, values, thresholds
