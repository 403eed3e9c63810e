"""The components of near-duplicates: rounds over partitions of documents until each is linked to its component's first.

Large-star and small-star in turn (Kiveris et al., Connected Components in MapReduce and Beyond, SoCC 2014): a
document's larger neighbours are linked to its smallest one, then its smaller neighbours are. Links go by in a stream,
so a task holds its own documents alone, however many neighbours one has, and there are never more links than at first.
When a round finds nothing but stars, the rounds that follow have no tasks. Costs about 0.4 µs a link and round; links
of real text take about ten rounds, a chain of n documents 2 log2(n). One partition, which a million documents are,
takes none: its labels are found in one step.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ...errors import RunError
from ...manifest import OutputFile
from ...storage import Location
from .. import exchange, footprints
from ..recipe import Step
from ..stage import Counts, Stage, TaskResult
from . import sizes
from .buckets import LINKS, Buckets, write_links
from .numbers import UInt64, parts_of, spread

if TYPE_CHECKING:
    from ...filters.kernels.star_kernels import Neighbours
    from ..documents import DocumentStage

ROUNDS = 61  # at most, an odd number: the last is a large star, which sees whether all is settled
LABELS = pa.schema([pa.field("document", pa.uint64()), pa.field("component", pa.uint64())])


@dataclass(frozen=True)
class Components(Stage):
    """One round, one task a partition of documents; none where the rounds before left nothing to do.

    Args:
        step: the barrier.
        before: what wrote the links: the buckets, or the round before.
        number: of the round, from 0; even ones are large stars.
    """

    scratch: ClassVar[bool] = True
    step: Step
    before: "Buckets | Components"
    number: int

    @property
    def name(self) -> str:
        """`<step>-components-<number>`."""
        return f"{self.step.name}-components-{self.number:02d}"

    @property
    def parents(self) -> tuple[Stage, ...]:
        """What wrote the links."""
        return (self.before,)

    def options(self) -> dict[str, Any]:
        """The number: what a round does follows from it."""
        return {"round": self.number}

    @cached_property
    def buckets(self) -> Buckets:
        """Where the links came from at first."""
        return self.before.buckets if isinstance(self.before, Components) else self.before

    @property
    def large(self) -> bool:
        """Whether this is a large star."""
        return self.number % 2 == 0

    def partitions(self) -> int:
        """Those of the documents."""
        return self.buckets.partitions()

    def tasks(self) -> int:
        """One a partition, until all is settled."""
        settled = self.partitions() == 1 or (isinstance(self.before, Components) and self.before.settled())
        return 0 if settled else self.partitions()

    def settled(self) -> bool:
        """Whether this finished round found nothing but stars."""
        return self.tasks() == 0 or (self.large and self.finished().counts["unsettled"] == 0)

    def memory(self) -> int:
        """As `footprints.components`, of an even share of the links."""
        return footprints.components(links_a_partition(self.before))

    def run(self, task: int) -> TaskResult:
        """Links the neighbours of a partition's documents to the smallest of them."""
        found, unsettled = neighbours(self.before, task), 0
        with exchange.Writer(self.folder, f"round-{task:05d}.arrow", LINKS, self.partitions()) as writer:
            for documents, roots in links_of(self.before, task):
                if self.large:
                    unsettled += self._large_star(writer, task, (documents, roots), found)
                else:
                    self._small_star(writer, task, (documents, roots), found)
            if not self.large:
                nodes, least = found.all()
                for start in range(0, len(nodes), sizes.LINKS_AT_ONCE):
                    some = slice(start, start + sizes.LINKS_AT_ONCE)
                    self._write(writer, nodes[some], least[some])
            return TaskResult((writer.finish(),), {"links": writer.rows, "unsettled": unsettled})

    def _large_star(self, writer: exchange.Writer, task: int, links: tuple[UInt64, UInt64], found: "Neighbours") -> int:
        """Writes the links of the partition's documents to larger ones; how many of all are not of a star."""
        documents, roots = links
        above, below = (spread(one, self.partitions()) == task for one in (roots, documents))
        to = found.of(roots[above])
        self._write(writer, documents[above], to)
        first = found.of(documents[below])
        return int(np.count_nonzero(to != roots[above]) + np.count_nonzero(first != roots[below]))

    def _small_star(
        self, writer: exchange.Writer, task: int, links: tuple[UInt64, UInt64], found: "Neighbours"
    ) -> None:
        """Writes the links of smaller neighbours, but for those that the partition's own documents get anyway."""
        documents, roots = links
        to = found.of(documents)
        needed = roots != to
        own = np.flatnonzero(spread(roots, self.partitions()) == task)
        needed[own] &= found.of(roots[own]) != to[own]
        self._write(writer, roots[needed], to[needed])

    def _write(self, writer: exchange.Writer, ones: UInt64, others: UInt64) -> None:
        """Writes links, for a small star to the larger document's partition, else to both."""
        documents, roots = np.maximum(ones, others), np.minimum(ones, others)
        write_links(writer, documents[documents != roots], roots[documents != roots], both=not self.large)

    def check(self, counts: Counts, files: Sequence[OutputFile]) -> None:
        """After the last round nothing may be left.

        Raises:
            RunError: the components are not known.
        """
        if self.number + 1 == ROUNDS and counts.get("unsettled"):
            raise RunError(
                f"the components of near-duplicates are not found after {ROUNDS} rounds",
                where=str(self.folder),
                seen=f"{counts['unsettled']:,} links that are not of a star",
                expected="none",
                fix="this is a fault of midtrain: please report it with the recipe",
            )


