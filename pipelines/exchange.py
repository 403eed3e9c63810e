"""Exchange by partition through files: every task writes one file, every later task reads its slice of each.

Rows are sorted by partition and each partition is one record batch of an Arrow IPC file, whose footer is the index; so
there are as many files as tasks, never tasks times partitions, and a lost task costs one file. Reading a slice maps
the file and touches only its pages; from a store it takes four requests a file (its size, its end with the index, the
batch's head, the batch), two where the file has less than 1 MB, of sixteen files at a time.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .. import storage
from ..errors import RunError
from ..manifest import OutputFile
from ..remote import THREADS, RemotePath
from ..storage import Location

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
    if len(partition) != rows.num_rows or (len(partition) and not 0 <= partition.min() <= partition.max() < partitions):
        raise RunError(
            "rows without a partition of their own",
            where=str(folder / name),
            seen=f"{rows.num_rows:,} rows, partitions {sorted(set(partition.tolist()))[:8]} …",
            expected=f"one of 0 to {partitions - 1} for each row",
            fix="this is a fault of midtrain: please report it with the recipe",
        )
    order = np.argsort(partition, kind="stable")
    ends = np.searchsorted(partition[order], np.arange(partitions), side="right")
    grouped = rows.take(pa.array(order))
    with storage.atomic_write(folder / name) as stream:
        with pa.ipc.new_file(stream, rows.schema) as writer:
            start = 0
            for stop in ends.tolist():
                writer.write_batch(grouped.slice(start, stop - start))
                start = stop
        return OutputFile.written(name, stream, rows.num_rows, source)


def read(paths: Sequence[Location], partition: int, schema: pa.Schema) -> pa.Table:
    """The rows of one partition from all files, in the order of the files.

    Raises:
        RunError: a file is gone, cut short or damaged.
    """
    if paths and isinstance(paths[0], RemotePath):
        with ThreadPoolExecutor(THREADS) as threads:
            batches = list(threads.map(lambda path: _batch(path, partition), paths))
    else:
        batches = [_batch(path, partition) for path in paths]
    return pa.Table.from_batches(batches, schema=schema)


def _batch(path: Location, partition: int) -> pa.RecordBatch:
    remote = isinstance(path, RemotePath)
    try:
        with storage.open_ranges(path, AHEAD) if remote else pa.memory_map(str(path)) as source:
            return pa.ipc.open_file(source).get_batch(partition)
    except (OSError, pa.ArrowInvalid) as error:
        raise RunError(
            f"the file is damaged: {error}", where=str(path), fix="remove its folder and run again"
        ) from None
