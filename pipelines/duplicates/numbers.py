"""The numbers that documents have while duplicates are looked for, and how they spread over partitions.

A document is 64 bits: its part and its row in it, so that 16 bytes are a link. The highest bit is for documents that
stand in an index and in no part. Costs a few instructions a number.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

UInt64 = npt.NDArray[np.uint64]
Int64 = npt.NDArray[np.int64]

INDEXED: Final = np.uint64(1 << 63)  # set where a document stands in an index: `INDEXED | chunk << 32 | row`
_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: Knuth's multiplicative hashing
_32: Final = np.uint64(32)
_ROW: Final = np.uint64(0xFFFFFFFF)
_CHUNK: Final = np.uint64(0x7FFFFFFF)


def numbers(part: int, rows: npt.NDArray[np.int32]) -> UInt64:
    """uint64[n]: the documents in these rows (int32[n]) of a part."""
    return rows.astype(np.uint64) | np.uint64(part) << _32


def rows_of(documents: UInt64) -> npt.NDArray[np.int32]:
    """int32[n]: each document's row in its part, or in its chunk of an index."""
    return (documents & _ROW).astype(np.int32)


def parts_of(documents: UInt64, parts: int) -> Int64:
    """int64[n]: the part whose task looks at each document; those of an index are dealt out to all `parts`."""
    part = (documents >> _32).astype(np.int64)
    indexed = documents >= INDEXED
    if indexed.any():
        part[indexed] = (documents[indexed] >> _32 & _CHUNK) % np.uint64(parts)
    return part


def by_range(keys: UInt64, partitions: int) -> Int64:
    """int64[n]: partitions of uniform keys that are ranges of them, so that one is a piece of any sorted keys."""
    return ((keys >> _32) * np.uint64(partitions) >> _32).astype(np.int64)


def spread(documents: UInt64, partitions: int) -> Int64:
    """int64[n]: partitions of documents, by a hash of their numbers."""
    return by_range(documents * _SPREAD, partitions)
