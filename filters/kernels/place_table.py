"""A hash table of places in a text for kernels, in the array of a `hash_table`: what has been seen, not how often.

Its caller compares what stands at two places, so a slot takes 4 bytes where a key and its count take 16. For the few
documents whose keys are too many to be kept; a look-up costs a second cache miss where a place is found.
Costs 4 bytes per slot, at most three quarters of them in use, and half as much again that smaller tables left behind.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .kernel import view_leaf

UInt64 = npt.NDArray[np.uint64]

# Places in a table's state.
_OFFSET: Final = 0  # the first slot in use
_BITS: Final = 1  # logarithm of the number of slots
_HELD: Final = 2

_FIRST_BITS: Final = 12
_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: Knuth's multiplicative hashing
_HALF: Final = np.uint64(0xFFFFFFFF)
_0, _1, _2, _3, _5, _64 = (np.uint64(number) for number in (0, 1, 2, 3, 5, 64))


@view_leaf
def empty_places(table: UInt64, state: UInt64) -> None:
    """Makes the table empty, and small."""
    state[_OFFSET], state[_BITS], state[_HELD] = _0, np.uint64(_FIRST_BITS), _0
    table[: 1 << (_FIRST_BITS - 1)] = _0


@view_leaf
def first_slot(state: UInt64, key: Any) -> Any:
    """The slot where the search for a key begins."""
    return key * _SPREAD >> (_64 - state[_BITS])


@view_leaf
def next_slot(state: UInt64, slot: Any) -> Any:
    """The slot after a slot."""
    return (slot + _1) & ((_1 << state[_BITS]) - _1)


@view_leaf
def _slot(table: UInt64, number: Any) -> Any:
    return table[number >> _1] >> ((number & _1) << _5) & _HALF


@view_leaf
def place_in(table: UInt64, state: UInt64, slot: Any) -> Any:
    """What a slot holds: 0, or a place and one."""
    return _slot(table, state[_OFFSET] + slot)


@view_leaf
def put_place(table: UInt64, state: UInt64, slot: Any, place: Any) -> None:
    """Fills an empty slot with a place and one, less than 2^32."""
    number = state[_OFFSET] + slot
    table[number >> _1] |= place << ((number & _1) << _5)
    state[_HELD] += _1


@view_leaf
def is_full(state: UInt64) -> Any:
    """Whether the table has to be doubled."""
    return (state[_HELD] + _1) << _2 > _3 << state[_BITS]


@view_leaf
def double_places(table: UInt64, state: UInt64) -> Any:
    """Begins an empty table of twice the size behind this one, whose number of slots it gives."""
    slots = _1 << state[_BITS]
    state[_OFFSET], state[_BITS], state[_HELD] = state[_OFFSET] + slots, state[_BITS] + _1, _0
    table[state[_OFFSET] >> _1 : (state[_OFFSET] >> _1) + slots] = _0
    return slots


@view_leaf
def place_before(table: UInt64, state: UInt64, slot: Any) -> Any:
    """What a slot of the table before the last doubling holds."""
    return _slot(table, state[_OFFSET] - (_1 << (state[_BITS] - _1)) + slot)