@dataclass(frozen=True)
class Labels(Stage):
    """The component of every document that is linked to another, grouped by the part that the document stands in.

    A component is named by its smallest document.

    Args:
        upstream: the stage whose documents are compared.
        step: the barrier.
        rounds: the last one, which those before it hang from.
    """

    scratch: ClassVar[bool] = True
    upstream: "DocumentStage"
    step: Step
    rounds: Components

    @property
    def name(self) -> str:
        """`<step>-labels`."""
        return f"{self.step.name}-labels"

    @property
    def parents(self) -> tuple[Stage, ...]:
        """The documents, for their number of parts, and the rounds."""
        return (self.upstream, self.rounds)

    def options(self) -> dict[str, Any]:
        """None: the rounds say all."""
        return {}

    def tasks(self) -> int:
        """One a partition of documents."""
        return self.rounds.partitions()

    @cached_property
    def stars(self) -> "Buckets | Components":
        """Whose links were found to be stars, or the links themselves where one task sees all of them."""
        found: Buckets | Components = self.rounds
        while isinstance(found, Components) and found.tasks() == 0:
            found = found.before
        return found.before if isinstance(found, Components) else found

    def memory(self) -> int:
        """As `footprints.components`, of an even share of the links."""
        return footprints.components(links_a_partition(self.stars))

    def run(self, task: int) -> TaskResult:
        """Names the component of a partition's documents."""
        alone = self.tasks() == 1
        nodes, least = joined(self.stars) if alone else neighbours(self.stars, task).all()
        rows = pa.record_batch([pa.array(nodes), pa.array(least)], schema=LABELS)
        parts = len(self.upstream.parts)
        file = exchange.write(self.folder, f"labels-{task:05d}.arrow", rows, parts_of(nodes, parts), parts)
        roots = nodes[nodes == least]
        return TaskResult(
            (file,),
            {
                "linked": len(nodes),
                "components": len(roots),
                "sizes": _sizes(self._members(task, roots, nodes, least)),
            },
        )

    def _members(self, task: int, roots: UInt64, nodes: UInt64, least: UInt64) -> npt.NDArray[np.int64]:
        """int64[c]: the documents of each component that has its root here, at most: links may stand twice."""
        members = np.ones(len(roots), np.int64)
        if self.tasks() == 1:
            np.add.at(members, np.searchsorted(roots, least[nodes != least]), 1)
            return members
        for _, to in links_of(self.stars, task):
            np.add.at(members, np.searchsorted(roots, to[spread(to, self.tasks()) == task]), 1)
        return members

    def largest(self) -> int:
        """Documents of the largest component, at most twice as many as it has, once the stage is finished."""
        return max(map(int, self.finished().counts["sizes"]), default=0)

    def outputs(self) -> list[Location]:
        """The files of labels, for `exchange.read` by part."""
        return [self.folder / file.path for file in self.finished().files]


def _sizes(members: npt.NDArray[np.int64]) -> Counts:
    """How many components have up to 2, 4, 8, … documents."""
    if not len(members):
        return {}
    powers, counts = np.unique(np.ceil(np.log2(members)).astype(np.int64), return_counts=True)
    return {str(1 << power): count for power, count in zip(powers.tolist(), counts.tolist(), strict=True)}


def rounds_of(step: Step, buckets: Buckets) -> Components:
    """The last of all rounds over the links of buckets."""
    found = Components(buckets.root, step, buckets, 0)
    for number in range(1, ROUNDS):
        found = Components(buckets.root, step, found, number)
    return found


def joined(stage: "Buckets | Components") -> tuple[UInt64, UInt64]:
    """The documents in the links of the only partition, ascending, and the smallest of each one's component."""
    from ...filters.kernels import union_kernels

    nodes, roots = np.empty(0, np.uint64), np.empty(0, np.uint64)
    for documents, given in links_of(stage, 0):
        nodes, roots = union_kernels.forest(np.concatenate([nodes, documents]), np.concatenate([roots, given]))
    return nodes, roots


def neighbours(stage: "Buckets | Components", partition: int) -> "Neighbours":
    """What the documents of a partition lead to, by the links that it has."""
    from ...filters.kernels.star_kernels import Neighbours

    return Neighbours(links_of(stage, partition), partition, stage.partitions())


def links_of(stage: "Buckets | Components", partition: int) -> Iterator[tuple[UInt64, UInt64]]:
    """The links that a partition has, `sizes.LINKS_AT_ONCE` at a time: larger documents, smaller ones."""
    paths = [stage.folder / file.path for file in stage.finished().files]
    waiting: list[pa.RecordBatch] = []
    held = 0
    for batch in exchange.batches(paths, partition):
        start = 0
        while start < batch.num_rows:
            piece = batch.slice(start, sizes.LINKS_AT_ONCE - held)
            waiting.append(piece)
            start, held = start + piece.num_rows, held + piece.num_rows
            if held == sizes.LINKS_AT_ONCE:
                yield _arrays(waiting)
                waiting, held = [], 0
    if held:
        yield _arrays(waiting)


def _arrays(waiting: Sequence[pa.RecordBatch]) -> tuple[UInt64, UInt64]:
    documents, roots = (
        np.concatenate([np.asarray(one.column(name).to_numpy(), np.uint64) for one in waiting]) for name in LINKS.names
    )
    return documents, roots


def links_a_partition(stage: "Buckets | Components") -> int:
    """Links that a partition has, on average, of a finished stage."""
    return int(stage.finished().counts.get("links", 0)) // stage.partitions()
