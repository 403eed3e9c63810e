"""The choice among near-duplicates: in the order of keeping, what is verified similar to a kept document goes.

A task sees whole components. Their sets stand in the order of comparison in a file that is only mapped, so a component
of any size is compared with what the system has to spare. One task a partition of components. Costs one copy of the
sets, and what comparing costs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .. import exchange, footprints
from ..stage import Stage, TaskResult
from . import clusters, index_join, sizes
from .bands import minhash
from .choice import DUPLICATES, Choice
from .in_order import Members, Rows, accumulate, read, stretches
from .members import Members as MemberStage
from .numbers import UInt64
from .rooms import Rooms

Int64 = npt.NDArray[np.int64]

MARGIN = 16  # rows around those that are written: Arrow pads with what lies behind, so the files are always the same


@dataclass(frozen=True)
class ChooseSimilar(Choice):
    """Names the documents that are similar to a kept one, one task a partition of components.

    Args:
        members: the documents in components.
    """

    version: ClassVar[int] = 3  # also of `similar_kernels`
    members: MemberStage

    @property
    def parents(self) -> tuple[Stage, ...]:
        """The documents, for their number of parts, and those in components."""
        return (self.upstream, self.members)

    @property
    def threshold(self) -> float | None:
        """The step's."""
        return minhash(self.step).threshold

    def memory(self) -> int:
        """As `footprints.similar`, of an even share of the documents, or of the largest component."""
        documents = int(self.members.finished().counts.get("documents", 0)) // self.members.partitions()
        return footprints.similar(max(documents, self.members.labels.largest()))

    def tasks(self) -> int:
        """One a partition of components."""
        return self.members.partitions()

    def run(self, task: int) -> TaskResult:
        """Compares the documents of a partition's components."""
        paths = [self.members.folder / file.path for file in self.members.finished().files]
        with Rooms(self.folder, sizes.HELD_ROOMS) as rooms:
            rows = Rows(paths, task, rooms)
            members = read(rows, minhash(self.step).keep, self.index, rooms)
            seen, compared = self._compared(members, rows, rooms)
            return self._result(task, seen, compared)

    def _compared(self, members: Members, rows: Rows, rooms: Rooms) -> tuple[clusters.Compared, int]:
        """The documents by their numbers with what each is dropped for, and how many pairs were compared."""
        chosen, similar, compared = self._chosen(members, rows, rooms)
        count = len(members.order)
        keeper, similarity = rooms.empty(count, np.int64), rooms.empty(count, np.float64)
        for stretch in stretches(count):
            number = members.order[stretch]
            keeper[number], similarity[number] = members.order[chosen[stretch]], similar[stretch]
        names = pa.array(index_join.names_of(self.index, self.upstream.source_order), pa.string())
        sources = pa.DictionaryArray.from_arrays(pa.array(members.source), names)
        own = (members.ids, sources, members.part, members.row, keeper, similarity)
        return clusters.Compared(*own, members.order, rooms.zeros), compared

    def _chosen(self, members: Members, rows: Rows, rooms: Rooms) -> tuple[Int64, npt.NDArray[np.float64], int]:
        """As `similar_kernels.choose`, of the documents in their order."""
        from ...filters.kernels import similar_kernels

        options, order = minhash(self.step), members.order
        component, source, known = (rooms.empty(len(order), kind) for kind in (np.int64, np.int32, np.bool_))
        names = index_join.places_by_name(self.index, self.upstream.source_order)
        last, number = None, 0
        for stretch in stretches(len(order)):
            own = members.component[order[stretch]]
            steps = np.concatenate([[last is not None and own[0] != last], own[1:] != own[:-1]])
            component[stretch] = np.cumsum(steps) + number
            last, number = own[-1], int(component[stretch.stop - 1])
            source[stretch] = names[members.source[order[stretch]]]
            known[stretch] = members.part[order[stretch]] < 0
        return similar_kernels.choose(
            component,
            *_placed(rows, "keys", members.keys, order, rooms),
            *_placed(rows, "shingles", members.shingles, order, rooms),
            source,
            known,
            options.threshold,
            options.similarity == "containment",
            options.across,
            rooms.empty,
        )

    def _result(self, task: int, seen: clusters.Compared, compared: int) -> TaskResult:
        parts = len(self.upstream.parts)
        with exchange.Writer(self.folder, f"choice-{task:05d}.arrow", DUPLICATES, parts) as writer:
            writer.write_grouped(_duplicates(seen, parts))
            file = writer.finish()
        counts = {**clusters.counts(seen), "compared": compared}
        return TaskResult((file, clusters.write(self.folder, task, seen)), counts)


