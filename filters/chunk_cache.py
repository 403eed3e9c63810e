"""The chunk cache of a process: what is known about the chunks that its texts are made of.

Rule sets ask the same of the same few hundred thousand chunks, batch after batch; a tokenizer answers in a microsecond,
a cache line in its latency. There is one cache a process, for all rule sets; it grows as it fills, and forgets what is
seldom asked for when it is full.
Costs at most 220 MB of memory, 1 MB at the start.

No answer depends on what the cache holds. A chunk of at most 16 bytes is compared byte for byte; a longer one by two
hashes of 64 bits and its length, so that among 2^24 different chunks two are confused with odds of 2^-81.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .document import DocumentBatch

_ENTRIES: Final = 2_500_000  # of 64 bytes
_SLOTS: Final = 1 << 22  # of 4 bytes
_FIRST_SLOTS: Final = 1 << 15
_ARENA: Final = 5_000_000  # words of 8 bytes, for the tokens of chunks of more than three
_TOKENS: Final = 1 << 16  # tokens of a chunk that room is kept for between batches

MEMORY: Final = 64 * _ENTRIES + 4 * _SLOTS + 8 * _ARENA  # bytes of a full cache
# Different chunks of a text grow with its bytes by Heaps' law, and take 93 bytes each in all. Six corpora in eleven
# languages had 1.86 million in 240 MB (this says 1.2), web pages of one archive 0.5 million in 100 MB (0.63).
_HEAPS, _HEAPS_GROWTH, _ENTRY_BYTES = 0.7, 0.744, 93


@dataclass(frozen=True)
class Figures:
    """What the cache has done since it was made, and what it holds.

    Args:
        looked_up: chunks that were asked for.
        missed: of them, chunks that were not there and were added.
        oversize: of them, chunks that are too long to be kept.
        entries: chunks that are kept now.
        sweeps: how often the cache was full and forgot.
        memory_bytes: bytes that entries, slots and the tokens of long chunks take now.
    """

    looked_up: int
    missed: int
    oversize: int
    entries: int
    sweeps: int
    memory_bytes: int


def expected_memory(text: float) -> int:
    """Bytes that the cache is expected to take when it has seen so many bytes of text."""
    return min(int(_ENTRY_BYTES * _HEAPS * text**_HEAPS_GROWTH), MEMORY)


class ChunkCache:
    """The arrays of a cache; `opened` lends those of the process.

    Args:
        entries: chunks that it may keep, at least 2 * `chunk_bounds.BLOCK`.
        slots: a power of two, more than the entries.
        arena: words for the tokens of chunks of more than three tokens.
    """

    def __init__(self, entries: int = _ENTRIES, slots: int = _SLOTS, arena: int = _ARENA) -> None:
        from .english import tables
        from .kernels import chunk_kernels as kernels
        from .kernels.characters import classes
        from .kernels.chunk_bounds import BLOCK
        from .kernels.chunk_entries import ENTRY
        from .kernels.spans import white_space
        from .kernels.word_kernels import DEFAULT_STOP_WORDS, hash_in_order

        # np.empty: pages that are never written take no memory, and large arrays get large pages.
        self._slots = np.empty(slots, np.uint32)
        self._entries = np.empty(entries * ENTRY, np.uint64)
        self._arena = np.empty(arena, np.uint64)
        self._state = np.zeros(kernels.STATES, np.int64)
        self._tokens = np.empty(_TOKENS, np.int32)
        self._first_slots = min(slots, _FIRST_SLOTS)
        block = BLOCK
        self._block = (
            np.empty(block, np.uint64),
            np.empty(block, np.uint64),
            np.empty(3 * block, np.uint64),
            np.empty(block, np.uint32),
        )
        self._constants = (classes(), hash_in_order(DEFAULT_STOP_WORDS), white_space(), tables.arrays())
        self._kernels, self._entry_words = kernels, ENTRY
        self.clear()

    def clear(self) -> None:
        """Forgets all chunks and figures."""
        self._state[:] = 0
        self._state[self._kernels.COUNT] = 1
        self._state[self._kernels.MASK] = self._first_slots - 1
        self._slots[: self._first_slots] = 0

    def figures(self) -> Figures:
        """What the cache has done and holds."""
        kernels, state = self._kernels, self._state.tolist()
        words = state[kernels.COUNT] * self._entry_words + state[kernels.ARENA]
        return Figures(
            looked_up=state[kernels.LOOKED_UP],
            missed=state[kernels.MISSED],
            oversize=state[kernels.OVERSIZE],
            entries=state[kernels.COUNT] - 1,
            sweeps=state[kernels.SWEEPS],
            memory_bytes=8 * words + 4 * (state[kernels.MASK] + 1),
        )

    def arrays(self, longest: int, stops: npt.NDArray[np.int32] | None = None) -> tuple[Any, ...]:
        """What kernels take, for texts of at most `longest` bytes; as `opened`."""
        if stops is None:
            stops = self._tokens if longest <= _TOKENS else np.empty(longest, np.int32)
        return self._slots, self._entries, self._arena, self._state, *self._block, stops, *self._constants


_lock = threading.RLock()
_cache: ChunkCache | None = None


@contextmanager
def opened(batch: DocumentBatch, stops: npt.NDArray[np.int32] | None = None) -> Iterator[tuple[Any, ...]]:
    """The arrays of the process's cache, for kernels that look up pieces of the batch's texts; locked until the end.

    The kernels take them as one argument, and hand it to the leaves of `word_kernels` as it is.

    Args:
        batch: the documents.
        stops: int32[at least the bytes of the longest text], for where the tokens of a chunk stop: at
            its end, as many as the chunk has bytes. Its beginning is not written. None for an array of the cache's own.
    """
    with _lock:
        longest = int(np.diff(batch.text_offsets).max(initial=0))
        yield _opened().arrays(longest, stops)


def figures() -> Figures:
    """What the process's cache has done and holds."""
    with _lock:
        return _opened().figures()


def clear() -> None:
    """Empties the process's cache: the next batch pays for its chunks anew."""
    with _lock:
        _opened().clear()


def _opened() -> ChunkCache:
    global _cache
    if _cache is None:
        _cache = ChunkCache()
    return _cache
