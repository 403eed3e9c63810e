"""The records that readers make, and the builder that turns them into Arrow batches of documents.

Containers (JSONL, Parquet, plain text) give located records, a format (documents, reasoning) makes rows of them, and
rows become batches of a few megabytes here, so that a new container or format is one small module. Costs about 3 µs a
record beside the parsing.
"""

import datetime
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa
import xxhash

from ...filters.document import SCHEMA
from ..cells import Measurer

BATCH_BYTES = 4 << 20  # text in a batch: large enough for kernels, small enough for a worker's cache
BATCH_ROWS = 8192
LARGEST = 1 << 30  # bytes of one text: Parquet's pages and 32-bit offsets end at twice as much
READ, POISONED = "read", "process"  # the step that a record was set aside in


class Record(NamedTuple):
    """One record of a container: its position in the file (part of the id), its size, its value or what is wrong.

    `step` is what is wrong with it: it cannot be read, or it kills its process.
    """

    position: int
    size: int
    value: dict[str, Any] | None
    error: str = ""
    step: str = READ


class Row(NamedTuple):
    """One document on its way into a batch; fields as in the documents' schema.

    Of a reasoning record also what was counted on the way: the layout that was taken for it, and its repairs.
    """

    text: str
    id: str | None = None
    url: str | None = None
    date: str | None = None
    language: str | None = None
    metadata: str | None = None
    messages: list[dict[str, str | None]] | None = None
    answer: str | None = None
    layout: str = ""
    repairs: tuple[str, ...] = ()


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
    """A batch of documents with what was set aside on the way to it.

    `reasoning` counts its records by layout and by repair: {"layouts": {name: n}, "repairs": {name: n}}. `stated` are
    the numbers of what its documents state of their difficulty; None where they were not read one by one.
    """

    batch: pa.RecordBatch
    quarantined: tuple[Quarantined, ...]
    bytes: int
    reasoning: dict[str, dict[str, int]] = field(default_factory=dict)
    stated: tuple[int, ...] | None = None


class Unreadable(ValueError):
    """A record that cannot become a document: quarantined with this text as the reason."""


@dataclass
class Builder:
    """Collects documents of one source into record batches: rows, and batches as they are.

    Args:
        source: their source.
        measurer: finds what records state of their difficulty; None where nobody asks.
        rows: those that are not in a batch yet, each with its id.
        batches: of `SCHEMA`, before the rows.
        quarantined: what was set aside on the way.
        bytes: that all of it was read from.
        layouts: of how many reasoning records which layout was taken.
        repairs: how many reasoning records were repaired in which way.
        stated: the number of what each row's record states of its difficulty.
    """

    source: str
    measurer: Measurer | None = None
    rows: list[tuple[str, Row]] = field(default_factory=list)
    batches: list[pa.RecordBatch] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    bytes: int = 0
    layouts: Counter[str] = field(default_factory=Counter)
    repairs: Counter[str] = field(default_factory=Counter)
    stated: list[int] = field(default_factory=list)

    def add(self, identity: str, row: Row, size: int, record: Mapping[str, Any] | None = None) -> None:
        """Adds a document; `identity` is its id where the input names none, `record` what it was made of.

        Raises:
            Unreadable: a text is larger than a file of ours can hold.
        """
        _check_size(row)
        self.rows.append((row.id or identity, row))
        if self.measurer is not None and record is not None:
            self.stated.append(self.measurer.number(record))
        if row.layout:
            self.layouts[row.layout] += 1
        if row.repairs:
            self.repairs.update(row.repairs)
        self.bytes += size

    def add_batch(self, documents: pa.RecordBatch, size: int) -> None:
        """Adds documents, which were read from so many bytes."""
        if self.rows:
            self._close_rows()
        self.batches.append(documents)
        self.bytes += size

    def set_aside(self, identity: str, error: str, place: str, step: str = READ) -> None:
        """Quarantines a record that cannot be read, or that kills its process."""
        self.quarantined.append(Quarantined(identity, self.source, step, error, place))

    def full(self) -> bool:
        """Whether the batch has its size."""
        return self.bytes >= BATCH_BYTES or len(self.rows) + sum(map(len, self.batches)) >= BATCH_ROWS

    def take(self) -> Chunk:
        """The batch so far; the builder starts anew."""
        if self.rows or not self.batches:
            self._close_rows()
        batch = self.batches[0] if len(self.batches) == 1 else pa.concat_batches(self.batches)
        counted = {"layouts": dict(self.layouts), "repairs": dict(self.repairs)}
        found = {name: counts for name, counts in counted.items() if counts}
        stated = tuple(self.stated) if len(self.stated) == batch.num_rows else None
        chunk = Chunk(batch, tuple(self.quarantined), self.bytes, found, stated)
        self.batches, self.quarantined, self.bytes, self.stated = [], [], 0, []
        self.layouts, self.repairs = Counter(), Counter()
        return chunk

    def _close_rows(self) -> None:
        """Makes a batch of the rows, an empty one of none."""
        columns: dict[str, Sequence[Any]] = dict.fromkeys(Row._fields, ())
        if self.rows:
            columns |= zip(Row._fields, zip(*(row for _, row in self.rows), strict=True), strict=True)
        columns |= {"id": [identity for identity, _ in self.rows], "source": [self.source] * len(self.rows)}
        arrays = [pa.array(columns[column.name], column.type) for column in SCHEMA]
        self.batches.append(pa.record_batch(arrays, schema=SCHEMA))
        self.rows = []


def derived_id(source: str, relative: str, position: int) -> str:
    """xxh3-128 of source name, path below the source's root, and position, in hexadecimal."""
    return xxhash.xxh3_128_hexdigest(f"{source}\0{relative}\0{position}".encode())


def poisonous(verdict: str, position: int, size: int) -> Iterator[Record]:
    """The record as it is set aside without being read; nothing where it is passed by without a word."""
    if verdict:
        yield Record(position, size, None, verdict, POISONED)


def _check_size(row: Row) -> None:
    if len(row.text) + len(row.metadata or "") + len(row.answer or "") <= LARGEST // 4:
        return
    for name, text in (("text", row.text), ("metadata", row.metadata), ("answer", row.answer)):
        if text is not None and len(text) > LARGEST // 4 and len(text.encode()) > LARGEST:
            raise Unreadable(f"the {name} is larger than {LARGEST:,} bytes")


def flush(builder: Builder) -> Iterator[Chunk]:
    """What is left in a builder, if anything is."""
    if builder.rows or builder.batches or builder.quarantined:
        yield builder.take()


def kind(value: object) -> str:
    """The name of a JSON value's type, for messages."""
    names = {type(None): "null", bool: "a truth value", int: "a number", float: "a number", str: "text"}
    names |= {list: "a list", dict: "a mapping"}
    return names.get(type(value), type(value).__name__)


def optional_text(record: dict[str, Any], name: str | None) -> str | None:
    """A field as `as_text` has it; None where it is absent."""
    return as_text(record.get(name), name) if name is not None else None


def as_text(value: Any, name: str) -> str | None:
    """A field's value as text: text as it is, numbers, truth values and dates (ISO 8601) written out; None for null, or
    NaN, which is what some writers of Parquet make of a number that is missing.

    Raises:
        Unreadable: the field holds a list or a mapping.
    """
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