def _duplicates(seen: clusters.Compared, parts: int) -> Iterator[tuple[pa.RecordBatch, Int64]]:
    """Documents that go, by their parts, some parts at a time: rows as in `DUPLICATES`, and where each part's end."""
    gone, bounds = _by_part(seen, parts)
    assert seen.similarity is not None  # noqa: S101 - they were compared
    first = 0
    while first < parts:
        last = max(int(np.searchsorted(bounds, bounds[first] + sizes.RUN_ROWS, side="right")) - 1, first + 1)
        before = min(int(bounds[first]), MARGIN)
        rows = gone[bounds[first] - before : bounds[last] + MARGIN]
        partner = pa.array(seen.keeper[rows])
        ids, sources = seen.ids.take(partner).cast(pa.string()), seen.sources.take(partner).cast(pa.string())
        columns = [pa.array(seen.row[rows]), ids, pa.array(seen.similarity[rows]), sources, seen.rules_of(rows)]
        ends = bounds[first + 1 : last + 1] - bounds[first]
        yield pa.record_batch(columns, schema=DUPLICATES).slice(before, int(ends[-1])), ends
        first = last


def _by_part(seen: clusters.Compared, parts: int) -> tuple[Int64, Int64]:
    """int64[d]: those of the documents that go, grouped by their parts; int64[parts + 1]: where each part's begin."""
    counts = np.zeros(parts, np.int64)
    for gone in seen.gone():
        counts += np.bincount(seen.part[gone], minlength=parts)
    bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    grouped, free = seen.zeros(int(bounds[-1]), np.int64), bounds[:-1].copy()
    for gone in seen.gone():
        order = np.argsort(seen.part[gone], kind="stable")
        part = seen.part[gone][order]
        own, starts, counts = np.unique(part, return_index=True, return_counts=True)
        grouped[free[part] + np.arange(len(part)) - np.repeat(starts, counts)] = gone[order]
        free[own] += counts
    return grouped, bounds


def _placed(rows: Rows, name: str, lengths: Int64, order: Int64, rooms: Rooms) -> tuple[UInt64, Int64]:
    """The lists of a column in an order, one after the other: uint64[…] and int64[m], where each one ends.

    Args:
        rows: m of them.
        name: the column.
        lengths: int64[m], of the lists.
        order: int64[m].
        rooms: where they lie.
    """
    from ...filters.kernels import list_kernels
    from ...filters.kernels.kernel import fixed

    ends, starts = rooms.empty(len(order), np.int64), rooms.empty(len(order), np.int64)
    total = accumulate(lengths, ends, order)
    for stretch in stretches(len(order)):
        starts[order[stretch]] = ends[stretch] - lengths[order[stretch]]
    placed, start = rooms.empty(total, np.uint64), 0
    for batch in rows.batches():
        values, own = _values(batch.column(name)), _ends(batch.column(name))
        list_kernels.place_lists(fixed(values), fixed(own), fixed(starts[start : start + len(own)]), placed)
        start += len(own)
    return placed, ends


def _values(lists: pa.Array) -> UInt64:
    """The numbers of a chunk's lists."""
    return np.asarray(lists.flatten().to_numpy(), np.uint64)


def _ends(lists: pa.Array) -> Int64:
    """int64[n]: where each list of a chunk ends, from its first."""
    offsets = lists.offsets.to_numpy()
    return np.asarray(offsets[1:] - offsets[0], np.int64)
