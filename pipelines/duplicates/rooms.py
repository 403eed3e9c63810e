"""Arrays of a task that go into files without a name once memory has enough of them.

What a component of candidates takes grows with the corpus, and a worker's memory does not: what lies in a mapped file
is the system's to write out and to bring back. Costs nothing below the limit, and disk in the stage's folder beyond it.
"""

import contextlib
import mmap
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ...storage import Location

Array = npt.NDArray[Any]


class Rooms:
    """Arrays that are gone when the context ends.

    Args:
        folder: where files are made; this machine's temporary folder, where it is in a store.
        limit: bytes that all of them may hold in memory, together.
    """

    def __init__(self, folder: Location, limit: int) -> None:
        self._folder = folder if isinstance(folder, Path) else None
        self._left = limit
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Rooms":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def hold(self, size: int) -> bool:
        """Whether so many bytes more may be in memory; they count from then on."""
        held = size <= self._left
        self._left -= size if held else 0
        return held

    def file(self) -> IO[bytes]:
        """A file without a name, which is closed when the context ends."""
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
        return self._stack.enter_context(tempfile.TemporaryFile(dir=self._folder))

    def empty(self, count: int, kind: npt.DTypeLike) -> Array:
        """An array of so many numbers of a kind, which may hold anything."""
        size = count * np.dtype(kind).itemsize
        if self.hold(size):
            return np.empty(count, kind)
        file = self.file()
        file.truncate(size)
        return mapped(file, kind)

    def zeros(self, count: int, kind: npt.DTypeLike) -> Array:
        """As `empty`, of zeros."""
        found = self.empty(count, kind)
        found.fill(0)
        return found

    def column(self, kind: npt.DTypeLike) -> "Column":
        """An array that grows at its end."""
        return Column(self, kind)


class Column:
    """An array that grows at its end: what was appended stays as it is, or lies in a file.

    Args:
        rooms: whose limit it counts for.
        kind: of its numbers.
    """

    def __init__(self, rooms: Rooms, kind: npt.DTypeLike) -> None:
        self._rooms, self._kind = rooms, np.dtype(kind)
        self._held: list[Array] = []
        self._file: IO[bytes] | None = None

    def append(self, values: Array) -> None:
        """Appends numbers, which must not change afterwards."""
        if self._file is None and self._rooms.hold(values.nbytes):
            self._held.append(values.astype(self._kind, copy=False))
            return
        if self._file is None:
            self._file = self._rooms.file()
            for held in self._held:
                self._write(held)
            self._held = []
        self._write(values)

    def array(self) -> Array:
        """All of it; nothing may be appended any more."""
        if self._file is not None:
            self._file.flush()
            return mapped(self._file, self._kind)
        if len(self._held) == 1:
            return self._held[0]
        return np.concatenate([np.empty(0, self._kind), *self._held])

    def _write(self, values: Array) -> None:
        assert self._file is not None  # noqa: S101 - whoever writes has made it
        self._file.write(np.ascontiguousarray(values, self._kind).view(np.uint8).data)


def mapped(file: IO[bytes], kind: npt.DTypeLike) -> Array:
    """A file as an array, for as long as anything refers to it."""
    return np.frombuffer(mmap.mmap(file.fileno(), 0), kind)
