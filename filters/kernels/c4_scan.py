"""Numba leaves that look for what C4's rules ask about a line: its end, its marks, its words and phrases.

Most lines hold no phrase, bracket or citation, so 64 bytes at a time are asked for four-byte pieces of them by loops
that the compiler turns into vector instructions; only where one is found is a line read byte by byte.
Costs about 0.2 ns a byte for the blocks; importing this module imports Numba.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .kernel import view_leaf
from .spans import wide_space_bytes

Bytes = npt.NDArray[np.uint8]
UInt = Any  # np.uint64: Numba adds a test for negative ones to every signed subscript

BLOCK: Final = 64  # bytes
# What a block or a line holds, as bits.
SQUARE: Final = 1  # an opening square bracket
CURLY: Final = 2  # an opening curly bracket
LOREM: Final = 4
JAVASCRIPT: Final = 8
POLICY: Final = 16

# Phrases as C4 has them (Raffel et al. 2020, and its code), in lower case; one after another, by their places.
_PHRASES: Final = (
    b"lorem ipsum",
    b"javascript",
    b"terms of use",
    b"privacy policy",
    b"cookie policy",
    b"uses cookies",
    b"use of cookies",
    b"use cookies",
)
_LETTERS: Final = np.frombuffer(b"".join(_PHRASES), np.uint8)
_ENDS: Final = np.cumsum([len(phrase) for phrase in _PHRASES]).astype(np.uint64)

_0, _1, _2, _3, _4 = (np.uint64(number) for number in range(5))
_5, _6, _7 = np.uint64(5), np.uint64(6), np.uint64(7)
_LANES: Final = np.uint64(32)  # bytes that one mask of line ends stands for
_BLOCK: Final = np.uint64(BLOCK)


@view_leaf
def _ends_line(byte: Any, second: Any, third: Any) -> Any:
    """Whether a line end of `str.splitlines()` begins at these bytes (a carriage return and its newline are two)."""
    narrow = ((byte >= 0x0A) & (byte <= 0x0D)) | ((byte >= 0x1C) & (byte <= 0x1E))
    wide = (byte == 0xE2) & (second == 0x80) & ((third == 0xA8) | (third == 0xA9))
    return narrow | wide | ((byte == 0xC2) & (second == 0x85))


@view_leaf
def _hints(byte: Any, second: Any, third: Any, fourth: Any) -> Any:
    """Bits of what these bytes may be part of: brackets for sure, phrases where four of their letters stand."""
    case = np.uint8(0x20)
    one, two, three, four = byte | case, second | case, third | case, fourth | case
    # lor[em i]psum, [java]script, terms [of u]se, priva[cy p]olicy, [coo]kies (its k may be a Kelvin sign)
    lorem = (one == 0x65) & (two == 0x6D) & (third == 0x20) & (four == 0x69)
    script = (one == 0x6A) & (two == 0x61) & (three == 0x76) & (four == 0x61)
    terms = (one == 0x6F) & (two == 0x66) & (third == 0x20) & (four == 0x75)
    privacy = (one == 0x63) & (two == 0x79) & (third == 0x20) & (four == 0x70)
    cookies = (one == 0x63) & (two == 0x6F) & (three == 0x6F)
    brackets = np.uint8(byte == 0x5B) | np.uint8(byte == 0x7B) << np.uint8(1)
    phrases = np.uint8(lorem) << np.uint8(2) | np.uint8(script) << np.uint8(3)
    return brackets | phrases | np.uint8(terms | privacy | cookies) << np.uint8(4)


@view_leaf
def scan(text: Bytes, first: UInt, last: UInt, line_ends: npt.NDArray[np.uint32], hints: Bytes, base: UInt) -> None:
    """Fills `line_ends` (a bit a byte) and `hints` (a byte a block) for the blocks `first` to `last` of the text.

    Block b's are at `b - base`, its line ends in two masks. The text's last bytes are read as if zeros followed.
    """
    size = np.uint64(len(text))
    for block in range(first, last):
        begin, place = block * _BLOCK, block - base
        if begin + _BLOCK + _3 > size:
            _scan_end(text, begin, place, line_ends, hints)
            continue
        found = np.uint8(0)
        for at in range(begin, begin + _BLOCK):
            found |= _hints(text[at], text[at + _1], text[at + _2], text[at + _3])
        hints[place] = found
        for half in range(_2):
            mask, start = np.uint32(0), begin + half * _LANES
            for lane in range(_LANES):
                byte = start + lane
                ends = _ends_line(text[byte], text[byte + _1], text[byte + _2])
                mask |= np.uint32(ends) << np.uint32(lane)
            line_ends[place * _2 + half] = mask


@view_leaf
def _scan_end(text: Bytes, begin: UInt, place: UInt, line_ends: npt.NDArray[np.uint32], hints: Bytes) -> None:
    """As `scan`, of one block that the text may end in."""
    size, found = np.uint64(len(text)), np.uint8(0)
    line_ends[place * _2], line_ends[place * _2 + _1] = 0, 0
    for at in range(begin, min(begin + _BLOCK, size)):
        second = text[at + _1] if at + _1 < size else np.uint8(0)
        third = text[at + _2] if at + _2 < size else np.uint8(0)
        fourth = text[at + _3] if at + _3 < size else np.uint8(0)
        found |= _hints(text[at], second, third, fourth)
        lane = np.uint64(at) - begin
        ends = np.uint32(_ends_line(text[at], second, third)) << np.uint32(lane % _LANES)
        line_ends[place * _2 + lane // _LANES] |= ends
    hints[place] = found


@view_leaf
def _says(text: Bytes, at: UInt, stop: UInt, phrase: int) -> bool:
    """Whether the lower case of `text[at:stop]` begins with the phrase.

    Two characters become ASCII in lower case: the Kelvin sign (U+212A) is a k; U+0130 is an i and a combining dot,
    which stands in no phrase.
    """
    letter, last = _ENDS[phrase - 1] if phrase else _0, _ENDS[phrase]
    while letter < last:
        if at >= stop:
            return False
        byte, wanted = text[at], _LETTERS[letter]
        if 0x41 <= byte <= 0x5A:
            byte |= np.uint8(0x20)
        if byte == wanted:
            at += _1
        elif wanted == 0x6B and at + _2 < stop and byte == 0xE2 and text[at + _1] == 0x84 and text[at + _2] == 0xAA:
            at += _3
        else:
            return False
        letter += _1
    return True


@view_leaf
def find(text: Bytes, first: UInt, last: UInt, start: UInt, stop: UInt) -> int:
    """Bits of what the line `text[start:stop]` holds: a curly bracket, a phrase whose hint is at `first` to `last`."""
    found = 0
    for at in range(first, last):
        byte = text[at]
        letter = byte | np.uint8(0x20)
        before = at - start
        if byte == 0x7B:
            found |= CURLY
        elif letter == 0x65:
            if before >= _3 and _says(text, at - _3, stop, 0):
                found |= LOREM
        elif letter == 0x6A:
            if _says(text, at, stop, 1):
                found |= JAVASCRIPT
        elif letter == 0x6F:
            if before >= _6 and _says(text, at - _6, stop, 2):
                found |= POLICY
        elif letter == 0x63:
            cookies = (
                _says(text, at, stop, 4)
                or (before >= _5 and _says(text, at - _5, stop, 5))
                or (before >= _7 and _says(text, at - _7, stop, 6))
                or (before >= _4 and _says(text, at - _4, stop, 7))
            )
            if cookies or (before >= _5 and _says(text, at - _5, stop, 3)):
                found |= POLICY
    return found


@view_leaf
def _is_space(byte: Any) -> Any:
    return byte == 0x20 or 0x09 <= byte <= 0x0D or 0x1C <= byte <= 0x1F


@view_leaf
def _space_bytes(text: Bytes, at: UInt, stop: UInt) -> UInt:
    """Bytes of the white space that begins at `at`, 0 where none does."""
    byte = text[at]
    if byte < 0x80:
        return _1 if _is_space(byte) else _0
    second = text[at + _1] if at + _1 < stop else np.uint8(0)
    third = text[at + _2] if at + _2 < stop else np.uint8(0)
    return np.uint64(wide_space_bytes(byte, second, third))


@view_leaf
def strip_left(text: Bytes, start: UInt, stop: UInt) -> UInt:
    """Where the first character of `text[start:stop]` that is no white space begins; `stop` where there is none."""
    while start < stop:
        width = _space_bytes(text, start, stop)
        if width == _0:
            break
        start += width
    return start


@view_leaf
def strip_right(text: Bytes, start: UInt, stop: UInt) -> UInt:
    """One past the last character of `text[start:stop]` that is no white space; `start` where there is none."""
    while start < stop:
        byte = text[stop - _1]
        if byte < 0x80:
            if not _is_space(byte):
                break
            stop -= _1
        elif stop - start >= _2 and wide_space_bytes(text[stop - _2], byte, 0) == 2:
            stop -= _2
        elif stop - start >= _3 and wide_space_bytes(text[stop - _3], text[stop - _2], byte) == 3:
            stop -= _3
        else:
            break
    return stop


@view_leaf
def has_words(text: Bytes, start: UInt, stop: UInt, enough: int) -> Any:
    """Whether `text[start:stop].split()` gives at least so many words."""
    words, inside, at = 0, False, start
    while words < enough and at < stop:
        width = _space_bytes(text, at, stop)
        words += width == _0 and not inside
        inside = width == _0
        at += max(width, _1)
    return words >= enough


@view_leaf
def has_longer_word(text: Bytes, start: UInt, stop: UInt, longest: UInt) -> Any:
    """Whether a word of `text[start:stop].split()` has more than `longest` characters.

    A word that is longer has no white space of ASCII within as many bytes, so that most lines are only looked at in
    steps of that size; where such a place is found, the line is read character by character.
    """
    at = start
    while stop - at > longest:
        probe = at + longest
        while probe > at and text[probe] > 0x20:
            probe -= _1
        if not _is_space(text[probe]):
            return _has_longer_word(text, start, stop, longest)
        at = probe + _1
    return False


@view_leaf
def _has_longer_word(text: Bytes, start: UInt, stop: UInt, longest: UInt) -> Any:
    characters, at = _0, start
    while at < stop and characters <= longest:
        width = _space_bytes(text, at, stop)
        if width > _0:
            characters = _0
        elif text[at] & 0xC0 != 0x80:
            characters += _1
        at += max(width, _1)
    return characters > longest


@view_leaf
def ends_sentence(text: Bytes, start: UInt, stop: UInt) -> Any:
    """Whether the line ends in one of `.?!"'` and not in three dots."""
    if stop == start:
        return False
    byte = text[stop - _1]
    if byte == 0x2E:
        return not (stop - start >= _3 and text[stop - _2] == 0x2E and text[stop - _3] == 0x2E)
    return byte == 0x3F or byte == 0x21 or byte == 0x22 or byte == 0x27
