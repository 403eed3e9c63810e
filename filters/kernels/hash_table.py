"""A hash table of counts for kernels, in one array of the caller's, that grows as it fills.

Documents differ by five orders of magnitude in size; a table made for the largest would have to be cleared for the
smallest. Open addressing with linear probing (Knuth, The Art of Computer Programming 3, 6.4, algorithm L).
Costs 16 bytes per slot, at most three quarters of them in use; importing this imports Numba.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .kernel import view_leaf

UInt64 = npt.NDArray[np.uint64]

# Places in a table's state.
_OFFSET: Final = 0  # the first slot in use
_BITS: Final = 1  # logarithm of the number of slots
_KEYS: Final = 2
STATES: Final = 3

_FIRST_BITS: Final = 7
_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: Knuth's multiplicative hashing
_0, _1, _64 = np.uint64(0), np.uint64(1), np.uint64(64)


def room(keys: int) -> int:
    """Words of 64 bits that a table needs for at most `keys` keys, all sizes that it grows through included."""
    slots = 1 << _FIRST_BITS
    while slots * 3 < keys * 4 + 4:
        slots *= 2
    return 2 * 2 * slots


@view_leaf
def empty_table(table: UInt64, state: UInt64) -> None:
    """Makes the table empty, and small."""
    state[_OFFSET], state[_BITS], state[_KEYS] = _0, np.uint64(_FIRST_BITS), _0
    table[: 2 << _FIRST_BITS] = _0


@view_leaf
def _place_of(table: UInt64, state: UInt64, key: Any) -> Any:
    """The word where the key stands, or the empty one where it would."""
    offset, bits = state[_OFFSET], state[_BITS]
    mask = (_1 << bits) - _1
    place = key * _SPREAD >> (_64 - bits)
    while True:
        word = (offset + place) << _1
        if table[word] == key or table[word] == _0:
            return word
        place = (place + _1) & mask


@view_leaf
def _grow(table: UInt64, state: UInt64) -> None:
    """Moves the table to one of twice the size behind it."""
    offset, slots = state[_OFFSET], _1 << state[_BITS]
    state[_OFFSET], state[_BITS] = offset + slots, state[_BITS] + _1
    table[(offset + slots) << _1 : (offset + slots * np.uint64(3)) << _1] = _0
    for slot in range(offset, offset + slots):
        word = np.uint64(slot) << _1
        if table[word] != _0:
            to = _place_of(table, state, table[word])
            table[to], table[to + _1] = table[word], table[word + _1]


@view_leaf
def count_key(table: UInt64, state: UInt64, key: Any) -> Any:
    """Adds one to the count of a key, and gives it; 0 and 1 are one key."""
    key = key if key != _0 else _1
    word = _place_of(table, state, key)
    if table[word] == _0:
        if (state[_KEYS] + _1) << np.uint64(2) > np.uint64(3) << state[_BITS]:
            _grow(table, state)
            word = _place_of(table, state, key)
        table[word], table[word + _1] = key, _0
        state[_KEYS] += _1
    table[word + _1] += _1
    return table[word + _1]


@view_leaf
def count_of(table: UInt64, state: UInt64, key: Any) -> Any:
    """The count of a key, 0 where it was never counted."""
    word = _place_of(table, state, key if key != _0 else _1)
    return table[word + _1] if table[word] != _0 else _0
