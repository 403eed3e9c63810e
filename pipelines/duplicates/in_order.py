"""The documents of a partition of components, brought into the order of comparison, however many they are.

A component of candidates grows with the corpus, so nothing here is held but what a run of some hundred thousand
documents takes: runs are sorted in memory and merged through files, and what is known of every document lies in rooms
(`Rooms`). Costs a sort of the documents, and, where there are several runs, a pass over their keys a doubling of them.
"""

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ...filters import keep_order
from ...remote import RemotePath
from ...storage import Location
from .. import exchange
from . import index_join, sizes
from .index_layer import Layer
from .numbers import UInt64
from .rooms import Column, Rooms

if TYPE_CHECKING:
    from ...filters.kernels.merge_kernels import Ties

Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]


class Rows:
    """The rows of a partition, batch by batch, as often as they are asked for.

    Few batches of files that are mapped are kept open; more are opened again. What comes from a store is kept in a file
    once it is more than memory should hold.

    Args:
        paths: the files of the exchange.
        partition: which one.
        rooms: for the file.
    """

    def __init__(self, paths: Sequence[Location], partition: int, rooms: Rooms) -> None:
        self._paths, self._partition, self._rooms = paths, partition, rooms
        self._held: list[pa.RecordBatch] | None = None
        self._read = False
        self._file: pa.ipc.RecordBatchFileReader | None = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, in the order of the files."""
        if not self._read:
            yield from self._first()
        elif self._file is not None:
            yield from map(self._file.get_batch, range(self._file.num_record_batches))
        elif self._held is not None:
            yield from self._held
        else:
            yield from (batch for batch in exchange.batches(self._paths, self._partition) if batch.num_rows)

    def _first(self) -> Iterator[pa.RecordBatch]:
        remote = bool(self._paths) and isinstance(self._paths[0], RemotePath)
        held: list[pa.RecordBatch] | None = []
        kept: _Kept | None = None
        for batch in exchange.batches(self._paths, self._partition):
            if not batch.num_rows:
                continue
            if kept is not None:
                kept.write(batch)
            elif held is not None and len(held) < sizes.HELD_BATCHES and (not remote or self._rooms.hold(batch.nbytes)):
                held.append(batch)
            elif remote:
                kept = _Kept(self._rooms, [*(held or []), batch])
                held = None
            else:
                held = None
            yield batch
        self._held, self._read = held, True
        self._file = kept.reader() if kept else None


class _Kept:
    """Batches in a file without a name, several of few rows as one."""

    def __init__(self, rooms: Rooms, batches: list[pa.RecordBatch]) -> None:
        self._stream = rooms.file()
        self._file = pa.ipc.new_file(pa.PythonFile(self._stream, "w"), batches[0].schema)
        self._few: list[pa.RecordBatch] = []
        for batch in batches:
            self.write(batch)

    def write(self, batch: pa.RecordBatch) -> None:
        self._few.append(batch)
        if sum(one.nbytes for one in self._few) >= sizes.BLOCK_BYTES:
            self._flush()

    def reader(self) -> pa.ipc.RecordBatchFileReader:
        self._flush()
        self._file.close()
        self._stream.flush()
        return pa.ipc.open_file(pa.BufferReader(pa.py_buffer(mmap.mmap(self._stream.fileno(), 0))))

    def _flush(self) -> None:
        if self._few:
            self._file.write_batch(pa.concat_batches(self._few))
        self._few = []


@dataclass(frozen=True, eq=False)
class Members:
    """What is known of the m documents of a partition, by their numbers, and the order in which they are compared.

    Args:
        order: int64[m], numbers: those of a component together, the best of each first.
        component: uint64[m].
        part, row, source: int32[m], of each number.
        keys, shingles: int64[m], how many each has.
        ids: large_string[m].
    """

    order: Int64
    component: UInt64
    part: Int32
    row: Int32
    source: Int32
    keys: Int64
    shingles: Int64
    ids: pa.LargeStringArray


def read(rows: Rows, keep: Sequence[str], index: Layer | None, rooms: Rooms) -> Members:
    """Reads what the documents of a partition have, but keys and sets, and orders them.

    Args:
        rows: the partition's.
        keep: the order of keeping.
        index: whose documents are before all others of their components; None where there is none.
        rooms: where it lies.
    """
    from ...filters.kernels.merge_kernels import Ties

    kinds = {"component": np.uint64, "part": np.int32, "row": np.int32, "source": np.int32}
    columns = {name: rooms.column(kind) for name, kind in kinds.items()}
    lists = {name: rooms.column(np.int64) for name in ("keys", "shingles", "id")}
    letters = rooms.column(np.uint8)
    runs = Runs(keep, index, rooms)
    for table in _runs(rows.batches()):
        for name in (*columns, "keys", "shingles"):
            (columns | lists)[name].append(table.column(name).to_numpy())
        offsets, own = _letters(table.column("id").chunk(0))
        lists["id"].append(np.diff(offsets).astype(np.int64))
        letters.append(own)
        runs.add(table)
    found = {name: column.array() for name, column in columns.items()}
    keys, shingles, lengths = (lists[name].array() for name in ("keys", "shingles", "id"))
    bounds = rooms.zeros(len(lengths) + 1, np.int64)
    accumulate(lengths, bounds[1:])
    data = letters.array()
    ids = pa.LargeStringArray.from_buffers(len(lengths), pa.py_buffer(bounds), pa.py_buffer(data))
    order = runs.order(Ties(data, bounds, found["source"], found["part"], found["row"]))
    return Members(order, **found, keys=keys, shingles=shingles, ids=ids)


class Runs:
    """Sorts documents in runs: the only one in memory, several through files.

    Args:
        keep, index, rooms: as for `read`.
    """

    def __init__(self, keep: Sequence[str], index: Layer | None, rooms: Rooms) -> None:
        self._keep, self._index, self._rooms = keep, index, rooms
        self._only: tuple[pa.Table, Int64] | None = None
        self._ends: list[int] = [0]
        self._width = 0
        self._records: Column | None = None

    def add(self, table: pa.Table) -> None:
        """Adds documents behind those that came before."""
        best = keep_order.order(self._keep, table)
        if self._index is not None:
            best = index_join.known_first(self._index, table.column("part").to_numpy(), best)
        component = table.column("component").to_numpy()[best]
        order = np.asarray(best[np.argsort(component, kind="stable")], np.int64)
        if len(self._ends) == 1:
            self._only = (table, order)
        else:
            if self._only is not None:
                self._write(*self._only, 0)
                self._only = None
            self._write(table, order, self._ends[-1])
        self._ends.append(self._ends[-1] + table.num_rows)

    def _write(self, table: pa.Table, order: Int64, first: int) -> None:
        """A run's keys in its order, what counts first first, and numbers behind them."""
        ranks = [table.column("component").to_numpy()]
        if self._index is not None:
            ranks.append(index_join.additions_of(self._index, table.column("part").to_numpy()).astype(np.uint64))
        ranks += [keep_order.as_numbers(rank) for rank in keep_order.ranks(self._keep, table)]
        ranks.append(np.arange(first, first + len(order)).astype(np.uint64))
        self._width = len(ranks)
        if self._records is None:
            self._records = self._rooms.column(np.uint64)
        self._records.append(np.stack([rank[order] for rank in ranks], axis=1).reshape(-1))

    def order(self, ties: "Ties") -> Int64:
        """int64[m]: the documents, in their order.

        Args:
            ties: of all of them.
        """
        if self._records is None:
            return self._only[1] if self._only else np.empty(0, np.int64)
        from ...filters.kernels import merge_kernels

        records, ends = self._records.array().reshape(-1, self._width), self._ends
        other = self._rooms.empty(records.size, np.uint64).reshape(records.shape)
        while len(ends) > 2:
            for first, middle, last in zip(ends[0::2], ends[1::2], [*ends[2::2], ends[-1]], strict=False):
                merge_kernels.merge(records, first, middle, last, ties, other)
            records, other = other, records
            ends = ends[0::2] if len(ends) % 2 else [*ends[0::2], ends[-1]]
        order = self._rooms.empty(len(records), np.int64)
        for stretch in stretches(len(records)):
            order[stretch] = records[stretch, -1]
        return order


