"""Best-fit-decreasing: every length into the sequence that it fills best, a new one where none has room.

Ding et al. 2024 (arXiv 2404.10830) pack whole documents so, and lose no token; the rooms that are left are kept in a
binary tree, so that the best one is found without a search over sequences. Costs O(n log capacity) in Numba.
"""

import numba
import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@numba.njit(cache=True, nogil=True)
def best_fit(lengths: Int64s, capacity: int) -> Int64s:
    """The sequence that every length goes to.

    Args:
        lengths: int64[n], descending, from 1 to `capacity`.
        capacity: tokens that a sequence holds.

    Returns:
        int64[n]: sequences, numbered as they are opened.
    """
    leaves = 1
    while leaves <= capacity:
        leaves *= 2
    some = np.zeros(2 * leaves, dtype=np.bool_)  # binary tree over rooms: is there a sequence with a room below here
    top = np.full(capacity + 1, -1, dtype=np.int64)  # for every room, the sequence changed last, of a stack ..
    below = np.empty(lengths.size, dtype=np.int64)  # .. that goes on here
    bins = np.empty(lengths.size, dtype=np.int64)
    opened = 0
    for item in range(lengths.size):
        room = _smallest_room(some, leaves, lengths[item])
        if room < 0:
            room, chosen = capacity, opened
            opened += 1
        else:
            chosen = top[room]
            top[room] = below[chosen]
            if top[room] < 0:
                _clear(some, leaves + room)
        bins[item] = chosen
        left = room - lengths[item]
        if left > 0:
            below[chosen] = top[left]
            top[left] = chosen
            node = leaves + left
            while node > 0 and not some[node]:
                some[node] = True
                node //= 2
    return bins


@numba.njit(cache=True, nogil=True)
def _smallest_room(some: Bools, leaves: int, length: int) -> int:
    """The smallest room of at least `length` that a sequence has; -1 where there is none."""
    node = leaves + length
    while not some[node]:
        while node % 2 == 1:
            node //= 2
        if node == 0:
            return -1
        node += 1
    while node < leaves:
        node = 2 * node if some[2 * node] else 2 * node + 1
    return node - leaves


@numba.njit(cache=True, nogil=True)
def _clear(some: Bools, node: int) -> None:
    some[node] = False
    node //= 2
    while node > 0 and not (some[2 * node] or some[2 * node + 1]):
        some[node] = False
        node //= 2
