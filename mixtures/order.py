"""The order of training: which sequence of which source stands at a place of a phase, as a pure function.

A run's whole position is then one integer, whatever the number of workers, processes or micro-batches, and resuming is
starting at it. Costs one replayed block of 65,536 sequences (about 130 µs a source) at the first look into a block, and
one permutation an index after that; the counts and the pack indexes are memory maps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from .. import storage
from ..errors import RunError
from .interleave import BLOCK, replay
from .packing import PackIndex, Spans
from .permutation import Draws

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]


class Pool(BaseModel):
    """A pack index that a phase draws from, as the order's file names it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    index: int  # number in the phase's `indexes`
    sequences: int
    epoch: int  # that it serves; of a full index, the first


class SourceEntry(BaseModel):
    """One source of a phase, as the order's file names it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    share: float
    loss: Literal["all", "assistant"]
    quota: int
    first_draw: int
    rest: Pool | None
    full: Pool | None

    def draws(self, seed: int) -> Draws:
        """The draws of this source; its `quota` of this phase begins at `first_draw`."""
        rest, full = self.rest, self.full
        return Draws(
            seed,
            self.name,
            rest.sequences if rest else 0,
            rest.epoch if rest else 0,
            full.sequences if full else 0,
            full.epoch if full else 0,
        )


class PhaseFile(BaseModel):
    """`order/<phase>.json`: all that the order of a phase depends on, beside its counts."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    version: Literal[1]
    phase: str
    seed: int
    sequence_length: int
    sequences: int
    indexes: tuple[str, ...]  # folders relative to the output
    sources: tuple[SourceEntry, ...]


@dataclass(frozen=True)
class PhaseOrder:
    """A phase as the reader sees it; the tuples and `quotas` run parallel over its sources."""

    name: str
    sequence_length: int
    sequences: int
    sources: tuple[str, ...]
    quotas: Int64s
    loss: tuple[Literal["all", "assistant"], ...]
    indexes: tuple[str, ...]
    entries: tuple[SourceEntry, ...]
    draws: tuple[Draws, ...]
    counts: UInt64s  # uint64[blocks, sources], before each block


class Slice(NamedTuple):
    """Consecutive places of a phase, one entry a place."""

    source: Int32s  # number in the phase's `sources`
    pack: Int32s  # number in the phase's `indexes`
    sequence: Int64s  # number in that pack index


class Order:
    """The order of all phases of a built mixture."""

    def __init__(self, root: Path, phases: dict[str, PhaseOrder]) -> None:
        self._root = root
        self._phases = phases
        self._packs: dict[str, PackIndex] = {}
        self._blocks: dict[str, tuple[int, Int32s, Int64s]] = {}  # the block last looked into, of each phase

    @classmethod
    def open(cls, root: str | Path, phases: Sequence[str]) -> "Order":
        """Opens `order/<phase>.json` and `.counts` of each phase below a mixture's output.

        Raises:
            RunError: a file is missing, damaged, or not of this version.
        """
        return cls(Path(root), {phase: _open_phase(Path(root), phase) for phase in phases})

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
        source, ordinal = self._replayed(order, first, count)
        pack = np.empty(count, dtype=np.int32)
        sequence = np.empty(count, dtype=np.int64)
        for number in np.unique(source):
            chosen = source == number
            entry = order.entries[number]
            located = order.draws[number].locate(entry.first_draw + ordinal[chosen])
            rest, full = (pool.index if pool else -1 for pool in (entry.rest, entry.full))
            pack[chosen] = np.where(located.full, full, rest)
            sequence[chosen] = located.sequence
        return Slice(source, pack, sequence)

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
        if folder not in self._packs:
            self._packs[folder] = PackIndex.open(self._root / folder)
        pack = self._packs[folder]
        pools = (pool for entry in order.entries for pool in (entry.rest, entry.full) if pool)
        sequences = next(pool.sequences for pool in pools if pool.index == number)
        if (len(pack), pack.sequence_length) != (sequences, order.sequence_length):
            raise RunError(
                f"the pack index is not the one that the order of phase {phase} was made for",
                where=str(self._root / folder),
                seen=f"{len(pack):,} sequences of {pack.sequence_length:,} tokens",
                expected=f"{sequences:,} of {order.sequence_length:,}",
                fix="build the mixture again",
            )
        return pack

    def _replayed(self, order: PhaseOrder, first: int, count: int) -> tuple[Int32s, Int64s]:
        """Source and its how-manyth sequence in the phase, block by block; the last block is kept for the next call."""
        sources, ordinals = [np.empty(0, dtype=np.int32)], [np.empty(0, dtype=np.int64)]
        place = first
        while place < first + count:
            block = place // BLOCK
            kept = self._blocks.get(order.name)
            if kept is None or kept[0] != block:
                length = min(BLOCK, order.sequences - block * BLOCK)
                kept = (block, *replay(order.quotas, order.counts[block], block * BLOCK, length))
                self._blocks[order.name] = kept
            inside = slice(place - block * BLOCK, first + count - block * BLOCK)
            sources.append(kept[1][inside])
            ordinals.append(kept[2][inside])
            place = (block + 1) * BLOCK
        return np.concatenate(sources), np.concatenate(ordinals)


def _open_phase(root: Path, name: str) -> PhaseOrder:
    path = root / "order" / f"{name}.json"
    try:
        file = PhaseFile.model_validate_json(storage.read_bytes(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RunError(
            "is not the order of a phase",
            where=str(path),
            seen=f"{where}: {first['msg']}",
            fix="build the mixture again",
        ) from None
    quotas = np.array([entry.quota for entry in file.sources], dtype=np.int64)
    if file.phase != name or file.sequences != quotas.sum():
        raise RunError(
            "the order's file does not belong to this phase or contradicts itself",
            where=str(path),
            seen=f"phase {file.phase}, {file.sequences:,} sequences, quotas of {quotas.sum():,}",
            expected=f"phase {name}, both numbers equal",
            fix="build the mixture again",
        )
    return PhaseOrder(
        name,
        file.sequence_length,
        file.sequences,
        tuple(entry.name for entry in file.sources),
        quotas,
        tuple(entry.loss for entry in file.sources),
        file.indexes,
        file.sources,
        tuple(entry.draws(file.seed) for entry in file.sources),
        _open_counts(path.with_suffix(".counts"), -(-file.sequences // BLOCK), quotas.size),
    )


def _open_counts(path: Path, blocks: int, sources: int) -> UInt64s:
    size = path.stat().st_size if path.exists() else 0
    if size != blocks * sources * 8:
        raise RunError(
            "the order's counts are missing or were cut short",
            where=str(path),
            seen=f"{size:,} bytes",
            expected=f"{blocks * sources * 8:,} bytes",
            fix="build the mixture again",
        )
    return np.asarray(np.memmap(path, dtype="<u8", mode="r", shape=(blocks, sources)))
