"""The files that a task of documents leaves: kept documents, dropped ones with their reason, quarantined ones.

One writer for every stage that passes documents on, so that the three add up to what came in wherever it is counted.
Parquet in zstd: about 150 MB of text per second of one core.
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
    """Writes what one task does with the documents of one source, and counts it."""

    def __init__(self, folder: Location, task: int, source: str, schema: pa.Schema) -> None:
        self.folder, self.name, self.source = folder, f"part-{task:05d}", source
        self.kept = _ParquetFile(folder, f"{self.name}.parquet", source, schema)
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
        sizes = text_sizes(batch)
        self.text_bytes += int(sizes.sum())
        self.languages.add(batch.column("language"), sizes)

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
        own = {**counts, "languages": self.languages.counts()}
        return TaskResult(tuple(files), {**counts, "sources": {self.source: own}})


def text_sizes(documents: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """int64[n]: the bytes of each document's text."""
    return np.asarray(pc.binary_length(documents.column("text")), np.int64)


def dropped_rows(
    step: str,
    documents: pa.RecordBatch,
    rules: pa.Array,
    values: pa.Array | None = None,
    thresholds: pa.Array | None = None,
    partners: pa.Array | None = None,
) -> pa.RecordBatch:
    """The rows, as in `DROPPED`, of documents that a step drops.

    Args:
        step: its name.
        documents: n documents as they stood when the step saw them.
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
        "bytes": pa.array(text_sizes(documents)),
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
    """The files of kept documents that a stage lists, in their order."""
    return [file for file in manifest.files if file.path.startswith("part-") and file.path.endswith(".parquet")]


def largest_part(manifest: Manifest) -> tuple[int, int]:
    """Bytes of text and rows of the largest part of kept documents.

    A manifest has each source's bytes of text; a part's are taken by its file's share of them.
    """
    parts, stored = kept_parts(manifest), dict[str, int]()
    for part in parts:
        stored[part.source] = stored.get(part.source, 0) + part.bytes
    texts = {source: manifest.counts["sources"][source]["text_bytes"] / size for source, size in stored.items()}
    return max(((int(texts[part.source] * part.bytes), part.rows) for part in parts), default=(0, 0))


def read_part(path: Location, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The batches of a part, a row group's slice at a time.

    Raises:
        RunError: the file is gone or damaged.
    """
    try:
        with storage.open_ranges(path, AHEAD) as stream, pq.ParquetFile(stream) as file:
            yield from file.iter_batches(SLICE_ROWS, columns=list(columns) if columns is not None else None)
    except (OSError, pa.ArrowInvalid) as error:
        raise RunError(
            f"the file is damaged: {error}", where=str(path), fix="remove its folder and run again"
        ) from None


def quarantine_sample(folder: Location, manifest_files: Sequence[OutputFile], most: int = 3) -> list[dict[str, Any]]:
    """The first few quarantined documents of a stage, for an error's text."""
    found: list[dict[str, Any]] = []
    for file in manifest_files:
        if file.path.startswith("quarantine/") and len(found) < most:
            lines = storage.read_bytes(folder / file.path).splitlines()
            found.extend(orjson.loads(line) for line in lines[: most - len(found)])
    return found
