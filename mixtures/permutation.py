"""A keyed permutation of [0, n), an alternating Feistel network walked until it lands below n, and a source's epochs.

A source of any size is shuffled anew in every epoch without a list of indices, an index is found from its place and a
place from its index, so the training order can be resumed and searched at any point. Costs no memory and 24 hash
rounds a step (about 20 ns, many indices at a time), with 1 to 2 steps an index on average, in Numba.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, overload

import numba
import numpy as np
import numpy.typing as npt
import xxhash

from ..errors import RunError
from ..manifest import canonical

Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]

# Even, so that both halves are changed equally often. FF1 (NIST SP 800-38G) takes 10 rounds, but a source of a few
# sequences has halves of one or two bits: counted over keys, all orders of 5 to 7 elements come equally often
# (chi-square) from 24 rounds on, and visibly not at 12.
ROUNDS = 24
_LANES = 256  # indices that go through the rounds together

# SplitMix64: its increment and the constants of its finalizer (Steele, Lea and Flood 2014, "Fast splittable
# pseudorandom number generators", with Stafford's variant 13 of the mixer).
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_SHIFT_30, _SHIFT_27, _SHIFT_31 = np.uint64(30), np.uint64(27), np.uint64(31)


def epoch_key(seed: int, source: str, epoch: int) -> int:
    """The key of one epoch's permutation of a source: xxh3-64 of the canonical JSON of the three."""
    return xxhash.xxh3_64_intdigest(canonical(["epoch", seed, source, epoch]))


@overload
def permute(index: int, n: int, key: int) -> int: ...
@overload
def permute(index: Int64s, n: int, key: int) -> Int64s: ...
def permute(index: int | Int64s, n: int, key: int) -> int | Int64s:
    """Where the permutation of [0, n) with this key sends an index.

    Args:
        index: one index, or int64 of any shape, each in [0, n).
        n: size of the domain, 1 to 2^62.
        key: 64 bits, from `epoch_key`.

    Raises:
        IndexError: an index is not in [0, n).
    """
    return _apply(index, n, key, False)


@overload
def unpermute(index: int, n: int, key: int) -> int: ...
@overload
def unpermute(index: Int64s, n: int, key: int) -> Int64s: ...
def unpermute(index: int | Int64s, n: int, key: int) -> int | Int64s:
    """The inverse of `permute`: `unpermute(permute(i, n, key), n, key) == i`."""
    return _apply(index, n, key, True)


