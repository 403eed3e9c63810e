"""Numba kernels of the chunk cache: looking up blocks of chunks, adding new ones.

A chunk is what stands between white space. Most chunks of a text have been seen before, and what any rule set asks of
one (its tokens, letters, symbols, sentences) can be kept in one cache line. The latency of memory is what a look-up
costs, so 256 chunks are looked up together, pass by pass, and their latencies overlap.
Costs about 2 ns per byte where chunks are known, and 0.3 µs for a chunk that is not; importing this imports Numba.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..english.tokenizer import tokenize
from .chunk_bounds import BLOCK, LONGEST, find_chunks, find_keys, hash_key
from .chunk_entries import ENTRY, ENTRY_HITS, ENTRY_SIZE_BITS, describe
from .kernel import view_leaf
from .machine import prefetch

Bytes = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]
UInt32 = npt.NDArray[np.uint32]
UInt64 = npt.NDArray[np.uint64]

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

_0, _1, _2, _3 = (np.uint64(number) for number in range(4))
_BYTE: Final = np.uint64(0xFF)


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
    """The 64-bit hash of the chunk whose entry begins at word `entry`, as `find_keys` makes it."""
    size = entries[entry + np.uint64(4)] >> np.uint64(ENTRY_SIZE_BITS) & _BYTE
    return hash_key(entries[entry], entries[entry + _1], size)


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
    count, at = find_chunks(text, at, stop, starts, stops)
    mask = np.uint64(state[MASK])
    find_keys(text, count, starts, stops, keys, slots, mask)
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
