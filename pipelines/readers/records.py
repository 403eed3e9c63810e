"""The records that readers make, and the builder that turns them into Arrow batches of documents.

Containers (JSONL, Parquet, plain text) give located records, a format (documents, reasoning) makes rows of them, and
rows become batches of a few megabytes here, so that a new container or format is one small module. Costs about 5 µs a
record beside the parsing.
"""

import datetime
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import xxhash

from ...filters.document import SCHEMA

BATCH_BYTES = 4 << 20  # text in a batch: large enough for kernels, small enough for a worker's cache
BATCH_ROWS = 8192
LARGEST = 1 << 30  # bytes of one text: Parquet's pages and 32-bit offsets end at twice as much
READ, POISONED = "read", "process"  # the step that a record was set aside in


@dataclass(frozen=True)
class Record:
    """One record of a container: its position in the file (part of the id), its size, its value or what is wrong.

    `step` is what is wrong with it: it cannot be read, or it kills its process.
    """

    position: int
    size: int
    value: dict[str, Any] | None
    error: str = ""
    step: str = READ


@dataclass(frozen=True)
class Row:
    """One document on its way into a batch; fields as in the documents' schema."""

    text: str
    id: str | None = None
    url: str | None = None
    date: str | None = None
    language: str | None = None
    metadata: str | None = None
    messages: list[dict[str, str | None]] | None = None
    answer: str | None = None


@dataclass(frozen=True)
class Quarantined:
    """A document that could not be read or that made a step raise, and where it stands."""

    id: str
    source: str
    step: str
    error: str
    place: str


@dataclass(frozen=True)
class Chunk:
    """A batch of documents with what was set aside on the way to it."""

    batch: pa.RecordBatch
    quarantined: tuple[Quarantined, ...]
    bytes: int


class Unreadable(ValueError):
    """A record that cannot become a document: quarantined with this text as the reason."""


@dataclass
class Builder:
    """Collects rows of one source into record batches."""

    source: str
    rows: list[tuple[str, Row]] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    bytes: int = 0

    def add(self, identity: str, row: Row, size: int) -> None:
        """Adds a document; `identity` is its id where the input names none.

        Raises:
            Unreadable: a text is larger than a file of ours can hold.
        """
        _check_size(row)
        self.rows.append((row.id or identity, row))
        self.bytes += size

    def set_aside(self, identity: str, error: str, place: str, step: str = READ) -> None:
        """Quarantines a record that cannot be read, or that kills its process."""
        self.quarantined.append(Quarantined(identity, self.source, step, error, place))

    def full(self) -> bool:
        """Whether the batch has its size."""
        return self.bytes >= BATCH_BYTES or len(self.rows) >= BATCH_ROWS

    def take(self) -> Chunk:
        """The batch so far; the builder starts anew."""
        columns = {
            "id": [identity for identity, _ in self.rows],
            "source": [self.source] * len(self.rows),
        }
        arrays = []
        for column in SCHEMA:
            values = columns.get(column.name) or [getattr(row, column.name) for _, row in self.rows]
            arrays.append(pa.array(values, column.type))
        chunk = Chunk(pa.record_batch(arrays, schema=SCHEMA), tuple(self.quarantined), self.bytes)
        self.rows, self.quarantined, self.bytes = [], [], 0
        return chunk


def derived_id(source: str, relative: str, position: int) -> str:
    """xxh3-128 of source name, path below the source's root, and position, in hexadecimal."""
    return xxhash.xxh3_128_hexdigest(f"{source}\0{relative}\0{position}".encode())


def poisonous(verdict: str, position: int, size: int) -> Iterator[Record]:
    """The record as it is set aside without being read; nothing where it is passed by without a word."""
    if verdict:
        yield Record(position, size, None, verdict, POISONED)


def _check_size(row: Row) -> None:
    for name, text in (("text", row.text), ("metadata", row.metadata), ("answer", row.answer)):
        if text is not None and len(text) > LARGEST // 4 and len(text.encode()) > LARGEST:
            raise Unreadable(f"the {name} is larger than {LARGEST:,} bytes")


def flush(builder: Builder) -> Iterator[Chunk]:
    """What is left in a builder, if anything is."""
    if builder.rows or builder.quarantined:
        yield builder.take()


def kind(value: object) -> str:
    """The name of a JSON value's type, for messages."""
    names = {type(None): "null", bool: "a truth value", int: "a number", float: "a number", str: "text"}
    names |= {list: "a list", dict: "a mapping"}
    return names.get(type(value), type(value).__name__)


def optional_text(record: dict[str, Any], name: str | None) -> str | None:
    """A field as text: text as it is, numbers, truth values and dates (ISO 8601) written out; None where it is absent,
    null, or NaN, which is what some writers of Parquet make of a number that is missing.

    Raises:
        Unreadable: the field holds a list or a mapping.
    """
    value = record.get(name) if name is not None else None
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, (datetime.date, datetime.time)):  # a datetime is a date
        return value.isoformat()
    raise Unreadable(f"field {name} is {kind(value)}, not text")


def required_text(record: dict[str, Any], name: str) -> str:
    """A field that must be there and be text.

    Raises:
        Unreadable: it is not.
    """
    if name not in record:
        raise Unreadable(f"no field {name}")
    value = record[name]
    if not isinstance(value, str):
        raise Unreadable(f"field {name} is {kind(value)}, not text")
    return value
