"""Numba kernels that cut texts into folded units and hash them, for comparing texts by what they say.

A unit is a run of letters, digits and marks, or one character with its marks in a script without spaces; what is a
unit and what it is folded to is the table of `folding`. ASCII goes sixty-four bytes at a time and eight bytes a step;
only what stands between ASCII separators and holds another byte is folded character by character.
Costs about 0.9 ns per byte of English, 1 to 2.5 of other scripts; importing this module imports Numba.

A unit's hash is a chain of multiplications over its folded characters, eight bytes a step: an ASCII character is one
byte, another one three of seven bits, each with its high bit set; Hangul is taken by syllables. Marks whose order among
themselves does not count (Unicode's combining classes) are added to the sum, so a text has the same units composed and
decomposed.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types

from .. import folding
from .byte_masks import Bytes, count_bits, count_range, word_at
from .kernel import fixed, inlined, intrinsic, kernel, view_leaf
from .machine import load_8, lowest_bit

Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]

VERSION: Final = 1  # of the hashes: raise it when a unit or a hash changes

_SEED: Final = np.uint64(0x2545F4914F6CDD1D)
_FACTOR: Final = np.uint64(0xD6E8FEB86659FD93)
_MIX_1, _MIX_2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)  # MurmurHash3's fmix64 (Appleby)
_0, _1, _2, _3, _4, _8, _16, _32, _64, _128 = (np.uint64(number) for number in (0, 1, 2, 3, 4, 8, 16, 32, 64, 128))
_SIX_BITS: Final = np.uint64(0x3F)
_ONES: Final = np.uint64(2**64 - 1)
_HIGH_BITS: Final = np.uint64(0x8080808080808080)
_SECOND_BITS: Final = np.uint64(0x4040404040404040)  # set in ASCII letters, not in digits
_WINDOW: Final = np.uint64(2048)  # bytes whose chunks are found before they are hashed
_CHUNKS: Final = 1024 + 8  # at most in a window, with room for stores ahead

_SEPARATOR, _NOTHING, _LETTER = np.int32(folding.SEPARATOR), np.int32(folding.NOTHING), np.int32(folding.LETTER)
_SINGLE, _MARK, _COMBINING = np.int32(folding.SINGLE), np.int32(folding.MARK), np.int32(folding.COMBINING)
_SEVERAL, _KINDS = np.int32(folding.SEVERAL), np.int32((1 << folding.KIND_BITS) - 1)
_SHIFT: Final = np.int32(folding.KIND_BITS)
# Hangul's first syllable, leading consonant and vowel, what comes before the first trailing consonant, and how many
# syllables there are of each pair.
_SYLLABLE, _LEAD, _VOWEL, _TRAIL, _TRAILS = (np.uint64(number) for number in (0xAC00, 0x1100, 0x1161, 0x11A7, 28))

_BLOCK: Final = ir.VectorType(ir.IntType(8), 64)


@intrinsic
def _chunk_bits(typing_context: Any, text: Any, at: Any) -> Any:
    """uint64: bit i is set where `text[at + i]` is an ASCII letter or digit or not ASCII; reads 64 bytes, unchecked."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.bitcast(builder.gep(data, [arguments[1]]), _BLOCK.as_pointer())
        block = builder.load(place, align=1)

        def lanes(value: int) -> Any:
            return ir.Constant(_BLOCK, [value] * 64)

        letter = builder.icmp_unsigned("<", builder.sub(builder.or_(block, lanes(0x20)), lanes(0x61)), lanes(26))
        digit = builder.icmp_unsigned("<", builder.sub(block, lanes(0x30)), lanes(10))
        high = builder.icmp_unsigned(">=", block, lanes(0x80))
        return builder.bitcast(builder.or_(builder.or_(letter, digit), high), ir.IntType(64))

    return types.uint64(text, types.uint64), generate


@inlined
def mix(state: Any) -> Any:
    """uint64: all bits of a uint64 spread over all bits, one to one."""
    state = (state ^ (state >> np.uint64(33))) * _MIX_1
    state = (state ^ (state >> np.uint64(33))) * _MIX_2
    return state ^ (state >> np.uint64(33))


@inlined
def _step(state: Any, word: Any) -> Any:
    state = (state ^ word) * _FACTOR
    return state ^ (state >> _32)


@view_leaf
def _last_chunk_bits(text: Bytes, at: Any) -> Any:
    """`_chunk_bits` where fewer than 64 bytes of `text` are left, to the end of `text`."""
    bits = _0
    for place in range(at, np.uint64(len(text))):
        byte = text[np.uint64(place)]
        letter, digit = np.uint8((byte | 0x20) - 0x61) < 26, np.uint8(byte - 0x30) < 10
        bits |= np.uint64(letter | digit | (byte >= 0x80)) << (np.uint64(place) - at)
    return bits


