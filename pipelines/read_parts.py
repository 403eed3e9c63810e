"""Reads the parts that stages of documents leave, those too that are the numbers of rows of other parts.

Whoever reads documents between stages reads them through here, so that nobody else has to know where they stand.
Parquet in zstd: about 1.2 GB of text per second of one core; row groups of which nothing is kept are passed by.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from .. import storage
from ..errors import RunError
from ..manifest import Manifest, OutputFile
from ..storage import Location
from .parts import HIDDEN, OF, ROW, ROWS

AHEAD = 4 << 20  # bytes of a part in a store that a request brings beyond the column asked for: the next ones
SLICE_ROWS = 8192  # of a part that are read at a time


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


def read_part(
    path: Location,
    columns: Sequence[str] | None = None,
    ahead: int = AHEAD,
    at_a_time: int = SLICE_ROWS,
    hidden: Sequence[str] = (),
) -> Iterator[pa.RecordBatch]:
    """The batches of a part, a row group's slice at a time; of one that is row numbers, those rows of the other part.

    Args:
        path: the part.
        columns: those that are read; all but the hidden ones where there are none.
        ahead: bytes of a part in a store that a request brings beyond what was asked for.
        at_a_time: rows of a batch, at most.
        hidden: the hidden columns that are read where no columns are given.

    Raises:
        RunError: the file is gone or damaged.
    """
    if is_rows(path):
        yield from _read_rows(*part_of_rows(path), columns, ahead, at_a_time, hidden)
        return
    with _opened(path, ahead) as file:
        yield from file.iter_batches(at_a_time, columns=_visible(file, columns, hidden))


def read_rows(
    path: Location, rows: npt.NDArray[np.int32], columns: Sequence[str], at_a_time: int = SLICE_ROWS
) -> Iterator[pa.RecordBatch]:
    """Some documents of a part, in batches as they stand there.

    Args:
        path: the part.
        rows: int32[n], which of the documents that `read_part` gives, ascending.
        columns: those that are read.
        at_a_time: rows of the part that are read at a time.

    Raises:
        RunError: the file is gone or damaged.
    """
    part, own = part_of_rows(path) if is_rows(path) else (path, None)
    yield from _read_rows(part, rows if own is None else own[rows], columns, AHEAD, at_a_time)


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
    """As `read_part`, with a column `ROW`: the number of each row in the part where its document stands."""
    rows = part_of_rows(path)[1] if is_rows(path) else None
    start = 0
    for batch in read_part(path, columns):
        stop = start + batch.num_rows
        own = np.arange(start, stop, dtype=np.int32) if rows is None else rows[start:stop]
        yield batch.append_column(ROW, pa.array(own))
        start = stop


def _read_rows(
    part: Location,
    rows: npt.NDArray[np.int32],
    columns: Sequence[str] | None,
    ahead: int,
    at_a_time: int,
    hidden: Sequence[str] = (),
) -> Iterator[pa.RecordBatch]:
    """Row groups of which nothing is wanted are passed by."""
    with _opened(part, ahead) as file:
        chosen, start = _visible(file, columns, hidden), 0
        for group in range(file.num_row_groups):
            stop = start + file.metadata.row_group(group).num_rows
            first, last = np.searchsorted(rows, [start, stop])
            if first < last:
                batches = file.iter_batches(at_a_time, row_groups=[group], columns=chosen)
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


def _visible(file: pq.ParquetFile, columns: Sequence[str] | None, hidden: Sequence[str]) -> list[str]:
    if columns is not None:
        return list(columns)
    return [name for name in file.schema_arrow.names if name in hidden or not name.startswith(HIDDEN)]


def is_rows(path: Location) -> bool:
    """Whether a part is numbers of rows of another part."""
    return str(path).split("/")[-2:-1] == [ROWS]


def quarantine_sample(folder: Location, manifest_files: Sequence[OutputFile], most: int = 3) -> list[dict[str, Any]]:
    """The first few quarantined documents of a stage, for an error's text."""
    found: list[dict[str, Any]] = []
    for file in manifest_files:
        if file.path.startswith("quarantine/") and len(found) < most:
            lines = storage.read_bytes(folder / file.path).splitlines()
            found.extend(orjson.loads(line) for line in lines[: most - len(found)])
    return found
