"""Merges sorted runs of rows, so that any number of them is sorted with what a few take in memory.

Runs lie one after the other in a mapped file, and are read and written from their beginnings to their ends.
Costs about 20 ns a row and merge; importing this module imports Numba.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .kernel import fixed, kernel, view_leaf

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]
UInt64 = npt.NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Ties:
    """What decides between rows whose keys are the same, for all m rows by their numbers, smaller first.

    Args:
        ids: uint8[…], the ids, one after the other; what counts first, byte by byte.
        id_bounds: int64[m + 1], where each begins, and the end of the last.
        source, part, row: int32[m], which count after them.
    """

    ids: UInt8
    id_bounds: Int64
    source: Int32
    part: Int32
    row: Int32


def merge(records: UInt64, first: int, middle: int, last: int, ties: Ties, merged: UInt64) -> None:
    """Merges two sorted runs into one; of rows that are the same in everything, those of the first run come first.

    Args:
        records: uint64[m, k], rows of keys, each with its number behind them.
        first, middle, last: the runs: rows from `first` to `middle`, and from there to `last`.
        ties: of all rows.
        merged: uint64[m, k], whose rows from `first` to `last` are written.
    """
    source, part, row = fixed(ties.source), fixed(ties.part), fixed(ties.row)
    _merge(fixed(records), first, middle, last, fixed(ties.ids), fixed(ties.id_bounds), source, part, row, merged)


@view_leaf
def _before(
    records: UInt64, one: Any, other: Any, ids: UInt8, id_bounds: Int64, source: Int32, part: Int32, row: Int32
) -> bool:
    """Whether one row comes before another, and not only as its like."""
    width = records.shape[1] - 1
    for place in range(width):
        left, right = records[one, place], records[other, place]
        if left != right:
            return bool(left < right)
    a, b = np.int64(records[one, width]), np.int64(records[other, width])
    start, stop, begin, end = id_bounds[a], id_bounds[a + 1], id_bounds[b], id_bounds[b + 1]
    for place in range(min(stop - start, end - begin)):
        if ids[start + place] != ids[begin + place]:
            return bool(ids[start + place] < ids[begin + place])
    if stop - start != end - begin:
        return bool(stop - start < end - begin)
    if source[a] != source[b]:
        return bool(source[a] < source[b])
    if part[a] != part[b]:
        return bool(part[a] < part[b])
    return bool(row[a] < row[b])


@kernel
def _merge(
    records: UInt64,
    first: int,
    middle: int,
    last: int,
    ids: UInt8,
    id_bounds: Int64,
    source: Int32,
    part: Int32,
    row: Int32,
    merged: UInt64,
) -> None:
    one, other = first, middle
    for place in range(first, last):
        if one == middle:
            second = True
        elif other == last:
            second = False
        else:
            second = _before(records, other, one, ids, id_bounds, source, part, row)
        taken = other if second else one
        for column in range(records.shape[1]):
            merged[place, column] = records[taken, column]
        if second:
            other += 1
        else:
            one += 1
