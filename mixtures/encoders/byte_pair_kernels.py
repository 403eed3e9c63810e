"""Byte-pair encoding in compiled loops: texts to pieces, pieces to ids, with the pieces seen before remembered.

Merges are done in the order of their ranks, the leftmost first, which is what every library of byte-pair encoding does;
a piece that was met before costs a hash and a comparison of its bytes. Costs 5 to 15 ns a byte of web text, and for a
piece of n symbols that is met first n log n; a piece of any length takes the memory of one window. All of it is one
file because Numba's cache on disk knows of no other that is compiled into a kernel. In order: cutting texts into
pieces, merging, long pieces in windows, what is remembered, and the tables that are filled before.

A long piece is encoded window by window. Let A be the encoding of u, and B that of v. If the last token a of A and the
first token b of B, encoded together, stay a and b, then A and B together are the encoding of uv: of all merges that are
done in uv let the first one across the border be that of x, a suffix of u, and y, a prefix of v. Up to it, both sides
went as they go alone, so x is a suffix of a and y a prefix of b. No merge of u alone crosses the left border of a, nor
one of v the right border of b, so between these two borders the same merges are done in the same order when a and b
are encoded by themselves; there too the merge of x and y is next, and they do not stay a and b. By the same argument
any first tokens of an encoding are the encoding of their own text, so a window's last tokens can be given back.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

REMEMBERED = 127  # bytes and ids of a piece that is remembered, at most
SHORT = 40  # symbols of a piece that is merged by looking at all of its pairs
UNKNOWN = -1
_NO_PAIR = np.int64(1) << np.int64(62)
_LOW = np.int64(0xFFFFFFFF)


class Model(NamedTuple):
    """What the kernels know of a tokenizer.

    classes, table, starts: as `split_automaton.Splits`.
    symbols: int32[256], the id of each byte; or int32[CODE_POINTS], of each character, UNKNOWN for one without.
    fallback: int32[256], by characters only: the ids of the bytes of a character without one.
    pair_keys: uint64, left id << 32 | right id, at the place that its hash gives, all ones where there is none.
    pair_values: int64, rank << 32 | id of both together.
    word_slots: int32, for the hash of a word its number, or UNKNOWN; empty where merges decide alone.
    word_bytes, word_starts, word_ids: the words that are one token whatever the merges say.
    lengths: int32[vocabulary], symbols of a token.
    window, margin: symbols that are encoded at once of a long piece, and given back at the end of a window.
    """

    classes: npt.NDArray[np.uint8]
    table: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int32]
    symbols: npt.NDArray[np.int32]
    fallback: npt.NDArray[np.int32]
    pair_keys: npt.NDArray[np.uint64]
    pair_values: npt.NDArray[np.int64]
    word_slots: npt.NDArray[np.int32]
    word_bytes: npt.NDArray[np.uint8]
    word_starts: npt.NDArray[np.int64]
    word_ids: npt.NDArray[np.int32]
    lengths: npt.NDArray[np.int32]
    window: int
    margin: int


class Memory(NamedTuple):
    """The pieces met so far: slots int64[n, 3] (hash; place and length in `text`; place in `ids`, or id, and count).

    `used` int64[4]: bytes of text, ids, pieces, pieces that were looked up and not found.
    """

    slots: npt.NDArray[np.int64]
    text: npt.NDArray[np.uint8]
    ids: npt.NDArray[np.int32]
    used: npt.NDArray[np.int64]


@numba.njit(cache=True, nogil=True)
def width(lead: Any) -> Any:
    """Bytes of the character with this first byte."""
    if lead < 0x80:
        return 1
    if lead < 0xE0:
        return 2
    return 3 if lead < 0xF0 else 4


@numba.njit(cache=True, nogil=True)
def code_point(data: Any, at: Any) -> Any:
    """The character at a place of valid UTF-8."""
    lead = np.int64(data[at])
    if lead < 0x80:
        return lead
    if lead < 0xE0:
        return (lead & 0x1F) << 6 | np.int64(data[at + 1]) & 0x3F
    if lead < 0xF0:
        return (lead & 0xF) << 12 | (np.int64(data[at + 1]) & 0x3F) << 6 | np.int64(data[at + 2]) & 0x3F
    return (
        (lead & 7) << 18
        | (np.int64(data[at + 1]) & 0x3F) << 12
        | (np.int64(data[at + 2]) & 0x3F) << 6
        | np.int64(data[at + 3]) & 0x3F
    )


@numba.njit(cache=True, nogil=True)
def match_end(data: Any, at: Any, stop: Any, classes: Any, table: Any, start: Any) -> Any:
    """Where the match that begins at a place ends; -1 where none does."""
    state = np.int64(start)
    last = np.int64(-1)
    end_class = table.shape[1] - 1
    while True:
        if at >= stop:
            return at if table[state, end_class] & 1 else last
        byte = data[at]
        if byte < 0x80:
            entry = table[state, classes[byte]]
            step = 1
        else:
            entry = table[state, classes[code_point(data, at)]]
            step = width(byte)
        if entry & 1:
            last = at
        state = np.int64(entry >> 1)
        if state == 0:
            return last
        at += step


@numba.njit(cache=True, nogil=True)
def piece_end(data: Any, at: Any, stop: Any, classes: Any, table: Any, start: Any) -> Any:
    """Where the piece that begins at a place ends: with its match, or before the next match."""
    end = match_end(data, at, stop, classes, table, start)
    if end > at:
        return end
    at += width(data[at])
    while at < stop and match_end(data, at, stop, classes, table, start) <= at:
        at += width(data[at])
    return at


@numba.njit(cache=True, nogil=True)
def word_hash(data: Any, at: Any, stop: Any) -> Any:
    """A hash of bytes (FNV-1a, 64 bits, folded), odd, so never 0: its other bits choose a slot."""
    value = np.uint64(0xCBF29CE484222325)
    for place in range(at, stop):
        value = (value ^ np.uint64(data[place])) * np.uint64(0x100000001B3)
    value ^= value >> np.uint64(29)
    return np.int64((value ^ (value >> np.uint64(47))) >> np.uint64(1)) | np.int64(1)


@numba.njit(cache=True, nogil=True)
def pair_place(keys: Any, key: Any) -> Any:
    """The place of a pair, or the empty one where it would stand."""
    mask = np.int64(len(keys) - 1)
    mixed = key * np.uint64(0x9E3779B97F4A7C15)
    place = np.int64((mixed ^ (mixed >> np.uint64(32))) & np.uint64(mask))
    empty = ~np.uint64(0)
    while keys[place] != key and keys[place] != empty:
        place = (place + 1) & mask
    return place


@numba.njit(cache=True, nogil=True)
def merged(model: Any, left: Any, right: Any) -> Any:
    """rank << 32 | id of two neighbours, _NO_PAIR where they do not merge."""
    key = np.uint64(left) << np.uint64(32) | np.uint64(right)
    place = pair_place(model.pair_keys, key)
    return model.pair_values[place] if model.pair_keys[place] == key else _NO_PAIR


@numba.njit(cache=True, nogil=True)
def merge_short(model: Any, ids: Any, count: Any, pairs: Any) -> Any:
    """Merges ids[:count] in place by looking at all pairs each time; returns how many are left."""
    for i in range(count - 1):
        pairs[i] = merged(model, ids[i], ids[i + 1])
    while count > 1:
        best = 0
        for i in range(1, count - 1):
            if pairs[i] >> 32 < pairs[best] >> 32:
                best = i
        if pairs[best] == _NO_PAIR:
            break
        ids[best] = pairs[best] & _LOW
        count -= 1
        for i in range(best + 1, count):
            ids[i] = ids[i + 1]
            pairs[i - 1] = pairs[i]
        if best > 0:
            pairs[best - 1] = merged(model, ids[best - 1], ids[best])
        if best < count - 1:
            pairs[best] = merged(model, ids[best], ids[best + 1])
    return count


@numba.njit(cache=True, nogil=True)
def _push(heap: Any, size: Any, value: Any) -> Any:
    at = size
    while at > 0:
        parent = (at - 1) >> 1
        if heap[parent] <= value:
            break
        heap[at] = heap[parent]
        at = parent
    heap[at] = value
    return size + 1


@numba.njit(cache=True, nogil=True)
def _pop(heap: Any, size: Any) -> Any:
    """Takes the smallest away, and returns the new size; the caller has read heap[0]."""
    size -= 1
    value = heap[size]
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = value
    return size


@numba.njit(cache=True, nogil=True)
def merge_long(model: Any, ids: Any, count: Any) -> Any:
    """Merges ids[:count] in place with a heap of rank << 32 | place; returns how many are left."""
    after = np.empty(count, np.int32)
    before = np.empty(count, np.int32)
    heap = np.empty(3 * count, np.int64)
    size = 0
    for i in range(count):
        after[i], before[i] = i + 1, i - 1
        if i + 1 < count:
            pair = merged(model, ids[i], ids[i + 1])
            if pair != _NO_PAIR:
                size = _push(heap, size, (pair >> 32) << 32 | i)
    while size:
        top = heap[0]
        size = _pop(heap, size)
        left = top & _LOW
        if ids[left] < 0 or after[left] >= count:
            continue
        right = after[left]
        pair = merged(model, ids[left], ids[right])
        if pair == _NO_PAIR or pair >> 32 != top >> 32:
            continue  # of neighbours that have been merged since
        ids[left] = pair & _LOW
        ids[right] = -1
        after[left] = after[right]
        if after[left] < count:
            before[after[left]] = left
            pair = merged(model, ids[left], ids[after[left]])
            if pair != _NO_PAIR:
                size = _push(heap, size, (pair >> 32) << 32 | left)
        if before[left] >= 0:
            pair = merged(model, ids[before[left]], ids[left])
            if pair != _NO_PAIR:
                size = _push(heap, size, (pair >> 32) << 32 | before[left])
    left = 0
    for i in range(count):
        if ids[i] >= 0:
            ids[left] = ids[i]
            left += 1
    return left


@numba.njit(cache=True, nogil=True)
def read_symbols(model: Any, data: Any, at: Any, stop: Any, most: Any, ids: Any) -> Any:
    """The symbols of a text into `ids`, at most so many; returns their number."""
    count = 0
    if len(model.symbols) == 256:
        count = min(stop - at, most)
        for i in range(count):
            ids[i] = model.symbols[data[at + i]]
        return count
    while at < stop and count < most:
        ids[count] = model.symbols[code_point(data, at)]
        at += width(data[at])
        count += 1
    return count


@numba.njit(cache=True, nogil=True)
def moved(model: Any, data: Any, at: Any, by: Any) -> Any:
    """The place so many symbols further on (or back, where negative)."""
    if len(model.symbols) == 256:
        return at + by
    while by > 0:
        at += width(data[at])
        by -= 1
    while by < 0:
        at -= 1
        while data[at] & 0xC0 == 0x80:
            at -= 1
        by += 1
    return at


@numba.njit(cache=True, nogil=True)
def _stay_apart(model: Any, data: Any, at: Any, left: Any, right: Any, ids: Any, pairs: Any) -> Any:
    """Whether two tokens that meet at a place stay as they are when they are encoded together."""
    count = model.lengths[left] + model.lengths[right]
    start = moved(model, data, at, -model.lengths[left])
    read_symbols(model, data, start, len(data), count, ids)
    count = merge_short(model, ids, count, pairs) if count <= SHORT else merge_long(model, ids, count)
    return count == 2 and ids[0] == left and ids[1] == right


@numba.njit(cache=True, nogil=True)
def merge_windows(model: Any, data: Any, at: Any, stop: Any, out: Any, filled: Any) -> Any:
    """Encodes a long piece, whose symbols are all known, into `out` from `filled` on; returns the new end.

    `out` holds tokens up to `at` that are the encoding of all before them. Where a window's first token does not go
    with the last of these, that one is given back; after a few of them all of the last window are, then all, and the
    window grows: at last it is the whole piece.
    """
    window = model.window
    ids = np.empty(window, np.int32)
    pair_ids = np.empty(2 * (model.lengths.max() + 1), np.int32)
    pairs = np.empty(SHORT, np.int64)
    begin, first = at, filled
    window_at, window_first = at, filled  # where the last window that went well began
    given_back = 0
    while at < stop:
        count = read_symbols(model, data, at, stop, window, ids)
        end = moved(model, data, at, count)
        count = merge_long(model, ids, count)
        fits = filled == first or _stay_apart(model, data, at, out[filled - 1], ids[0], pair_ids, pairs)
        if not fits:
            if given_back < 8 and filled - 1 > window_first:
                filled -= 1
                at = moved(model, data, at, -model.lengths[out[filled]])
                given_back += 1
            else:
                if at == window_at:  # not even a larger window goes with what stands before it
                    window_at, window_first = begin, first
                at, filled = window_at, window_first
                window *= 2
                ids = np.empty(window, np.int32)
                given_back = 0
            continue
        window_at, window_first, given_back = at, filled, 0
        if end >= stop:
            kept = count
        else:
            kept, behind = count, 0
            while kept > 1 and behind < model.margin:
                kept -= 1
                behind += model.lengths[ids[kept]]
        for i in range(kept):
            out[filled] = ids[i]
            filled += 1
            at = moved(model, data, at, model.lengths[ids[i]])
    return filled


@numba.njit(cache=True, nogil=True)
def _whole_word(model: Any, data: Any, at: Any, stop: Any, hashed: Any) -> Any:
    """The id of a piece that is a word whatever the merges say; UNKNOWN where there is none."""
    mask = np.int64(len(model.word_slots) - 1)
    if mask < 0:
        return np.int32(UNKNOWN)
    place = (hashed >> 1) & mask
    while model.word_slots[place] >= 0:
        word = model.word_slots[place]
        start = model.word_starts[word]
        if model.word_starts[word + 1] - start == stop - at and _equal(data, at, stop, model.word_bytes, start):
            return model.word_ids[word]
        place = (place + 1) & mask
    return np.int32(UNKNOWN)


@numba.njit(cache=True, nogil=True)
def _equal(data: Any, at: Any, stop: Any, other: Any, start: Any) -> Any:
    place = at
    while place < stop and data[place] == other[start + place - at]:
        place += 1
    return place == stop


@numba.njit(cache=True, nogil=True)
def encode_piece(
    model: Any, data: Any, at: Any, stop: Any, hashed: Any, scratch: Any, pairs: Any, out: Any, filled: Any
) -> Any:
    """Encodes a piece into `out` from `filled` on; returns the new end."""
    word = _whole_word(model, data, at, stop, hashed)
    if word >= 0:
        out[filled] = word
        return filled + 1
    count = read_symbols(model, data, at, stop, len(scratch), scratch)
    if count == 1 and scratch[0] == UNKNOWN:
        for place in range(at, stop):
            out[filled] = model.fallback[data[place]]
            filled += 1
        return filled
    if count == len(scratch) and moved(model, data, at, count) < stop:
        return merge_windows(model, data, at, stop, out, filled)
    count = merge_short(model, scratch, count, pairs) if count <= SHORT else merge_long(model, scratch, count)
    for i in range(count):
        out[filled] = scratch[i]
        filled += 1
    return filled


@numba.njit(cache=True, nogil=True)
def _remember(
    memory: Any, place: Any, hashed: Any, data: Any, at: Any, stop: Any, out: Any, first: Any, count: Any
) -> None:
    """Puts a piece into its slot; a full memory is emptied first."""
    slots, text, ids, used = memory
    if used[0] + stop - at > len(text) or used[1] + count > len(ids) or 2 * used[2] >= len(slots):
        slots[:, 0] = 0
        used[:3] = 0
        place = (hashed >> 1) & np.int64(len(slots) - 1)
    start = used[0]
    for i in range(stop - at):
        text[start + i] = data[at + i]
    slots[place, 0] = hashed
    slots[place, 1] = start << 8 | (stop - at)
    if count == 1:
        slots[place, 2] = np.int64(out[first]) << 8 | 1
    else:
        slots[place, 2] = used[1] << 8 | count
        for i in range(count):
            ids[used[1] + i] = out[first + i]
        used[1] += count
    used[0] += stop - at
    used[2] += 1


@numba.njit(cache=True, nogil=True)
def encode(model: Any, memory: Any, data: Any, offsets: Any, end: Any, out: Any, ends: Any) -> Any:
    """Encodes texts one behind the other.

    Args:
        model, memory: the tokenizer; what it remembers changes and never what it gives.
        data: uint8, valid UTF-8.
        offsets: int64[n + 1], where each text begins and the last one ends in `data`.
        end: an id that is put behind each text; negative: none.
        out: uint32, at least as long as the texts' bytes and n.
        ends: int64[n], receives where each text's ids end in `out`.

    Returns:
        How many ids there are.
    """
    slots, text, ids, used = memory
    mask = np.int64(len(slots) - 1)
    levels = len(model.starts)
    limits = np.empty(levels + 1, np.int64)
    scratch = np.empty(model.window, np.int32)
    pairs = np.empty(SHORT, np.int64)
    filled = np.int64(0)
    for document in range(len(offsets) - 1):
        at = offsets[document]
        limits[:] = at
        limits[0] = offsets[document + 1]  # limits[level + 1]: the end of that pattern's current piece
        while at < limits[0]:
            for level in range(levels):
                if limits[level + 1] == at:
                    limits[level + 1] = piece_end(
                        data, at, limits[level], model.classes, model.table, model.starts[level]
                    )
            stop = limits[levels]
            hashed = word_hash(data, at, min(stop, at + REMEMBERED))
            place = (hashed >> 1) & mask
            found = False
            if stop - at <= REMEMBERED:
                while slots[place, 0] != 0:
                    known = slots[place, 1]
                    same = slots[place, 0] == hashed and known & 255 == stop - at
                    if same and _equal(data, at, stop, text, known >> 8):
                        found = True
                        break
                    place = (place + 1) & mask
            if found:
                count = slots[place, 2] & 255
                first = slots[place, 2] >> 8
                if count == 1:
                    out[filled] = first
                else:
                    for i in range(count):
                        out[filled + i] = ids[first + i]
                filled += count
            else:
                first = filled
                filled = encode_piece(model, data, at, stop, hashed, scratch, pairs, out, filled)
                used[3] += 1
                if stop - at <= REMEMBERED:
                    _remember(memory, place, hashed, data, at, stop, out, first, filled - first)
            at = stop
        if end >= 0:
            out[filled] = end
            filled += 1
        ends[document] = filled
    return filled


@numba.njit(cache=True, nogil=True)
def fill_pairs(keys: Any, values: Any, left: Any, right: Any, rank: Any, both: Any) -> None:
    """Enters pairs; of two equal ones the last holds."""
    for i in range(len(left)):
        key = np.uint64(left[i]) << np.uint64(32) | np.uint64(right[i])
        place = pair_place(keys, key)
        keys[place] = key
        values[place] = np.int64(rank[i]) << np.int64(32) | np.int64(both[i])


@numba.njit(cache=True, nogil=True)
def fill_words(slots: Any, words: Any, starts: Any) -> None:
    """Enters words by their hashes."""
    mask = np.int64(len(slots) - 1)
    for word in range(len(starts) - 1):
        hashed = word_hash(words, starts[word], min(starts[word + 1], starts[word] + REMEMBERED))
        place = (hashed >> 1) & mask
        while slots[place] >= 0:
            place = (place + 1) & mask
        slots[place] = word


@numba.njit(cache=True, nogil=True)
def token_splits(arena: Any, starts: Any, slots: Any, characters: Any) -> Any:
    """All ways to cut a token into two tokens: int32 arrays of the left one, the right one, and the token.

    Args:
        arena, starts, slots: the tokens, as a Model's words.
        characters: whether cuts within a character do not count.
    """
    size = 0
    left = np.empty(len(arena), np.int32)
    right = np.empty(len(arena), np.int32)
    both = np.empty(len(arena), np.int32)
    for token in range(len(starts) - 1):
        for cut in range(starts[token] + 1, starts[token + 1]):
            if characters and arena[cut] & 0xC0 == 0x80:
                continue
            first = _word_number(arena, starts, slots, starts[token], cut)
            second = _word_number(arena, starts, slots, cut, starts[token + 1]) if first >= 0 else UNKNOWN
            if second >= 0:
                left[size], right[size], both[size] = first, second, token
                size += 1
    return left[:size].copy(), right[:size].copy(), both[:size].copy()


@numba.njit(cache=True, nogil=True)
def _word_number(arena: Any, starts: Any, slots: Any, begin: Any, stop: Any) -> Any:
    mask = np.int64(len(slots) - 1)
    place = (word_hash(arena, begin, min(stop, begin + REMEMBERED)) >> 1) & mask
    while slots[place] >= 0:
        word = slots[place]
        if starts[word + 1] - starts[word] == stop - begin and _equal(arena, begin, stop, arena, starts[word]):
            return np.int64(word)
        place = (place + 1) & mask
    return np.int64(UNKNOWN)
