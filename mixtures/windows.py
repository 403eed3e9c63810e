"""Windows of a phase: the places of thousands of sequences found at once, and batches copied out of them.

What the order, the pack indexes and the files say of a sequence costs more to ask for one at a time than to copy it; a
window asks for all of its sequences by arrays, and holds addresses. Costs about 6 MB a reader at most, the maps of the
window's own parts and of up to `KEPT_PARTS` others, whatever the number of sources, and one call of a kernel a batch.
The first window is one batch, and each is four times as long as the one before, so that the first batch waits for no
other.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import RunError
from .gather import copy_batch
from .mapped_parts import Mapped, Maps, let_go
from .order import Order, Slice
from .packs.pack_index import PackedIndex
from .placements import PLACED, Int64s, count_chunks, count_packed, lay_chunks, lay_packed
from .shards import Shards

MOST_SEQUENCES = 4096  # of a window
MOST_SPANS = 1 << 18  # that the next window may be expected to have: 6 MB


class Sequences(NamedTuple):
    """Sequences of a phase, B rows of T tokens.

    `tokens` int64[B, T]; `positions` int32[B, T], from 0 in each segment; `segments` int32[B, T]: a segment is a piece
    of one document, numbered from 0 in its row, -1 for padding. `loss_mask` bool[B, T]: whether the token is trained as
    a target. Positions, segments and mask have no rows where they were not asked for. `sources` int32[B]: index into
    the phase's `source_names`. `first_index`: place of the first row in the phase.
    """

    tokens: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int32]
    segments: npt.NDArray[np.int32]
    loss_mask: npt.NDArray[np.bool_]
    sources: npt.NDArray[np.int32]
    first_index: int


@dataclass(frozen=True)
class Want:
    """Which arrays are made beside the tokens."""

    positions: bool = True
    segments: bool = True
    loss_mask: bool = True


EVERYTHING = Want()


@dataclass(frozen=True)
class Share:
    """What of every batch is read here: the rows of a rank, and of its batches every `workers`-th from `worker` on.

    A batch of n sequences gives rank r of R those from r·n/R to (r + 1)·n/R, both rounded down: whatever the ranks,
    workers and micro-batches, the same sequences make the same batch.
    """

    rank: int = 0
    world_size: int = 1
    worker: int = 0
    workers: int = 1


ALONE = Share()


@dataclass(frozen=True)
class Window:
    """Sequences laid out: `placed[ends[i]:ends[i + 1]]` are the spans of the i-th."""

    placed: npt.NDArray[np.void]  # PLACED[m]
    ends: Int64s  # int64[n + 1]
    sources: npt.NDArray[np.int32]  # int32[n]
    maps: tuple[Maps, ...]  # what the addresses point into


class _Group(NamedTuple):
    """The sequences of a window that are of one pack index; arrays int64[n]."""

    mapped: Mapped
    rows: Int64s  # of the window
    part: Int64s
    number: Int64s  # in the part
    first: Int64s  # document or span in the part
    counts: Int64s  # of spans
    maps: Maps


class Reader:
    """Reads sequences of one phase. For one thread at a time.

    Args:
        root: the built mixture, for errors.
        order: of its phases.
        phase: name of the phase.
        shards: opens those of a source by its name.
        vocab_size: above every token.
        padding: token behind the end of a short sequence.
    """

    def __init__(
        self, root: Path, order: Order, phase: str, shards: Callable[[str], Shards], vocab_size: int, padding: int
    ) -> None:
        self._root = root
        self._order = order
        self._phase = order.phase(phase)
        self._shards = shards
        self._vocab_size = vocab_size
        self._padding = padding
        self._mapped: dict[int, Mapped] = {}
        none = 0, self._phase.sequence_length
        self._no_numbers, self._no_mask = np.empty(none, np.int32), np.empty(none, np.bool_)

    def window(self, places: Int64s) -> Window:
        """Lays out the sequences at some places, int64[n] ascending.

        Raises:
            IndexError: a place outside the phase.
            RunError: an index points outside its shards, or a file is missing or was cut short.
        """
        found = self._order.places(self._phase.name, places)
        counts, groups = np.empty(len(places), np.int64), []
        for number in np.flatnonzero(np.bincount(found.pack)).tolist():
            rows = np.flatnonzero(found.pack == number)
            group = self._counted(places, rows, number, found)
            counts[rows] = group.counts
            groups.append(group)
        ends = np.zeros(len(places) + 1, np.int64)
        np.cumsum(counts, out=ends[1:])
        placed = np.empty(int(ends[-1]), PLACED)
        for group in groups:
            self._lay(places, group, ends[group.rows], placed)
        let_go(self._mapped.values(), {group.mapped: group.maps for group in groups})
        return Window(placed, ends, found.source, tuple(group.maps for group in groups))

    def copy(self, window: Window, row: int, count: int, place: int, want: Want = EVERYTHING) -> Sequences:
        """Copies sequences of a window into a batch.

        Args:
            window: from `window`.
            row: the first of them.
            count: how many.
            place: of the first in the phase.
            want: which arrays.

        Raises:
            RunError: a token is outside the vocabulary.
        """
        shape = count, self._phase.sequence_length
        tokens = np.empty(shape, np.int64)
        positions = np.empty(shape, np.int32) if want.positions else self._no_numbers
        segments = np.empty(shape, np.int32) if want.segments else self._no_numbers
        loss_mask = np.empty(shape, np.bool_) if want.loss_mask else self._no_mask
        largest = copy_batch(window.placed, window.ends, row, self._padding, tokens, positions, segments, loss_mask)
        batch = Sequences(tokens, positions, segments, loss_mask, window.sources[row : row + count], place)
        if largest >= self._vocab_size:
            raise self._outside_vocabulary(batch)
        return batch

    def batches(
        self, first: int, stop: int, sequences: int, share: Share = ALONE, want: Want = EVERYTHING
    ) -> Iterator[Sequences]:
        """The batches from a place on.

        Args:
            first: place of the first sequence of the first batch.
            stop: place behind the last sequence; the last batch may have fewer.
            sequences: of a batch, of all ranks together.
            share: what of it is read here.
            want: which arrays.

        Raises:
            IndexError: a place outside the phase.
            RunError: as `window` and `copy`.
        """
        steps = range(first + share.worker * sequences, stop, sequences * share.workers)
        done, ahead = 0, 1
        while done < len(steps):
            begins = np.array(steps[done : done + ahead], np.int64)
            sizes = np.minimum(sequences, stop - begins)
            low = begins + share.rank * sizes // share.world_size
            count = begins + (share.rank + 1) * sizes // share.world_size - low
            rows = np.cumsum(count) - count
            window = self.window(np.repeat(low - rows, count) + np.arange(count.sum()))
            for row, size, place in zip(rows.tolist(), count.tolist(), low.tolist(), strict=True):
                yield self.copy(window, row, size, place, want)
            done += len(begins)
            spans = len(window.placed) // len(begins) + 1
            most = min(MOST_SEQUENCES // max(int(count.max()), 1), MOST_SPANS // spans)
            ahead = max(min(4 * ahead, most), 1)

    def _mapped_index(self, number: int, source: int) -> Mapped:
        if number not in self._mapped:
            phase = self._phase
            index = self._order.index(phase.name, number)
            shards = self._shards(phase.sources[source])
            if len(index.part_sequences) != len(shards.part_tokens) + 1:
                raise RunError(
                    "the pack index has other parts than the tokens",
                    where=str(index),
                    seen=f"{len(index.part_sequences) - 1:,}",
                    expected=f"{len(shards.part_tokens):,}, as in {shards.folder}",
                    fix=f"midtrain verify {self._root} names the file and what to remove",
                )
            self._mapped[number] = Mapped(index, shards, phase.loss[source] == "all")
        return self._mapped[number]

    def _counted(self, places: Int64s, rows: Int64s, number: int, found: Slice) -> _Group:
        mapped = self._mapped_index(number, int(found.source[rows[0]]))
        sequences = found.sequence[rows]
        part = np.searchsorted(mapped.starts, sequences, side="right") - 1
        number_in_part = sequences - mapped.starts[part]
        maps = mapped.use(part)
        first, counts = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
        if isinstance(mapped.index, PackedIndex):
            held = mapped.starts[part + 1] - mapped.starts[part]
            wrong = count_packed(mapped.table, part, number_in_part, held, first, counts)
        else:
            length = mapped.index.sequence_length
            wrong = count_chunks(mapped.table, part, number_in_part, length, first, counts)
        group = _Group(mapped, rows, part, number_in_part, first, counts, maps)
        if wrong >= 0:
            raise self._outside_shards(places, group, wrong)
        return group

    def _lay(self, places: Int64s, group: _Group, begins: Int64s, placed: npt.NDArray[np.void]) -> None:
        mapped, part = group.mapped, group.part
        length, wide = mapped.index.sequence_length, mapped.shards.dtype.itemsize == 4
        if isinstance(mapped.index, PackedIndex):
            wrong = lay_packed(mapped.table, part, group.counts, length, wide, group.first, begins, placed)
        else:
            wrong = lay_chunks(
                mapped.table, part, group.number, length, wide, group.first, group.counts, begins, placed
            )
        if wrong >= 0:
            raise self._outside_shards(places, group, wrong)

    def _outside_shards(self, places: Int64s, group: _Group, wrong: int) -> RunError:
        shards, part = group.mapped.shards, int(group.part[wrong])
        return RunError(
            "a sequence reaches outside its part: index and shards are damaged or not of one build",
            where=f"{shards.folder / shards.stem(part)}, phase {self._phase.name}, "
            f"sequence {int(places[group.rows[wrong]])}, {int(group.number[wrong])} of {group.mapped.index}",
            expected=f"spans within the {int(shards.part_tokens[part]):,} tokens of the part",
            fix=f"midtrain verify {self._root} names the file and what to remove",
        )

    def _outside_vocabulary(self, batch: Sequences) -> RunError:
        """A shard damaged at its full length shows here or not at all: its size is right."""
        row = int(np.argmax(batch.tokens.max(axis=1) >= self._vocab_size))
        source = self._phase.sources[int(batch.sources[row])]
        folder = self._shards(source).folder
        return RunError(
            "a token is outside the vocabulary: the shards were damaged after they were written",
            where=f"{folder}, phase {self._phase.name}, sequence {batch.first_index + row}",
            seen=int(batch.tokens[row].max()),
            expected=f"below {self._vocab_size}",
            fix=f"midtrain verify {self._root} names the file and what to remove",
        )
