"""Numba kernels that find lines or paragraphs worth comparing, give each a key of 128 bits, and cut some out of a text.

A corpus has a hundred times as many lines as documents, so a piece is never a Python object: it is found by masks of 64
bytes, hashed where it stands, and known from then on by its number. Who finds pieces again gives them the same numbers.
Costs about 0.3 ns per byte to find them, 0.4 ns more for the keys, and 20 ns a piece to see which is the first.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .byte_masks import count_characters, word_at
from .kernel import inlined, kernel, view_leaf
from .line_ends import line_end, line_end_bytes
from .white_space import after_space, before_space

Bytes = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]
UInt32 = npt.NDArray[np.uint32]
UInt64 = npt.NDArray[np.uint64]

_0, _1, _2, _3, _5, _8, _16, _64 = (np.uint64(number) for number in (0, 1, 2, 3, 5, 8, 16, 64))
_27, _31, _33 = (np.uint64(number) for number in (27, 31, 33))
# Constants of MurmurHash3_x64_128 (Appleby, public domain).
_C1: Final = np.uint64(0x87C37B91114253D5)
_C2: Final = np.uint64(0x4CF5AD432745937F)
_ADD_1: Final = np.uint64(0x52DCE729)
_ADD_2: Final = np.uint64(0x38495AB5)
_MIX_1: Final = np.uint64(0xFF51AFD7ED558CCD)
_MIX_2: Final = np.uint64(0xC4CEB9FE1A85EC53)
_EMPTY: Final = np.uint32(0xFFFFFFFF)


@inlined
def _rotated(word: Any, bits: Any) -> Any:
    return word << bits | word >> (_64 - bits)


@inlined
def _mixed(word: Any) -> Any:
    word = (word ^ word >> _33) * _MIX_1
    word = (word ^ word >> _33) * _MIX_2
    return word ^ word >> _33


@view_leaf
def hash_128(text: Bytes, start: Any, stop: Any) -> Any:
    """MurmurHash3_x64_128 of `text[start:stop]` with seed 0: (low, high), uint64.

    Not made to withstand texts that are written to collide; of n others two collide with odds of about n^2 / 2^129.
    """
    low, high, at = _0, _0, start
    while stop - at >= _16:
        one, two = word_at(text, at, stop), word_at(text, at + _8, stop)
        low = _rotated(low ^ _rotated(one * _C1, _31) * _C2, _27) + high
        low = low * _5 + _ADD_1
        high = _rotated(high ^ _rotated(two * _C2, _33) * _C1, _31) + low
        high = high * _5 + _ADD_2
        at += _16
    if stop - at > _8:
        high ^= _rotated(word_at(text, at + _8, stop) * _C2, _33) * _C1
    if stop > at:
        low ^= _rotated(word_at(text, at, stop) * _C1, _31) * _C2
    size = stop - start
    low, high = low ^ size, high ^ size
    low += high
    high += low
    low, high = _mixed(low), _mixed(high)
    low += high
    return low, high + low


@inlined
def _next_line(text: Bytes, at: Any, end: Any) -> Any:
    """The line that begins at `at`: (its first byte, stripped start, stripped stop, the next line's first byte)."""
    stop = line_end(text, at, end)
    following = stop + line_end_bytes(text, stop, end) if stop < end else end
    start = after_space(text, at, stop)
    return at, start, before_space(text, start, stop), following


@view_leaf
def _next_paragraph(text: Bytes, at: Any, end: Any) -> Any:
    """As `_next_line`, of the lines up to a blank one; blank lines before are passed by, those behind belong to it."""
    first, start, stop, following = _next_line(text, at, end)
    while start == stop and following < end:
        first, start, stop, following = _next_line(text, following, end)
    blank = False
    while following < end:
        _, inner, last, after = _next_line(text, following, end)
        if inner == last:
            blank = True
        elif blank:
            break
        else:
            stop = last
        following = after
    return first, start, stop, following


@view_leaf
def _next_piece(text: Bytes, at: Any, end: Any, paragraphs: bool) -> Any:
    if paragraphs:
        return _next_paragraph(text, at, end)
    return _next_line(text, at, end)


@inlined
def _is_compared(text: Bytes, start: Any, stop: Any, least: Any) -> Any:
    """Whether a piece has at least so many characters."""
    size = stop - start
    if size < least:
        return False
    return size >= least << _2 or count_characters(text, start, stop) >= least


@kernel
def piece_keys(
    text: Bytes, offsets: Int64, paragraphs: bool, min_length: int, low: UInt64, high: UInt64, ends: Int64
) -> int:
    """Writes the keys of the pieces of n documents that have `min_length` characters, stripped of white space.

    Args:
        text: uint8[...], UTF-8 bytes.
        offsets: int64[n + 1], document d is `text[offsets[d]:offsets[d + 1]]`.
        paragraphs: whether pieces are paragraphs, lines between blank ones; else lines, as `str.splitlines()` has them.
        min_length: characters.
        low, high: uint64[...], with room for one key every `min_length + 1` bytes, and one a document.
        ends: int64[n], becomes for each document one past its last piece.

    Returns:
        The number of pieces.
    """
    count, least = _0, np.uint64(min_length)
    for document in range(len(ends)):
        at, end = np.uint64(offsets[document]), np.uint64(offsets[document + 1])
        while at < end:
            _, start, stop, at = _next_piece(text, at, end, paragraphs)
            if _is_compared(text, start, stop, least):
                low[count], high[count] = hash_128(text, start, stop)
                count += _1
        ends[document] = count
    return int(count)


@kernel
def find_pieces(
    text: Bytes,
    offsets: Int64,
    paragraphs: bool,
    min_length: int,
    number: int,
    chosen: UInt32,
    start: Int64,
    stop: Int64,
    ends: Int64,
) -> Any:
    """Finds some of the pieces that `piece_keys` counts, with their line ends, by their numbers.

    Args:
        text, offsets, paragraphs, min_length: as for `piece_keys`.
        number: that of the first document's first piece.
        chosen: uint32[m], numbers of pieces, ascending, none below `number`.
        start, stop: int64[m], become the places of those that are found: offsets into `text`, line ends included.
        ends: int64[n], becomes for each document one past its last found piece.

    Returns:
        How many were found, and the number of the next document's first piece.
    """
    found, next_number, least = _0, np.uint64(number), np.uint64(min_length)
    wanted = np.uint64(len(chosen))
    for document in range(len(ends)):
        at, end = np.uint64(offsets[document]), np.uint64(offsets[document + 1])
        while at < end:
            first, inner, last, at = _next_piece(text, at, end, paragraphs)
            if _is_compared(text, inner, last, least):
                if found < wanted and np.uint64(chosen[found]) == next_number:
                    start[found], stop[found] = first, at
                    found += _1
                next_number += _1
        ends[document] = found
    return int(found), int(next_number)


@kernel
def cut_out(
    text: Bytes, offsets: Int64, start: Int64, stop: Int64, ends: Int64, out: Bytes, new_offsets: Int64, blank: Any
) -> None:
    """Writes the texts of n documents without some pieces.

    Args:
        text, offsets: as for `piece_keys`.
        start, stop, ends: the pieces, as `find_pieces` leaves them.
        out: uint8[...], with room for the n texts.
        new_offsets: int64[n + 1], becomes the places of the new texts in `out`.
        blank: bool[n], becomes whether the new text has nothing but white space.
    """
    written, piece = _0, _0
    new_offsets[0] = 0
    for document in range(len(ends)):
        at, end = np.uint64(offsets[document]), np.uint64(offsets[document + 1])
        empty = True
        while piece <= np.uint64(ends[document]):
            last = piece == np.uint64(ends[document])
            until = end if last else np.uint64(start[piece])
            size = until - at
            out[written : written + size] = text[at:until]
            empty = empty and after_space(text, at, until) == until
            written += size
            if last:
                break
            at = np.uint64(stop[piece])
            piece += _1
        new_offsets[document + 1] = written
        blank[document] = empty


@kernel
def first_of_each(low: UInt64, high: UInt64, source: npt.NDArray[np.int32], order: UInt64) -> Any:
    """bool[m]: of the rows of each key the one that comes first, by source, then by order, then by its place here.

    Args:
        low, high: uint64[m], m below 2^32 - 1, the two halves of each row's key, evenly spread.
        source: int32[m], the place of the row's source among the sources.
        order: uint64[m], the row's place in its source.
    """
    rows = len(low)
    slots = 64
    while slots < rows + rows // 2:
        slots *= 2
    mask = np.uint64(slots - 1)
    table = np.empty(slots, np.uint32)
    table[:] = _EMPTY
    first = np.empty(rows, np.bool_)
    for row in range(rows):
        slot = low[row] & mask
        while table[slot] != _EMPTY:
            other = table[slot]
            if low[other] == low[row] and high[other] == high[row]:
                break
            slot = (slot + _1) & mask
        first[row] = True
        if table[slot] != _EMPTY:
            other = table[slot]
            earlier = source[row] < source[other] or (source[row] == source[other] and order[row] < order[other])
            first[row], first[other] = earlier, not earlier
            if not earlier:
                continue
        table[slot] = row
    return first