@view_leaf
def _hash_long(text: Bytes, at: Any, stop: Any) -> Any:
    """The state after an ASCII chunk of any length, and whether it is all ASCII."""
    state = _SEED
    while at < stop:
        word = word_at(text, at, stop)
        if word & _HIGH_BITS:
            return state, False
        state = _step(state, word | (word & _SECOND_BITS) >> _1)
        at += _8
    return state, True


@inlined
def _append(state: Any, word: Any, filled: Any, point: Any) -> Any:
    """State, word and its number of bytes with one more character, none where it is 0."""
    size = _1
    if point >= _128:
        low, middle = point & np.uint64(0x7F), (point & np.uint64(0x3F80)) << _1
        point, size = np.uint64(0x808080) | low | middle | (point >> np.uint64(14)) << _16, _3
    elif point == _0:
        return state, word, filled
    word |= point << (filled << _3)
    filled += size
    if filled < _8:
        return state, word, filled
    filled -= _8
    return _step(state, word), point >> ((size - filled) << _3), filled


@inlined
def _finish(state: Any, word: Any, filled: Any, last: Any, marks: Any) -> Any:
    state, word, filled = _append(state, word, filled, last)
    return (_step(state, word) if filled else state) + marks


@inlined
def _join(last: Any, point: Any) -> Any:
    """The Hangul syllable that a character makes with the one before it, else 0 (Unicode Standard, section 3.12)."""
    if last - _LEAD < np.uint64(19) and point < _VOWEL + np.uint64(21):
        return _SYLLABLE + ((last - _LEAD) * np.uint64(21) + point - _VOWEL) * _TRAILS
    syllable, trail = last - _SYLLABLE, point - _TRAIL
    if syllable < np.uint64(11172) and syllable % _TRAILS == _0 and trail - _1 < _TRAILS - _1:
        return last + trail
    return _0


@inlined
def _decode(text: Bytes, at: Any) -> Any:
    """The code point at `at`, and its number of bytes."""
    byte = np.uint64(text[at])
    if byte < _128:
        return byte, _1
    second = np.uint64(text[at + _1]) & _SIX_BITS
    if byte < np.uint64(0xE0):
        return (byte & np.uint64(0x1F)) << np.uint64(6) | second, _2
    third = np.uint64(text[at + _2]) & _SIX_BITS
    if byte < np.uint64(0xF0):
        return (byte & np.uint64(0x0F)) << np.uint64(12) | second << np.uint64(6) | third, _3
    high = (byte & np.uint64(0x07)) << np.uint64(18) | second << np.uint64(12)
    return high | third << np.uint64(6) | np.uint64(text[at + _3]) & _SIX_BITS, _4


@view_leaf
def _fold_chunk(
    text: Bytes, at: Any, stop: Any, pages: Any, entries: Any, expansions: Any, hashes: UInt64, count: Any
) -> Any:
    """Writes the units of a chunk, character by character, from `hashes[count]` on; the number behind them."""
    state, word, filled, marks, characters = _SEED, _0, _0, _0, _0
    last = _0  # the last character, which Hangul vowels and trailing consonants may still join
    opened, single = False, False
    left, place = _0, _0
    while True:
        if left:
            left, place = left - _1, place + _1
            entry = expansions[place]
            folded = np.uint64(entry >> _SHIFT)
        elif at < stop:
            point, size = _decode(text, at)
            at += size
            entry = entries[np.uint64(pages[point >> _8]) << _8 | point & np.uint64(0xFF)]
            if entry & _KINDS == _SEVERAL:
                place = np.uint64(entry >> _SHIFT)
                left = np.uint64(expansions[place])
                continue
            folded = np.uint64(np.int64(point) + np.int64(entry >> _SHIFT))
        else:
            break
        kind = entry & _KINDS
        if kind != _LETTER or single:
            if kind == _NOTHING:
                continue
            if opened and kind < _MARK:
                hashes[count] = _finish(state, word, filled, last, marks)
                count += _1
                state, word, filled, marks, characters = _SEED, _0, _0, _0, _0
                opened, single, last = False, False, _0
            if kind == _SEPARATOR:
                continue
            single |= kind == _SINGLE
        opened = True
        if kind == _COMBINING:
            marks += mix(folded << _32 | characters)
            continue
        if folded - _VOWEL <= _TRAIL + _TRAILS - _VOWEL:
            joined = _join(last, folded)
            if joined:
                last = joined
                continue
        state, word, filled = _append(state, word, filled, last)
        last, characters = folded, characters + _1
    if opened:
        hashes[count] = _finish(state, word, filled, last, marks)
        count += _1
    return count


