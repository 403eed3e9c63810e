"""Parquet: one record a row, read by row groups, about a megabyte or a thousand rows at a time.

Row groups are what tasks are made of, so a large file is many tasks; one that is a single row group stays one, whatever
its size. Memory stays at a row group's compressed bytes and one slice of it.
"""

from collections.abc import Iterator

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


def records(split: Split, selection: Selection | None = None) -> Iterator[Record]:
    """The rows of the split's row groups; positions are row numbers in the file.

    Raises:
        RunError: the file is damaged or is not Parquet.
    """
    try:
        with storage.open_ranges(split.path, AHEAD) as stream:
            file = pq.ParquetFile(stream)
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


def _group(file: pq.ParquetFile, group: int, position: int, rows: int, selection: Selection | None) -> Iterator[Record]:
    for batch in file.iter_batches(rows, row_groups=[group]):
        giant = batch.nbytes > GIANT * BATCH_BYTES
        runs = [(None, 0, batch.num_rows)] if selection is None else selection.runs(batch.num_rows)
        for verdict, first, last in runs:
            step = 1 if giant or verdict is not None else last - first
            for row in range(first, last, step):
                rest = batch.slice(row, step)
                size = rest.nbytes // step
                if verdict is None:
                    yield from _rows(rest, position + row, size)
                else:
                    yield from poisonous(verdict, position + row, size)
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
