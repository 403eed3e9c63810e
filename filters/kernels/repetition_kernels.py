"""Numba kernel of Gopher's repetition rules: repeated paragraphs, lines and n-grams of words, all in one walk.

The rules of lines need no words, those of n-grams need no strings: pieces are told apart by hashes of 64 bits.
Costs about 8 ns per byte for a decision and 15 for all values, of which look-ups of words are 3 where the chunks are
known; 12 bytes per token of the longest document; importing this module imports Numba.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .chunk_entries import BASE
from .chunk_kernels import look_up
from .hash_table import count_key, empty_table
from .kernel import kernel, view_leaf
from .machine import load_8, lowest_bit
from .ngram_kernels import (
    at_most_duplicate,
    duplicate_characters,
    join_tokens,
    most_in_a_cell,
    power,
    separator,
    top_characters,
)
from .spans import strip
from .word_kernels import token_hash

Bytes = npt.NDArray[np.uint8]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
UInt32 = npt.NDArray[np.uint32]
UInt64 = npt.NDArray[np.uint64]

# The rules that stand before those of n-grams, by number.
CHARACTERS: Final = 0
PARAGRAPHS: Final = 1
PARAGRAPH_CHARACTERS: Final = 2
LINES: Final = 3
LINE_CHARACTERS: Final = 4
NGRAMS: Final = 5

_0, _1, _2, _3, _4, _5, _7, _8 = (np.uint64(number) for number in (0, 1, 2, 3, 4, 5, 7, 8))
_HALF: Final = np.uint64(0xFFFFFFFF)
_ONES: Final = np.uint64(0x0101010101010101)
_TOPS: Final = np.uint64(0x8080808080808080)
_LINE_FEEDS: Final = np.uint64(0x0A0A0A0A0A0A0A0A)
_P0: Final = np.uint64(0x9E3779B185EBCA87)
_P1: Final = np.uint64(0xFF51AFD7ED558CCD)


@view_leaf
def _characters(text: Bytes, start: Any, stop: Any) -> Any:
    """The code points of `text[start:stop]`."""
    count = 0
    for at in range(start, stop):
        count += text[np.uint64(at)] & 0xC0 != 0x80
    return count


@view_leaf
def _eight(text: Bytes, at: Any) -> Any:
    """Eight bytes from `at` on, line feeds where the text ends."""
    size = np.uint64(len(text))
    if at + _8 <= size:
        return load_8(text, at)
    word, last = _LINE_FEEDS, size
    while last > at:
        last -= _1
        word = word << _8 | np.uint64(text[last])
    return word


@view_leaf
def _piece(text: Bytes, at: Any, end: Any, least: Any) -> Any:
    """Where the piece that begins at `at` stops, where the next begins, and its hash.

    It stops at a run of at least `least` (1 or 2) line feeds or at the text's end.
    """
    start, state = at, _P0
    while True:
        word = _eight(text, at)
        feeds = word ^ _LINE_FEEDS
        found = (feeds - _ONES) & ~feeds & _TOPS
        size = _8
        while found:
            place = at + (lowest_bit(found) >> _3)
            # A bit above another can be wrong, so the byte itself is asked.
            twice = place + _1 < end and text[place] == 0x0A and text[place + _1] == 0x0A
            if place >= end or least == _1 or twice:
                size = place - at
                break
            found &= found - _1
        if at + size >= end:
            size = end - at
        if size < _8:
            word &= (_1 << (size << _3)) - _1
        state = (state ^ word) * _P1
        state ^= state >> np.uint64(29)
        at += size
        if size < _8:
            break
    stop = at
    while at < end and text[at] == 0x0A:
        at += _1
    return stop, at, (state ^ (stop - start)) * _P0


@view_leaf
def _duplicate_pieces(text: Bytes, start: Any, stop: Any, least: Any, table: UInt64, state: UInt64) -> Any:
    """Pieces of `text[start:stop]` between runs of at least `least` line feeds: (all, duplicates, their characters)."""
    empty_table(table, state)
    pieces, duplicates, characters, at = 0, 0, 0, start
    while True:
        begin = at
        end, at, key = _piece(text, begin, stop, least)
        pieces += 1
        if count_key(table, state, key) > _1:
            duplicates += 1
            characters += _characters(text, begin, end)
        if end == stop:
            return pieces, duplicates, characters


@view_leaf
def _fill_prefixes(
    text: Bytes, start: Any, stop: Any, words: Any, powers: UInt64, prefixes: UInt64, sizes: UInt32
) -> Any:
    """Writes hash and size of every prefix of the document's tokens, a separator behind each; gives their number."""
    entries, found = words[1], words[7]
    at, tokens, joined, size, space = start, _0, _0, np.uint32(0), separator()
    prefixes[0], sizes[0] = joined, size
    while at < stop:
        count, at = look_up(text, at, stop, words)
        for number in range(count):
            chunk = np.uint64(number)
            entry = np.uint64(found[chunk])
            for token in range(entries[entry + _2] & _HALF):
                state, characters = token_hash(text, chunk, entry, np.uint64(token), words)
                tokens += _1
                joined = joined * power(characters + _1, powers) + state * BASE + space
                size += np.uint32(characters + _1)
                prefixes[tokens], sizes[tokens] = joined, size
    return tokens


