"""Numba leaves that find the chunks of a text, what stands between white space, and the keys they are looked up by.

White space is found 64 bytes at a time and the chunks' ends are the bits where it begins and ends: a test for each
byte, or for each chunk how long it is, would often be guessed wrong.
Costs about 0.2 ns per byte for the chunks and 5 ns per chunk for its key; importing this imports Numba.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .byte_masks import count_bits, range_bits
from .kernel import inlined, view_leaf
from .machine import load_8, lowest_bit, prefetch
from .spans import wide_space_bytes

Bytes = npt.NDArray[np.uint8]
UInt32 = npt.NDArray[np.uint32]
UInt64 = npt.NDArray[np.uint64]

BLOCK: Final = 256  # chunks that are looked up together
LONGEST: Final = 96  # bytes: longer chunks seldom come again, and are not kept

_0, _1, _2, _3, _8, _16 = (np.uint64(number) for number in (0, 1, 2, 3, 8, 16))
_62, _63, _64 = np.uint64(62), np.uint64(63), np.uint64(64)
_ONE: Final = np.uint8(1)
_ALL: Final = np.uint64(0xFFFFFFFFFFFFFFFF)
# Odd multipliers: the first constants of xxh64 (Collet) and of MurmurHash3's finalizer (Appleby).
_P0: Final = np.uint64(0x9E3779B185EBCA87)
_P1: Final = np.uint64(0xC2B2AE3D27D4EB4F)
_P2: Final = np.uint64(0x165667B19E3779F9)
_P3: Final = np.uint64(0xFF51AFD7ED558CCD)


@view_leaf
def _eight(text: Bytes, at: Any) -> Any:
    """Eight bytes from `at` on, zeros where the text ends."""
    size = np.uint64(len(text))
    if at + _8 <= size:
        return load_8(text, at)
    if size >= _8:
        return load_8(text, size - _8) >> ((at + _8 - size) << _3)
    word = _0
    while size > at:
        size -= _1
        word = word << _8 | np.uint64(text[size])
    return word


@inlined
def _wide_space_bits(text: Bytes, at: Any, stop: Any, two: Any, three: Any) -> Any:
    """Of bytes that may begin white space of two and of three bytes, as bits: (those that do, those that do)."""
    second = at + _1
    if two:
        two &= range_bits(text, second, stop, np.uint8(0x85), _ONE) | range_bits(
            text, second, stop, np.uint8(0xA0), _ONE
        )
    if three:
        three &= range_bits(text, second, stop, np.uint8(0x80), np.uint8(2)) | range_bits(
            text, second, stop, np.uint8(0x9A), _ONE
        )
    found, rest = _0, three
    while rest:
        place = lowest_bit(rest)
        byte = at + place
        if wide_space_bytes(text[byte], text[byte + _1], text[byte + _2]):
            found |= _1 << place
        rest &= rest - _1
    return two, found


@inlined
def _space_bits(text: Bytes, at: Any, stop: Any, carry: Any) -> Any:
    """Which of 64 bytes from `at` on are white space, or behind `stop`, as bits: (they, those of the next 64).

    `carry` has the bits that the 64 bytes before gave for these.
    """
    bits = carry | range_bits(text, at, stop, np.uint8(0x09), np.uint8(5))
    bits |= range_bits(text, at, stop, np.uint8(0x1C), np.uint8(5))
    two = range_bits(text, at, stop, np.uint8(0xC2), _ONE)
    three = range_bits(text, at, stop, np.uint8(0xE1), np.uint8(3))
    carry = _0
    if two | three:
        two, three = _wide_space_bits(text, at, stop, two, three)
        bits |= two | two << _1 | three | three << _1 | three << _2
        carry = two >> _63 | three >> _63 | three >> _62
    if stop - at < _64:
        bits |= _ALL << (stop - at)
    return bits, carry


@inlined
def _write_places(bits: Any, at: Any, places: UInt64, count: Any) -> Any:
    """Writes `at` + the place of each bit behind the first `count` places, and gives their new number.

    Eight are written at a time, whether there are so many or not, as a branch for each would often be guessed wrong.
    """
    total = count + count_bits(bits)
    while bits:
        for place in range(8):
            places[count + np.uint64(place)] = at + lowest_bit(bits)
            bits &= bits - _1
        count += _8
    return total


@view_leaf
def find_chunks(text: Bytes, at: Any, stop: Any, starts: UInt64, stops: UInt64) -> Any:
    """The next chunks of `text[at:stop]`, at most a block: (number, where to go on).

    The last may be one that is too long to be kept, and ends the block.
    """
    begun, ended, before, carry = _0, _0, _1, _0
    while at < stop and begun <= np.uint64(BLOCK - 32):  # chunks that can begin in 64 bytes
        spaces, carry = _space_bits(text, at, stop, carry)
        behind = spaces << _1 | before
        before = spaces >> _63
        open_one = begun > ended
        first = ended
        begun = _write_places(~spaces & behind, at, starts, begun)
        ended = _write_places(spaces & ~behind, at, stops, ended)
        at += _64
        if open_one and ended > first and stops[first] - starts[first] > np.uint64(LONGEST):
            return first + _1, stops[first]
    if begun > ended:
        if at < stop:
            return ended, starts[ended]
        stops[ended] = stop
        return begun, stop
    return ended, min(at + count_bits(carry), stop)


@view_leaf
def _long_key(text: Bytes, at: Any, size: Any) -> Any:
    """The two words of the key of a chunk by a loop, for one that is long or stands at the end of the text.

    A chunk of at most 16 bytes is its own key; that of a longer one is two hashes of 64 bits.
    """
    first, second, eights = _0, _0, _0
    while True:
        word = _eight(text, at)
        if size < _8:
            word &= (_1 << (size << _3)) - _1
        if eights == _0:
            first = word
        elif eights == _1:
            second = word
        else:
            if eights == _2:
                first, second = (first ^ second * _P1) * _P0, (second + first * _P3) * _P2
            first = (first ^ word) * _P0
            first ^= first >> np.uint64(31)
            second = (second + word) * _P2
            second = second << np.uint64(29) | second >> np.uint64(35)
        if size <= _8:
            return first, second
        eights += _1
        at += _8
        size -= _8


@inlined
def _low_bytes(word: Any, count: Any) -> Any:
    """The lowest `count` bytes of a word, up to 8; shifted twice, as one shift by 64 bits is none."""
    return word & ~(_ALL << (count << _2) << (count << _2))


@inlined
def hash_key(first: Any, second: Any, size: Any) -> Any:
    """The 64-bit hash of a key and the chunk's bytes."""
    key = (first * _P0) ^ ((second + size) * _P1)
    key = (key ^ key >> np.uint64(32)) * _P3
    return key ^ key >> np.uint64(29)


@view_leaf
def find_keys(text: Bytes, count: Any, starts: UInt64, stops: UInt64, keys: UInt64, slots: UInt32, mask: Any) -> None:
    """Writes the keys of the chunks found, three words each: two of the key, and their hash."""
    end = np.uint64(len(text))
    for chunk in range(count):
        number = np.uint64(chunk)
        start = starts[number]
        size = stops[number] - start
        if size <= _16 and start + _16 <= end:
            low = min(size, _8)
            first = _low_bytes(load_8(text, start), low)
            second = _low_bytes(load_8(text, start + _8), size - low)
        else:
            first, second = _long_key(text, start, size)
        key = hash_key(first, second, size)
        place = number * _3
        keys[place], keys[place + _1], keys[place + _2] = first, second, key
        prefetch(slots, key & mask)
