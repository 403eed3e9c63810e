"""The barrier of lines and paragraphs: keys out by partition, and of each key all but the first piece to be cut out.

A piece is known by its number among its part's, which whoever reads the part can count again, so no text is exchanged.
What repeats within a stretch of a part is settled there, and only first ones are sent. Costs 32 bytes on disk for each
of these, and memory for a stretch, or for one partition.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ...filters.pieces import PieceDedup, order_of
from .. import exchange, footprints
from ..parts import TEXT_LOW
from ..read_parts import read_part
from ..recipe import Step
from ..stage import Stage, TaskResult
from .numbers import by_range

if TYPE_CHECKING:
    from ..documents import DocumentStage

STRETCH = 2_000_000  # pieces of a part that are settled and sent together: about 200 MB
PER_PARTITION = 4_000_000  # pieces of a partition at most, but for chance
KEYS = pa.schema(
    [
        pa.field("low", pa.uint64()),
        pa.field("high", pa.uint64()),
        pa.field("order", pa.uint64()),
        pa.field("part", pa.int32()),
        pa.field("number", pa.uint32()),
    ]
)
NUMBERS = pa.schema([pa.field("number", pa.uint32())])


@dataclass(frozen=True)
class PieceStage(Stage):
    """What both stages share: the documents and the step."""

    scratch: ClassVar[bool] = True
    upstream: "DocumentStage"
    step: Step

    def options(self) -> dict[str, Any]:
        """The step."""
        return self.step.record()

    @property
    def dedup(self) -> PieceDedup:
        """The step's options."""
        assert isinstance(self.step.options, PieceDedup)  # noqa: S101 - the plan gives it no others
        return self.step.options

    def partitions(self) -> int:
        """As many as keep one in memory, however short pieces are; from the bytes of text alone."""
        return partitions_of(self.upstream.text_kept(), self.dedup.min_length)


@dataclass(frozen=True)
class WritePieces(PieceStage):
    """The keys of one step's pieces, one task a part, grouped by partition; and which pieces repeat one just before."""

    @property
    def name(self) -> str:
        """`<step>-keys`."""
        return f"{self.step.name}-keys"

    @property
    def parents(self) -> tuple[Stage, ...]:
        """The stage whose documents are compared."""
        return (self.upstream,)

    def memory(self) -> int:
        """As `footprints.pieces`, of the largest part."""
        return footprints.pieces(*self.upstream.largest_part(), self.dedup.min_length, STRETCH)

    def tasks(self) -> int:
        """One a part."""
        return len(self.upstream.parts)

    def run(self, task: int) -> TaskResult:
        """Finds and hashes the pieces of a part; none of a source that the step does not apply to."""
        if self.upstream.parts[task].source not in self.step.sources:
            return TaskResult((), {"pieces": 0, "sent": 0})
        partitions, pieces = self.partitions(), 0
        with (
            exchange.Writer(self.folder, f"keys-{task:05d}.arrow", KEYS, partitions) as sent,
            exchange.Writer(self.folder, _settled(task), NUMBERS, 1) as settled,
        ):
            for stretch in self._stretches(task):
                first = first_of_each(stretch)
                rows, repeated = stretch.filter(pa.array(first)), stretch.filter(pa.array(~first))
                sent.write(rows, by_range(rows.column("high").to_numpy(), partitions))
                settled.write(repeated.select(NUMBERS.names), np.zeros(repeated.num_rows, np.uint16))
                pieces += stretch.num_rows
            return TaskResult((sent.finish(), settled.finish()), {"pieces": pieces, "sent": sent.rows})

    def _stretches(self, task: int) -> Iterator[pa.RecordBatch]:
        """The pieces of a part, in their order, so many at a time."""
        part = self.upstream.parts[task]
        held: list[pa.RecordBatch] = []
        number = size = 0
        for batch in read_part(self.upstream.folder / part.path, ["id", "text", TEXT_LOW]):
            keys = self.dedup.keys(batch.column("text"))
            order = order_of(batch.column("id"), batch.column(TEXT_LOW))
            count = len(keys.low)
            columns = (
                keys.low,
                keys.high,
                np.repeat(order, np.diff(keys.ends, prepend=0)),
                np.full(count, task, np.int32),
                np.arange(number, number + count, dtype=np.uint32),
            )
            held.append(pa.record_batch([pa.array(column) for column in columns], schema=KEYS))
            number, size = number + count, size + count
            if size >= STRETCH:
                yield pa.concat_batches(held)
                held, size = [], 0
        if size:
            yield pa.concat_batches(held)


