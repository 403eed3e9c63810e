"""The order of training: which sequence of which source stands at a place of a phase, as a pure function, and back.

A run's whole position is then one integer, whatever the number of workers, processes or micro-batches, and resuming is
starting at it; what was trained on when is looked up, not logged. Costs one replayed block of at most 65,536 sequences
(about 130 µs a source) at the first look into a block, and one permutation an index after that; the counts and the pack
indexes are memory maps.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import RunError
from .packs.pack_index import PACK_TABLE, PackIndex
from .packs.pack_requests import open_index
from .packs.packing import Spans
from .permutation import epoch_key, unpermute
from .phases import PhaseOrder, PhaseRef
from .repair import mending
from .shards import PartEnds

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]


class Slice(NamedTuple):
    """Consecutive places of a phase, one entry a place."""

    source: Int32s  # number in the phase's `sources`
    pack: Int32s  # number in the phase's `indexes`
    sequence: Int64s  # number in that pack index


class Found(NamedTuple):
    """Where a sequence is trained on: a place of a phase, and the epoch of the source that it belongs to."""

    phase: str
    place: int
    epoch: int


class Order:
    """The order of all phases of a built mixture."""

    def __init__(self, root: Path, phases: dict[str, PhaseOrder], shards: Callable[[str], PartEnds]) -> None:
        self._root = root
        self._phases = phases
        self._shards = shards
        self._packs: dict[str, PackIndex] = {}
        self._rows: dict[str, tuple[int, Int32s, Int64s]] = {}  # the row last looked into, of each phase

    @classmethod
    def open(cls, root: str | Path, phases: Sequence[PhaseRef], shards: Callable[[str], PartEnds]) -> "Order":
        """Opens the order's files of each phase below a mixture's output.

        Args:
            root: the output.
            phases: in the order of training.
            shards: gives the tokens of a source by its name, which its pack indexes are of.

        Raises:
            RunError: a file is missing, damaged, or not of this version.
        """
        return cls(Path(root), {ref.name: PhaseOrder.open(Path(root), ref) for ref in phases}, shards)

    def phase(self, name: str) -> PhaseOrder:
        """A phase's length, sources, quotas and losses. KeyError for a phase that was not opened."""
        return self._phases[name]

    def at(self, phase: str, place: int) -> tuple[str, int]:
        """The source's name and the number of the sequence in the pack index it is drawn from at that place."""
        found = self.slice(phase, place, 1)
        return self._phases[phase].sources[int(found.source[0])], int(found.sequence[0])

    def slice(self, phase: str, first: int, count: int) -> Slice:
        """The places from `first` on.

        Raises:
            IndexError: a place outside the phase.
        """
        order = self._phases[phase]
        if not 0 <= first <= first + count <= order.sequences:
            raise IndexError(
                f"places {first:,} to {first + count:,} of phase {phase} with {order.sequences:,} sequences"
            )
        return self.places(phase, np.arange(first, first + count))

    def places(self, phase: str, places: Int64s) -> Slice:
        """Any places in ascending order, int64[n].

        Raises:
            IndexError: a place outside the phase, or one that is not behind the one before it.
        """
        order = self._phases[phase]
        if places.size and not (places[0] >= 0 and places[-1] < order.sequences and (np.diff(places) > 0).all()):
            raise IndexError(f"places that do not ascend within the {order.sequences:,} of phase {phase}")
        source, ordinal = self._replayed(order, places)
        pack = np.empty(places.size, dtype=np.int32)
        sequence = np.empty(places.size, dtype=np.int64)
        for number in np.flatnonzero(np.bincount(source)):
            chosen = np.flatnonzero(source == number)
            entry = order.entries[number]
            located = order.draws[number].locate(entry.first_draw + ordinal[chosen])
            rest, full = (pool.index if pool else -1 for pool in (entry.rest, entry.full))
            pack[chosen] = np.where(located.full, full, rest)
            sequence[chosen] = located.sequence
        return Slice(source, pack, sequence)

    def find(self, source: str, pack_folder: str, sequence: int) -> list[Found]:
        """The inverse of `slice`: every place, of all phases and epochs, at which a sequence is trained on.

        Args:
            source: name of a source.
            pack_folder: the pack index, as the phases' `indexes` name it.
            sequence: number in it.

        Returns:
            In the order of training; nothing where it is never drawn.
        """
        return [
            Found(order.name, place, epoch)
            for order in self._phases.values()
            for place, epoch in self._found(order, source, pack_folder, sequence)
        ]

    def counts(self, phase: str, place: int) -> Int64s:
        """How many sequences every source of a phase has had before a place: int64[k].

        Raises:
            IndexError: a place outside the phase.
        """
        order = self._phases[phase]
        if not 0 <= place <= order.sequences:
            raise IndexError(f"place {place:,} of phase {phase} with {order.sequences:,} sequences")
        if place == order.planned:
            return order.quotas.copy()
        row = order.row_of(place)
        sources, _ = self._row(order, row)
        before = sources[: place - order.row_bounds(row)[0]]
        return np.asarray(order.counts[row].astype(np.int64) + np.bincount(before, minlength=order.quotas.size))

    def spans(self, phase: str, place: int) -> tuple[str, Spans]:
        """The source's name and the spans of the sequence at a place: SPAN[m], in the order they stand in."""
        found = self.slice(phase, place, 1)
        index = self.index(phase, int(found.pack[0]))
        return self._phases[phase].sources[int(found.source[0])], index.sequence(int(found.sequence[0]))

    def index(self, phase: str, number: int) -> PackIndex:
        """One of the phase's pack indexes, opened once.

        Raises:
            RunError: it is missing, cut short, or not the one that the order was made for.
        """
        order = self._phases[phase]
        folder = order.indexes[number]
        source, sequences = next(
            (entry.name, pool.sequences)
            for entry in order.entries
            for pool in (entry.rest, entry.full)
            if pool and pool.index == number
        )
        if folder not in self._packs:
            self._packs[folder] = open_index(self._root, folder, order.sequence_length, self._shards(source))
        pack = self._packs[folder]
        if (len(pack), pack.sequence_length) != (sequences, order.sequence_length):
            raise RunError(
                f"the pack index is not the one that the order of phase {phase} was made for",
                where=str(self._root / folder),
                seen=f"{len(pack):,} sequences of {pack.sequence_length:,} tokens",
                expected=f"{sequences:,} of {order.sequence_length:,}",
                fix=mending(self._root, f"{folder}/{PACK_TABLE}"),
            )
        return pack

    def _row(self, order: PhaseOrder, row: int) -> tuple[Int32s, Int64s]:
        kept = self._rows.get(order.name)
        if kept is None or kept[0] != row:
            kept = self._rows[order.name] = (row, *order.replay_row(row))
        return kept[1], kept[2]

    def _replayed(self, order: PhaseOrder, places: Int64s) -> tuple[Int32s, Int64s]:
        """Source and its how-manyth sequence in the phase, row by row; the last row is kept for the next call."""
        source, ordinal = np.empty(places.size, dtype=np.int32), np.empty(places.size, dtype=np.int64)
        done = 0
        while done < places.size:
            row = order.row_of(int(places[done]))
            start, stop = order.row_bounds(row)
            until = int(np.searchsorted(places, stop))
            sources, ordinals = self._row(order, row)
            inside = places[done:until] - start
            source[done:until], ordinal[done:until] = sources[inside], ordinals[inside]
            done = until
        return source, ordinal

    def _found(self, order: PhaseOrder, source: str, folder: str, sequence: int) -> list[tuple[int, int]]:
        """Places in one phase, each with its epoch."""
        if source not in order.sources or folder not in order.indexes:
            return []
        number, index = order.sources.index(source), order.indexes.index(folder)
        entry, draws = order.entries[number], order.draws[number]
        found = []
        for epoch, first_draw, size in draws.epochs(entry.first_draw, entry.quota):
            pool = entry.rest if first_draw < draws.rest_size else entry.full
            if pool is None or pool.index != index or not 0 <= sequence < size:
                continue
            draw = first_draw + unpermute(sequence, size, epoch_key(draws.seed, draws.source, epoch))
            if entry.first_draw <= draw < entry.first_draw + entry.quota:
                found.append((self._place(order, number, draw - entry.first_draw), epoch))
        return [(place, epoch) for place, epoch in found if place < order.sequences]

    def _place(self, order: PhaseOrder, number: int, ordinal: int) -> int:
        """Where the source has its sequence of this number in the phase."""
        row = int(np.searchsorted(order.counts[:, number], np.uint64(ordinal), side="right")) - 1
        source, _ = self._row(order, row)
        nth = np.flatnonzero(source == number)[ordinal - int(order.counts[row, number])]
        return order.row_bounds(row)[0] + int(nth)
