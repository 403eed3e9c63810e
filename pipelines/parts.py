"""The files that a task of documents leaves: kept documents, dropped ones with their reason, quarantined ones.

One writer for every stage that passes documents on, so that the three add up to what came in wherever it is counted.
What is kept of documents that stand in a part already is the numbers of their rows there: every part is read through
`read_parts`, which follows them. Parquet in zstd: about 440 MB of text per second of one core; row numbers take 4
bytes a document, and no text is read for them.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .. import storage
from ..errors import RunError
from ..manifest import OutputFile
from ..storage import Location, OutputStream
from .cells import CELL, Cells
from .dropped import DROPPED
from .languages import ByLanguage
from .readers.records import Quarantined
from .set_phrases import Phrases
from .stage import Counts, TaskResult, add_counts

ROW_GROUP_BYTES = 32 << 20
CUT = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("row", pa.int32(), nullable=False),  # in the part that the document came from
        pa.field("start", pa.list_(pa.int32()), nullable=False),  # bytes of the text as it came; one past them
        pa.field("stop", pa.list_(pa.int32()), nullable=False),
    ]
)
ROWS = "rows"  # the folder of parts that are row numbers
OF = b"midtrain.rows_of"  # in such a file's metadata: the part whose rows they are, below the folder of stages
HIDDEN = "scoring."  # what the names of columns begin with that no reader of documents sees
ROW = f"{HIDDEN}row"  # the number of a document's row in the part that it stands in
TEXT_BYTES = f"{HIDDEN}text_bytes"  # of each document, where its text is not read
TEXT_LOW, TEXT_HIGH = f"{HIDDEN}text_low", f"{HIDDEN}text_high"  # the halves of the xxh3-128 of its text
NAMES = ["source", "language", "step", "rule", "partner_source"]  # columns of few values, written as dictionaries


class _ParquetFile:
    """A Parquet file that is begun with its first rows and appears when it is closed."""

    def __init__(self, folder: Location, path: str, source: str, schema: pa.Schema) -> None:
        self.folder, self.path, self.source, self.schema = folder, path, source, schema
        self.rows = 0
        self._pending: list[pa.RecordBatch] = []
        self._held = 0
        self._stack = contextlib.ExitStack()
        self._stream: OutputStream | None = None
        self._writer: pq.ParquetWriter | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        if batch.num_rows == 0:
            return
        self.rows += batch.num_rows
        self._pending.append(batch)
        self._held += batch.nbytes
        if self._held >= ROW_GROUP_BYTES:
            self._flush()

    def close(self) -> OutputFile | None:
        """Publishes the file and returns its entry; None where it has no rows."""
        if self._pending:
            self._flush()
        if self._writer is None or self._stream is None:
            return None
        self._writer.close()
        entry = OutputFile.written(self.path, self._stream, self.rows, self.source)
        self._stack.close()
        return entry

    def abandon(self, error: BaseException) -> None:
        self._stack.__exit__(type(error), error, error.__traceback__)

    def _flush(self) -> None:
        if self._writer is None:
            self._stream = self._stack.enter_context(storage.atomic_write(self.folder / self.path))
            self._writer = self._stack.enter_context(
                pq.ParquetWriter(
                    self._stream,
                    self.schema,
                    compression="zstd",
                    use_dictionary=NAMES,
                    write_statistics=False,
                )
            )
        table = pa.Table.from_batches(self._pending, schema=self.schema)
        self._writer.write_table(table, row_group_size=table.num_rows)
        self._pending, self._held = [], 0


class PartWriter:
    """Writes what one task does with the documents of one source, and counts it.

    Args:
        folder: the stage's.
        task: its number.
        source: of all documents.
        schema: of what is kept.
        rows_of: the part, as `stage folder/part`, whose rows are kept by number; empty where documents are written.
    """

    def __init__(self, folder: Location, task: int, source: str, schema: pa.Schema, rows_of: str = "") -> None:
        self.folder, self.name, self.source = folder, f"part-{task:05d}", source
        path = f"{ROWS}/{self.name}.parquet" if rows_of else f"{self.name}.parquet"
        self.kept = _ParquetFile(folder, path, source, rows_schema(rows_of) if rows_of else schema)
        self.dropped = _ParquetFile(folder, f"dropped/{self.name}.parquet", source, DROPPED)
        self.rewritten = _ParquetFile(folder, f"cut/{self.name}.parquet", source, CUT)
        self.quarantined: list[Quarantined] = []
        self.documents = 0
        self.bytes = 0
        self.read_text_bytes = 0
        self.text_bytes = 0
        self.dropped_text_bytes = 0
        self.cut_pieces = self.cut_bytes = self.emptied_bytes = 0
        self.languages = ByLanguage()
        self.reasons: dict[str, int] = {}
        self.reasoning: Counts = {}
        self.phrases = Phrases()
        self.cells = Cells()  # of what is kept
        self.read_cells: Counts = {}

    def __enter__(self) -> "PartWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None:
            with contextlib.ExitStack() as stack:  # all, also where closing one of them fails again
                for file in (self.rewritten, self.dropped, self.kept):
                    stack.callback(file.abandon, error)

    def abandon(self) -> None:
        """Leaves nothing behind: what was written so far is removed, and nothing is published."""
        nothing = RunError("abandoned", where=self.name)
        for file in (self.rewritten, self.dropped, self.kept):
            file.abandon(nothing)

    def read(self, documents: int, size: int, text_bytes: int) -> None:
        """Counts documents that came in, the bytes that they were read from, and the bytes of their texts."""
        self.documents += documents
        self.bytes += size
        self.read_text_bytes += text_bytes

    def keep(self, batch: pa.RecordBatch) -> None:
        """Passes documents on."""
        if batch.num_rows == 0:
            return
        self.kept.write(batch)
        self._count(batch)

    def _count(self, batch: pa.RecordBatch) -> None:
        sizes = text_sizes(batch)
        self.text_bytes += int(sizes.sum())
        self.languages.add(batch.column("language"), sizes)
        if CELL in batch.schema.names:
            self.cells.add(batch.column(CELL))

    def keep_rows(self, rows: npt.NDArray[np.int32], batch: pa.RecordBatch) -> None:
        """Passes documents on by the numbers of their rows, ascending over all calls; `batch` need not have texts."""
        if batch.num_rows == 0:
            return
        self.kept.write(pa.record_batch([pa.array(rows)], schema=self.kept.schema))
        self._count(batch)

    def drop(self, step: str, rows: pa.RecordBatch) -> None:
        """Records documents that a step dropped; rows as `dropped_rows` makes them."""
        self.dropped.write(rows)
        self.dropped_text_bytes += pc.sum(rows.column("bytes")).as_py() or 0
        for entry in rows.column("rule").value_counts().to_pylist():
            reason = f"{step}.{entry['values']}"
            self.reasons[reason] = self.reasons.get(reason, 0) + int(entry["counts"])

    def cut(self, rows: pa.RecordBatch, size: int) -> None:
        """Records documents that go on without pieces of their text: rows of `CUT`, and how many bytes they lost."""
        self.rewritten.write(rows)
        self.cut_pieces += len(rows.column("start").flatten())
        self.cut_bytes += size

    def emptied(self, size: int) -> None:
        """Counts the bytes of text of documents that lost all of it, and are dropped for that."""
        self.emptied_bytes += size

    def set_aside(self, entries: Sequence[Quarantined]) -> None:
        """Records documents that could not be read or that made a step raise."""
        self.quarantined.extend(entries)

    def count_reasoning(self, counts: Mapping[str, Mapping[str, int]]) -> None:
        """Counts reasoning records by the layout that was taken for them, and by repair."""
        add_counts(self.reasoning, counts)

    def count_cells(self, cells: pa.StructArray, unread: int) -> None:
        """Counts the cells of documents that were read, and the records that could not be."""
        own = Cells()
        own.add(cells)
        add_counts(self.read_cells, {"read": own.counts(), "unread": unread})

    def count_phrases(self, label: str, records: int, texts: Mapping[str, Sequence[str]]) -> None:
        """Counts texts that documents which came to a step may share, by what they are."""
        self.phrases.add(label, records, texts)

    def finish(self) -> TaskResult:
        """Closes the files and returns them with the counts.

        Raises:
            RunError: the documents that came in are not those kept, dropped and quarantined.
        """
        closed = (self.kept.close(), self.dropped.close(), self.rewritten.close())
        files = [entry for entry in closed if entry is not None]
        if self.quarantined:
            name = f"quarantine/{self.name}.jsonl"
            with storage.atomic_write(self.folder / name) as stream:
                stream.writelines(orjson.dumps(asdict(entry)) + b"\n" for entry in self.quarantined)
                files.append(OutputFile.written(name, stream, len(self.quarantined), self.source))
        return TaskResult(tuple(files), self.counts())

    def counts(self) -> Counts:
        """What has become of the documents so far, in all and by source.

        Raises:
            RunError: those that came in are not those kept, dropped and quarantined.
        """
        counts: Counts = {
            "documents": self.documents,
            "kept": self.kept.rows,
            "dropped": dict(sorted(self.reasons.items())),
            "quarantined": len(self.quarantined),
            "bytes": self.bytes,
            "read_text_bytes": self.read_text_bytes,
            "text_bytes": self.text_bytes,
            "dropped_text_bytes": self.dropped_text_bytes,
        }
        if self.rewritten.rows or self.emptied_bytes:
            counts["cut"] = {
                "documents": self.rewritten.rows,
                "pieces": self.cut_pieces,
                "bytes": self.cut_bytes,
                "emptied_bytes": self.emptied_bytes,
            }
        if self.reasoning:
            counts["reasoning"] = {name: dict(sorted(own.items())) for name, own in sorted(self.reasoning.items())}
        check_sum(counts, f"{self.folder.name}, {self.name}")
        own = {**counts, "languages": self.languages.counts()}
        if self.read_cells or self.cells:
            own["cells"] = {**self.read_cells, "kept": self.cells.counts()}
        if phrases := self.phrases.counts():
            own["phrases"] = phrases
        return {**counts, "sources": {self.source: own}}


def rows_schema(part: str) -> pa.Schema:
    """Of a file with numbers of rows of a part."""
    return pa.schema([pa.field("row", pa.int32(), nullable=False)], metadata={OF: part.encode()})


def text_sizes(documents: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """int64[n]: the bytes of each document's text, as a column says where there is one."""
    if TEXT_BYTES in documents.schema.names:
        return np.asarray(documents.column(TEXT_BYTES), np.int64)
    return np.asarray(pc.binary_length(documents.column("text")), np.int64)


def check_sum(counts: Counts, where: str) -> None:
    """In = kept + dropped by reason + quarantined.

    Raises:
        RunError: documents were lost or made.
    """
    out = counts["kept"] + sum(counts["dropped"].values()) + counts["quarantined"]
    if out != counts["documents"]:
        raise RunError(
            "documents were lost or doubled: the counts do not add up",
            where=where,
            seen=f"{out:,} kept, dropped or quarantined",
            expected=f"{counts['documents']:,} read",
            fix="this is a fault of midtrain: please report it with the recipe",
        )
