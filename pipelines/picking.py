"""Single documents out of parts, by the numbers of their rows: what a report shows of clusters, and an alarm.

A part has no index, and needs none for the few documents that anybody looks at. Costs a read of the row groups that
they stand in, with the columns asked for.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .. import storage
from ..errors import RunError
from ..storage import Location
from .read_parts import AHEAD, is_rows, part_of_rows


def pick(path: Location, rows: Sequence[int], columns: Sequence[str]) -> pa.Table:
    """The documents of a part at some rows, in the order of these.

    Args:
        path: the part; of one that is row numbers, the documents are those of the other part.
        rows: numbers of rows, from 0.
        columns: those that are read.

    Raises:
        RunError: the file is gone or damaged, or has not so many rows.
    """
    wanted = np.asarray(rows, np.int64)
    if is_rows(path):
        other, numbers = part_of_rows(path)
        _check(path, wanted, len(numbers))
        path, wanted = other, numbers[wanted].astype(np.int64)
    try:
        with storage.open_ranges(path, AHEAD) as stream, pq.ParquetFile(stream) as file:
            footer = file.metadata
            ends = np.cumsum([footer.row_group(group).num_rows for group in range(footer.num_row_groups)])
            _check(path, wanted, footer.num_rows)
            found = []
            for group in np.unique(np.searchsorted(ends, wanted, side="right")).tolist():
                start, stop = (int(ends[group - 1]) if group else 0), int(ends[group])
                own = np.unique(wanted[(wanted >= start) & (wanted < stop)])
                found.append((own, file.read_row_group(group, list(columns)).take(pa.array(own - start))))
            schema = pa.schema([file.schema_arrow.field(name) for name in columns])
    except (OSError, pa.ArrowInvalid) as error:
        raise RunError(
            f"the file is damaged: {error}", where=str(path), fix="remove its folder and run again"
        ) from None
    there = np.concatenate([own for own, _ in found]) if found else np.zeros(0, np.int64)
    table = pa.concat_tables([rows for _, rows in found]) if found else schema.empty_table()
    return table.take(pa.array(np.searchsorted(there, wanted)))


def _check(path: Location, rows: "np.ndarray[tuple[int], np.dtype[np.int64]]", there: int) -> None:
    if len(rows) and not 0 <= rows.min() <= rows.max() < there:
        raise RunError(
            "the part has no such row",
            where=str(path),
            seen=f"rows {rows.min():,} to {rows.max():,}",
            expected=f"0 to {there - 1:,}",
            fix="remove the output's stages and run again",
        )
