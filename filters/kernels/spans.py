"""Numba kernels that find chunks, lines and paragraphs in UTF-8 bytes, and hash them.

Python's `split()` and `splitlines()` make one object per piece; the same pieces as pairs of byte offsets cost no object
and can be read by the next kernel. What white space and a line's end are is Python's definition, because the published
filters are Python programs.
Costs about 1 ns per byte for either, and 16 bytes per piece; importing this module imports Numba (half a second), so
it is imported where it is used.
"""

import functools
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .kernel import kernel, view_leaf

Int64 = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

# What a first byte says, in the tables below.
_ORDINARY: Final = 0
_YES: Final = 1
_MAYBE: Final = 2  # depends on the bytes that follow
_CARRIAGE_RETURN: Final = 3

# Unsigned offsets: Numba adds a test for negative ones to every signed subscript (620 against 1,000 MB/s).
_0, _1, _2 = np.uint64(0), np.uint64(1), np.uint64(2)


@functools.cache
def white_space() -> Bytes:
    """uint8[256]: what a first byte says about white space, as `str.isspace()` has it (read-only)."""
    table = np.full(256, _ORDINARY, np.uint8)
    table[[0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x1C, 0x1D, 0x1E, 0x1F, 0x20]] = _YES
    table[[0xC2, 0xE1, 0xE2, 0xE3]] = _MAYBE
    table.flags.writeable = False
    return table


@functools.cache
def _line_ends() -> Bytes:
    """uint8[256]: what a first byte says about a line's end, as `str.splitlines()` has it."""
    table = np.full(256, _ORDINARY, np.uint8)
    table[[0x0A, 0x0B, 0x0C, 0x1C, 0x1D, 0x1E]] = _YES
    table[0x0D] = _CARRIAGE_RETURN
    table[[0xC2, 0xE2]] = _MAYBE
    return table


@view_leaf
def wide_space_bytes(first: Any, second: Any, third: Any) -> int:
    """Bytes of the white space outside ASCII that these bytes are, else 0: U+0085, 00A0, 1680, 2000-200A, 2028, 2029,
    202F, 205F, 3000."""
    if first == 0xC2:
        return 2 if second == 0x85 or second == 0xA0 else 0
    if first == 0xE2 and second == 0x80:
        return 3 if third <= 0x8A or third == 0xA8 or third == 0xA9 or third == 0xAF else 0
    if first == 0xE2:
        return 3 if second == 0x81 and third == 0x9F else 0
    if first == 0xE3:
        return 3 if second == 0x80 and third == 0x80 else 0
    return 3 if first == 0xE1 and second == 0x9A and third == 0x80 else 0


@view_leaf
def _wide_line_end_bytes(first: Any, second: Any, third: Any) -> int:
    """Bytes of the line end outside ASCII that these bytes are, else 0: U+0085, 2028, 2029."""
    if first == 0xC2:
        return 2 if second == 0x85 else 0
    return 3 if first == 0xE2 and second == 0x80 and (third == 0xA8 or third == 0xA9) else 0


@kernel
def _fill_chunks(text: Bytes, offsets: Int64, table: Bytes, start: Int64, stop: Int64, ends: Int64) -> int:
    """Writes the chunks of all documents and gives their number; `start` and `stop` need room for one more.

    Without branches on what the byte is: where a chunk starts and stops cannot be predicted, and a wrong guess costs
    more than two stores per byte that the next ones overwrite.
    """
    starts, stops = _0, _0
    for document in range(len(offsets) - 1):
        at, end = np.uint64(offsets[document]), np.uint64(offsets[document + 1])
        before = _1
        while at < end:
            space, width = np.uint64(table[text[at]]), _1
            if space == _2:
                second = text[at + _1] if at + _1 < end else np.uint8(0)
                third = text[at + _2] if at + _2 < end else np.uint8(0)
                wide = np.uint64(wide_space_bytes(text[at], second, third))
                space, width = (_1, wide) if wide else (_0, _1)
            start[starts] = at
            starts += before & (space ^ _1)
            stop[stops] = at
            stops += space & (before ^ _1)
            before = space
            at += width
        stop[stops] = end
        stops += before ^ _1
        ends[document] = stops
    return int(stops)


@kernel
def _fill_lines(text: Bytes, offsets: Int64, table: Bytes, start: Int64, stop: Int64, ends: Int64) -> int:
    """Writes the lines of all documents and gives their number."""
    lines = 0
    for document in range(len(offsets) - 1):
        at, end = offsets[document], offsets[document + 1]
        begin = at
        while at < end:
            kind = table[text[at]]
            if kind == _ORDINARY:
                at += 1
                continue
            width = 1
            if kind == _MAYBE:
                second = text[at + 1] if at + 1 < end else np.uint8(0)
                third = text[at + 2] if at + 2 < end else np.uint8(0)
                width = _wide_line_end_bytes(text[at], second, third)
                if width == 0:
                    at += 1
                    continue
            elif kind == _CARRIAGE_RETURN and at + 1 < end and text[at + 1] == 0x0A:
                width = 2
            start[lines], stop[lines] = begin, at
            lines += 1
            at += width
            begin = at
        if begin < end:
            start[lines], stop[lines] = begin, end
            lines += 1
        ends[document] = lines
    return lines


