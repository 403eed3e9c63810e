"""Parts of shards mapped into memory, as the addresses that the kernels of `placements` read.

A run draws from thousands of parts, and few at a time: a part is mapped when a window first needs it, and let go when
many others are, whichever index they are of, since a process may have so many maps and no more. Costs a row of 64 bytes
a part, and the maps of those in use, 2 to 4 each.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .packs.pack_index import PackedIndex, PackIndex
from .placements import COLUMNS, INDEX, INDEX_SIZE, MASK, SEQUENCES, SIZE, TOKENS, Int64s
from .shards import Shards

Array = npt.NDArray[Any]
Maps = dict[int, tuple[Array, ...]]  # what a part's addresses point into, by its number

KEPT_PARTS = 4096  # of all indexes together: where a window leaves more mapped, only its own stay so


class Mapped:
    """The parts behind one pack index, as addresses.

    Args:
        index: of the sequences.
        shards: of their tokens.
        everything: whether all tokens are trained, whatever the mask says.
    """

    def __init__(self, index: PackIndex, shards: Shards, everything: bool) -> None:
        self.index = index
        self.shards = shards
        self.everything = everything
        self.starts = index.part_sequences.astype(np.int64)
        self.table = np.zeros((len(self.starts) - 1, COLUMNS), np.int64)  # pages that no part is in stay unmade
        self.maps: Maps = {}

    def use(self, part: Int64s) -> Maps:
        """Maps the part of each sequence, int64[n]; the addresses hold as long as what is returned."""
        used = np.unique(part)
        for missing in used[self.table[used, TOKENS] == 0].tolist():
            self._map(missing)
        return {number: self.maps[number] for number in used.tolist()}

    def keep(self, maps: Maps) -> None:
        """Lets go of all parts but these."""
        self.table[np.setdiff1d(list(self.maps), list(maps)).astype(np.int64)] = 0
        self.maps = dict(maps)

    def _map(self, part: int) -> None:
        shards, row = self.shards, self.table[part]
        tokens = shards.tokens(part)
        mask = None if self.everything else shards.mask(part)
        if isinstance(self.index, PackedIndex):
            spans, ends = self.index.spans_of_part(part)
            row[INDEX], row[INDEX_SIZE], row[SEQUENCES] = _address(spans), len(spans), _address(ends)
            kept: tuple[Array, ...] = (tokens, spans, ends)
        else:
            ends = shards.ends_unchecked(part)
            row[INDEX], row[INDEX_SIZE] = _address(ends), len(ends)
            kept = (tokens, ends)
        row[SIZE], row[MASK] = len(tokens), 0 if mask is None else _address(mask)
        self.maps[part] = kept if mask is None else (*kept, mask)
        row[TOKENS] = _address(tokens)


def let_go(indexes: Iterable[Mapped], used: Mapping[Mapped, Maps]) -> None:
    """Where some indexes together have more than `KEPT_PARTS` parts mapped, lets go of all but those used last."""
    indexes = list(indexes)
    if sum(len(one.maps) for one in indexes) > KEPT_PARTS:
        for one in indexes:
            one.keep(used.get(one, {}))


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])
