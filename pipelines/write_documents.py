"""`midtrain write`: the documents of a curated output as plain files, for tools that know nothing of its manifest.

An output may hold row numbers in place of documents, and parts with documents that were dropped later; whoever reads
its files without the manifest would be wrong. Costs a read of the kept documents and a write.
"""

import contextlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import zstandard

from .. import storage
from ..errors import ConfigError
from ..filters.document import SCORE_PREFIX
from ..manifest import NAME, Manifest, OutputFile
from ..progress import Progress
from ..storage import Location
from . import footprints
from .curation import Curation, open_curation
from .executor import Executor
from .output import EVENTS, Output
from .parts import ROW_GROUP_BYTES, ROWS
from .read_parts import largest_part, read_part
from .runner import STALL, Runner
from .stage import MARKERS, Stage, TaskResult

Format = Literal["parquet", "jsonl.zst"]
_OURS = re.compile(r"part-\d{5,}\.(parquet|jsonl\.zst)")
RECORD = "write.json"  # what is being written, beside it: a killed run goes on only with the same


@dataclass(frozen=True)
class WriteDocuments(Stage):
    """The kept documents of a curated output, one task a part, in files that lie in the root itself.

    Args:
        curated: the output.
        files: its parts, in their order.
        of: its fingerprint.
        format: of the files.
        largest: bytes of text and rows that one has to go through to read a part, at most.
    """

    curated: Location
    files: tuple[OutputFile, ...]
    of: str
    format: Format
    largest: tuple[int, int]

    version: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """`write`."""
        return "write"

    @cached_property
    def folder(self) -> Location:
        """The root."""
        return self.root

    def options(self) -> dict[str, Any]:
        """What is written, and how."""
        return {"of": self.of, "format": self.format}

    def tasks(self) -> int:
        """One a part."""
        return len(self.files)

    def memory(self) -> int:
        """As of a stage that passes documents on without a step."""
        return footprints.passing(*self.largest, (), 0)

    def run(self, task: int) -> TaskResult:
        """Writes a part."""
        part = self.files[task]
        name = f"part-{task:05d}.{self.format}"
        batches = read_part(self.curated / part.path)
        with storage.atomic_write(self.folder / name) as stream:
            rows, text = (_parquet if self.format == "parquet" else _json_lines)(batches, stream)
            file = OutputFile.written(name, stream, rows, part.source)
        counts = {"documents": rows, "kept": rows, "bytes": text}
        return TaskResult((file,), {**counts, "sources": {part.source: counts}})


def write(
    output: str,
    folder: str,
    form: Format,
    executor: Executor,
    progress: Progress,
    overwrite: bool = False,
    stall: float = STALL,
) -> tuple[Manifest, int]:
    """Writes the documents of a curated output.

    Args:
        output: the output of curate.
        folder: where the files go; it is made, and holds nothing else.
        form: of the files.
        executor: where the tasks run; it is closed when they have.
        progress: what the person sees.
        overwrite: whether what an earlier call wrote there may be replaced.
        stall: seconds without any task ending after which the run is given up.

    Returns:
        The manifest of what was written, and the number of tasks that were run for it.

    Raises:
        ConfigError: there is no such output, or the folder holds something else.
        RunError: a file is gone or damaged, or another run is at work in the folder.
    """
    stage = stage_of(open_curation(output), folder, form)
    _check_folder(stage, output, overwrite)
    target = Output(stage.root, "write")
    with target.opened() as events, Runner(executor, events, progress, stall) as runner:
        if _recorded(stage.root) not in (None, stage.fingerprint):
            _remove(stage.root)
        target.record(RECORD, orjson.dumps({"fingerprint": stage.fingerprint, "of": output}).decode(), "")
        return runner.ensure(stage), runner.tasks_run


