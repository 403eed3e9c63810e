"""The stages that write what an output adds to an index: documents, their keys by range, sorted tables of these.

A table takes in the tables that are not larger than it, so there are as many as the logarithm of what was added, and a
key is written again as often. Costs a pass over the texts that hashes them, and about 16 bytes a key for each writing;
memory is that of one part or one range, however large the index is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from ... import storage
from ...filters.exact_dedup import ExactDedup
from ...filters.texts import text_slices, text_view
from ...manifest import OutputFile
from ...storage import Location
from .. import exchange, footprints
from ..stage import LocalStage, Stage, TaskResult
from . import sizes
from .index_layer import DOCUMENTS, ENTRIES, FORMAT, Keys, Layer, Run, batches, run_file, run_files
from .index_texts import KeptTexts
from .numbers import by_range

if TYPE_CHECKING:
    from ...filters.minhash_dedup import MinhashDedup

ENTRIES_PER_RANGE = 2_000_000  # of a table: 32 MB a file


@dataclass(frozen=True)
class IndexDocuments(LocalStage):
    """The documents that an output adds, one task a part: each with its keys and with what verifies it.

    Args:
        step, compared: the step that will compare with them.
        texts: the output's documents.
        first: the number of the first task's chunk.
    """

    step: str
    compared: "ExactDedup | MinhashDedup"
    texts: KeptTexts
    first: int

    version: ClassVar[int] = FORMAT

    @property
    def name(self) -> str:
        """`<step>-documents`."""
        return f"{self.step}-documents"

    def options(self) -> dict[str, Any]:
        """The output, the sources that count, what keys depend on, and where the chunks' numbers begin."""
        return {
            "output": self.texts.fingerprint,
            "files": [file.path for file in self.texts.files],
            "parameters": self.compared.parameters,
            "first": self.first,
        }

    def tasks(self) -> int:
        """One a part."""
        return len(self.texts.files)

    def memory(self) -> int:
        """As `footprints.indexing`, of the largest part."""
        return footprints.indexing(*self.texts.largest)

    def run(self, task: int) -> TaskResult:
        """Hashes the texts of a part."""
        name, source = f"documents-{task:05d}.arrow", self.texts.files[task].source
        rows, keys = 0, 0
        with storage.atomic_write(self.folder / name) as stream:
            with pa.ipc.new_file(stream, DOCUMENTS) as writer:
                for batch in text_slices(self.texts.read(task), sizes.TEXT_AT_ONCE):
                    described = _described(self.compared, batch)
                    writer.write_batch(described)
                    rows += described.num_rows
                    keys += len(described.column("keys").values)
            file = OutputFile.written(name, stream, rows, source)
        counts = {"documents": rows, "keys": keys, "sources": {source: rows}}
        return TaskResult((file,), counts)


