"""Web text and other plain documents: a record's fields onto the documents' columns.

`text` must be there; id, url, date and language are taken where the record has them; all else is kept in `metadata`
as JSON, so that nothing of the input is lost.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from .records import Row, Unreadable, optional_text, required_text


def row(record: dict[str, Any], fields: Mapping[str, str]) -> Row:
    """The document of a record.

    Args:
        record: the JSON object or Parquet row.
        fields: our column to the record's field, where they differ.

    Raises:
        Unreadable: the text is missing or not text.
    """
    names = {name: fields.get(name, name) for name in ("text", "id", "url", "date", "language")}
    for name in fields:
        if name != "text" and names[name] not in record:
            required_text(record, names[name])
    return Row(
        text=required_text(record, names["text"]),
        id=optional_text(record, names["id"]),
        url=optional_text(record, names["url"]),
        date=optional_text(record, names["date"]),
        language=optional_text(record, names["language"]),
        metadata=rest(record, set(names.values())),
    )


def rest(record: dict[str, Any], used: set[str]) -> str | None:
    """The fields that no column takes, as JSON; None where there are none.

    Raises:
        Unreadable: they cannot be written as JSON: nested deeper than 254 levels, or a number of more than 64 bits.
    """
    left = {key: value for key, value in record.items() if key not in used}
    try:
        return orjson.dumps(left, default=str).decode() if left else None
    except orjson.JSONEncodeError as error:
        raise Unreadable(f"the fields beside the text cannot be kept as JSON: {error}") from None
