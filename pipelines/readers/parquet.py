"""Parquet: one record a row, read by row groups, a few megabytes or a thousand rows at a time.

Row groups are what tasks are made of, so a large file is many tasks; one that is a single row group stays one, whatever
its size. Memory stays at a row group's compressed bytes and one slice of it.
"""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ... import storage
from ...errors import RunError
from ..inputs import Split
from .records import BATCH_BYTES, Record, poisonous
from .selection import Selection

ROWS = 1024
AHEAD = 4 << 20  # bytes that a request to a store brings beyond the column asked for: the next ones
GIANT = 4  # times what a batch should hold: its rows are taken one at a time, each with its own size


class Slice(NamedTuple):
    """Rows of a row group that have one verdict.

    Args:
        rows: the rows.
        position: of the first in the file.
        size: bytes a row.
        verdict: of a selection, None where they are read.
    """

    rows: pa.RecordBatch
    position: int
    size: int
    verdict: str | None


def records(split: Split, selection: Selection | None = None) -> Iterator[Record]:
    """The rows of the split's row groups; positions are row numbers in the file.

    Raises:
        RunError: the file is damaged or is not Parquet.
    """
    for piece in slices(split, selection):
        yield from records_of(piece)


def records_of(piece: Slice) -> Iterator[Record]:
    """The rows of a slice, one by one."""
    if piece.verdict is None:
        yield from _rows(piece.rows, piece.position, piece.size)
    else:
        yield from poisonous(piece.verdict, piece.position, piece.size)


def slices(split: Split, selection: Selection | None = None) -> Iterator[Slice]:
    """The rows of the split's row groups, some at a time; one at a time where they are large or have a verdict.

    Raises:
        RunError: the file is damaged or is not Parquet.
    """
    try:
        with storage.open_ranges(split.path, AHEAD) as stream:
            file = pq.ParquetFile(stream)
            _check_names(file, split.path)
            stop = file.num_row_groups if split.stop < 0 else split.stop
            position = sum(file.metadata.row_group(group).num_rows for group in range(split.start))
            for group in range(split.start, stop):
                about = file.metadata.row_group(group)
                if selection is None or not selection.passes(about.num_rows):
                    rows = BATCH_BYTES * about.num_rows // max(about.total_byte_size, 1)
                    yield from _group(file, group, position, min(max(rows, 1), ROWS), selection)
                position += about.num_rows
    except (pa.ArrowException, OSError) as error:
        raise RunError(
            f"the Parquet file is damaged, or made in a way that Arrow cannot read: {error}",
            where=split.path,
            fix="replace the file or take it out of the source",
        ) from None


def _check_names(file: pq.ParquetFile, path: str) -> None:
    """Of two columns of one name a row's values hold the last alone."""
    twice = [name for name, count in Counter(file.schema_arrow.names).items() if count > 1]
    if twice:
        raise RunError(
            f"the Parquet file has several columns called {twice[0]}",
            where=path,
            fix="write it with a name for each, or take it out of the source",
        )


def _group(file: pq.ParquetFile, group: int, position: int, rows: int, selection: Selection | None) -> Iterator[Slice]:
    for batch in file.iter_batches(rows, row_groups=[group]):
        giant = batch.nbytes > GIANT * BATCH_BYTES
        runs = [(None, 0, batch.num_rows)] if selection is None else selection.runs(batch.num_rows)
        for verdict, first, last in runs:
            step = 1 if giant or verdict is not None else last - first
            for row in range(first, last, step):
                rest = batch.slice(row, step)
                yield Slice(rest, position + row, rest.nbytes // step, verdict)
        position += batch.num_rows


def _rows(batch: pa.RecordBatch, position: int, size: int) -> Iterator[Record]:
    """The rows as Python values; those that have none (text that is not UTF-8, a date after 9999) as errors."""
    try:
        values = batch.to_pylist()
    except (ValueError, OverflowError) as error:
        if batch.num_rows == 1:
            yield Record(position, size, None, f"the row cannot be read: {error}")
            return
        for row in range(batch.num_rows):
            yield from _rows(batch.slice(row, 1), position + row, size)
        return
    values.reverse()
    for row in range(len(values)):
        yield Record(position + row, size, values.pop())  # which may be large: nothing here holds it
