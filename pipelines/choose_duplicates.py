"""The barrier of exact deduplication: keys out by partition, one document of each group chosen, the others named.

Two stages of tasks that only read and write files: each part's keys are written once, grouped by hash; each partition
then sees all documents of its keys and keeps the first, in the order of the recipe's sources and of the input. Costs
28 bytes a document on disk, and memory for one partition.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from ..filters import exact_dedup
from ..filters.document import SCHEMA, DocumentBatch
from ..storage import Location
from . import exchange, footprints
from .parts import read_part
from .recipe import Step
from .stage import Stage, TaskResult

ROWS_PER_PARTITION = 4_000_000  # about 300 MB while a partition is decided
if TYPE_CHECKING:
    from .documents import DocumentStage

KEYS = pa.schema(
    [
        pa.field("low", pa.uint64()),
        pa.field("high", pa.uint64()),
        pa.field("part", pa.int32()),
        pa.field("row", pa.int32()),
        pa.field("id", pa.string()),
    ]
)
DUPLICATES = pa.schema([pa.field("row", pa.int32()), pa.field("partner", pa.string())])


@dataclass(frozen=True)
class WriteKeys(Stage):
    """The keys of one step's documents, one task a part, grouped by partition."""

    scratch: ClassVar[bool] = True
    upstream: "DocumentStage"
    step: Step

    @property
    def name(self) -> str:
        """`<step>-keys`."""
        return f"{self.step.name}-keys"

    @property
    def parents(self) -> tuple[Stage, ...]:
        """The stage whose documents are compared."""
        return (self.upstream,)

    def options(self) -> dict[str, Any]:
        """The step."""
        return self.step.record()

    def partitions(self) -> int:
        """As many as keep one in memory; from the number of documents alone."""
        return max(1, -(-int(self.upstream.finished().counts["kept"]) // ROWS_PER_PARTITION))

    def memory(self) -> int:
        """As `footprints.keys`, of the largest part."""
        return footprints.keys(*self.upstream.largest_part())

    def tasks(self) -> int:
        """One a part."""
        return len(self.upstream.parts)

    def run(self, task: int) -> TaskResult:
        """Hashes the texts of a part."""
        part = self.upstream.parts[task]
        batches, start = [], 0
        if part.source in self.step.sources:
            for batch in read_part(self.upstream.folder / part.path, SCHEMA.names):
                keys = exact_dedup.hash_key(DocumentBatch(batch))
                row = np.arange(start, start + batch.num_rows, dtype=np.int32)
                columns = [keys[:, 0], keys[:, 1], np.full(len(row), task, np.int32), row]
                arrays = [pa.array(column) for column in columns]
                batches.append(pa.record_batch([*arrays, batch.column("id")], schema=KEYS))
                start += batch.num_rows
        rows = pa.concat_batches(batches or [pa.RecordBatch.from_pylist([], schema=KEYS)])
        partitions = self.partitions()
        partition = rows.column("high").to_numpy() % np.uint64(partitions)
        file = exchange.write(self.folder, f"keys-{task:05d}.arrow", rows, partition.astype(np.int64), partitions)
        return TaskResult((file,), {"documents": rows.num_rows})


@dataclass(frozen=True)
class ChooseDuplicates(Stage):
    """Names the documents to drop, one task a partition of keys, grouped by the part they stand in."""

    scratch: ClassVar[bool] = True
    upstream: "DocumentStage"
    keys: WriteKeys
    step: Step

    @property
    def name(self) -> str:
        """`<step>-choice`."""
        return f"{self.step.name}-choice"

    @property
    def parents(self) -> tuple[Stage, ...]:
        """The documents, for their number of parts, and the keys."""
        return (self.upstream, self.keys)

    def options(self) -> dict[str, Any]:
        """The step."""
        return self.step.record()

    def memory(self) -> int:
        """As `footprints.choice`, of an even share of the keys."""
        return footprints.choice(int(self.keys.finished().counts["documents"]) // self.keys.partitions())

    def tasks(self) -> int:
        """One a partition."""
        return self.keys.partitions()

    def outputs(self) -> list[Location]:
        """The files of duplicates, for `exchange.read` by part."""
        return [self.folder / file.path for file in self.finished().files]

    def run(self, task: int) -> TaskResult:
        """Chooses the first document of every key; the others go, with its id as their partner."""
        paths = [self.keys.folder / file.path for file in self.keys.finished().files]
        rows = exchange.read(paths, task, KEYS)
        part, row = rows.column("part").to_numpy(), rows.column("row").to_numpy()
        position = part.astype(np.int64) << 32 | row
        kept = exact_dedup.keepers(rows.column("low").to_numpy(), rows.column("high").to_numpy(), position)
        gone = np.flatnonzero(kept != np.arange(len(kept)))
        partner = rows.column("id").take(pa.array(kept[gone])).combine_chunks()
        chosen = pa.record_batch([pa.array(row[gone], pa.int32()), partner], schema=DUPLICATES)
        parts = len(self.upstream.parts)
        file = exchange.write(self.folder, f"choice-{task:05d}.arrow", chosen, part[gone], parts)
        return TaskResult((file,), {"documents": rows.num_rows, "duplicates": len(gone)})
