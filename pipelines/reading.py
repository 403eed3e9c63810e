"""Reads a task's splits as batches of documents, whatever their container and format.

The one place where a split's format is looked up; a record that cannot be read is set aside here with its place.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .inputs import Split, Task
from .readers import documents, generated, jsonl, parquet, reasoning, text
from .readers.records import Builder, Chunk, Record, Row, Unreadable, derived_id, flush
from .readers.selection import Selection
from .recipe import SourceSpec

Make = Callable[[dict[str, Any], Mapping[str, str]], Row]


def read(task: Task, spec: SourceSpec, selection: Selection | None = None) -> Iterator[Chunk]:
    """The documents of a task, all of one source, in the order of the input.

    Args:
        task: what is read.
        spec: how.
        selection: which records; all of them where there is none.

    Raises:
        RunError: a file is gone, damaged or cut short.
    """
    if spec.format == "generated":
        for split in task:
            yield from generated.chunks(split, spec, selection)
        return
    builder = Builder(spec.name)
    make = reasoning.row if spec.format == "reasoning" else documents.row
    for split in task:
        for record in _records(split, spec, selection):
            _take(record, split, spec, make, builder)
            del record  # it may be large, and the batch has what is needed of it
            if builder.full():
                yield builder.take()
    yield from flush(builder)


def _records(split: Split, spec: SourceSpec, selection: Selection | None) -> Iterator[Record]:
    container = spec.container(split.relative)
    if container == "jsonl":
        return jsonl.records(split, selection)
    if container == "parquet":
        return parquet.records(split, selection)
    return text.records(split, spec.document, selection)


def _take(record: Record, split: Split, spec: SourceSpec, make: Make, builder: Builder) -> None:
    """Adds a record to the batch, or sets it aside with its place."""
    identity = derived_id(split.source, split.relative, record.position)
    error = record.error
    if record.value is not None:
        try:
            builder.add(identity, make(record.value, spec.fields), record.size)
            return
        except Unreadable as problem:
            error = str(problem)
    unit = "row" if spec.container(split.relative) == "parquet" else "byte"
    builder.set_aside(identity, error, f"{split.relative}, {unit} {record.position}", record.step)
