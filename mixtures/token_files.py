"""Files of tokens that other programs wrote, read as documents: datatrove's `.ds` and Megatron's `.bin`.

Tokenizing is most of the cost of a build, and much text stands as tokens already. Neither format says which tokenizer
made it, so sizes and indexes are held against one another, and who names such files says how their documents end. Costs
a look at every number of an index when a process comes to it, and the maps of the last few: nothing of a file is held
in memory but the documents that are read, and no list of all of them but where one is asked for.

    datatrove   x.ds        uint16 or uint32, little-endian, one document behind the other
                x.ds.index  uint64, each document's exclusive end in tokens (0.10, pipeline/tokens/tokenizer.py)
                x.ds.loss   one byte a token, 1 where it is trained; not always there
    Megatron    x.bin       one sequence behind the other
                x.idx       `MMIDIDX\\0\\0`, version 1 (uint64), type (uint8), sequences, documents + 1 (uint64
                            each), then int32 lengths of sequences, int64 their places in bytes, int64 each document's
                            first sequence (Megatron-LM, core/datasets/indexed_dataset.py); with modes, as of images,
                            it is refused
"""

import struct
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import ConfigError, RunError
from .maps import map_file

Form = Literal["datatrove", "megatron"]

_HEADER = b"MMIDIDX\x00\x00"
_HEAD = struct.Struct("<9sQBQQ")
_TYPES = {1: "u1", 2: "i1", 3: "i2", 4: "i4", 5: "i8", 8: "u2"}
_WIDTHS: dict[int, npt.DTypeLike] = {2: "<u2", 4: "<u4"}
_FIX = "copy the file again, or write it again"
_BLOCK = 1 << 20  # numbers of an index that are looked at at a time
_OPEN = 16  # indexes that stay mapped


class Documents(NamedTuple):
    """Consecutive documents of a file: ids as they stand there [t], exclusive ends int64[n] from the first of them,
    and what of them is trained bool[t], None where the file does not say."""

    ids: npt.NDArray[Any]
    ends: npt.NDArray[np.int64]
    loss: npt.NDArray[np.bool_] | None


