"""Web text and other plain documents: a record's fields onto the documents' columns.

`text` must be there; id, url, date and language are taken where the record has them; all else is kept in `metadata`
as JSON, so that nothing of the input is lost.
"""

from collections.abc import Collection, Mapping
from typing import Any

import orjson

from ...filters import exact_json
from .records import Row, Unreadable, optional_text, required_text

FIELDS = ("text", "id", "url", "date", "language")


def row(record: dict[str, Any], fields: Mapping[str, str]) -> Row:
    """The document of a record.

    Args:
        record: the JSON object or Parquet row.
        fields: our column to the record's field, where they differ.

    Raises:
        Unreadable: the text is missing or not text.
    """
    names = [fields.get(name, name) for name in FIELDS] if fields else FIELDS
    for name in fields:
        if name != "text" and fields[name] not in record:
            required_text(record, fields[name])
    text = required_text(record, names[0])
    identity, url, date, language = [optional_text(record, name) for name in names[1:]]
    return Row(text, identity, url, date, language, rest(record, names))


def rest(record: Mapping[str, Any], used: Collection[str]) -> str | None:
    """The fields that no column takes, as JSON; None where there are none.

    Raises:
        Unreadable: they cannot be written as JSON: nested deeper than 254 levels.
    """
    left = {key: value for key, value in record.items() if key not in used}
    try:
        return exact_json.dumps(left, default=str) if left else None
    except orjson.JSONEncodeError as error:
        raise Unreadable(f"the fields beside the text cannot be kept as JSON: {error}") from None
