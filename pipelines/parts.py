"""The files that a task of documents leaves: kept documents, dropped ones with their reason, quarantined ones.

One writer for every stage that passes documents on, so that the three add up to what came in wherever it is counted.
What is kept of documents that stand in a part already is the numbers of their rows there: every part is read through
`read_part`, which follows them. Parquet in zstd: about 150 MB of text per second of one core; row numbers take 4 bytes
a document, and no text is read for them.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .. import storage
from ..errors import RunError
from ..manifest import Manifest, OutputFile
from ..storage import Location, OutputStream
from .languages import ByLanguage
from .readers.records import Quarantined
from .stage import Counts, TaskResult

ROW_GROUP_BYTES = 32 << 20
AHEAD = 4 << 20  # bytes of a part in a store that a request brings beyond the column asked for: the next ones
SLICE_ROWS = 8192  # of a part that are read at a time
DROPPED = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("step", pa.string(), nullable=False),
        pa.field("rule", pa.string(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("threshold", pa.float64()),
        pa.field("partner", pa.string()),
        pa.field("language", pa.string()),
        pa.field("bytes", pa.int64(), nullable=False),
    ]
)
ROWS = "rows"  # the folder of parts that are row numbers
OF = b"midtrain.rows_of"  # in such a file's metadata: the part whose rows they are, below the folder of stages
HIDDEN = "scoring."  # what the names of columns begin with that no reader of documents sees
ROW = f"{HIDDEN}row"  # the number of a document's row in the part that it stands in
TEXT_BYTES = f"{HIDDEN}text_bytes"  # of each document, where its text is not read
NAMES = ["source", "language", "step", "rule"]  # columns of few values, written as dictionaries


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
        self.quarantined: list[Quarantined] = []
        self.documents = 0
        self.bytes = 0
        self.read_text_bytes = 0
        self.text_bytes = 0
        self.dropped_text_bytes = 0
        self.languages = ByLanguage()
        self.reasons: dict[str, int] = {}

    def __enter__(self) -> "PartWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None:
            with contextlib.ExitStack() as stack:  # both, also where closing one of them fails again
                stack.callback(self.dropped.abandon, error)
                stack.callback(self.kept.abandon, error)

    def abandon(self) -> None:
        """Leaves nothing behind: what was written so far is removed, and nothing is published."""
        nothing = RunError("abandoned", where=self.name)
        self.dropped.abandon(nothing)
        self.kept.abandon(nothing)

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

    def set_aside(self, entries: Sequence[Quarantined]) -> None:
        """Records documents that could not be read or that made a step raise."""
        self.quarantined.extend(entries)

    def finish(self) -> TaskResult:
        """Closes the files and returns them with the counts.

        Raises:
            RunError: the documents that came in are not those kept, dropped and quarantined.
        """
        files = [entry for entry in (self.kept.close(), self.dropped.close()) if entry is not None]
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
        check_sum(counts, f"{self.folder.name}, {self.name}")
        return {**counts, "sources": {self.source: {**counts, "languages": self.languages.counts()}}}


def rows_schema(part: str) -> pa.Schema:
    """Of a file with numbers of rows of a part."""
    return pa.schema([pa.field("row", pa.int32(), nullable=False)], metadata={OF: part.encode()})


def text_sizes(documents: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """int64[n]: the bytes of each document's text, as a column says where there is one."""
    if TEXT_BYTES in documents.schema.names:
        return np.asarray(documents.column(TEXT_BYTES), np.int64)
    return np.asarray(pc.binary_length(documents.column("text")), np.int64)


def dropped_rows(
    step: str,
    documents: pa.RecordBatch,
    sizes: npt.NDArray[np.int64],
    rules: pa.Array,
    values: pa.Array | None = None,
    thresholds: pa.Array | None = None,
    partners: pa.Array | None = None,
) -> pa.RecordBatch:
    """The rows, as in `DROPPED`, of documents that a step drops.

    Args:
        step: its name.
        documents: n documents.
        sizes: int64[n], bytes of their texts as they stood when the step saw them.
        rules: n names of the rules that they broke.
        values: float64[n], what the rule measured.
        thresholds: float64[n], the bound that was broken.
        partners: n ids of the documents kept in their place.
    """
    count = documents.num_rows
    columns = {
        "id": documents.column("id"),
        "source": documents.column("source"),
        "step": pa.array([step] * count, pa.string()),
        "rule": rules,
        "value": values,
        "threshold": thresholds,
        "partner": partners,
        "language": documents.column("language"),
        "bytes": pa.array(sizes),
    }
    given = (columns[field.name] for field in DROPPED)
    arrays = [pa.nulls(count, field.type) if one is None else one for one, field in zip(given, DROPPED, strict=True)]
    return pa.record_batch(arrays, schema=DROPPED)


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