@dataclass(frozen=True)
class TokenFile:
    """One file of tokens with its index.

    Args:
        path: of the tokens.
        form: who wrote it.
    """

    path: str
    form: Form

    @property
    def files(self) -> tuple[str, ...]:
        """The file and what stands beside it."""
        if self.form == "megatron":
            return self.path, f"{self.path.removesuffix('.bin')}.idx"
        loss = f"{self.path}.loss"
        return (self.path, f"{self.path}.index", *([loss] if Path(loss).exists() else []))

    @property
    def documents(self) -> int:
        """How many there are, those without a token as well.

        Raises:
            RunError: the index is damaged, or not of this file.
        """
        return self._index.documents

    @property
    def ends(self) -> npt.NDArray[np.int64]:
        """int64[n]: each document's exclusive end in tokens; a document may be empty. A map, or made at each call.

        Raises:
            RunError: the index is damaged, or not of this file.
        """
        return self._index.ends(0, self.documents)

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """How a token is stored.

        Raises:
            RunError: the file does not hold the tokens that its index counts.
        """
        index = self._index
        tokens, size = index.tokens, Path(self.path).stat().st_size
        found = index.dtype or np.dtype(_WIDTHS.get(size // tokens if tokens else 2, "<u2"))
        if size != tokens * found.itemsize:
            raise RunError(
                "the file does not hold the tokens that its index counts",
                where=self.path,
                seen=f"{size:,} bytes",
                expected=f"{tokens:,} tokens of {' or '.join(map(str, self._widths(found)))} bytes",
                fix=_FIX,
            )
        return found

    def __reduce__(self) -> tuple[object, ...]:
        return TokenFile, (self.path, self.form)  # the file is held against its index wherever it is read

    def check(self) -> None:
        """Holds the file and its index against one another.

        Raises:
            RunError: they contradict one another.
        """
        _ = self.dtype

    def read(self, first: int, stop: int) -> Documents:
        """Documents `first` to `stop`.

        Raises:
            RunError: file and index contradict one another.
        """
        index = self._index
        start = int(index.ends(first - 1, first)[0]) if first else 0
        ends = index.ends(first, stop) - start
        end = start + (int(ends[-1]) if len(ends) else 0)
        ids = np.memmap(self.path, self.dtype, mode="r")[start:end] if end > start else np.empty(0, self.dtype)
        return Documents(np.asarray(ids), ends, self._loss(start, end))

    def _loss(self, start: int, end: int) -> npt.NDArray[np.bool_] | None:
        if len(self.files) < 3:
            return None
        size, tokens = Path(self.files[2]).stat().st_size, self._index.tokens
        if size != tokens:
            raise RunError(
                "not a byte of loss for every token",
                where=self.files[2],
                seen=f"{size:,} bytes",
                expected=f"{tokens:,}",
                fix=_FIX,
            )
        found = np.fromfile(self.files[2], np.uint8, end - start, offset=start)
        if (found > 1).any():
            raise RunError("a byte of loss is neither 0 nor 1", where=self.files[2], seen=int(found.max()), fix=_FIX)
        return found.view(np.bool_)

    def _widths(self, found: np.dtype[Any]) -> tuple[int, ...]:
        return (found.itemsize,) if self.form == "megatron" else (2, 4)

    @property
    def _index(self) -> "_Ends | _Sequences":
        where = Path(self.files[1])
        seen = where.stat()
        return _opened(where, self.form, (seen.st_ino, seen.st_mtime_ns, seen.st_size))


class _Ends:
    """An index of datatrove's, mapped: the ends of documents, which ascend. The type of a token follows from sizes."""

    dtype = None

    def __init__(self, where: Path) -> None:
        self._ends = map_file(where, np.dtype("<i8"), _FIX)
        if not _ascends(self._ends):
            raise RunError("the ends of documents do not ascend", where=str(where), fix=_FIX)
        self.documents = len(self._ends)
        self.tokens = int(self._ends[-1]) if self.documents else 0

    def ends(self, first: int, stop: int) -> npt.NDArray[np.int64]:
        """int64[stop - first]: exclusive ends of documents in tokens; a view."""
        return self._ends[first:stop]


class _Sequences:
    """An index of Megatron's, mapped: lengths and places of sequences that stand one behind the other, of type `dtype`,
    and the first sequence of each document."""

    def __init__(self, where: Path) -> None:
        data = map_file(where, np.dtype(np.uint8), _FIX)
        code, self._sequences, bounds = _head(where, data)
        self.documents = bounds - 1
        self.dtype = np.dtype(_TYPES[code]).newbyteorder("<")
        self._lengths = np.frombuffer(data, "<i4", self._sequences, _HEAD.size)
        self._places = np.frombuffer(data, "<i8", self._sequences, _HEAD.size + 4 * self._sequences)
        self._first = np.frombuffer(data, "<i8", bounds, _HEAD.size + 12 * self._sequences)
        first = self._first
        whole = bounds > 0 and first[0] == 0 and first[-1] == self._sequences and _ascends(first)
        tokens = self._end() if whole else None
        if tokens is None:
            raise RunError(
                "the sequences of the index do not stand one behind the other",
                where=str(where),
                fix="write the files again",
            )
        self.tokens = tokens

    def ends(self, first: int, stop: int) -> npt.NDArray[np.int64]:
        """int64[stop - first]: exclusive ends of documents in tokens."""
        behind = self._first[first + 1 : stop + 1]
        ends = np.full(len(behind), self.tokens, np.int64)
        inside = behind < self._sequences
        ends[inside] = self._places[behind[inside]] // self.dtype.itemsize
        return ends

    def _end(self) -> int | None:
        """The tokens of all sequences; None where one does not begin where the one before it ends."""
        end = 0
        for start in range(0, self._sequences, _BLOCK):
            lengths = self._lengths[start : start + _BLOCK].astype(np.int64)
            stops = end + np.cumsum(lengths)
            places = self._places[start : start + _BLOCK]
            if (lengths < 0).any() or not np.array_equal(places, (stops - lengths) * self.dtype.itemsize):
                return None
            end = int(stops[-1])
        return end


@lru_cache(maxsize=_OPEN)
def _opened(where: Path, form: Form, stamp: tuple[int, int, int]) -> _Ends | _Sequences:
    """A file's index, looked at as a whole; the stamp makes one that was written anew another."""
    return _Ends(where) if form == "datatrove" else _Sequences(where)


def _ascends(values: npt.NDArray[np.int64]) -> bool:
    """Whether no number is below the one before it, or below 0."""
    before = 0
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        if block[0] < before or (block[1:] < block[:-1]).any():
            return False
        before = int(block[-1])
    return True


def _head(where: Path, data: npt.NDArray[np.uint8]) -> tuple[int, int, int]:
    """The type of a token, the sequences, and the documents and one, of an index of Megatron's."""
    if len(data) < _HEAD.size or data[:9].tobytes() != _HEADER:
        raise RunError("is no index of Megatron's", where=str(where), seen=data[:9].tobytes(), expected=_HEADER)
    _, version, code, sequences, bounds = _HEAD.unpack(data[: _HEAD.size].tobytes())
    if version != 1 or code not in _TYPES:
        known = ", ".join(map(str, _TYPES))
        raise RunError(
            "an index of Megatron's that cannot be read",
            where=str(where),
            seen=f"version {version}, type {code}",
            expected=f"version 1, and a type of whole numbers among {known}",
        )
    size = _HEAD.size + 12 * sequences + 8 * bounds
    if len(data) != size:
        raise RunError(
            "the index does not have the size that it says"
            + (": it is of sequences with modes, of images as well" if len(data) == size + sequences else ""),
            where=str(where),
            seen=f"{len(data):,} bytes",
            expected=f"{size:,}, of {sequences:,} sequences and {bounds - 1:,} documents",
            fix=_FIX,
        )
    return code, sequences, bounds


def find(path: str) -> list[TokenFile]:
    """The files of tokens that a path names: a folder of them, one of them, or Megatron's prefix; sorted by name.

    Raises:
        ConfigError: there are none, of both kinds, or one without its index.
    """
    place = Path(path)
    if place.is_dir():
        found = [*place.glob("*.ds"), *place.glob("*.bin")]
    else:
        found = [one for one in (place, Path(f"{path}.bin")) if one.suffix in (".ds", ".bin") and one.is_file()]
    files = [TokenFile(str(one), "datatrove" if one.suffix == ".ds" else "megatron") for one in sorted(found)]
    expected = "a tokens/ folder of a built mixture, or datatrove's .ds with .ds.index, or Megatron's .bin with .idx"
    if not files:
        raise ConfigError("no tokens stand there", seen=path, expected=expected, fix="correct shards:")
    if len({file.form for file in files}) > 1:
        raise ConfigError("the folder holds files of both datatrove and Megatron", seen=path, expected="one kind")
    for file in files:
        if not Path(file.files[1]).is_file():
            raise ConfigError("tokens without their index", seen=file.path, expected=file.files[1])
    return files