def stretches(count: int) -> Iterator[slice]:
    """So many documents, as many at a time as a task works on."""
    for start in range(0, count, sizes.RUN_ROWS):
        yield slice(start, min(start + sizes.RUN_ROWS, count))


def accumulate(lengths: Int64, ends: Int64, order: Int64 | None = None) -> int:
    """Writes where each of some lists ends, one after the other, in their order or in another, and gives their total.

    Args:
        lengths: int64[m].
        ends: int64[m], written.
        order: int64[m].
    """
    total = 0
    for stretch in stretches(len(lengths)):
        own = lengths[stretch] if order is None else lengths[order[stretch]]
        ends[stretch] = np.cumsum(own) + total
        total = int(ends[stretch.stop - 1])
    return total


def _runs(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Batches without keys and sets but how many these are, as tables of `RUN_ROWS` rows or a few more, in one piece.

    No more batches are held than memory may have: thousands of few rows become one.
    """
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        lengths = {name: pc.list_value_length(batch.column(name)) for name in ("keys", "shingles")}
        named = {
            name: lengths.get(name, column) for name, column in zip(batch.schema.names, batch.columns, strict=True)
        }
        held.append(pa.record_batch(named))
        rows += batch.num_rows
        if len(held) > sizes.HELD_BATCHES:
            held = [pa.concat_batches(held)]
        if rows >= sizes.RUN_ROWS:
            yield pa.Table.from_batches(held).combine_chunks()
            held, rows = [], 0
    if held:
        yield pa.Table.from_batches(held).combine_chunks()


def _letters(column: pa.StringArray) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
    """Of n strings: where each begins, and the end of the last (int32[n + 1], from 0), and their bytes."""
    _, bounds, data = column.buffers()
    offsets = np.frombuffer(bounds, np.int32)[column.offset : column.offset + len(column) + 1]
    letters = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    return offsets - offsets[0], letters[offsets[0] : offsets[-1]]
