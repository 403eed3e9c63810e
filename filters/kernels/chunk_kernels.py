"""Numba kernels of the chunk cache: finding chunks in blocks, looking them up, adding new ones.

A chunk is what stands between white space. Most chunks of a text have been seen before, and what any rule set asks of
one (its tokens, letters, symbols, sentences) can be kept in one cache line. The latency of memory is what a look-up
costs, so 256 chunks are looked up together, pass by pass, and their latencies overlap.
Costs about 3 ns per byte where chunks are known, and 1 µs for a chunk that is not; importing this imports Numba.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..english.tokenizer import tokenize
from .byte_masks import count_bits, range_bits
from .chunk_entries import ENTRY, ENTRY_HITS, ENTRY_SIZE_BITS, describe
from .kernel import inlined, view_leaf
from .machine import load_8, lowest_bit, prefetch
from .spans import wide_space_bytes

Bytes = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]
UInt32 = npt.NDArray[np.uint32]
UInt64 = npt.NDArray[np.uint64]

BLOCK: Final = 256  # chunks that are looked up together
LONGEST: Final = 96  # bytes: longer chunks seldom come again, and are not kept

# Places in `state`.
COUNT: Final = 0  # entries, the one that is no chunk's included
MASK: Final = 1  # slots in use, less one
ARENA: Final = 2  # words of the arena in use
LOOKED_UP: Final = 3
MISSED: Final = 4
OVERSIZE: Final = 5
SWEEPS: Final = 6
STATES: Final = 7

_SLOT_ENTRY_BITS: Final = 22
_TAG_SHIFT: Final = 54

_0, _1, _2, _3, _8, _16 = (np.uint64(number) for number in (0, 1, 2, 3, 8, 16))
_62, _63, _64 = np.uint64(62), np.uint64(63), np.uint64(64)
_ONE: Final = np.uint8(1)
_BYTE: Final = np.uint64(0xFF)
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
def _find_chunks(text: Bytes, at: Any, stop: Any, starts: UInt64, stops: UInt64) -> Any:
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
def _hash_key(first: Any, second: Any, size: Any) -> Any:
    """The 64-bit hash of a key and the chunk's bytes."""
    key = (first * _P0) ^ ((second + size) * _P1)
    key = (key ^ key >> np.uint64(32)) * _P3
    return key ^ key >> np.uint64(29)


@view_leaf
def _find_keys(text: Bytes, count: Any, starts: UInt64, stops: UInt64, keys: UInt64, slots: UInt32, mask: Any) -> None:
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
        key = _hash_key(first, second, size)
        place = number * _3
        keys[place], keys[place + _1], keys[place + _2] = first, second, key
        prefetch(slots, key & mask)


@view_leaf
def _slot_of(slots: UInt32, mask: Any, key: Any) -> Any:
    """The first slot of the key's run whose tag is the key's, or the empty one at the run's end."""
    tag = key >> np.uint64(_TAG_SHIFT)
    place = key & mask
    while True:
        slot = np.uint64(slots[place])
        if slot == _0 or slot >> np.uint64(_SLOT_ENTRY_BITS) == tag:
            return place
        place = (place + _1) & mask


@view_leaf
def _is_entry(entries: UInt64, entry: Any, first: Any, second: Any, size: Any) -> Any:
    """Whether the entry that begins at word `entry` is the chunk's."""
    other = entries[entry + np.uint64(4)] >> np.uint64(ENTRY_SIZE_BITS) & _BYTE ^ size
    return (entries[entry] ^ first | entries[entry + _1] ^ second | other) == _0


@view_leaf
def _put_slot(slots: UInt32, mask: Any, key: Any, entry: Any) -> None:
    """Writes the number of an entry into the first empty slot of its key's run."""
    place = key & mask
    while slots[place] != 0:
        place = (place + _1) & mask
    slots[place] = np.uint32(key >> np.uint64(_TAG_SHIFT) << np.uint64(_SLOT_ENTRY_BITS) | entry)


