"""Parquet's columns as the documents' columns, without a Python object for each row.

What a row would come to, the columns come to as well; where one row of a slice would be set aside or needs a look of
its own, the slice is left to be read row by row. Costs a validation of the text, and about 2 µs a row for the fields
that go to `metadata` where there are any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ...filters.document import SCHEMA
from .documents import FIELDS, rest
from .records import LARGEST, Unreadable, derived_id, optional_text


def documents(
    rows: pa.RecordBatch, position: int, source: str, relative: str, fields: Mapping[str, str]
) -> pa.RecordBatch | None:
    """The documents of some rows, all of them.

    Args:
        rows: n rows of a file.
        position: of the first in the file.
        source: the documents' source.
        relative: the file's path below the source's root.
        fields: our column to the file's, where they differ.

    Returns:
        n documents, in the columns of `SCHEMA`; None where the rows have to be looked at one by one.
    """
    names = {name: fields.get(name, name) for name in FIELDS}
    there = rows.schema.names
    if any(names[name] not in there for name in {"text", *fields}):
        return None
    try:
        columns = {name: _texts(rows, names[name]) for name in FIELDS}
        metadata = _metadata(rows, [name for name in there if name not in names.values()])
    except (pa.ArrowInvalid, OverflowError, ValueError):
        return None  # Unreadable is a ValueError
    if columns["text"].null_count or not _is_text(rows.schema.field(names["text"]).type):
        return None
    columns["id"] = _identities(columns["id"], position, source, relative)
    columns |= {"metadata": metadata, "source": pa.array([source] * rows.num_rows, pa.string())}
    arrays = [
        columns[field.name].cast(field.type) if field.name in columns else pa.nulls(rows.num_rows, field.type)
        for field in SCHEMA
    ]
    return pa.record_batch(arrays, schema=SCHEMA)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _texts(rows: pa.RecordBatch, name: str) -> pa.Array[Any]:
    """A column as text; nulls where there is none.

    Raises:
        ArrowInvalid: it is not UTF-8.
        Unreadable: a row has a list or a mapping, or more than a file of ours can hold.
    """
    if name not in rows.schema.names:
        return pa.nulls(rows.num_rows, pa.large_string())
    column = rows.column(name)
    if not _is_text(column.type):
        column = pa.array([optional_text({name: one}, name) for one in column.to_pylist()], pa.large_string())
    column.validate(full=True)
    _check_sizes(column)
    return column


def _metadata(rows: pa.RecordBatch, names: Sequence[str]) -> pa.Array[Any]:
    """The columns of these names as JSON, row by row."""
    if not names:
        return pa.nulls(rows.num_rows, pa.string())
    column = pa.array([rest(row, ()) for row in rows.select(list(names)).to_pylist()], pa.large_string())
    _check_sizes(column)
    return column


def _check_sizes(column: pa.Array[Any]) -> None:
    if len(column) and (pc.max(pc.binary_length(column)).as_py() or 0) > LARGEST:
        raise Unreadable("larger than a file of ours can hold")


def _identities(column: pa.Array[Any], position: int, source: str, relative: str) -> pa.Array[Any]:
    """The rows' own ids, and those that follow from their place where they have none."""
    given = pc.fill_null(pc.not_equal(column, ""), False).to_pylist()
    if all(given):
        return column
    made = [None if own else derived_id(source, relative, position + row) for row, own in enumerate(given)]
    return pc.if_else(pa.array(given), column.cast(pa.string()), pa.array(made, pa.string()))