@view_leaf
def _measure_one(
    text: Bytes,
    start: Any,
    stop: Any,
    words: Any,
    spaces: Bytes,
    powers: UInt64,
    top: UInt64,
    duplicate: UInt64,
    bounds: Float64,
    prefixes: UInt64,
    sizes: UInt32,
    cells: UInt32,
    table: UInt64,
    state: UInt64,
    values: Float64,
    decide: bool,
) -> Any:
    """The first broken rule of a document, -1 where none is or not `decide`; otherwise as `measure`."""
    characters = _characters(text, start, stop)
    values[CHARACTERS] = characters
    values[1:] = 0.0
    if characters == 0:
        return CHARACTERS if decide else -1
    whole = np.float64(characters)
    for rule in (PARAGRAPHS, LINES):
        begin, end, least = start, stop, _1
        if rule == PARAGRAPHS:
            begin, end = strip(text, start, stop, spaces)
            least = _2
        pieces, duplicates, repeated = _duplicate_pieces(text, begin, end, least, table, state)
        values[rule], values[rule + 1] = duplicates / pieces, repeated / whole
        for broken in (rule, rule + 1):
            if decide and values[broken] > bounds[broken]:
                return broken
    tokens = _fill_prefixes(text, start, stop, words, powers, prefixes, sizes)
    for place in range(len(top)):
        n, rule = top[place], NGRAMS + place
        if n > tokens:
            continue
        sums_fit = n * np.uint64(sizes[tokens]) <= _HALF
        if decide and sums_fit:
            most = most_in_a_cell(prefixes, sizes, tokens, n, powers, cells, True)
            if most / whole <= bounds[rule]:
                continue
        values[rule] = top_characters(prefixes, sizes, tokens, n, powers, cells, table, state) / whole
        if decide and values[rule] > bounds[rule]:
            return rule
    join_tokens(prefixes, sizes, tokens, powers)
    for place in range(len(duplicate)):
        n, rule = duplicate[place], NGRAMS + len(top) + place
        if n > tokens or (
            decide and at_most_duplicate(prefixes, sizes, tokens, n, powers, cells) / whole <= bounds[rule]
        ):
            continue
        values[rule] = duplicate_characters(prefixes, sizes, tokens, n, powers, cells, table, state) / whole
        if decide and values[rule] > bounds[rule]:
            return rule
    return -1


@kernel
def measure(
    text: Bytes,
    offsets: Int64,
    words: Any,
    spaces: Bytes,
    powers: UInt64,
    top: UInt64,
    duplicate: UInt64,
    bounds: Float64,
    prefixes: UInt64,
    sizes: UInt32,
    cells: UInt32,
    table: UInt64,
    values: Float64,
    rules: npt.NDArray[np.int16],
    decide: bool,
) -> None:
    """Writes the values of all rules of each document, or only that of the first rule that it breaks.

    Args:
        text, offsets: uint8[...] and int64[n + 1], document d is `text[offsets[d]:offsets[d + 1]]`.
        words: the cache's arrays.
        spaces, powers: `spans.white_space` and `ngram_kernels.powers`.
        top, duplicate: uint64[...], the n of the n-grams whose most frequent one, and whose duplicates are asked for.
        bounds: float64[rules], the largest value that is kept, infinite where there is no bound; that of `CHARACTERS`
            is not read.
        prefixes: uint64, scratch, one more than the tokens of the longest document.
        sizes: uint32, scratch, three more; `words` may have its token stops in the same memory.
        cells, table: uint32[3 * ngram_kernels.MOST_CELLS] and uint64[hash_table.room(tokens)], scratch.
        values: float64[n, rules].
        rules: int16[n], the first broken rule or -1; written where `decide`.
        decide: whether to leave a document as soon as it is decided.
    """
    state = np.empty(3, np.uint64)
    for document in range(len(offsets) - 1):
        start, stop = np.uint64(offsets[document]), np.uint64(offsets[document + 1])
        rules[document] = _measure_one(
            text, start, stop, words, spaces, powers, top, duplicate, bounds, prefixes, sizes, cells, table, state,
            values[document], decide,
        )  # fmt: skip
