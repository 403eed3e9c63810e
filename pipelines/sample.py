"""A sample of every source, put through the steps by one process of its own: what a plan extrapolates from.

A fresh process, so that its peak of memory is a worker's; a temporary folder, so that nothing of it is left. Costs up
to 16 MiB of text a source, about a second each with the usual steps, and one start of a worker.
"""

import itertools
import multiprocessing
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba.core import event

from ..errors import MidtrainError, RunError
from ..manifest import OutputFile
from . import budget, sample_places
from .documents import DocumentStage
from .parts import HIDDEN, ROW, PartWriter
from .processes import start_fork_server
from .read_parts import is_kept, numbered, read_part
from .remove_duplicates import BY_ROWS
from .scoring import conform

T = TypeVar("T")

SAMPLE_BYTES = 16 << 20  # of a source
SAMPLE_ALL = 256 << 20  # of all sources: where there are many, each gives less
WARM_ROWS = 64  # documents that are judged once before the clock runs: models and kernels are loaded then


@dataclass(frozen=True)
class Judged:
    """What one stage made of a sample: documents and bytes of text that it kept, what that and the rest take on disk,
    and the CPU time in seconds."""

    kept: int
    text: int
    stored: int
    beside: int
    seconds: float


@dataclass(frozen=True)
class Sample:
    """A source's sample: documents, bytes that they were read from, their text, their largest, their ids' bytes.

    `stretch` is what a compressed byte of the source gives, `stages` what each stage in turn made of it.
    """

    documents: int
    bytes: int
    text: int
    largest: int
    identities: int
    stretch: float
    stages: tuple[Judged, ...]


@dataclass(frozen=True)
class Sampled:
    """The samples of all sources, and the peak of memory of the process that took them, in bytes."""

    samples: Mapping[str, Sample]
    peak: int


def take(stages: Sequence[DocumentStage], probes: Mapping[str, str]) -> Sampled:
    """Samples every source.

    Args:
        stages: the stages to go through; the first one's parents need not be finished where it reads inputs.
        probes: each source's compressed file to look into; empty where it has none.

    Raises:
        MidtrainError: what the stages themselves would raise.
        RunError: the process died.
    """
    start_fork_server()
    work = {source: sample_places.choose(stages[0], source) for source in probes}
    sampled, compiled = _in_a_process(stages, work, probes)
    if compiled:  # once on a machine: a compiler's memory is in the peak, and no worker's
        sampled, _ = _in_a_process(stages, work, probes)
    return sampled


def _in_a_process(
    stages: Sequence[DocumentStage], work: Mapping[str, Sequence[Any]], probes: Mapping[str, str]
) -> tuple[Sampled, bool]:
    """The samples, and whether kernels were compiled for them, which are on disk from then on."""
    context = multiprocessing.get_context("forkserver")
    with tempfile.TemporaryDirectory(prefix="midtrain-plan-") as folder:
        receive, send = context.Pipe(duplex=False)
        process = context.Process(target=_child, args=(send, tuple(stages), work, probes, folder), daemon=True)
        process.start()
        send.close()
        try:
            found = receive.recv()
        except EOFError:
            raise RunError(
                "the process that took the sample died",
                seen="out of memory, or a crash in native code",
                fix="a run would narrow it down to the document: midtrain curate",
            ) from None
        finally:
            process.kill()  # it has sent all that it has, or is not to be waited for
            process.join()
            receive.close()
    if isinstance(found, MidtrainError):
        raise found
    sampled, compiled = found
    return sampled, compiled


