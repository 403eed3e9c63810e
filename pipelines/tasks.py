"""Inputs cut into tasks of equal bytes: a task may be the tail of one file, some small ones and the head of the next.

A source is one sequence of what can only be read whole (a row group of Parquet, a small compressed file, a text that is
one document, a piece of a large compressed file) and of plain files, which are cut at any byte. Costs a binary search a
task: a task is two places, so that 200,000 files are as cheap as one.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Literal, NamedTuple

from .inputs import EXPANSION, SourceFiles, Split, Task, compressed
from .recipe import SourceSpec

VERSION = 1  # of the cutting: raised when equal inputs are cut otherwise
PIECE = 4  # pieces of a large compressed file to a task
GENERATED_SPLIT = 20_000  # problems a task

Kind = Literal["bytes", "groups", "whole", "pieces"]


class Piece(NamedTuple):
    """A piece of a large compressed file: where it lies, and the range of the decompressed stream that it holds."""

    path: str
    start: int
    size: int


Pieces = Mapping[tuple[str, str], Sequence[Piece]]  # of each file that was cut, by source and relative path


class Place(NamedTuple):
    """A place in a source's files: before `position` (a byte, row group or piece) of a file; `at` counts bytes."""

    file: int
    position: int
    at: int


@dataclass(frozen=True)
class Stretch:
    """A task: what lies between two places of a source; of generated problems the numbers `start` to `stop`."""

    source: str
    first: int
    start: int
    last: int
    stop: int


class Ruler:
    """The files of one source end to end: how long each is, and where it may be cut.

    Args:
        lengths: the bytes of text of each file, for planning.
        edges: for each file that is not cut at any byte, where its indivisible units end; the last is its length.
        size: the bytes that a task is to have.
    """

    def __init__(self, lengths: Sequence[int], edges: Mapping[int, Sequence[int]], size: int) -> None:
        self.starts = [0, *accumulate(lengths)]
        self.edges = edges
        self.size = size
        self.end = Place(len(lengths), 0, self.starts[-1])

    def places(self) -> list[Place]:
        """Where the tasks begin and end: every task has at least half the size, and at most twice the size unless a
        single unit is larger than the size; a source of less than half the size is one task."""
        found = [Place(0, 0, 0)]
        while found[-1] != self.end:
            found.append(self._next(found[-1].at))
        return found

    def _next(self, at: int) -> Place:
        """The end of the task that begins at a byte: the possible one that is nearest to an equal share of the rest."""
        rest = self.end.at - at
        count = (2 * rest + self.size) // (2 * self.size)
        if count < 2:
            return self.end
        left, right = self._around(at + rest // count)
        place = left if 2 * (at + rest // count) <= left.at + right.at else right
        if 2 * (place.at - at) < self.size:
            place = right
        return self.end if 2 * (self.end.at - place.at) < self.size else place

    def _around(self, at: int) -> tuple[Place, Place]:
        """The places before and behind a byte at which the source can be cut; both the byte itself, where it can."""
        file = bisect_right(self.starts, at) - 1
        base, length = self.starts[file], self.starts[file + 1] - self.starts[file]
        offset = at - base
        behind = Place(file + 1, 0, base + length)
        if file not in self.edges:
            if min(offset, length - offset) > self.size // 8:
                return Place(file, offset, at), Place(file, offset, at)
            return Place(file, 0, base), behind
        ends = self.edges[file]
        unit = bisect_right(ends, offset)
        before = Place(file, unit, base + (ends[unit - 1] if unit else 0))
        return before, behind if unit + 1 == len(ends) else Place(file, unit + 1, base + ends[unit])


def kind(source: SourceSpec, relative: str, pieces: Pieces) -> Kind:
    """What a file is cut into."""
    container = source.container(relative)
    if container == "parquet":
        return "groups"
    if (source.name, relative) in pieces:
        return "pieces"
    if compressed(relative) or (container == "text" and source.document == "file"):
        return "whole"
    return "bytes"


def stretches(source: SourceSpec, files: SourceFiles, size: int, pieces: Pieces) -> list[Stretch]:
    """The tasks of a source, each of about `size` bytes of text."""
    if source.format == "generated":
        total, step = source.count or 0, max(GENERATED_SPLIT // len(source.tasks), 1)
        return [Stretch(source.name, 0, start, 0, min(start + step, total)) for start in range(0, total, step)]
    lengths: list[int] = []
    edges: dict[int, Sequence[int]] = {}
    for number, (relative, length) in enumerate(zip(files.relatives, files.sizes, strict=True)):
        match kind(source, relative, pieces):
            case "groups":
                edges[number] = list(accumulate(files.row_groups[number])) or [0]
            case "pieces":
                edges[number] = [piece.start + piece.size for piece in pieces[source.name, relative]] or [0]
            case "whole":
                edges[number] = [length * (EXPANSION if compressed(relative) else 1)]
        lengths.append(edges[number][-1] if number in edges else length)
    places = Ruler(lengths, edges, size).places()
    return [Stretch(source.name, one.file, one.position, two.file, two.position) for one, two in pairwise(places)]


def splits(stretch: Stretch, source: SourceSpec, files: SourceFiles, pieces: Pieces) -> Task:
    """What a task reads, in order."""
    if source.format == "generated":
        return (Split(source.name, "", "", stretch.start, stretch.stop),)
    found: list[Split] = []
    for number in range(stretch.first, min(stretch.last + 1, len(files))):
        start = stretch.start if number == stretch.first else 0
        stop = stretch.stop if number == stretch.last else -1
        if stop == 0:
            break
        relative = files.relatives[number]
        if kind(source, relative, pieces) == "pieces":
            chosen = pieces[source.name, relative][start : stop if stop > 0 else None]
            found += [Split(source.name, piece.path, relative, 0, -1, piece.start) for piece in chosen]
        else:
            found.append(Split(source.name, files.root + relative, relative, start, stop))
    return tuple(found)
