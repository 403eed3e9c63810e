"""A sample of every source, put through the steps by one process of its own: what a plan extrapolates from.

A fresh process, so that its peak of memory is a worker's; a temporary folder, so that nothing of it is left. Costs up
to 16 MiB of text a source, about a second each with the usual steps, and one start of a worker.
"""

import io
import itertools
import multiprocessing
import signal
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import zstandard

from .. import storage
from ..errors import MidtrainError, RunError
from ..manifest import OutputFile
from . import budget, tasks
from .deciding import Decide
from .documents import DocumentStage, ReadDocuments
from .inputs import InputFile, Split, Task
from .parts import HIDDEN, ROW, TEXT_BYTES, PartWriter, is_kept, numbered, read_part
from .processes import start_fork_server
from .readers.records import BATCH_BYTES
from .readers.streams import BUFFER
from .reading import read
from .remove_duplicates import BY_ROWS, FromParts
from .scoring import conform

T = TypeVar("T")

SAMPLE_BYTES = 16 << 20  # of a source
SAMPLE_ALL = 256 << 20  # of all sources: where there are many, each gives less
PLACES = 4  # of a source, that the sample is taken from
WARM_ROWS = 64  # documents that are judged once before the clock runs: models and kernels are loaded then
LOOK_BYTES = 512 << 20  # of a compressed stream that are unpacked at most to reach a place inside (about 1 s)
PROBE_BYTES = 4 << 20  # of a compressed file that are unpacked to see how far they stretch


@dataclass(frozen=True)
class Inside:
    """A place in a compressed file of lines: the split of the whole file, its bytes, and how far in, from 0 to 1."""

    whole: Split
    size: int
    at: float


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
    context = multiprocessing.get_context("forkserver")
    work = {source: _places(stages[0], source) for source in probes}
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
    assert isinstance(found, Sampled)  # noqa: S101 - our own child's other answer
    return found


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
        for number, (source, places) in enumerate(work.items()):
            samples[source] = _sample(stages, source, places, most, probes[source], Path(folder) / str(number))
            peaks.append(budget.peak())
            budget.release()
        send.send(Sampled(samples, max(peaks)))
    except MidtrainError as error:
        send.send(error)


