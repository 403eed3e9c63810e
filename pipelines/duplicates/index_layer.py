"""What an index holds for one kind of step: documents in chunks, and sorted tables of their keys.

Looking something up has to cost what is looked up, however much was added: a table is a file a range of keys, and only
the pages that a binary search comes to are read; documents are read by number. Costs about 0.2 µs a key and table.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from ... import storage
from ...errors import ConfigError, RunError
from ...manifest import NAME, Manifest
from .numbers import by_range

FORMAT = 1  # of all files of an index
ROW_BITS = np.uint64(32)  # of a document's number, which is its chunk and its row there
Keys = npt.NDArray[np.uint64]
GONE = (  # what to do about a file: nothing else has what it held
    "run again if the index was changed meanwhile; else bring the file back from a copy, or make the index again in "
    "another folder from the outputs that were added"
)

# A document in a chunk: what finds it, and what compares it.
DOCUMENTS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("keys", pa.large_list(pa.uint64()), nullable=False),
        pa.field("shingles", pa.large_list(pa.uint64()), nullable=False),
    ]
)
ENTRIES = pa.schema([pa.field("key", pa.uint64()), pa.field("document", pa.uint64())])
REMOVED = pa.schema([pa.field("document", pa.uint64())])


@dataclass(frozen=True)
class Made:
    """A finished stage below the index: its folder's name, and the xxh3-128 of its manifest, which has its files'."""

    folder: str
    hash: str


@dataclass(frozen=True)
class Addition:
    """What one output added: its documents, in chunks of consecutive numbers.

    Args:
        made: the stage that wrote the chunks.
        version: of the index that has them first.
        name, output: the recipe's name, and the fingerprint of the output.
        first, chunks: the number of the first chunk, and how many there are.
        documents: how many of each source.
    """

    made: Made
    version: int
    name: str
    output: str
    first: int
    chunks: int
    documents: Mapping[str, int]


@dataclass(frozen=True)
class Run:
    """A sorted table of keys: the stage that wrote it, a file a range of keys, and its entries."""

    made: Made
    entries: int


@dataclass(frozen=True)
class Layer:
    """What an index holds for one kind of step.

    Args:
        root: the index's folder.
        step: the step's name.
        version, fingerprint: the index's.
        parameters: what keys and what is compared depend on.
        additions, runs: oldest first.
        removed: the file of removed documents below the folder; empty where there is none.
        until: chunks from this one on are of later versions.
    """

    root: Path
    step: str
    version: int
    fingerprint: str
    parameters: Mapping[str, Any]
    additions: tuple[Addition, ...]
    runs: tuple[Run, ...]
    removed: str = ""
    until: int = 1 << 31

    @property
    def record(self) -> dict[str, Any]:
        """What the fingerprint of a stage that reads it has of it."""
        return {"index": self.fingerprint}

    def check(self, parameters: Mapping[str, Any], whose: str = "recipe") -> None:
        """Compares the parameters of a step of a recipe, or of an output, with those of the index.

        Raises:
            ConfigError: one differs: keys of both would never meet, or meet by chance.
        """
        for name in dict.fromkeys([*self.parameters, *parameters]):
            ours, theirs = self.parameters.get(name), parameters.get(name)
            if ours != theirs:
                raise ConfigError(
                    f"the index was made with another {name} of {self.step}",
                    where=str(self.root),
                    seen=f"{name} {theirs} in the {whose}",
                    expected=f"{name} {ours} as in the index",
                    fix="use the index's value, or make another index from the outputs that were added to this one",
                )

    def find(self, keys: Keys) -> tuple[npt.NDArray[np.int64], Keys]:
        """The documents that have one of some keys.

        Args:
            keys: uint64[m], ascending; equal ones are found once each.

        Returns:
            int64[k], the place in `keys` of each that was found, and uint64[k], the document that has it: by table,
            then ascending in (key, document). What was removed is not among them.

        Raises:
            RunError: a file is gone or damaged.
        """
        places, documents = [np.empty(0, np.int64)], [np.empty(0, np.uint64)]
        for run in self.runs:
            for number, first, last in _ranges(keys, len(run_files(self.root, run))):
                place, document = search(self._file(run.made, run_file(number)), keys[first:last])
                places.append(place + first)
                documents.append(document)
        place, document = np.concatenate(places), np.concatenate(documents)
        alive = (document >> ROW_BITS < self.until) & ~self.is_removed(document)
        return place[alive], document[alive]

    def read(self, documents: Keys, columns: Sequence[str] = DOCUMENTS.names) -> Iterator[tuple[Keys, pa.RecordBatch]]:
        """Documents by number.

        Args:
            documents: uint64[m], ascending and distinct.
            columns: those of `DOCUMENTS` that are read.

        Yields:
            Numbers, uint64[n], and the rows of these as in `DOCUMENTS`.

        Raises:
            RunError: a file is gone or damaged.
        """
        chunks = documents >> ROW_BITS
        for chunk in np.unique(chunks).tolist():
            first, last = np.searchsorted(chunks, [chunk, chunk + 1]).tolist()
            yield from _rows(self.chunk(chunk), documents[first:last], columns)

    def all(self, columns: Sequence[str]) -> Iterator[tuple[Keys, pa.RecordBatch]]:
        """Every document that was not removed, as `read` gives them, with some of the columns."""
        for addition in self.additions:
            for chunk in range(addition.first, addition.first + addition.chunks):
                start = chunk << 32
                for batch in batches(self.chunk(chunk)):
                    numbers = np.arange(start, start + batch.num_rows, dtype=np.uint64)
                    alive = ~self.is_removed(numbers)
                    yield numbers[alive], batch.select(list(columns)).filter(pa.array(alive))
                    start += batch.num_rows

    def addition(self, chunk: int) -> Addition:
        """What a chunk was added with."""
        return next(one for one in reversed(self.additions) if one.first <= chunk)

    def chunk(self, number: int) -> Path:
        """The file of a chunk."""
        addition = self.addition(number)
        return self._file(addition.made, f"documents-{number - addition.first:05d}.arrow")

    def order(self, chunks: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """int64[m]: the place among the additions of each chunk (int64[m]); behind all for `until` and above."""
        bounds = np.array([*(one.first for one in self.additions), self.until], np.int64)
        return np.searchsorted(bounds, chunks, side="right")

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """The names of the sources of what was added, sorted."""
        return tuple(sorted({source for one in self.additions for source in one.documents}))

    def is_removed(self, documents: Keys) -> npt.NDArray[np.bool_]:
        """bool[m]: which documents (uint64[m]) were taken out."""
        if not self.removed:
            return np.zeros(len(documents), np.bool_)
        removed = read_removed(self.root / self.removed)
        if not len(removed):
            return np.zeros(len(documents), np.bool_)
        return np.asarray(removed.take(np.searchsorted(removed, documents), mode="clip") == documents)

    def _file(self, made: Made, name: str) -> Path:
        return self.root / "stages" / made.folder / name


def run_file(number: int) -> str:
    """The file of a table with the keys of a range."""
    return f"run-{number:05d}.arrow"


def run_files(root: Path, run: Run) -> list[str]:
    """The files of a table, one a range of keys, in the order of these, which that of their names as text is not."""
    return [run_file(number) for number in range(len(stage_manifest(root, run.made).files))]


def stage_manifest(root: Path, made: Made) -> Manifest:
    """The manifest of a stage, if it is the one that the index was written with."""
    path = root / "stages" / made.folder / NAME
    data = storage.read_if_there(path)
    seen = "no file" if data is None else xxhash.xxh3_128_hexdigest(data)
    if seen != made.hash:
        raise RunError(
            "a part of the index is gone or was changed",
            where=str(path),
            seen=seen,
            expected=made.hash,
            fix=GONE,
        )
    return Manifest.read(path.parent)


def read_removed(path: Path) -> Keys:
    """uint64[m]: the documents that were taken out, ascending."""
    numbers: Keys = np.concatenate(
        [np.empty(0, np.uint64), *(batch.column("document").to_numpy() for batch in batches(path))]
    )
    return numbers


def batches(path: Path) -> Iterator[pa.RecordBatch]:
    """The batches of a mapped file; only what is touched of them is read."""
    try:
        with pa.memory_map(str(path)) as source:
            file = pa.ipc.open_file(source)
            for number in range(file.num_record_batches):
                yield file.get_batch(number)
    except (OSError, pa.ArrowInvalid) as error:
        raise RunError(
            f"a file of the index is gone or damaged: {error}",
            where=str(path),
            fix=GONE,
        ) from None


def search(path: Path, keys: Keys) -> tuple[npt.NDArray[np.int64], Keys]:
    """The places in ascending keys and the documents of what a table's file has of them."""
    places, documents = [np.empty(0, np.int64)], [np.empty(0, np.uint64)]
    for batch in batches(path):
        table, document = batch.column("key").to_numpy(), batch.column("document").to_numpy()
        first = np.searchsorted(table, keys)
        hit = np.flatnonzero(table.take(first, mode="clip") == keys) if len(table) else np.empty(0, np.int64)
        first = first[hit]
        count = np.searchsorted(table, keys[hit], side="right") - first
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        places.append(np.repeat(hit, count))
        documents.append(document[np.repeat(first, count) + within])
    return np.concatenate(places), np.concatenate(documents)


def _ranges(keys: Keys, ranges: int) -> Iterator[tuple[int, int, int]]:
    """The ranges that ascending keys are in: number, and the first and behind the last of their keys."""
    numbers = by_range(keys, ranges)
    for number in np.unique(numbers).tolist():
        first, last = np.searchsorted(numbers, [number, number + 1]).tolist()
        yield number, first, last


def _rows(path: Path, documents: Keys, columns: Sequence[str]) -> Iterator[tuple[Keys, pa.RecordBatch]]:
    rows = (documents & np.uint64(0xFFFFFFFF)).astype(np.int64)
    start = 0
    for batch in batches(path):
        first, last = np.searchsorted(rows, [start, start + batch.num_rows])
        if first < last:
            yield documents[first:last], batch.select(list(columns)).take(pa.array(rows[first:last] - start))
        start += batch.num_rows
