"""The places of a source that a sample is taken from: a few, spread over it, also inside large compressed files.

A compressed file that is not cut yet can only be read from its beginning, so the lines around a place are unpacked into
a file of their own. Costs the reading of the places, and up to 512 MiB of a stream unpacked for each inside a file.
"""

import io
import itertools
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import pyarrow as pa
import zstandard

from .. import storage
from ..errors import RunError
from . import tasks
from .deciding import Decide
from .documents import DocumentStage
from .inputs import InputFile, Split, Task
from .parts import TEXT_BYTES
from .read_documents import ReadDocuments
from .read_parts import read_part
from .readers.records import BATCH_BYTES
from .readers.streams import BUFFER
from .reading import read
from .remove_duplicates import FromParts

T = TypeVar("T")

PLACES = 4  # of a source, that the sample is taken from
LOOK_BYTES = 512 << 20  # of a compressed stream that are unpacked at most to reach a place inside (about 1 s)
PROBE_BYTES = 4 << 20  # of a compressed file that are unpacked to see how far they stretch


@dataclass(frozen=True)
class Inside:
    """A place in a compressed file of lines: the split of the whole file, its bytes, and how far in, from 0 to 1."""

    whole: Split
    size: int
    at: float


def choose(stage: DocumentStage, source: str) -> list[Any]:
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


def readable(
    stage: DocumentStage, source: str, chosen: Sequence[Any], stretch: float, most: int, folder: Path
) -> list[Any]:
    """Of places that `choose` gave those that can be read at once and hold a document; else the source's first.

    Args:
        stage: the stage that reads them.
        source: the name of their source.
        chosen: the places.
        stretch: what a byte of the source's compressed files gives.
        most: bytes of lines that are unpacked of all places inside compressed files.
        folder: where these are written.
    """
    unpacked = [_unpacked(place, stretch, most // len(chosen), folder) for place in chosen]
    ready = _each_once(unpacked) if any(isinstance(place, Inside) for place in chosen) else unpacked
    return [place for place in ready if _holds(stage, place)] or _first(stage, source)


def batches(stage: DocumentStage, places: Sequence[Any], most: int) -> Iterator[tuple[pa.RecordBatch, int]]:
    """Batches until they have so many bytes of each place; only where that is less than a batch, one is cut."""
    for place in places:
        taken = 0
        for batch, size in peek(stage, place):
            if size > most and most < BATCH_BYTES and batch.num_rows:
                rows = max(batch.num_rows * most // size, 1)
                batch, size = batch.slice(0, rows), size * rows // batch.num_rows
            yield batch, size
            taken += size
            if taken >= most:
                break


def peek(stage: DocumentStage, place: Any) -> Iterator[tuple[pa.RecordBatch, int]]:
    """The documents that the steps would see from there, with the bytes that they were read from.

    What an exchange would leave out is among them: it need not be finished.
    """
    if isinstance(stage, ReadDocuments):
        source = next(one for one in stage.sources if one.name == place[0].source)
        yield from ((chunk.batch, chunk.bytes) for chunk in read(place, source))
    elif isinstance(stage, FromParts):
        columns = stage.upstream.schema().names if isinstance(stage, Decide) else None
        if stage.base is not None and columns is None:
            columns = list(dict.fromkeys([*stage.upstream.schema().names, TEXT_BYTES]))
        parts = read_part(stage.upstream.folder / place.path, columns)
        yield from ((batch, batch.nbytes) for batch in parts)


def stretch_of(path: str) -> float:
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


def _spread(items: Sequence[T]) -> list[T]:
    """At most `PLACES` of the items, in the middle of equal stretches."""
    count = min(PLACES, len(items))
    return [items[(2 * number + 1) * len(items) // (2 * count)] for number in range(count)]


def _inside(files: Sequence[InputFile], at: float) -> Inside:
    """A place in one of some files, `at` of the way through all of them."""
    number, rest = divmod(at * len(files), 1)
    file = files[int(number)]
    return Inside(Split(file.source, file.path, file.relative, 0, -1), file.size, rest)


def _holds(stage: DocumentStage, place: Any) -> bool:
    """Whether a document begins there: a task may lie within a single long line."""
    return any(batch.num_rows for batch, _ in itertools.islice(peek(stage, place), 1))


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


def _length(packed: bytes, gzip: bool) -> int:
    """The length of what the bytes give: a file may be several streams, one behind the other."""
    size = 0
    while packed.strip(b"\0"):
        stream: Any = zlib.decompressobj(31) if gzip else zstandard.ZstdDecompressor().decompressobj()
        size += len(stream.decompress(packed))
        packed = stream.unused_data
    return size