def _sample(
    stages: Sequence[DocumentStage], source: str, places: Sequence[Any], most: int, probe: str, folder: Path
) -> Sample:
    folder.mkdir()
    stretch = _stretch(probe) if probe else 1.0
    unpacked = [_unpacked(place, stretch, most // len(places), folder) for place in places]
    places = _each_once(unpacked) if any(isinstance(place, Inside) for place in places) else unpacked
    places = [place for place in places if _holds(stages[0], place)] or _first(stages[0], source)
    _warm(stages, source, places, folder / "warm")
    budget.release()
    budget.reset_peak()  # what a kernel takes while it is compiled, once on a machine, is no worker's
    seen = _Seen()
    batches = seen.watch(_taken(stages[0], places, most // max(len(places), 1)))
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
                stage.apply(batch, source, writer)
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


def _places(stage: DocumentStage, source: str) -> list[Any]:
    """A few places of a source at which reading can begin, spread over it.

    They are tasks of a stage that reads, or places in large compressed files that are not cut yet, and parts of the
    earlier stage of one that passes on.
    """
    if isinstance(stage, FromParts):
        return _spread([part for part in stage.upstream.parts if part.source == source])
    assert isinstance(stage, ReadDocuments)  # noqa: S101 - there are two kinds
    done = stage.cutting is None or stage.cutting.manifest() is not None
    large = [file for file in stage.cutting.files if file.source == source] if stage.cutting and not done else []
    if large:
        return [_inside(large, (2 * number + 1) / (2 * PLACES)) for number in range(PLACES)]
    spec = next(one for one in stage.sources if one.name == source)
    pieces = stage.cutting.pieces if stage.cutting and done else {}
    stretches = _spread([stretch for stretch in stage.foreseen if stretch.source == source])
    return [tasks.splits(stretch, spec, stage.files.by_source[source], pieces) for stretch in stretches]


def _spread(items: Sequence[T]) -> list[T]:
    """At most `PLACES` of the items, in the middle of equal stretches."""
    count = min(PLACES, len(items))
    return [items[(2 * number + 1) * len(items) // (2 * count)] for number in range(count)]


def _inside(files: Sequence[InputFile], at: float) -> Inside:
    """A place in one of some files, `at` of the way through all of them."""
    number, rest = divmod(at * len(files), 1)
    file = files[int(number)]
    return Inside(Split(file.source, file.path, file.relative, 0, -1), file.size, rest)


def _peek(stage: DocumentStage, place: Any) -> Iterator[tuple[pa.RecordBatch, int]]:
    """The documents that the steps would see from there, with the bytes that they were read from.

    What an exchange would leave out is among them: it need not be finished.
    """
    if isinstance(stage, ReadDocuments):
        source = next(one for one in stage.sources if one.name == place[0].source)
        yield from ((chunk.batch, chunk.bytes) for chunk in read(place, source))
    elif isinstance(stage, FromParts):
        columns = stage.upstream.schema().names if isinstance(stage, Decide) else None
        if stage.base is not None and columns is None:
            columns = [*stage.upstream.schema().names, TEXT_BYTES]
        parts = read_part(stage.upstream.folder / place.path, columns)
        yield from ((batch, batch.nbytes) for batch in parts)


def _holds(stage: DocumentStage, place: Any) -> bool:
    """Whether a document begins there: a task may lie within a single long line."""
    return any(batch.num_rows for batch, _ in itertools.islice(_peek(stage, place), 1))


def _first(stage: DocumentStage, source: str) -> list[Any]:
    """The first task of a source that holds a document, if any does."""
    if not isinstance(stage, ReadDocuments) or stage.cutting is not None:
        return []
    files, spec = stage.files.by_source[source], next(one for one in stage.sources if one.name == source)
    found = (tasks.splits(stretch, spec, files, {}) for stretch in stage.foreseen if stretch.source == source)
    return list(itertools.islice(filter(lambda one: _holds(stage, one), found), 1))


def _each_once(places: Sequence[Task]) -> list[Task]:
    """Of places that were unpacked to equal lines (all inside one very long one) the first."""
    found = {storage.hash_file(place[0].path): place for place in reversed(places)}
    return list(reversed(found.values()))


def _unpacked(place: Any, stretch: float, most: int, folder: Path) -> Any:
    """A place that can be read at once: of one inside a compressed file its lines, in a file of their own."""
    if not isinstance(place, Inside):
        return place
    path = folder / f"{place.at:.6f}-{Path(place.whole.path).stem}"  # what it was called before it was compressed
    start = min(int(place.at * place.size * stretch), LOOK_BYTES)
    if not _copy_lines(place.whole.path, start, most, path):
        _copy_lines(place.whole.path, 0, most, path)  # the stream is shorter than it was taken to be
    return (replace(place.whole, path=str(path)),)


def _copy_lines(path: str, start: int, most: int, copy: Path) -> int:
    """Writes the lines of a compressed file from the one that holds a byte of its stream, so many bytes, or that line.

    Returns:
        The bytes that were written.
    """
    with storage.open_stream(path) as raw, copy.open("wb") as lines:
        stream = cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, raw), BUFFER))
        begun: list[bytes] = []  # of the line in which the last block ended
        left = start
        while left > 0 and (block := stream.read(min(left, BUFFER))):
            left -= len(block)
            end = block.rfind(b"\n") + 1
            begun = [block[end:]] if end else [*begun, block]
        if left > 0:
            return 0
        lines.writelines(begun)
        line = stream.readline()
        while line:
            lines.write(line)
            line = stream.readline() if lines.tell() < most else b""
        return lines.tell()


def _taken(stage: DocumentStage, places: Sequence[Any], most: int) -> Iterator[tuple[pa.RecordBatch, int]]:
    """Batches until they have so many bytes of each place; only where that is less than a batch, one is cut."""
    for place in places:
        taken = 0
        for batch, size in _peek(stage, place):
            if size > most and most < BATCH_BYTES and batch.num_rows:
                rows = max(batch.num_rows * most // size, 1)
                batch, size = batch.slice(0, rows), size * rows // batch.num_rows
            yield batch, size
            taken += size
            if taken >= most:
                break


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
    batches = (batch for place in places[:1] for batch, _ in _peek(stages[0], place))
    for batch in itertools.islice(batches, 1):
        batch = batch.select([name for name in batch.schema.names if not name.startswith(HIDDEN)])
        for stage in stages:
            if stage.base is not None:
                continue  # it loads nothing, and the batch has no scores
            with _writer(stage, source, folder) as writer:
                stage.apply(batch.slice(0, WARM_ROWS), source, writer)
                writer.abandon()


def _stretch(path: str) -> float:
    """Bytes that a byte of a compressed file gives, at its beginning.

    Raises:
        RunError: the stream is damaged.
    """
    with storage.open_input(path) as stream:
        packed = stream.read(PROBE_BYTES)
    try:
        return _length(packed, path.endswith(".gz")) / max(len(packed), 1)
    except (zlib.error, zstandard.ZstdError) as error:
        raise RunError(f"the stream is damaged: {error}", where=path, fix="replace the file") from None


def _length(packed: bytes, gzip: bool) -> int:
    """The length of what the bytes give: a file may be several streams, one behind the other."""
    size = 0
    while packed.strip(b"\0"):
        stream: Any = zlib.decompressobj(31) if gzip else zstandard.ZstdDecompressor().decompressobj()
        size += len(stream.decompress(packed))
        packed = stream.unused_data
    return size