@view_leaf
def _entry_key(entries: UInt64, entry: Any) -> Any:
    """The 64-bit hash of the chunk whose entry begins at word `entry`, as `_find_keys` makes it."""
    size = entries[entry + np.uint64(4)] >> np.uint64(ENTRY_SIZE_BITS) & _BYTE
    return _hash_key(entries[entry], entries[entry + _1], size)


@view_leaf
def _lay_slots(slots: UInt32, size: Any, entries: UInt64, count: Any) -> None:
    """Makes the first `size` slots anew from the entries."""
    slots[:size] = 0
    for number in range(1, count):
        entry = np.uint64(number * ENTRY)
        _put_slot(slots, np.uint64(size) - _1, _entry_key(entries, entry), np.uint64(number))


@view_leaf
def _arena_words(tokens: Any) -> Any:
    """Words that the tokens of an entry take in the arena: a hash each, and their lengths, eight in a word."""
    return tokens + (tokens + np.uint64(7) >> _3) if tokens > _3 else _0


@view_leaf
def _sweep(entries: UInt64, arena: UInt64, state: Int64) -> None:
    """Forgets entries that were not looked up since the last sweep, and of the others as many as leave half the room.

    Entries stand in the order of their words in the arena, so that both close up in place.
    """
    count, room = state[COUNT], len(entries) // ENTRY
    once, twice, often = 0, 0, 0
    for number in range(1, count):
        hits = entries[np.uint64(number * ENTRY + 4)] >> np.uint64(ENTRY_HITS) & _3
        once += hits >= _1
        twice += hits >= _2
        often += hits == _3
    least = 1 if once * 2 <= room else 2 if twice * 2 <= room else 3 if often * 2 <= room else 4
    kept, used = _1, _0
    for number in range(1, count):
        entry = np.uint64(number * ENTRY)
        fields = entries[entry + np.uint64(4)]
        hits = np.int64(fields >> np.uint64(ENTRY_HITS) & _3)
        if hits < least and not (least == 4 and hits == 3 and number % 2 == 0):
            continue
        to = kept * np.uint64(ENTRY)
        for word in range(ENTRY):
            entries[to + np.uint64(word)] = entries[entry + np.uint64(word)]
        halved = np.uint64(hits >> 1) << np.uint64(ENTRY_HITS)
        entries[to + np.uint64(4)] = fields & ~(_3 << np.uint64(ENTRY_HITS)) | halved
        words = _arena_words(entries[entry + _2] & np.uint64(0xFFFFFFFF))
        if words:
            source = entries[entry + np.uint64(5)]
            for word in range(words):
                arena[used + np.uint64(word)] = arena[source + np.uint64(word)]
            entries[to + np.uint64(5)] = used
            used += words
        kept += _1
    state[COUNT], state[ARENA] = kept, used
    state[SWEEPS] += 1


@view_leaf
def _make_room(slots: UInt32, entries: UInt64, arena: UInt64, state: Int64) -> None:
    """Sees to it that a block of new chunks fits: sweeps where entries or arena are full, doubles slots that are."""
    room, words = len(entries) // ENTRY, BLOCK * (LONGEST + LONGEST // 8 + 1)
    if state[COUNT] + BLOCK > room or state[ARENA] + words > len(arena):
        _sweep(entries, arena, state)
        _lay_slots(slots, state[MASK] + 1, entries, state[COUNT])
    size = state[MASK] + 1
    if (state[COUNT] + BLOCK) * 5 > size * 3 and size * 2 <= len(slots):
        state[MASK] = size * 2 - 1
        _lay_slots(slots, size * 2, entries, state[COUNT])


