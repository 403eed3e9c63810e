"""Kernels of the reader: from the numbers of sequences to the places of their spans in mapped files.

A batch is copied at the speed of memory only if nothing is asked of Python for a sequence: so a window of thousands is
laid out at once as addresses, each checked against its part's size, and `gather` copies them.
Costs about 100 ns a sequence.

The addresses are those of maps that the caller keeps alive; nothing behind this looks at a size again.
"""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

Int64s = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]

# Where a part is mapped, a row a part: 0 for what is not mapped, or for the mask of a part that is trained in full.
TOKENS, MASK, SIZE, INDEX, INDEX_SIZE, SEQUENCES = range(6)
COLUMNS = 8  # a row is a line of the processor's cache
"""Columns: addresses of tokens and loss mask, tokens of the part; then either the address of the documents' ends
(uint64) and their number, or that of the spans (SPAN) and their number, with that of the sequences' ends (uint64)."""

# A span of a window, ready to be copied.
PLACED = np.dtype(
    [
        ("tokens", "<i8"),  # address of its first
        ("mask", "<i8"),  # address of the byte with its first loss bit; 0 where all are trained
        ("length", "<i4"),
        ("bit", "u1"),  # of that byte
        ("wide", "u1"),  # whether tokens are uint32
        ("continues", "u1"),  # whether it is of the segment of the span before it
    ],
    align=True,
)


def _at(typing_context: Any, address: Any) -> Any:
    """An address as a pointer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), generate


# Compiled into the kernels of gather.py, too, whose cache knows of that file alone: a change here is one there.
at: Any = intrinsic(_at)
carray: Any = numba.carray  # type: ignore[attr-defined]


@numba.njit(nogil=True)
def _first_above(values: Any, limit: Any) -> Any:
    """The first index whose value is above the limit; the number of values where there is none."""
    low, left = np.uint64(0), np.uint64(values.size)
    while left > 0:  # always as often, and without a branch to guess: searches one behind the other overlap
        half = (left + np.uint64(1)) >> np.uint64(1)
        low = low + half if values[low + half - np.uint64(1)] <= limit else low
        left -= half
    return np.int64(low)


@numba.njit(cache=True, nogil=True)
def count_chunks(parts: Int64s, part: Int64s, number: Int64s, length: int, first: Int64s, counts: Int64s) -> int:
    """How many spans each sequence of concatenate-and-cut has, and the document that it begins in.

    Args:
        parts: int64[parts, COLUMNS], with ends of documents.
        part: int64[n], of each sequence.
        number: int64[n], within its part.
        length: tokens of a sequence.
        first: int64[n], written: the document.
        counts: int64[n], written: spans.

    Returns:
        The first sequence whose tokens no document covers, -1 where there is none.
    """
    for i in range(part.size):
        row = parts[part[i]]
        ends = carray(at(row[INDEX]), (row[INDEX_SIZE],), np.uint64)
        first[i] = _first_above(ends, np.uint64(number[i] * length))
    for i in range(part.size):
        row = parts[part[i]]
        start = number[i] * length
        stop = min(start + length, row[SIZE])
        ends = carray(at(row[INDEX]), (row[INDEX_SIZE],), np.uint64)
        last = first[i]
        while last < ends.size and ends[last] < np.uint64(stop):
            last += 1
        if start < 0 or start >= stop or last == ends.size:
            return i
        counts[i] = last - first[i] + 1
    return -1


@numba.njit(cache=True, nogil=True)
def lay_chunks(
    parts: Int64s,
    part: Int64s,
    number: Int64s,
    length: int,
    wide: bool,
    first: Int64s,
    counts: Int64s,
    begins: Int64s,
    placed: Records,
) -> int:
    """Writes the spans of sequences that were counted; arguments and result as `count_chunks`.

    Args:
        wide: whether tokens are uint32.
        first: int64[n], the document that each begins in.
        counts: int64[n], spans of each.
        begins: int64[n], where each sequence's spans begin in `placed`.
        placed: PLACED[m], written.
    """
    for i in range(part.size):
        row = parts[part[i]]
        begin = number[i] * length
        stop = min(begin + length, row[SIZE])
        ends = carray(at(row[INDEX]), (row[INDEX_SIZE],), np.uint64)
        for k in range(counts[i]):
            end = min(np.int64(ends[first[i] + k]), stop)
            if end <= begin:
                return i
            _place(row, begin, end - begin, wide, False, placed[begins[i] + k])
            begin = end
        if begin != stop:
            return i
    return -1


@numba.njit(cache=True, nogil=True)
def count_packed(parts: Int64s, part: Int64s, number: Int64s, sequences: Int64s, first: Int64s, counts: Int64s) -> int:
    """How many spans each sequence of a packing on disk has, and the number of its first in the part.

    Args:
        parts: int64[parts, COLUMNS], with spans and sequences.
        part: int64[n], of each sequence.
        number: int64[n], within its part.
        sequences: int64[n], how many its part has.
        first: int64[n], written.
        counts: int64[n], written.

    Returns:
        The first sequence whose spans are not those of the part, -1 where there is none.
    """
    for i in range(part.size):
        row = parts[part[i]]
        if number[i] < 0 or number[i] >= sequences[i]:
            return i
        ends = carray(at(row[SEQUENCES]), (sequences[i],), np.int64)
        low = ends[number[i] - 1] if number[i] else np.int64(0)
        high = ends[number[i]]
        if not 0 <= low < high <= row[INDEX_SIZE]:
            return i
        first[i], counts[i] = low, high - low
    return -1


@numba.njit(cache=True, nogil=True)
def lay_packed(
    parts: Int64s,
    part: Int64s,
    counts: Int64s,
    length: int,
    wide: bool,
    first: Int64s,
    begins: Int64s,
    placed: Records,
) -> int:
    """Writes the spans of sequences that were counted; arguments and result as `lay_chunks`, `first` a span."""
    for i in range(part.size):
        row = parts[part[i]]
        # SPAN: part, start in two, length, continues
        words = carray(at(row[INDEX]), (row[INDEX_SIZE] * 5,), np.uint32)
        left: Any = length
        for k in range(counts[i]):
            word = (first[i] + k) * 5
            start = np.int64(words[word + 1]) | (np.int64(words[word + 2]) << 32)
            tokens, continues = np.int64(words[word + 3]), words[word + 4]
            inside = start >= 0 and start <= row[SIZE] and tokens <= row[SIZE] - start
            if words[word] != part[i] or not inside or not 0 < tokens <= left or continues > (k > 0):
                return i
            _place(row, start, tokens, wide, continues, placed[begins[i] + k])
            left -= tokens
    return -1


@numba.njit(nogil=True)
def _place(row: Int64s, start: Any, length: Any, wide: bool, continues: Any, span: Any) -> None:
    span.tokens = row[TOKENS] + start * (4 if wide else 2)
    span.mask = row[MASK] + start // 8 if row[MASK] else 0
    span.bit = start % 8
    span.length = length
    span.wide = wide
    span.continues = continues