def _child(
    send: Connection,
    stages: Sequence[DocumentStage],
    work: Mapping[str, Sequence[Any]],
    probes: Mapping[str, str],
    folder: str,
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the driver alone answers it
    most = min(SAMPLE_BYTES, SAMPLE_ALL // len(work))
    try:
        samples, peaks = {}, []
        with event.install_recorder("numba:compile") as compilations:
            for number, (source, places) in enumerate(work.items()):
                samples[source] = _sample(stages, source, places, most, probes[source], Path(folder) / str(number))
                peaks.append(budget.peak())
                budget.release()
        send.send((Sampled(samples, max(peaks)), bool(compilations.buffer)))
    except MidtrainError as error:
        send.send(error)


def _sample(
    stages: Sequence[DocumentStage], source: str, places: Sequence[Any], most: int, probe: str, folder: Path
) -> Sample:
    folder.mkdir()
    stretch = sample_places.stretch_of(probe) if probe else 1.0
    places = sample_places.readable(stages[0], source, places, stretch, most, folder)
    _warm(stages, source, places, folder / "warm")
    budget.release()
    budget.reset_peak()  # what is taken only while it is loaded
    seen = _Seen()
    batches = seen.watch(sample_places.batches(stages[0], places, most // max(len(places), 1)))
    if (base := stages[0].base) is not None:
        batches = _as_part(base, source, batches, folder)
    judged, kept = [], list[OutputFile]()
    for before, stage in pairwise([None, *stages]):
        assert stage is not None  # noqa: S101 - only the first has none before it
        if before is not None:
            batches = _passed_on(folder / before.folder.name / kept[0].path, before, stage) if kept else iter(())
        started = time.process_time()
        with _writer(stage, source, folder) as writer:
            for batch in batches:
                writer.read(batch.num_rows, 0, 0)
                stage.apply(stage.foreseen_documents(batch, source), source, writer)
            result = writer.finish()
        seconds = time.process_time() - started
        kept = [file for file in result.files if is_kept(file)]
        stored = sum(file.bytes for file in kept)
        beside = sum(file.bytes for file in result.files) - stored
        judged.append(Judged(result.counts["kept"], result.counts["text_bytes"], stored, beside, seconds))
    return Sample(seen.documents, seen.bytes, seen.text, seen.largest, seen.identities, stretch, tuple(judged))


def _passed_on(path: Path, before: DocumentStage, stage: DocumentStage) -> Iterator[pa.RecordBatch]:
    """What a stage sees of the part that the one before it made of a sample."""
    if before.scoring:
        return read_part(path, before.schema().names)
    return numbered(path, BY_ROWS) if stage.base is not None else read_part(path)


def _as_part(
    stage: DocumentStage, source: str, batches: Iterator[pa.RecordBatch], folder: Path
) -> Iterator[pa.RecordBatch]:
    """Documents that a stage has scored as the first part of that stage, whose rows can then be kept by number."""
    with _writer(stage, source, folder) as writer:
        for batch in batches:
            writer.read(batch.num_rows, 0, 0)
            writer.keep(conform(batch, stage.schema()))
        kept = [file for file in writer.finish().files if is_kept(file)]
    rows = 0
    for batch in read_part(folder / stage.folder.name / kept[0].path, stage.schema().names) if kept else ():
        yield batch.append_column(ROW, pa.array(np.arange(rows, rows + batch.num_rows, dtype=np.int32)))
        rows += batch.num_rows


def _writer(stage: DocumentStage, source: str, folder: Path) -> PartWriter:
    """Of the first task of a stage, below a folder that has no other output."""
    rows_of = "" if stage.base is None else f"{stage.base.folder.name}/part-00000.parquet"
    return PartWriter(folder / stage.folder.name, 0, source, stage.schema(), rows_of)


class _Seen:
    """Counts the documents that go by."""

    documents = bytes = text = largest = identities = 0

    def watch(self, batches: Iterator[tuple[pa.RecordBatch, int]]) -> Iterator[pa.RecordBatch]:
        for batch, size in batches:
            lengths = pc.binary_length(batch.column("text"))
            self.documents += batch.num_rows
            self.bytes += size
            self.text += pc.sum(lengths).as_py() or 0
            self.largest = max(self.largest, pc.max(lengths).as_py() or 0)
            self.identities += pc.sum(pc.binary_length(batch.column("id"))).as_py() or 0
            yield batch


def _warm(stages: Sequence[DocumentStage], source: str, places: Sequence[Any], folder: Path) -> None:
    """Has every stage judge a few documents, so that what it loads once is in nobody's time."""
    batches = (batch for place in places[:1] for batch, _ in sample_places.peek(stages[0], place))
    for batch in itertools.islice(batches, 1):
        batch = batch.select([name for name in batch.schema.names if not name.startswith(HIDDEN)])
        for stage in stages:
            if stage.base is not None:
                continue  # it loads nothing, and the batch has no scores
            with _writer(stage, source, folder) as writer:
                stage.apply(stage.foreseen_documents(batch.slice(0, WARM_ROWS), source), source, writer)
                writer.abandon()
