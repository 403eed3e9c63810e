"""Exchange by partition through files: every task writes one file, every later task reads its slice of each.

Rows are sorted by partition and each partition is one record batch of an Arrow IPC file, whose footer is the index; so
there are as many files as tasks, never tasks times partitions, and a lost task costs one file. A task that has more
rows than it should hold writes them in blocks, each with a record batch a partition. Reading a slice maps the file and
touches only its pages; from a store it takes four requests a file (its size, its end with the index, the batch's head,
the batch), two where the file has less than 1 MB, of sixteen files at a time.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .. import storage
from ..errors import RunError
from ..manifest import OutputFile
from ..remote import THREADS, RemotePath
from ..storage import Location

SMALL = 1 << 16  # partitions whose numbers have 16 bits
PARTITIONS = b"midtrain.partitions"  # in a file's metadata: the record batches of a block
AHEAD = 64 << 10  # bytes that a request to a store brings beyond what was asked for: a batch's head, then the batch


def write(
    folder: Location, name: str, rows: pa.RecordBatch, partition: npt.NDArray[Any], partitions: int, source: str = ""
) -> OutputFile:
    """Writes rows grouped by partition; within one they keep their order. Holds them twice.

    Args:
        folder: the stage's folder.
        name: the file's name below it.
        rows: m rows.
        partition: int[m], each from 0 to `partitions`.
        partitions: how many there are; each gets a record batch, an empty one where it has no rows.
        source: what the manifest's entry says of the rows.

    Raises:
        RunError: a row's partition is not among them: it would be in no slice that is read.
    """
    with Writer(folder, name, rows.schema, partitions, source) as writer:
        writer.write(rows, partition)
        return writer.finish()


class Writer:
    """Writes one file of rows grouped by partition, block by block; nothing appears before it is finished.

    Args:
        folder, name, partitions, source: as for `write`.
        schema: of the rows.
    """

    def __init__(self, folder: Location, name: str, schema: pa.Schema, partitions: int, source: str = "") -> None:
        self.folder, self.name, self.schema, self.partitions, self.source = folder, name, schema, partitions, source
        self.rows = 0
        self._blocks = 0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Writer":
        self._stream = self._stack.enter_context(storage.atomic_write(self.folder / self.name))
        metadata = {**(self.schema.metadata or {}), PARTITIONS: str(self.partitions).encode()}
        self._file = pa.ipc.new_file(self._stream, self.schema.with_metadata(metadata))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def write(self, rows: pa.RecordBatch, partition: npt.NDArray[Any]) -> None:
        """Writes a block; arguments as for `write`. Holds its rows twice.

        Raises:
            RunError: a row's partition is not among them.
        """
        self._check(rows, partition)
        if self.partitions <= SMALL:
            partition = partition.astype(np.uint16)  # numpy sorts these by counting
        order = np.argsort(partition, kind="stable")
        ends = np.searchsorted(partition[order], np.arange(self.partitions), side="right")
        self.write_grouped([(rows.take(pa.array(order)) if self.partitions > 1 else rows, ends)])

    def write_grouped(self, stretches: Iterable[tuple[pa.RecordBatch, npt.NDArray[np.int64]]]) -> None:
        """Writes a block whose rows come grouped already, those of some partitions at a time, in their order.

        Args:
            stretches: rows, and where those of each of their partitions end: int64[k]. All k are `partitions`.
        """
        written = 0
        for rows, ends in stretches:
            start = 0
            for stop in ends.tolist():
                self._file.write_batch(rows.slice(start, stop - start))
                start = stop
            written += len(ends)
            self.rows += rows.num_rows
        assert written == self.partitions  # noqa: S101 - whoever groups rows knows how many there are
        self._blocks += 1

    def finish(self) -> OutputFile:
        """Ends the file and returns its entry; one without rows has an empty block."""
        if not self._blocks:
            empty = pa.RecordBatch.from_pylist([], schema=self.schema)
            self.write(empty, np.empty(0, np.int64))
        self._file.close()
        return OutputFile.written(self.name, self._stream, self.rows, self.source)

    def _check(self, rows: pa.RecordBatch, partition: npt.NDArray[Any]) -> None:
        fits = len(partition) == rows.num_rows
        if fits and (len(partition) == 0 or 0 <= partition.min() <= partition.max() < self.partitions):
            return
        raise RunError(
            "rows without a partition of their own",
            where=str(self.folder / self.name),
            seen=f"{rows.num_rows:,} rows, partitions {sorted(set(partition.tolist()))[:8]} …",
            expected=f"one of 0 to {self.partitions - 1} for each row",
            fix="this is a fault of midtrain: please report it with the recipe",
        )


def read(paths: Sequence[Location], partition: int, schema: pa.Schema) -> pa.Table:
    """The rows of one partition from all files, in the order of the files.

    Raises:
        RunError: a file is gone, cut short or damaged.
    """
    return pa.Table.from_batches(batches(paths, partition), schema=schema)


def batches(paths: Sequence[Location], partition: int) -> Iterator[pa.RecordBatch]:
    """As `read`, a record batch at a time: whoever is done with one before the next holds no more of it."""
    if paths and isinstance(paths[0], RemotePath):
        with ThreadPoolExecutor(THREADS) as threads:
            for start in range(0, len(paths), THREADS):
                for found in threads.map(lambda path: _batches(path, partition), paths[start : start + THREADS]):
                    yield from found
        return
    for path in paths:
        yield from _batches(path, partition)


def _batches(path: Location, partition: int) -> list[pa.RecordBatch]:
    remote = isinstance(path, RemotePath)
    try:
        with storage.open_ranges(path, AHEAD) if remote else pa.memory_map(str(path)) as source:
            file = pa.ipc.open_file(source)
            total = file.num_record_batches
            partitions = int((file.schema.metadata or {}).get(PARTITIONS, total))
            return [file.get_batch(number) for number in range(partition, total, partitions)]
    except (OSError, pa.ArrowInvalid) as error:
        raise RunError(
            f"the file is damaged: {error}", where=str(path), fix="remove its folder and run again"
        ) from None
