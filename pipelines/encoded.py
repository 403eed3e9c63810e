"""Encoded documents on their way into shards: rows of tokens, exchanged by ranges of the hash of their ids.

Whether a document was tokenized or stood as tokens already, its shard is a function of the document alone: of its place
among all hashes, and of nothing that says how the work was divided. Costs one pass of the tokens through files.
"""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from ..mixtures.text_spans import SPANS, spans_column
from ..mixtures.tokens import Tokens
from . import exchange
from .stage import TaskResult

ENCODED = pa.schema(
    [
        pa.field("high", pa.uint64()),
        pa.field("low", pa.uint64()),
        pa.field("content", pa.uint64()),
        pa.field("held_out", pa.bool_()),
        pa.field("id", pa.string()),
        pa.field("source", pa.string()),
        pa.field("url", pa.string()),
        pa.field("bytes", pa.int64()),
        pa.field("tokens", pa.large_binary()),
        pa.field("loss", pa.large_binary()),
        pa.field("spans", SPANS),
    ]
)


def rows(
    ids: pa.Array, sources: pa.Array, urls: pa.Array, held_out: npt.NDArray[np.bool_], tokens: Tokens, dtype: Any
) -> pa.RecordBatch:
    """Encoded documents as rows of ENCODED; where all tokens are trained, no loss bits are sent.

    Args:
        ids: n ids.
        sources: the recipe's source of each.
        urls: of each, where it has one.
        held_out: bool[n].
        tokens: of n documents.
        dtype: the width in which shards hold them.
    """
    digests = [xxhash.xxh3_128_intdigest(identity.encode()) for identity in ids.to_pylist()]
    width = dtype.itemsize
    ends = np.concatenate([np.zeros(1, np.int64), tokens.ends.astype(np.int64)])
    data = tokens.ids.astype(dtype.newbyteorder("<")).view(np.uint8).data
    content = [xxhash.xxh3_64_intdigest(data[a * width : b * width]) for a, b in pairwise(ends.tolist())]
    columns = [
        pa.array(np.array([digest >> 64 for digest in digests], np.uint64)),
        pa.array(np.array([digest & (2**64 - 1) for digest in digests], np.uint64)),
        pa.array(np.array(content, np.uint64)),
        pa.array(held_out),
        ids,
        sources,
        urls,
        pa.array(tokens.trained_bytes),
        binary(data, ends * width),
        pa.nulls(len(digests), pa.large_binary()) if tokens.loss.all() else binary(tokens.loss, ends),
        spans_column(tokens.spans, len(digests)),
    ]
    return pa.record_batch(columns, schema=ENCODED)


def write(folder: Path, task: int, batches: list[pa.RecordBatch], partitions: int) -> TaskResult:
    """Writes the rows of a task, grouped by hash range, and counts them."""
    joined = pa.concat_batches(batches or [pa.RecordBatch.from_pylist([], schema=ENCODED)])
    high = joined.column("high").to_numpy() >> np.uint64(32)
    partition = (high * np.uint64(partitions)) >> np.uint64(32)
    file = exchange.write(folder, f"tokens-{task:05d}.arrow", joined, partition.astype(np.int64), partitions)
    size = int(pc.sum(joined.column("bytes")).as_py() or 0)
    counts = {"documents": joined.num_rows, "kept": joined.num_rows, "bytes": size}
    return TaskResult((file,), {**counts, "ranges": ranges(partition, joined.column("held_out"))})


def ranges(partition: npt.NDArray[Any], held_out: pa.Array) -> dict[str, dict[str, int]]:
    """Documents of each kind in each hash range, those without any left out."""
    mask = held_out.to_numpy(zero_copy_only=False).astype(np.bool_)
    counted = {kind: np.unique(partition[of], return_counts=True) for kind, of in (("part", ~mask), ("held_out", mask))}
    return {
        kind: {f"{number:05d}": count for number, count in zip(numbers.tolist(), counts.tolist(), strict=True)}
        for kind, (numbers, counts) in counted.items()
    }


def binary(data: Any, offsets: npt.NDArray[np.int64]) -> pa.Array:
    """Values cut out of one buffer, which is not copied: large_binary[n] for n + 1 offsets."""
    buffers = [None, pa.py_buffer(offsets.astype(np.int64)), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)


def loss_of(column: pa.ChunkedArray, lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """The loss bits of all documents joined: bool[tokens]; `lengths` int64[n] are their tokens."""
    loss = np.ones(int(lengths.sum()), np.bool_)
    if column.null_count < len(column):
        sent = column.is_valid().to_numpy(zero_copy_only=False).astype(np.bool_)
        loss[np.repeat(sent, lengths)] = np.frombuffer(bytes_of(column)[0], np.bool_)
    return loss


def bytes_of(column: pa.ChunkedArray) -> tuple[bytes, npt.NDArray[np.int64]]:
    """All values of a column joined, and their n + 1 offsets."""
    values = column.combine_chunks()
    array = values.chunk(0) if isinstance(values, pa.ChunkedArray) else values
    _, offsets, data = array.buffers()
    bounds = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    return data.to_pybytes()[bounds[0] : bounds[-1]], bounds - bounds[0]
