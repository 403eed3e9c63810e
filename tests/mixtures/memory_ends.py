"""Ends of documents in memory: as much of a source's shards as packing and planning look at."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class MemoryEnds:
    """For every part, uint64[documents]: exclusive ends in tokens within the part."""

    by_part: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, lengths: Sequence[int] | np.ndarray, parts: int = 1) -> "MemoryEnds":
        """Documents of these lengths, cut into parts of about as many documents each."""
        blocks = np.array_split(np.asarray(lengths, dtype=np.int64), parts)
        return cls(tuple(np.cumsum(block).astype(np.uint64) for block in blocks))

    @property
    def part_tokens(self) -> np.ndarray:
        """uint64[parts]"""
        return np.array([int(ends[-1]) if len(ends) else 0 for ends in self.by_part], np.uint64)

    @property
    def part_documents(self) -> np.ndarray:
        """uint64[parts]"""
        return np.array([len(ends) for ends in self.by_part], np.uint64)

    def ends(self, part: int) -> np.ndarray:
        """The part's ends."""
        return self.by_part[part]

    ends_unchecked = ends
