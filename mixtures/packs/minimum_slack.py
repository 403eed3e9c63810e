"""Minimum bin slack: every sequence filled as full as the lengths that are left allow, the longest first.

Best-fit-decreasing pads reasoning documents of a third of a sequence by 1 to 2 %, since it never weighs two documents
together: here each sequence takes the longest length left and the set of others that fills it best, a subset sum
(Gupta and Ho, Production Planning & Control 10, 1999; the longest first as of Fleszar and Hindi, Computers & Operations
Research 29, 2002). Costs a shift of `capacity / 64` words a length looked at, about 1 s for a part of 2^28 tokens.
"""

import numba
import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]

WORK = 1 << 33  # words that are shifted at most, about 8 s
# Number of the only bit of a word, by the six highest bits of its product with a de Bruijn sequence.
_DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)
_BIT_NUMBER = np.zeros(64, np.int64)
for _bit in range(64):
    _BIT_NUMBER[((1 << _bit) * int(_DE_BRUIJN) & (1 << 64) - 1) >> 58] = _bit
_ONE, _SHIFT, _WORD = np.uint64(1), np.uint64(58), np.uint64(64)


@numba.njit(cache=True, nogil=True)
def minimum_slack(lengths: Int64s, capacity: int, work: int = WORK) -> Int64s:
    """The sequence that every length goes to.

    Args:
        lengths: int64[n], descending, from 1 to `capacity`.
        capacity: tokens that a sequence holds.
        work: words that may be shifted.

    Returns:
        int64[n]: sequences, numbered as they are opened; -1 from where on the work was spent.
    """
    left_of = np.zeros(capacity + 1, np.int64)  # how many items of each length are left
    item_of = np.zeros(capacity + 1, np.int64)  # the next of them
    for item in range(lengths.size - 1, -1, -1):
        left_of[lengths[item]] += 1
        item_of[lengths[item]] = item
    shorter = np.zeros(capacity + 2, np.int64)  # a length below each one such that between the two nothing is left
    for length in range(1, capacity + 2):
        shorter[length] = length - 1 if left_of[length - 1] > 0 else shorter[length - 1]
    bins = np.full(lengths.size, -1, np.int64)
    reached = np.zeros(capacity // 64 + 1, np.uint64)  # a bit for every sum of some lengths
    last = np.zeros(capacity + 1, np.int64)  # the length that each sum ends with
    opened = placed = 0
    while placed < lengths.size and work > 0:
        longest = _next(shorter, left_of, capacity + 1)
        placed += _place(bins, left_of, item_of, longest, opened)
        room = capacity - longest
        best, spent = _sums(reached, last, shorter, left_of, room)
        work -= spent
        while best > 0:
            length = last[best]
            best -= length
            placed += _place(bins, left_of, item_of, length, opened)
        opened += 1
    return bins


@numba.njit(cache=True, nogil=True)
def _sums(reached: UInt64s, last: Int64s, shorter: Int64s, left_of: Int64s, room: int) -> tuple[int, int]:
    """The largest sum of lengths that are left and fit into the room, and the words shifted to find it."""
    words = room // 64 + 1
    reached[:words] = 0
    reached[0] = _ONE
    best = spent = 0
    length = _next(shorter, left_of, room + 1)
    while length > 0 and best < room:
        for _ in range(min(left_of[length], room // length)):
            highest = _add(reached, last, length, room, words)
            spent += words - length // 64
            if highest == 0:
                break
            best = max(best, highest)
            if best == room:
                break
        length = _next(shorter, left_of, length)
    return best, spent


@numba.njit(cache=True, nogil=True)
def _add(reached: UInt64s, last: Int64s, length: int, room: int, words: int) -> int:
    """Adds one more item of a length to all sums; returns the highest new one up to the room, 0 where none is new."""
    skip, shift = length // 64, np.uint64(length % 64)
    highest = 0
    for word in range(words - 1, skip - 1, -1):
        new = reached[word - skip] << shift
        if shift > 0 and word > skip:
            new |= reached[word - skip - 1] >> (_WORD - shift)
        new &= ~reached[word]
        reached[word] |= new
        while new != 0:
            bit = new & (~new + _ONE)
            new ^= bit
            total = word * 64 + _BIT_NUMBER[(bit * _DE_BRUIJN) >> _SHIFT]
            if total <= room:
                last[total] = length
                highest = max(highest, total)
    return highest


@numba.njit(cache=True, nogil=True)
def _place(bins: Int64s, left_of: Int64s, item_of: Int64s, length: int, opened: int) -> int:
    bins[item_of[length]] = opened
    item_of[length] += 1
    left_of[length] -= 1
    return 1


@numba.njit(cache=True, nogil=True)
def _next(shorter: Int64s, left_of: Int64s, length: int) -> int:
    """The largest length below this one of which something is left, 0 where none is; the way there is shortened."""
    found: int = shorter[length]
    while found > 0 and left_of[found] == 0:
        found = shorter[found]
    while length > found and shorter[length] != found:
        following = shorter[length]
        shorter[length] = found
        length = following
    return found
