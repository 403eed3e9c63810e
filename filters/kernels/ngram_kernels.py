"""Numba leaves that measure how much of a document its repeated n-grams make up.

All n-grams of a document hash in one multiplication each, from hashes of its prefixes. Nearly all documents are cleared
by a sketch that no branch depends on; only where it does not clear one are n-grams told apart in a hash table.
Costs about 2 ns per n-gram for a sketch and 5 for an exact value; importing this module imports Numba.

The prefix hash of k tokens is that of their characters joined, a polynomial modulo 2^64 (Karp and Rabin 1987) over
scrambled code points: two different n-grams are taken for one with odds of about 2^-64.
"""

import functools
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .chunk_entries import BASE, scramble
from .hash_table import count_key, count_of, empty_table
from .kernel import view_leaf
from .place_table import (
    double_places,
    empty_places,
    first_slot,
    is_full,
    next_slot,
    place_before,
    place_in,
    put_place,
)

UInt32 = npt.NDArray[np.uint32]
UInt64 = npt.NDArray[np.uint64]

POWERS: Final = 1024  # powers of the base that are looked up; longer n-grams pay for theirs
LEAST_CELLS: Final = 1 << 10
MOST_CELLS: Final = 1 << 22  # of 4 bytes
_CELLS_PER_TOKEN: Final = 4
_MANY: Final = np.uint64(1 << 20)  # tokens of a document whose cells are too full, and whose table would be too large

_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)
_0, _1, _2, _5, _31, _64 = (np.uint64(number) for number in (0, 1, 2, 5, 31, 64))
_SECOND: Final = np.uint64(0xD1B54A32D192ED03)  # another odd number
_INVERSE: Final = np.uint64(pow(int(BASE), -1, 2**64))
_WORD_1: Final = np.uint32(1)


@functools.cache
def powers() -> UInt64:
    """uint64[POWERS]: BASE ** k modulo 2^64 (read-only)."""
    table = np.array([pow(int(BASE), exponent, 2**64) for exponent in range(POWERS)], np.uint64)
    table.flags.writeable = False
    return table


@view_leaf
def power(size: Any, powers: UInt64) -> Any:
    """BASE ** size modulo 2^64."""
    if size < np.uint64(len(powers)):
        return powers[size]
    result, square = _1, BASE
    while size:
        if size & _1:
            result *= square
        square *= square
        size >>= _1
    return result


@view_leaf
def separator() -> Any:
    """The character that stands behind every token while top n-grams are counted: the space, which none contains."""
    return scramble(np.uint32(0x20))


@view_leaf
def join_tokens(prefixes: UInt64, sizes: UInt32, tokens: Any, powers: UInt64) -> None:
    """Takes the separators behind `tokens` tokens out of the hashes of the prefixes and their sizes."""
    before, joined, space, inverse = prefixes[0], prefixes[0], separator(), np.uint64(_INVERSE)
    size_before = sizes[0]
    for number in range(1, tokens + _1):
        token = np.uint64(number)
        size = np.uint64(sizes[token] - size_before)
        own = prefixes[token] - before * power(size, powers)
        before, size_before = prefixes[token], sizes[token]
        joined = joined * power(size - _1, powers) + (own - space) * inverse
        prefixes[token] = joined
        sizes[token] -= np.uint32(token)


@view_leaf
def _window(prefixes: UInt64, sizes: UInt32, at: Any, n: Any, powers: UInt64) -> Any:
    """The hash of the n-gram that begins with token `at`, and the number of its characters."""
    size = np.uint64(sizes[at + n] - sizes[at])
    return prefixes[at + n] - prefixes[at] * power(size, powers), size


@view_leaf
def cell_bits(tokens: Any) -> Any:
    """The logarithm of the number of cells for a document of that many tokens."""
    bits = np.uint64(10)
    while (_1 << bits) < tokens * np.uint64(_CELLS_PER_TOKEN) and (_1 << bits) < np.uint64(MOST_CELLS):
        bits += _1
    return bits


@view_leaf
def most_in_a_cell(
    prefixes: UInt64, sizes: UInt32, tokens: Any, n: Any, powers: UInt64, cells: UInt32, by_size: bool
) -> Any:
    """The largest sum over the n-grams that fall into one cell, of their characters or of ones.

    No n-gram's own sum is larger. `cells` holds the sums afterwards.
    """
    bits = cell_bits(tokens)
    cells[: _1 << bits] = np.uint32(0)
    most, unit = np.uint32(0), np.uint32(1)
    for number in range(tokens - n + _1):
        key, size = _window(prefixes, sizes, np.uint64(number), n, powers)
        cell = key * _SPREAD >> (_64 - bits)
        total = cells[cell] + (np.uint32(size) if by_size else unit)
        cells[cell] = total
        most = max(most, total)
    return np.uint64(most)


@view_leaf
def top_characters(
    prefixes: UInt64, sizes: UInt32, tokens: Any, n: Any, powers: UInt64, cells: UInt32, table: UInt64, state: UInt64
) -> Any:
    """Characters of all occurrences of the most frequent n-gram, the first among equals, its n - 1 spaces included.

    Only n-grams in cells that were hit often enough are counted apart.
    """
    bits = cell_bits(tokens)
    least = most_in_a_cell(prefixes, sizes, tokens, n, powers, cells, False)
    best = _1
    while least > _1:
        empty_table(table, state)
        best = _1
        for number in range(tokens - n + _1):
            key, _ = _window(prefixes, sizes, np.uint64(number), n, powers)
            if np.uint64(cells[key * _SPREAD >> (_64 - bits)]) >= least:
                best = max(best, count_key(table, state, key))
        if best >= least or least == _2:
            break
        least = max(best, _2)
    key, size = _window(prefixes, sizes, _0, n, powers)
    if best == _1:
        return size - _1
    at = _0
    while np.uint64(cells[key * _SPREAD >> (_64 - bits)]) < least or count_of(table, state, key) != best:
        at += _1
        key, size = _window(prefixes, sizes, at, n, powers)
    return best * (size - _1)