@dataclass(frozen=True)
class ChoosePieces(PieceStage):
    """Names the pieces to cut out, one task a partition of keys, grouped by the part that they stand in."""

    keys: WritePieces

    @property
    def name(self) -> str:
        """`<step>-choice`."""
        return f"{self.step.name}-choice"

    @property
    def parents(self) -> tuple[Stage, ...]:
        """The documents, for their parts and sources, and the keys."""
        return (self.upstream, self.keys)

    def memory(self) -> int:
        """As `footprints.choosing_pieces`, of an even share of the keys."""
        return footprints.choosing_pieces(self.keys.finished().counts.get("sent", 0) // self.tasks())

    def tasks(self) -> int:
        """One a partition."""
        return self.partitions()

    def run(self, task: int) -> TaskResult:
        """Chooses the first piece of every key; the numbers of the others go to their parts."""
        files = [file.path for file in self.keys.finished().files if file.path.startswith("keys-")]
        rows = exchange.read([self.keys.folder / path for path in files], task, KEYS).combine_chunks()
        rows = rows.to_batches()[0] if rows.num_rows else pa.RecordBatch.from_pylist([], schema=KEYS)
        order, parts = self.upstream.source_order, self.upstream.parts
        of_part = np.array([order.index(part.source) for part in parts], np.int32)
        first = first_of_each(rows, of_part)
        gone = rows.filter(pa.array(~first))
        part = gone.column("part").to_numpy()
        file = exchange.write(self.folder, f"choice-{task:05d}.arrow", gone.select(NUMBERS.names), part, len(parts))
        return TaskResult((file,), {"pieces": rows.num_rows, "repeated": gone.num_rows})

    def chosen(self, task: int) -> npt.NDArray[np.uint32]:
        """uint32[m], ascending: the numbers of the pieces to be cut out of a part."""
        settled = [file.path for file in self.keys.finished().files if file.path == _settled(task)]
        found = [exchange.read([self.keys.folder / path for path in settled], 0, NUMBERS)]
        found.append(exchange.read([self.folder / file.path for file in self.finished().files], task, NUMBERS))
        return np.sort(pa.concat_tables(found).column("number").to_numpy())


def partitions_of(text: int, min_length: int) -> int:
    """The partitions of the pieces of so many bytes of text, of which each has at least a line end more."""
    return max(1, -(-text // (min_length + 1) // PER_PARTITION))


def first_of_each(rows: pa.RecordBatch, source_of: npt.NDArray[np.int32] | None = None) -> npt.NDArray[np.bool_]:
    """bool[m]: of the rows (`KEYS`) of each key the one that is kept.

    Args:
        rows: m rows, those of one part in the order of their numbers.
        source_of: int32[parts], the place of each part's source; None where all are of one part.
    """
    from ...filters.kernels import piece_kernels

    part = rows.column("part").to_numpy()
    source = np.zeros(len(part), np.int32) if source_of is None else source_of[part]
    low, high, order = (rows.column(name).to_numpy() for name in ("low", "high", "order"))
    return np.asarray(piece_kernels.first_of_each(low, high, source, order))


def _settled(task: int) -> str:
    """The file with the pieces of a part that repeat others just before them."""
    return f"repeated-{task:05d}.arrow"