@view_leaf
def _find_or_add(text: Bytes, start: Any, stop: Any, first: Any, second: Any, key: Any, words: Any) -> Any:
    """The place of the entry of a chunk that its first slot does not lead to; it is added where there is none."""
    slots, entries, arena, state = words[0], words[1], words[2], words[3]
    token_stops, classes, stop_words = words[8], words[9], words[10]
    pages, kinds, lengths, rules, strings, masks = words[12]
    size = stop - start
    token_stops = token_stops[np.uint64(len(token_stops)) - size :]
    if size > np.uint64(LONGEST):
        state[OVERSIZE] += 1
        tokens = np.uint64(tokenize(text, start, stop, pages, kinds, lengths, rules, strings, masks, token_stops))
        describe(text, start, tokens, token_stops, classes, stop_words, entries, _0, arena, _0, False)
        return _0
    mask, tag = np.uint64(state[MASK]), key >> np.uint64(_TAG_SHIFT)
    place = key & mask
    while slots[place] != 0:
        slot = np.uint64(slots[place])
        if slot >> np.uint64(_SLOT_ENTRY_BITS) == tag:
            entry = (slot & np.uint64((1 << _SLOT_ENTRY_BITS) - 1)) * np.uint64(ENTRY)
            if _is_entry(entries, entry, first, second, size):
                return entry
        place = (place + _1) & mask
    number, used = np.uint64(state[COUNT]), np.uint64(state[ARENA])
    entry = number * np.uint64(ENTRY)
    tokens = np.uint64(tokenize(text, start, stop, pages, kinds, lengths, rules, strings, masks, token_stops))
    describe(text, start, tokens, token_stops, classes, stop_words, entries, entry, arena, used, True)
    entries[entry], entries[entry + _1] = first, second
    entries[entry + np.uint64(4)] |= size << np.uint64(ENTRY_SIZE_BITS)
    slots[place] = np.uint32(tag << np.uint64(_SLOT_ENTRY_BITS) | number)
    state[COUNT] += 1
    state[MISSED] += 1
    state[ARENA] += np.int64(_arena_words(tokens))
    return entry


@view_leaf
def first_stop(chunk: Any, words: Any) -> Any:
    """The place of the first token stop of a chunk of the last block that is too long to be kept.

    The stops take as many places as the chunk has bytes, the last ones there are. So they can share memory with an
    array that is filled while they are read, one item a token from the text's first on.
    """
    return np.uint64(len(words[8])) - (words[5][chunk] - words[4][chunk])


@view_leaf
def look_up(text: Bytes, at: Any, stop: Any, words: Any) -> Any:
    """Looks up the next block of chunks of `text[at:stop]`: (number of chunks, where to go on).

    Args:
        text: uint8[...], valid UTF-8.
        at, stop: uint64, byte offsets, neither within a code point.
        words: the arrays of a `chunk_cache.ChunkCache`.

    Returns:
        The number of chunks, 0 at the end of the text; `starts`, `stops` and `found` of `words` then hold each chunk's
        first byte, the one past its last, and the place of its entry in `entries`. The place 0 is that of a chunk which
        is too long to be kept: it is the last of its block, and its tokens end at `start` and its token stops, of
        which `first_stop` says the place.
    """
    slots, entries, state = words[0], words[1], words[3]
    starts, stops, keys, found = words[4], words[5], words[6], words[7]
    _make_room(slots, entries, words[2], state)
    count, at = _find_chunks(text, at, stop, starts, stops)
    mask = np.uint64(state[MASK])
    _find_keys(text, count, starts, stops, keys, slots, mask)
    for chunk in range(count):
        key = keys[chunk * _3 + _2]
        slot = slots[_slot_of(slots, mask, key)]
        found[chunk] = slot
        prefetch(entries, (np.uint64(slot) & np.uint64((1 << _SLOT_ENTRY_BITS) - 1)) * np.uint64(ENTRY))
    for chunk in range(count):
        entry = (np.uint64(found[chunk]) & np.uint64((1 << _SLOT_ENTRY_BITS) - 1)) * np.uint64(ENTRY)
        first, second, size = keys[chunk * _3], keys[chunk * _3 + _1], stops[chunk] - starts[chunk]
        if entry != _0 and _is_entry(entries, entry, first, second, size):
            fields = entries[entry + np.uint64(4)]
            if fields >> np.uint64(ENTRY_HITS) & _3 != _3:
                entries[entry + np.uint64(4)] = fields + (_1 << np.uint64(ENTRY_HITS))
        else:
            entry = _find_or_add(text, starts[chunk], stops[chunk], first, second, keys[chunk * _3 + _2], words)
        found[chunk] = entry
    state[LOOKED_UP] += np.int64(count)
    return count, at
