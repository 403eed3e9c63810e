"""Reads a task's splits as batches of documents, whatever their container and format.

The one place where a split's format is looked up; a record that cannot be read is set aside here with its place.
"""

from collections.abc import Callable, Iterator
from typing import Any

from .cells import Measurer
from .inputs import Split, Task
from .readers import columns, documents, generated, json_texts, jsonl, parquet, reasoning, streams, text
from .readers.records import BATCH_BYTES, Builder, Chunk, Record, Row, Unreadable, derived_id, flush
from .readers.selection import Selection
from .recipe import SourceSpec

Make = Callable[[dict[str, Any]], Row]


def read(
    task: Task, spec: SourceSpec, selection: Selection | None = None, measurer: Measurer | None = None
) -> Iterator[Chunk]:
    """The documents of a task, all of one source, in the order of the input.

    Args:
        task: what is read.
        spec: how.
        selection: which records; all of them where there is none.
        measurer: finds what records that are read one by one state of their difficulty.

    Raises:
        RunError: a file is gone, damaged or cut short.
    """
    if spec.format == "generated":
        for split in task:
            yield from generated.chunks(split, spec, selection)
        return
    builder = Builder(spec.name, measurer)
    for split in task:
        for _ in _collected(split, spec, selection, builder):
            if builder.full():
                yield builder.take()
    yield from flush(builder)


def _collected(split: Split, spec: SourceSpec, selection: Selection | None, builder: Builder) -> Iterator[None]:
    """Adds a split's documents to the batch, and yields whenever some were added."""
    container = spec.container(split.relative)
    if container == "parquet":
        for piece in parquet.slices(split, selection):
            yield from _from_parquet(piece, split, spec, builder)
        return
    if container == "jsonl" and spec.format != "reasoning" and selection is None:
        for offset, held in streams.line_blocks(split, BATCH_BYTES):
            yield from _from_lines(offset, held, split, spec, builder)
        return
    make = _maker(spec)
    found = jsonl.records(split, selection) if container == "jsonl" else text.records(split, spec.document, selection)
    for record in found:
        _take(record, split, spec, make, builder)
        del record  # it may be large, and the batch has what is needed of it
        yield


def _from_parquet(piece: parquet.Slice, split: Split, spec: SourceSpec, builder: Builder) -> Iterator[None]:
    """By columns where a slice is of plain documents that can all be read, else row by row."""
    if piece.verdict is None and piece.rows.num_rows > 1 and spec.format != "reasoning":
        found = columns.documents(piece.rows, piece.position, spec.name, split.relative, spec.columns)
        if found is not None:
            builder.add_batch(found, piece.rows.nbytes)
            yield
            return
    make = _maker(spec)
    for record in parquet.records_of(piece):
        _take(record, split, spec, make, builder)
        del record
        yield


def _from_lines(offset: int, held: list[bytes], split: Split, spec: SourceSpec, builder: Builder) -> Iterator[None]:
    """By columns where all lines of a block are plain documents that can be read, else line by line.

    What is added to the batch, or was read from, is held nowhere else meanwhile: a document may be large.
    """
    found = json_texts.batches(held[0], offset, spec.name, split.relative, spec.columns)
    if found is not None:
        held.clear()
        while found:
            builder.add_batch(*found.pop(0))
            yield
        return
    make = _maker(spec)
    for record in jsonl.records_of(offset, held.pop()):
        _take(record, split, spec, make, builder)
        del record
        yield


def _maker(spec: SourceSpec) -> Make:
    if spec.format == "reasoning":
        return lambda record: reasoning.row(record, spec.fields, spec.calculator_marks, spec.opened)
    return lambda record: documents.row(record, spec.columns)


def _take(record: Record, split: Split, spec: SourceSpec, make: Make, builder: Builder) -> None:
    """Adds a record to the batch, or sets it aside with its place."""
    error = record.error
    if record.value is not None:
        try:
            row = make(record.value)
            identity = row.id or derived_id(split.source, split.relative, record.position)
            builder.add(identity, row, record.size, record.value)
            return
        except Unreadable as problem:
            error = str(problem)
    identity = derived_id(split.source, split.relative, record.position)
    unit = "row" if spec.container(split.relative) == "parquet" else "byte"
    builder.set_aside(identity, error, f"{split.relative}, {unit} {record.position}", record.step)