def stage_of(curation: Curation, folder: str, form: Format) -> WriteDocuments:
    """What writes a curation's documents."""
    manifest = curation.manifest
    if not manifest.files:
        raise ConfigError(
            "there is nothing to write: the output keeps no document",
            where=str(curation.root),
            fix=f"midtrain report {curation.root} says what dropped them",
        )
    holder = next(stage for stage in reversed(curation.stages) if not stage.files(ROWS))  # where the texts stand
    largest = largest_part(holder.manifest)
    return WriteDocuments(storage.location(folder), curation.root, manifest.files, manifest.fingerprint, form, largest)


def _check_folder(stage: WriteDocuments, output: str, overwrite: bool) -> None:
    there = set(storage.names(stage.root)) - {".lock", EVENTS}
    if not there:
        return
    recorded = _recorded(stage.root)
    if recorded is None:
        raise ConfigError(
            "the folder is not empty, and what lies there was not written by midtrain write",
            where=str(stage.root),
            seen=", ".join(sorted(there)[:3]),
            fix="name a new folder",
        )
    if recorded != stage.fingerprint and not overwrite:
        raise ConfigError(
            "the folder holds other documents, or these in another format",
            where=str(stage.root),
            expected=f"those of {output}",
            fix="name a new folder, or pass --overwrite",
        )


def _recorded(folder: Location) -> str | None:
    data = storage.read_if_there(folder / RECORD)
    try:
        return None if data is None else str(orjson.loads(data)["fingerprint"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ""  # half written: of nothing that can go on


def _remove(folder: Location) -> None:
    """What an earlier call wrote; the manifest first."""
    storage.remove(folder / NAME)
    storage.remove_tree(folder / MARKERS)
    for name in storage.names(folder):
        if _OURS.fullmatch(name):
            storage.remove(folder / name)


def _parquet(batches: Iterator[pa.RecordBatch], stream: Any) -> tuple[int, int]:
    """Writes row groups of about 32 MB; gives the rows and the bytes of their texts."""
    rows, text = 0, 0
    with contextlib.ExitStack() as stack:
        writer: pq.ParquetWriter | None = None
        for group in _groups(batches):
            if writer is None:
                writer = pq.ParquetWriter(stream, group.schema, compression="zstd", use_dictionary=["source"])
                stack.enter_context(writer)
            writer.write_table(group, row_group_size=group.num_rows)
            rows, text = rows + group.num_rows, text + _text_bytes(group)
    return rows, text


def _groups(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    held, size = list[pa.RecordBatch](), 0
    for batch in batches:
        held.append(batch)
        size += batch.nbytes
        if size >= ROW_GROUP_BYTES:
            yield pa.Table.from_batches(held)
            held, size = [], 0
    if held:
        yield pa.Table.from_batches(held)


def _json_lines(batches: Iterator[pa.RecordBatch], stream: Any) -> tuple[int, int]:
    """Writes a document a line, without the fields that it has not; gives their number and the bytes of their texts."""
    rows, text = 0, 0
    with zstandard.ZstdCompressor().stream_writer(stream, closefd=False) as compressed:
        for batch in batches:
            rows, text = rows + batch.num_rows, text + _text_bytes(batch)
            lines = io.BytesIO()
            for document in batch.to_pylist():
                lines.write(orjson.dumps(_plain(document), option=orjson.OPT_APPEND_NEWLINE))
            compressed.write(lines.getbuffer())
    return rows, text


def _plain(document: dict[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in document.items() if value is not None and not name.startswith(SCORE_PREFIX)}
    if "metadata" in found:
        found["metadata"] = orjson.Fragment(found["metadata"])
    scores = {
        name.removeprefix(SCORE_PREFIX): value for name, value in document.items() if name.startswith(SCORE_PREFIX)
    }
    return {**found, "scores": scores} if scores else found


def _text_bytes(batch: pa.RecordBatch | pa.Table) -> int:
    return pc.sum(pc.binary_length(batch.column("text"))).as_py() or 0
