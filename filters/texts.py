"""Columns of texts as their bytes and offsets, in slices, and as hashes: what every part reads of Arrow's buffers.

Nothing here copies a text. Costs 1 ns a byte for hashes, next to nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash


def text_view(text: pa.Array[Any]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The bytes behind n texts (large_string), and int64[n + 1], where each begins in them; read-only, not copied."""
    data = _readonly(text.buffers()[2], np.uint8)
    if len(text) == 0:
        return data, _readonly(None, np.int64, 1)
    return data, _readonly(text.buffers()[1], np.int64)[text.offset : text.offset + len(text) + 1]


def text_slices(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.RecordBatch]:
    """Batches in slices of about so many bytes of the column `text`, or of one document; nothing is copied."""
    for batch in batches:
        offsets, start = text_view(batch.column("text"))[1], 0
        while start < batch.num_rows:
            stop = max(int(np.searchsorted(offsets, offsets[start] + size, side="right")) - 1, start + 1)
            yield batch.slice(start, stop - start)
            start = stop


def hash_texts(text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """uint64[n, 2]: xxh3-128 of n texts, the low half first; `text` and `offsets` as `text_view` gives them."""
    view = text.data
    digests = b"".join(xxhash.xxh3_128_digest(view[start:stop]) for start, stop in pairwise(offsets.tolist()))
    # The canonical digest is big-endian: high half, low half.
    return np.frombuffer(digests, ">u8").reshape(-1, 2)[:, ::-1].astype(np.uint64)


def _readonly(buffer: Any, dtype: type[np.generic], zeros: int = 0) -> npt.NDArray[Any]:
    """An Arrow buffer, or for the None that stands for an empty one so many zeros, as an array.

    Always read-only, as some buffers are: Numba compiles a kernel anew for arrays that can be written.
    """
    array = np.frombuffer(buffer, dtype) if buffer is not None else np.zeros(zeros, dtype)
    array.flags.writeable = False
    return array