@view_leaf
def _write_places(places: UInt64, count: Any, at: Any, bits: Any) -> Any:
    """Writes `at` plus the place of each bit, four stores a step; the number behind them."""
    after = count + count_bits(bits)
    while bits:
        places[count] = at + lowest_bit(bits)
        bits &= bits - _1
        places[count + _1] = at + lowest_bit(bits)
        bits &= bits - _1
        places[count + _2] = at + lowest_bit(bits)
        bits &= bits - _1
        places[count + _3] = at + lowest_bit(bits)
        bits &= bits - _1
        count += _4
    return after


@kernel
def _fill_units(
    text: Bytes,
    offsets: Int64,
    pages: Any,
    entries: Any,
    expansions: Any,
    starts: UInt64,
    stops: UInt64,
    hashes: UInt64,
    ends: Int64,
) -> int:
    """Writes the hashes of the units of all documents and gives their number."""
    size, count = np.uint64(len(text)), _0
    for document in range(len(ends)):
        at, end = np.uint64(offsets[document]), np.uint64(offsets[document + 1])
        first, open_bit = count, _0
        while at < end:
            opened, closed = open_bit, _0  # a chunk that the last window left open stands in starts[0]
            until = min(at + _WINDOW, end)
            while at < until:
                bits = _chunk_bits(text, at) if at + _64 <= size else _last_chunk_bits(text, at)
                if end - at < _64:
                    bits &= (_1 << (end - at)) - _1
                before = bits << _1 | open_bit
                opened = _write_places(starts, opened, at, bits & ~before)
                closed = _write_places(stops, closed, at, before & ~bits)
                open_bit = bits >> np.uint64(63)
                at += _64
            if at >= end and open_bit:
                stops[closed], closed = end, closed + _1
            for chunk in range(closed):
                start, stop = starts[np.uint64(chunk)], stops[np.uint64(chunk)]
                length = stop - start
                if length <= _16 and start + _16 <= size:
                    head = min(length, _8)
                    rest = length - head
                    word = load_8(text, start) & (_ONES >> (_64 - (head << _3)))
                    next_word = load_8(text, start + _8) & (_ONES >> (_64 - (rest << _3)) if rest else _0)
                    is_ascii = (word | next_word) & _HIGH_BITS == _0
                    one = _step(_SEED, word | (word & _SECOND_BITS) >> _1)
                    two = _step(one, next_word | (next_word & _SECOND_BITS) >> _1)
                    state = two if rest else one
                else:
                    state, is_ascii = _hash_long(text, start, stop)
                if is_ascii:
                    hashes[count] = state
                    count += _1
                else:
                    count = _fold_chunk(text, start, stop, pages, entries, expansions, hashes, count)
            starts[0] = starts[closed]
        for unit in range(first, count):
            hashes[np.uint64(unit)] = mix(hashes[np.uint64(unit)])
        ends[document] = count
    return int(count)


@kernel
def _high_bytes(text: Bytes, at: int, end: int) -> int:
    """Bytes that are not ASCII."""
    return int(count_range(text, np.uint64(at), np.uint64(end), np.uint8(0x80), np.uint8(0x80)))


def units(text: Bytes, offsets: Int64) -> tuple[UInt64, Int64]:
    """The hashes of the folded units of n documents.

    Args:
        text: uint8[...], UTF-8 bytes.
        offsets: int64[n + 1], document d is `text[offsets[d]:offsets[d + 1]]`.

    Returns:
        uint64[m], the hash of each unit, the same wherever and in whatever text it stands; int64[n], for each document
        one past its last unit.
    """
    text, offsets = fixed(text), fixed(offsets)
    at, end = int(offsets[0]), int(offsets[-1])
    # An ASCII unit has a separator behind it, another character at most two units a byte (㌇ is six in three).
    room = (end - at) // 2 + 2 * (_high_bytes(text, at, end) if end > at else 0) + len(offsets)
    hashes, ends = np.empty(room, np.uint64), np.empty(len(offsets) - 1, np.int64)
    starts, stops = np.empty(_CHUNKS, np.uint64), np.empty(_CHUNKS, np.uint64)
    table = folding.load()
    count = _fill_units(text, offsets, table.pages, table.entries, table.expansions, starts, stops, hashes, ends)
    return hashes[:count], ends