def kept_parts(manifest: Manifest) -> list[OutputFile]:
    """The files of kept documents that a stage lists, in their order; `read_part` reads them."""
    return [file for file in manifest.files if is_kept(file)]


def is_kept(file: OutputFile) -> bool:
    """Whether a stage's file holds kept documents, or the numbers of their rows."""
    return file.path.startswith(("part-", f"{ROWS}/part-")) and file.path.endswith(".parquet")


def largest_part(manifest: Manifest) -> tuple[int, int]:
    """Bytes of text and rows of the largest part of kept documents.

    A manifest has each source's bytes of text; a part's are taken by its file's share of them, or by its rows' where
    it holds row numbers.
    """
    sizes = [(part, part.rows if part.path.startswith(ROWS) else part.bytes) for part in kept_parts(manifest)]
    stored = dict[str, int]()
    for part, size in sizes:
        stored[part.source] = stored.get(part.source, 0) + size
    texts = {source: manifest.counts["sources"][source]["text_bytes"] / size for source, size in stored.items()}
    return max(((int(texts[part.source] * size), part.rows) for part, size in sizes), default=(0, 0))


def read_part(path: Location, columns: Sequence[str] | None = None, ahead: int = AHEAD) -> Iterator[pa.RecordBatch]:
    """The batches of a part, a row group's slice at a time; of one that is row numbers, those rows of the other part.

    Args:
        path: the part.
        columns: those that are read; all but the hidden ones where there are none.
        ahead: bytes of a part in a store that a request brings beyond what was asked for.

    Raises:
        RunError: the file is gone or damaged.
    """
    if _is_rows(path):
        yield from _read_rows(path, columns, ahead)
        return
    with _opened(path, ahead) as file:
        yield from file.iter_batches(SLICE_ROWS, columns=_visible(file, columns))


def part_of_rows(path: Location) -> tuple[Location, npt.NDArray[np.int32]]:
    """The part that a file of row numbers is about, and the numbers, ascending.

    Raises:
        RunError: the file is gone or damaged.
    """
    with _opened(path, AHEAD) as file:
        rows = file.read(columns=["row"]).column("row").to_numpy()
        name = (file.schema_arrow.metadata or {})[OF].decode()
    stages = storage.location(str(path).rsplit("/", 3)[0])
    return stages / name, rows


def numbered(path: Location, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """As `read_part`, of a part that is row numbers, with a column `ROW` of these."""
    _, rows = part_of_rows(path)
    start = 0
    for batch in read_part(path, columns):
        yield batch.append_column(ROW, pa.array(rows[start : start + batch.num_rows]))
        start += batch.num_rows


def _read_rows(path: Location, columns: Sequence[str] | None, ahead: int) -> Iterator[pa.RecordBatch]:
    """Row groups of which nothing is kept are passed by."""
    part, rows = part_of_rows(path)
    with _opened(part, ahead) as file:
        chosen, start = _visible(file, columns), 0
        for group in range(file.num_row_groups):
            stop = start + file.metadata.row_group(group).num_rows
            first, last = np.searchsorted(rows, [start, stop])
            if first < last:
                batches = file.iter_batches(SLICE_ROWS, row_groups=[group], columns=chosen)
                yield from _taken(batches, rows[first:last] - start)
            start = stop


def _taken(batches: Iterator[pa.RecordBatch], rows: npt.NDArray[np.int32]) -> Iterator[pa.RecordBatch]:
    start = 0
    for batch in batches:
        first, last = np.searchsorted(rows, [start, start + batch.num_rows])
        if last - first == batch.num_rows:
            yield batch
        elif first < last:
            yield batch.take(pa.array(rows[first:last] - start))
        start += batch.num_rows


@contextlib.contextmanager
def _opened(path: Location, ahead: int) -> Iterator[pq.ParquetFile]:
    try:
        with storage.open_ranges(path, ahead) as stream, pq.ParquetFile(stream) as file:
            yield file
    except (OSError, pa.ArrowInvalid) as error:
        raise RunError(
            f"the file is damaged: {error}", where=str(path), fix="remove its folder and run again"
        ) from None


def _visible(file: pq.ParquetFile, columns: Sequence[str] | None) -> list[str]:
    if columns is not None:
        return list(columns)
    return [name for name in file.schema_arrow.names if not name.startswith(HIDDEN)]


def _is_rows(path: Location) -> bool:
    return str(path).split("/")[-2:-1] == [ROWS]


def quarantine_sample(folder: Location, manifest_files: Sequence[OutputFile], most: int = 3) -> list[dict[str, Any]]:
    """The first few quarantined documents of a stage, for an error's text."""
    found: list[dict[str, Any]] = []
    for file in manifest_files:
        if file.path.startswith("quarantine/") and len(found) < most:
            lines = storage.read_bytes(folder / file.path).splitlines()
            found.extend(orjson.loads(line) for line in lines[: most - len(found)])
    return found