def _apply(index: int | Int64s, n: int, key: int, inverse: bool) -> int | Int64s:
    if not 1 <= n <= 1 << 62:
        raise IndexError(f"a permutation of {n} elements: from 1 to 2^62 are possible")
    indices = np.asarray(index, dtype=np.int64)
    if indices.size and (indices.min() < 0 or indices.max() >= n):
        raise IndexError(f"an index between {indices.min()} and {indices.max()} outside [0, {n})")
    flat = np.ascontiguousarray(indices).reshape(-1).astype(np.uint64)
    bits = (n - 1).bit_length()
    moved = _walk(flat, np.uint64(n), np.uint64(bits // 2), np.uint64(bits - bits // 2), np.uint64(key), inverse)
    result = moved.astype(np.int64).reshape(indices.shape)
    return result if isinstance(index, np.ndarray) else int(result)


class Located(NamedTuple):
    """Draws of a source, found: the epoch int64[n], from the full index bool[n] or the rest, the sequence int64[n]."""

    epoch: Int64s
    full: Bools
    sequence: Int64s


@dataclass(frozen=True)
class Draws:
    """The draws of a source over consecutive phases of one sequence length, numbered from 0.

    First what was left of the epoch that an earlier length began (`rest`, packed anew), then whole epochs, each in its
    own permutation, without end.
    """

    seed: int
    source: str
    rest_size: int  # sequences; 0 where no epoch was begun
    rest_epoch: int
    full_size: int  # sequences of a whole epoch; 0 where none is reached
    full_epoch: int  # the first whole one

    def epoch(self, draw: int) -> int:
        """The epoch of one draw, counted from 0 over all phases."""
        return self.rest_epoch if draw < self.rest_size else self.full_epoch + (draw - self.rest_size) // self.full_size

    def left_in_epoch(self, draw: int) -> int:
        """How many draws, this one included, remain of its epoch."""
        if draw < self.rest_size:
            return self.rest_size - draw
        return self.full_size - (draw - self.rest_size) % self.full_size

    def epochs(self, first: int, count: int) -> Iterator[tuple[int, int, int]]:
        """The epochs that so many draws from `first` on fall into: number, first draw and sequences of each."""
        draw = first
        while draw < first + count:
            left = self.left_in_epoch(draw)
            size = self.rest_size if draw < self.rest_size else self.full_size
            yield self.epoch(draw), draw + left - size, size
            draw += left

    def locate(self, draws: Int64s) -> Located:
        """The sequence of each draw.

        Args:
            draws: int64[n], each 0 or more.

        Raises:
            RunError: a draw beyond the rest, where no whole epoch was planned.
        """
        full = draws >= self.rest_size
        if full.any() and not self.full_size:
            raise RunError(f"draw {draws.max():,} of source {self.source} lies beyond the plan", fix="build again")
        beyond = draws - self.rest_size
        size = max(self.full_size, 1)
        epoch = np.where(full, self.full_epoch + beyond // size, self.rest_epoch)
        position = np.where(full, beyond % size, draws)
        sequence = np.empty(draws.size, dtype=np.int64)
        for one in np.unique(epoch):
            chosen = epoch == one
            in_epoch = self.full_size if full[chosen][0] else self.rest_size
            sequence[chosen] = permute(position[chosen], in_epoch, epoch_key(self.seed, self.source, int(one)))
        return Located(epoch, full, sequence)


@numba.njit(cache=True, nogil=True)
def _mix(value: np.uint64) -> np.uint64:
    value = (value ^ (value >> _SHIFT_30)) * _MIX_1
    value = (value ^ (value >> _SHIFT_27)) * _MIX_2
    return value ^ (value >> _SHIFT_31)


@numba.njit(cache=True, nogil=True)
def _walk(
    indices: UInt64s, n: np.uint64, left_bits: np.uint64, right_bits: np.uint64, key: np.uint64, inverse: bool
) -> UInt64s:
    one = np.uint64(1)
    left_mask = (one << left_bits) - one
    right_mask = (one << right_bits) - one
    round_keys = np.empty(ROUNDS, dtype=np.uint64)
    state = key
    for step in range(ROUNDS):
        state = state + _GOLDEN
        round_keys[ROUNDS - 1 - step if inverse else step] = _mix(state)
    moved = indices.copy()
    left, right = np.empty(_LANES, dtype=np.uint64), np.empty(_LANES, dtype=np.uint64)
    walking = np.empty(_LANES, dtype=np.int64)
    for start in range(0, moved.size, _LANES):
        lanes = min(_LANES, moved.size - start)
        for lane in range(lanes):
            walking[lane] = start + lane
        while lanes:
            for lane in range(lanes):
                value = moved[walking[lane]]
                left[lane], right[lane] = value >> right_bits, value & right_mask
            # Each round over all lanes: the processor's vectors hold eight of them.
            for step in range(0, ROUNDS, 2):
                first, second = round_keys[step], round_keys[step + 1]
                for lane in range(lanes):
                    if inverse:
                        right[lane] ^= _mix(left[lane] ^ first) & right_mask
                        left[lane] ^= _mix(right[lane] ^ second) & left_mask
                    else:
                        left[lane] ^= _mix(right[lane] ^ first) & left_mask
                        right[lane] ^= _mix(left[lane] ^ second) & right_mask
            still = 0
            for lane in range(lanes):
                value = (left[lane] << right_bits) | right[lane]
                place = walking[lane]
                moved[place] = value
                walking[still] = place
                still += value >= n
            lanes = still
    return moved
