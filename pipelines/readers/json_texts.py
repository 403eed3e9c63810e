"""JSON lines as the documents' columns, without a Python string for each text.

What a line by itself would come to, a block of lines comes to as well; where one line would be set aside or needs a
look of its own, the block is left to be read line by line. Costs about 1 ns a byte of text, a third of what parsing the
lines whole does, and 2 µs a record for its other fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from ...filters.document import SCHEMA
from ...filters.kernels.json_kernels import NUMBERS, copy_texts, count_lines, find_texts
from ...filters.kernels.kernel import fixed
from ...filters.kernels.utf8 import is_utf8
from . import records
from .documents import FIELDS, rest
from .records import BATCH_ROWS, Unreadable, as_text, derived_id

Bytes = npt.NDArray[np.uint8]
Int64s = npt.NDArray[np.int64]
Records = Sequence[dict[str, Any]]


def batches(
    block: bytes, offset: int, source: str, relative: str, fields: Mapping[str, str]
) -> list[tuple[pa.RecordBatch, int]] | None:
    """The documents of a block of whole lines, all of them.

    Args:
        block: the lines.
        offset: of the first in the decompressed stream.
        source: the documents' source.
        relative: the file's path below the source's root.
        fields: our column to the record's field, where they differ.

    Returns:
        Batches of at most `BATCH_ROWS` documents, each with the bytes that it was read from; None where the lines have
        to be looked at one by one.
    """
    if len(block) > records.LARGEST // 4:
        return None  # one of its documents may be larger than a file of ours can hold
    data = fixed(np.frombuffer(block, np.uint8))
    names = {name: fields.get(name, name) for name in FIELDS}
    places = _places(data, names["text"])
    if places is None:
        return None
    try:
        found = orjson.loads(_without_texts(block, places))
        columns = _columns(found, names, fields)
    except (orjson.JSONDecodeError, Unreadable):
        return None
    starts = places[:, 0].tolist()
    columns["id"] = [
        identity or derived_id(source, relative, offset + start)
        for identity, start in zip(columns["id"], starts, strict=True)
    ]
    columns["text"] = _texts(data, places)
    columns["source"] = [source] * len(starts)
    whole = pa.record_batch([_array(columns, field, len(starts)) for field in SCHEMA], schema=SCHEMA)
    sizes = places[:, 1] - places[:, 0]
    return [
        (whole.slice(first, BATCH_ROWS), int(sizes[first : first + BATCH_ROWS].sum()))
        for first in range(0, len(starts), BATCH_ROWS)
    ]


def _places(data: Bytes, name: str) -> Int64s | None:
    """int64[n, 5]: what `find_texts` says of the records; None where one has to be looked at by a parser."""
    if not is_utf8(data, fixed(np.array([0, len(data)], np.int64))):
        return None
    places = np.empty((count_lines(data), NUMBERS), np.int64)
    count = find_texts(data, fixed(np.frombuffer(name.encode(), np.uint8)), places)
    return None if count < 0 else places[:count]


def _without_texts(block: bytes, places: Int64s) -> bytes:
    """The records as one JSON list, each text an empty string.

    Every line is one value of the list if the list is valid: brackets close nowhere but at a line's end.
    """
    lefts = [
        block[start:text_start] + block[text_stop:stop] for start, stop, text_start, text_stop in places[:, :4].tolist()
    ]
    return b"[" + b",".join(lefts) + b"]"


def _columns(found: Records, names: Mapping[str, str], fields: Mapping[str, str]) -> dict[str, Any]:
    """The fields beside the text: those that a column takes, taken out of the records, and what is left as `metadata`.

    Raises:
        Unreadable: a field is no text, one that the recipe names is not there, or the rest cannot be written as JSON.
    """
    if any(fields[name] not in record for name in fields for record in found):
        raise Unreadable("a field is not there")
    if len({*names.values()}) < len(names):
        raise Unreadable("a field is taken twice: its text may be one that is not here")
    columns: dict[str, Any] = {}
    for name in FIELDS:
        values = [record.get(names[name]) for record in found]
        plain = {*map(type, values)} <= {str, type(None)}
        columns[name] = values if plain else [as_text(value, name) for value in values]
    for record in found:
        for name in names.values():
            record.pop(name, None)
    columns["metadata"] = [rest(record, ()) for record in found]
    return columns


def _texts(data: Bytes, places: Int64s) -> pa.LargeStringArray:
    offsets = np.zeros(len(places) + 1, np.int64)
    np.cumsum(places[:, 4], out=offsets[1:])
    out = np.empty(int(offsets[-1]), np.uint8)
    copy_texts(data, places, offsets, out)
    return pa.LargeStringArray.from_buffers(len(places), pa.py_buffer(offsets), pa.py_buffer(out))


def _array(columns: Mapping[str, Any], field: pa.Field[Any], rows: int) -> pa.Array[Any]:
    return pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(rows, field.type)