@view_leaf
def _mark(cells: UInt32, first: Any, bit: Any) -> Any:
    """Sets a bit of the cells from word `first` on, and gives what it was: 0 or 1."""
    word, place = first + (bit >> _5), np.uint32(bit & _31)
    old = cells[word]
    cells[word] = old | (_WORD_1 << place)
    return old >> place & _WORD_1


@view_leaf
def at_most_duplicate(prefixes: UInt64, sizes: UInt32, tokens: Any, n: Any, powers: UInt64, cells: UInt32) -> Any:
    """Characters of all n-grams whose bit another n-gram had set before: no fewer than those of duplicates."""
    bits = cell_bits(tokens)
    cells[: _1 << bits] = np.uint32(0)
    total = _0
    for number in range(tokens - n + _1):
        key, size = _window(prefixes, sizes, np.uint64(number), n, powers)
        total += np.uint64(_mark(cells, _0, key * _SPREAD >> (_64 - _5 - bits))) * size
    return total


@view_leaf
def _is_marked(cells: UInt32, first: Any, bit: Any) -> Any:
    """Whether a bit of the cells from word `first` on is set."""
    return cells[first + (bit >> _5)] >> np.uint32(bit & _31) & _WORD_1


@view_leaf
def _duplicate_of_many(
    prefixes: UInt64, sizes: UInt32, tokens: Any, n: Any, powers: UInt64, cells: UInt32, table: UInt64, state: UInt64
) -> Any:
    """The rest of `duplicate_characters` for a document of many tokens, when the bits that were set twice are there.

    Those share their bits with n-grams that occur once, so what they leave goes through other bits. What these leave is
    told apart by a table that holds places, since keys with counts would take four times the memory.
    """
    bits = cell_bits(tokens)
    shift = _64 - _5 - bits
    again, twice = np.uint64(MOST_CELLS), np.uint64(2 * MOST_CELLS)
    cells[: _1 << bits] = np.uint32(0)
    cells[twice : twice + (_1 << bits)] = np.uint32(0)
    for number in range(tokens - n + _1):
        key, _ = _window(prefixes, sizes, np.uint64(number), n, powers)
        if _is_marked(cells, again, key * _SPREAD >> shift):
            bit = key * _SECOND >> shift
            cells[twice + (bit >> _5)] |= np.uint32(_mark(cells, _0, bit)) << np.uint32(bit & _31)
    empty_places(table, state)
    total, at = _0, _0
    while at + n <= tokens:
        key, size = _window(prefixes, sizes, at, n, powers)
        if (
            _is_marked(cells, again, key * _SPREAD >> shift)
            and _is_marked(cells, twice, key * _SECOND >> shift)
            and _stood_before(prefixes, sizes, n, powers, table, state, at, key)
        ):
            total += size
            at += n
        else:
            at += _1
    return total


@view_leaf
def _stood_before(
    prefixes: UInt64, sizes: UInt32, n: Any, powers: UInt64, table: UInt64, state: UInt64, at: Any, key: Any
) -> Any:
    """Whether the table holds a place of an n-gram with this key; if not, puts `at` there."""
    slot = first_slot(state, key)
    while True:
        place = place_in(table, state, slot)
        if place == _0:
            break
        if _window(prefixes, sizes, place - _1, n, powers)[0] == key:
            return True
        slot = next_slot(state, slot)
    put_place(table, state, slot, at + _1)
    if is_full(state):
        before = double_places(table, state)
        for old in range(before):
            place = place_before(table, state, np.uint64(old))
            if place != _0:
                other, _ = _window(prefixes, sizes, place - _1, n, powers)
                slot = first_slot(state, other)
                while place_in(table, state, slot) != _0:
                    slot = next_slot(state, slot)
                put_place(table, state, slot, place)
    return False


@view_leaf
def duplicate_characters(
    prefixes: UInt64, sizes: UInt32, tokens: Any, n: Any, powers: UInt64, cells: UInt32, table: UInt64, state: UInt64
) -> Any:
    """Characters of the n-grams that occurred before, where an n-gram that did is passed by as a whole.

    Only n-grams whose bit was set more than once are told apart: the others occur once.
    """
    bits = cell_bits(tokens)
    again = np.uint64(MOST_CELLS)
    cells[: _1 << bits] = np.uint32(0)
    cells[again : again + (_1 << bits)] = np.uint32(0)
    for number in range(tokens - n + _1):
        key, _ = _window(prefixes, sizes, np.uint64(number), n, powers)
        bit = key * _SPREAD >> (_64 - _5 - bits)
        place = again + (bit >> _5)
        cells[place] |= np.uint32(_mark(cells, _0, bit)) << np.uint32(bit & _31)
    if tokens > _MANY:
        return _duplicate_of_many(prefixes, sizes, tokens, n, powers, cells, table, state)
    empty_table(table, state)
    total, at = _0, _0
    while at + n <= tokens:
        key, size = _window(prefixes, sizes, at, n, powers)
        bit = key * _SPREAD >> (_64 - _5 - bits)
        twice = cells[again + (bit >> _5)] >> np.uint32(bit & _31) & _WORD_1
        if twice and count_key(table, state, key) > _1:
            total += size
            at += n
        else:
            at += _1
    return total