@view_leaf
def space_bytes(text: Bytes, at: Any, end: Any, spaces: Bytes) -> Any:
    """Bytes of the white space that begins at `at`, uint64, 0 where none does."""
    kind = np.uint64(spaces[text[at]])
    if kind != _2:
        return kind
    second = text[at + _1] if at + _1 < end else np.uint8(0)
    third = text[at + _2] if at + _2 < end else np.uint8(0)
    return np.uint64(wide_space_bytes(text[at], second, third))


@view_leaf
def strip(text: Bytes, at: Any, end: Any, spaces: Bytes) -> Any:
    """`text[at:end]` without white space at its ends, as `str.strip()` has it: (start, stop), uint64."""
    while at < end:
        width = space_bytes(text, at, end, spaces)
        if width == _0:
            break
        at += width
    while at < end:
        # White space outside ASCII has two or three bytes, the last of which are continuations.
        back = end - _1
        while text[back] & 0xC0 == 0x80 and back > at:
            back -= _1
        if space_bytes(text, back, end, spaces) == _0:
            break
        end = back
    return at, end


@kernel
def _fill_paragraphs(text: Bytes, offsets: Int64, spaces: Bytes, start: Int64, stop: Int64, ends: Int64) -> int:
    """Writes the paragraphs of all documents and gives their number."""
    paragraphs = 0
    for document in range(len(ends)):
        at, end = strip(text, np.uint64(offsets[document]), np.uint64(offsets[document + 1]), spaces)
        begin = at
        while at < end:
            if text[at] != 0x0A:
                at += _1
                continue
            run = at
            while text[at] == 0x0A:  # stripped: another byte follows
                at += _1
            if at - run > _1:
                start[paragraphs], stop[paragraphs] = begin, run
                paragraphs += 1
                begin = at
        start[paragraphs], stop[paragraphs] = begin, end
        paragraphs += 1
        ends[document] = paragraphs
    return paragraphs


@kernel
def _at_most_paragraphs(text: Bytes) -> int:
    """Pairs of line feeds: no fewer than there are ends of paragraphs."""
    count = 0
    for at in range(1, len(text)):
        count += (text[at] == 0x0A) & (text[at - 1] == 0x0A)
    return count


def paragraph_spans(text: Bytes, offsets: Int64) -> tuple[Int64, Int64, Int64]:
    """The paragraphs of n documents, as Gopher's repetition rules have them; otherwise as `chunk_spans`.

    The text without white space at its ends is split at two or more line feeds, so that every document has at least
    one, which may be empty.
    """
    room = _at_most_paragraphs(text[offsets[0] : offsets[-1]]) + len(offsets)
    start, stop, ends = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(len(offsets) - 1, np.int64)
    paragraphs = _fill_paragraphs(text, offsets, white_space(), start, stop, ends)
    return start[:paragraphs], stop[:paragraphs], ends


@kernel
def _at_most_line_ends(text: Bytes) -> int:
    """Bytes that can be the last of a line end: no fewer than there are line ends."""
    count = 0
    for at in range(len(text)):
        byte = text[at]
        ascii_end = ((byte >= 0x0A) & (byte <= 0x0D)) | ((byte >= 0x1C) & (byte <= 0x1E))
        count += ascii_end | (byte == 0x85) | (byte == 0xA8) | (byte == 0xA9)
    return count


def chunk_spans(text: Bytes, offsets: Int64) -> tuple[Int64, Int64, Int64]:
    """The chunks of n documents: the pieces that `str.split()` without arguments gives.

    Args:
        text: uint8[...], UTF-8 bytes.
        offsets: int64[n + 1], document d is `text[offsets[d]:offsets[d + 1]]`.

    Returns:
        start int64[m], stop int64[m], ends int64[n], as in `document.Spans`.
    """
    # Room for the most chunks there can be; pages that are never written take no memory.
    room = int(offsets[-1] - offsets[0]) // 2 + len(offsets)
    start, stop, ends = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(len(offsets) - 1, np.int64)
    chunks = _fill_chunks(text, offsets, white_space(), start, stop, ends)
    return start[:chunks], stop[:chunks], ends


def line_spans(text: Bytes, offsets: Int64) -> tuple[Int64, Int64, Int64]:
    """The lines of n documents, without their ends, as `str.splitlines()` gives them; otherwise as `chunk_spans`."""
    room = _at_most_line_ends(text[offsets[0] : offsets[-1]]) + len(offsets)
    start, stop, ends = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(len(offsets) - 1, np.int64)
    lines = _fill_lines(text, offsets, _line_ends(), start, stop, ends)
    return start[:lines], stop[:lines], ends


@view_leaf
def hash_bytes(text: Bytes, start: int, stop: int) -> np.uint64:
    """64-bit hash of `text[start:stop]`: FNV-1a, then the finalizer of MurmurHash3 so that all bits are usable.

    Stable over versions, machines and processes. Sources: Fowler, Noll, Vo, FNV-1a with its 64-bit offset basis and
    prime; Appleby, MurmurHash3, fmix64.
    """
    state = np.uint64(0xCBF29CE484222325)
    for at in range(start, stop):
        state = (state ^ np.uint64(text[at])) * np.uint64(0x100000001B3)
    state = (state ^ (state >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    state = (state ^ (state >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return state ^ (state >> np.uint64(33))


@kernel
def hash_spans(text: Bytes, start: Int64, stop: Int64) -> npt.NDArray[np.uint64]:
    """`hash_bytes` of every span: uint64[m]."""
    hashes = np.empty(len(start), np.uint64)
    for span in range(len(start)):
        hashes[span] = hash_bytes(text, start[span], stop[span])
    return hashes