@dataclass(frozen=True)
class IndexKeys(LocalStage):
    """The keys of what is added, grouped by range; one task a chunk.

    Args:
        documents: what is added.
        entries: of the tables that will be taken in, which the number of ranges has to do for as well.
    """

    documents: IndexDocuments
    entries: int

    scratch: ClassVar[bool] = True
    version: ClassVar[int] = FORMAT

    @property
    def name(self) -> str:
        """`<step>-entries`."""
        return f"{self.documents.step}-entries"

    @property
    def parents(self) -> tuple[Stage, ...]:
        """The documents."""
        return (self.documents,)

    def options(self) -> dict[str, Any]:
        """What the number of ranges follows from."""
        return {"entries": self.entries, "most": ENTRIES_PER_RANGE}

    def ranges(self) -> int:
        """As many as keep one small."""
        entries = self.entries + int(self.documents.finished().counts.get("keys", 0))
        return max(1, -(-entries // ENTRIES_PER_RANGE))

    def memory(self) -> int:
        """As `footprints.entries`, of the largest chunk."""
        done = self.documents.finished()
        most = max((file.rows for file in done.files), default=0)
        return footprints.entries(most * -(-done.counts.get("keys", 0) // max(done.counts.get("documents", 0), 1)))

    def tasks(self) -> int:
        """One a chunk."""
        return self.documents.tasks()

    def outputs(self) -> list[Location]:
        """The files of entries, in the order of the chunks, for `exchange.read` by range."""
        return [self.folder / self.file_name(task) for task in range(self.tasks())]

    def file_name(self, task: int) -> str:
        """The file of a chunk's entries, below the folder."""
        return f"entries-{task:05d}.arrow"

    def run(self, task: int) -> TaskResult:
        """Takes the keys out of a chunk."""
        keys, documents = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
        start = (self.documents.first + task) << 32
        for batch in batches(self.documents.folder / f"documents-{task:05d}.arrow"):
            column = batch.column("keys")
            keys.append(column.flatten().to_numpy())
            numbers = np.arange(start, start + batch.num_rows, dtype=np.uint64)
            documents.append(np.repeat(numbers, np.diff(column.offsets.to_numpy())))
            start += batch.num_rows
        rows = _entries(np.concatenate(keys), np.concatenate(documents))
        ranges = self.ranges()
        partition = by_range(rows.column("key").to_numpy(), ranges)
        file = exchange.write(self.folder, self.file_name(task), rows, partition, ranges)
        return TaskResult((file,), {"entries": rows.num_rows})


@dataclass(frozen=True)
class IndexRun(LocalStage):
    """A sorted table of keys, one task a range: those of what is added, and those of older tables that it takes in.

    Args:
        keys: of what is added.
        layer: where the older tables stand, and what was taken out of them since.
        taken: the older tables.
    """

    keys: IndexKeys
    layer: Layer
    taken: tuple[Run, ...]

    version: ClassVar[int] = FORMAT

    @property
    def name(self) -> str:
        """`<step>-table`."""
        return f"{self.keys.documents.step}-table"

    @property
    def parents(self) -> tuple[Stage, ...]:
        """The keys."""
        return (self.keys,)

    def options(self) -> dict[str, Any]:
        """The older tables, and the version that says what was taken out of them."""
        return {"taken": [run.made.hash for run in self.taken], "of": self.layer.fingerprint if self.taken else ""}

    def memory(self) -> int:
        """As `footprints.entries`, of a range; keys are spread evenly, but for those that very many documents have."""
        return footprints.entries(ENTRIES_PER_RANGE)

    def tasks(self) -> int:
        """One a range."""
        return self.keys.ranges()

    def run(self, task: int) -> TaskResult:
        """Sorts a range by key, then by document."""
        ranges = self.keys.ranges()
        tables = [_range_of_run(self.layer, run, task, ranges) for run in self.taken]
        tables.append(exchange.read(self.keys.outputs(), task, ENTRIES))
        table = pa.concat_tables(tables)
        key, document = table.column("key").to_numpy(), table.column("document").to_numpy()
        order = np.argsort(key, kind="stable")  # documents of one key stand in the order of their numbers already
        rows = _entries(key[order], document[order])
        name = run_file(task)
        with storage.atomic_write(self.folder / name) as stream:
            with pa.ipc.new_file(stream, ENTRIES) as writer:
                writer.write_batch(rows)
            file = OutputFile.written(name, stream, rows.num_rows)
        return TaskResult((file,), {"entries": rows.num_rows})


def _described(options: "ExactDedup | MinhashDedup", batch: pa.RecordBatch) -> pa.RecordBatch:
    """Documents as an index keeps them."""
    text = text_view(batch.column("text"))
    if isinstance(options, ExactDedup):
        ends = np.arange(1, batch.num_rows + 1)
        hashes = options.keyed(*text)
        keys, shingles = _lists(hashes[:, 1], ends), _lists(hashes[:, 0], ends)
    else:
        signed = options.signed(*text)
        keys, shingles = _lists(signed.keys, signed.key_ends), _lists(*options.shingled(*text))
    return pa.record_batch([batch.column("id"), batch.column("source"), keys, shingles], schema=DOCUMENTS)


def _lists(values: Keys, ends: Any) -> pa.LargeListArray:
    offsets = np.concatenate([np.zeros(1, np.int64), ends])
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(np.ascontiguousarray(values)))


def _entries(keys: Keys, documents: Keys) -> pa.RecordBatch:
    return pa.record_batch([pa.array(keys), pa.array(documents)], schema=ENTRIES)


def _range_of_run(layer: Layer, run: Run, number: int, ranges: int) -> pa.Table:
    """What an older table, cut into other ranges, has of a range, without what was taken out."""
    files = run_files(layer.root, run)
    parts = []
    for file in _overlapping(number, ranges, len(files)):
        for batch in batches(layer.root / "stages" / run.made.folder / files[file]):
            first, last = np.searchsorted(by_range(batch.column("key").to_numpy(), ranges), [number, number + 1])
            piece = batch.slice(int(first), int(last - first))
            alive = ~layer.is_removed(piece.column("document").to_numpy())
            parts.append(piece.filter(pa.array(alive)))
    return pa.Table.from_batches(parts, schema=ENTRIES)


def _overlapping(number: int, ranges: int, files: int) -> Iterator[int]:
    """The files, each an equal range of so many, that hold a part of a range."""
    return iter(range(number * files // ranges, -(-(number + 1) * files // ranges)))
