"""Documents between Arrow's columns and datatrove's objects: what a block sees, and what of its changes comes back.

A block may read any field that datatrove's readers would have put into the metadata, and may leave labels and scores
there that a later step or a mixture asks for. Costs a Python object and two dictionaries per document.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import orjson
import pyarrow as pa

from . import exact_json
from .document import SCHEMA, DocumentBatch

if TYPE_CHECKING:
    from collections.abc import Sequence

OWN: Final = ("url", "date", "language")  # columns that are metadata in datatrove's documents
_NESTED: Final = "metadata"  # a field of this name is unfolded by datatrove's readers


def documents(batch: DocumentBatch) -> tuple[list[Any], list[dict[str, Any]]]:
    """datatrove's documents, and a copy of each one's metadata as they were given."""
    from datatrove.data import Document

    names = ("id", "text", "source", _NESTED, *OWN)
    columns = [batch.column(name).to_pylist() for name in names]
    made, given = [], []
    for identity, text, source, kept, *own in zip(*columns, strict=True):
        metadata = _flat(_loaded(kept)) | {"source": source}
        metadata |= {name: value for name, value in zip(OWN, own, strict=True) if value is not None}
        made.append(Document(text=text, id=identity, metadata=metadata))
        given.append(dict(metadata))
    return made, given


def written_back(batch: DocumentBatch, made: Sequence[Any], given: Sequence[dict[str, Any]]) -> DocumentBatch:
    """The batch with the texts and metadata of the documents, where they were changed.

    Raises:
        ValueError, TypeError: a text is no text, metadata cannot be JSON, or url, date or language is no text.
    """
    texts = [document.text for document in made]
    if texts != batch.column("text").to_pylist():
        batch = batch.with_column("text", pa.array(texts, pa.large_string()))
    changed = [row for row, document in enumerate(made) if document.metadata != given[row]]
    if not changed:
        return batch
    columns = {name: batch.column(name).to_pylist() for name in (*OWN, _NESTED)}
    for row in changed:
        before, after = given[row], made[row].metadata
        new = {name: value for name, value in after.items() if name not in before or before[name] != value}
        gone = [name for name in before if name not in after]
        for name in OWN:
            if name in new or name in gone:
                columns[name][row] = new.pop(name, None)
        columns[_NESTED][row] = _merged(columns[_NESTED][row], new, gone)
    for name, values in columns.items():
        batch = batch.with_column(name, pa.array(values, SCHEMA.field(name).type))
    return batch


def _loaded(kept: str | None) -> dict[str, Any]:
    return dict(exact_json.loads(kept)) if kept else {}


def _flat(fields: dict[str, Any]) -> dict[str, Any]:
    """The input's other fields as datatrove's readers lay them out: those of a field `metadata` beside the others."""
    if _NESTED not in fields:
        return fields
    nested = fields.pop(_NESTED)
    if isinstance(nested, str):
        with contextlib.suppress(orjson.JSONDecodeError):
            nested = exact_json.loads(nested)
    return (nested if isinstance(nested, dict) else {_NESTED: nested}) | fields


def _plain(value: Any) -> Any:
    """numpy's arrays and numbers as Python's."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is none of JSON")


def _merged(kept: str | None, new: dict[str, Any], gone: Sequence[str]) -> str | None:
    if not new and not gone:
        return kept
    fields = _flat(_loaded(kept)) | new
    for name in gone:
        fields.pop(name, None)
    return exact_json.dumps(fields, _plain, orjson.OPT_SERIALIZE_NUMPY) if fields else None
