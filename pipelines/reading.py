"""Reads a task's splits as batches of documents, whatever their container and format.

The one place where a split's format is looked up; a record that cannot be read is set aside here with its place.
"""

from collections.abc import Iterator

from .inputs import Split, Task
from .readers import documents, generated, jsonl, parquet, reasoning, text
from .readers.records import Builder, Chunk, Record, Unreadable, derived_id, flush
from .recipe import SourceSpec


def read(task: Task, spec: SourceSpec) -> Iterator[Chunk]:
    """The documents of a task, all of one source, in the order of the input.

    Raises:
        RunError: a file is gone, damaged or cut short.
    """
    if spec.format == "generated":
        for split in task:
            yield from generated.chunks(split, spec)
        return
    builder = Builder(spec.name)
    make = reasoning.row if spec.format == "reasoning" else documents.row
    for split in task:
        for record in _records(split, spec):
            identity = derived_id(split.source, split.relative, record.position)
            if record.value is None:
                builder.set_aside(identity, record.error, _place(split, spec, record))
            else:
                try:
                    builder.add(identity, make(record.value, spec.fields), record.size)
                except Unreadable as error:
                    builder.set_aside(identity, str(error), _place(split, spec, record))
            if builder.full():
                yield builder.take()
    yield from flush(builder)


def _records(split: Split, spec: SourceSpec) -> Iterator[Record]:
    container = spec.container(split.path)
    if container == "jsonl":
        return jsonl.records(split)
    if container == "parquet":
        return parquet.records(split)
    return text.records(split, spec.document)


def _place(split: Split, spec: SourceSpec, record: Record) -> str:
    unit = "row" if spec.container(split.path) == "parquet" else "byte"
    return f"{split.relative}, {unit} {record.position}"
