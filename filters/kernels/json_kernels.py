"""Numba kernels for JSON lines: where each record's text stands, and the text itself without its escapes.

A text is nearly all of a record, and as a Python string it is decoded once to be made and encoded once to be kept; here
it goes from the line to Arrow's buffer in one pass, and a parser sees what is left of the record. Costs about 0.3 ns a
byte to find the texts and 0.1 to copy them; importing this module imports Numba.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .byte_masks import count_range, range_bits
from .kernel import inlined, kernel, view_leaf
from .machine import lowest_bit

Bytes = npt.NDArray[np.uint8]
Int64s = npt.NDArray[np.int64]

_0, _1, _2, _6, _12, _64 = (np.uint64(number) for number in (0, 1, 2, 6, 12, 64))
_QUOTE, _BACKSLASH, _SPACE, _TAB, _LINE_END, _RETURN = (np.uint8(ord(sign)) for sign in '"\\ \t\n\r')
_OPEN, _CLOSE, _COMMA, _COLON = (np.uint8(ord(sign)) for sign in "{},:")
_BIT = np.uint8(0x20)  # that a brace has and a square bracket has not
_U = np.uint8(ord("u"))
NUMBERS: Final = 5  # that are told of each record
_TOO_MANY = np.uint64(19)  # digits of a number: it may need more than 64 bits
_NONE: Final = np.uint64(0xFFFF_FFFF_FFFF_FFFF)  # in place of a place: what is there is not plain JSON
# What stands for the sign behind a backslash (RFC 8259, section 7); 0 where nothing may stand there, or a `u`.
_SIGNS: Final = np.zeros(256, np.uint8)
for _sign, _meant in zip('"\\/bfnrt', '"\\/\b\f\n\r\t', strict=True):
    _SIGNS[ord(_sign)] = ord(_meant)
_DIGITS: Final = np.full(256, 255, np.uint8)  # of hexadecimal numbers
for _sign in "0123456789abcdefABCDEF":
    _DIGITS[ord(_sign)] = int(_sign, 16)


@view_leaf
def _four_digits(data: Bytes, at: Any, end: Any) -> Any:
    """uint64: the number of four hexadecimal digits from `at`; `_NONE` where they are not there."""
    if at + np.uint64(4) > end:
        return _NONE
    number = _0
    for place in range(at, at + np.uint64(4)):
        digit = _DIGITS[data[np.uint64(place)]]
        if digit == np.uint8(255):
            return _NONE
        number = number << np.uint64(4) | np.uint64(digit)
    return number


@view_leaf
def _code_point(data: Bytes, at: Any, end: Any) -> Any:
    """uint64: the code point of `\\uXXXX`, or of two that are a surrogate pair, from the backslash at `at`.

    `_NONE` where it is none: the number is cut short, or half of a pair stands alone.
    """
    first = _four_digits(data, at + _2, end)
    if first == _NONE or first - np.uint64(0xD800) >= np.uint64(0x800):
        return first
    if first >= np.uint64(0xDC00) or at + _12 > end:
        return _NONE
    if data[at + _6] != _BACKSLASH or data[at + _6 + _1] != _U:
        return _NONE
    second = _four_digits(data, at + _6 + _2, end)
    if second == _NONE or second - np.uint64(0xDC00) >= np.uint64(0x400):
        return _NONE
    return np.uint64(0x10000) + ((first - np.uint64(0xD800)) << np.uint64(10) | (second - np.uint64(0xDC00)))


@inlined
def _utf8_size(point: Any) -> Any:
    size = _1 + np.uint64(point >= np.uint64(0x80)) + np.uint64(point >= np.uint64(0x800))
    return size + np.uint64(point >= np.uint64(0x10000))


@inlined
def _next_special(data: Bytes, at: Any, end: Any) -> Any:
    """The first place from `at` of a quote, a backslash or a control character; `end` where there is none."""
    while at < end:
        bits = range_bits(data, at, end, _QUOTE, np.uint8(1)) | range_bits(data, at, end, _BACKSLASH, np.uint8(1))
        bits |= range_bits(data, at, end, np.uint8(0), np.uint8(0x20))
        if bits:
            return at + lowest_bit(bits)
        at += _64
    return end


@view_leaf
def _string_end(data: Bytes, at: Any, end: Any) -> Any:
    """(place of the quote that closes the string from `at`, bytes of what it says); `_NONE` for what closes in no way.

    Every escape is checked: a string whose end is found is one that a parser would take.
    """
    saved = _0  # bytes by which what is said is shorter
    start = at
    while True:
        at = _next_special(data, at, end)
        if at >= end or data[at] < np.uint8(0x20):
            return _NONE, _0
        if data[at] == _QUOTE:
            return at, at - start - saved
        if at + _1 >= end:
            return _NONE, _0
        if data[at + _1] == _U:
            point = _code_point(data, at, end)
            if point == _NONE:
                return _NONE, _0
            written = _12 if point >= np.uint64(0x10000) else _6
            saved += written - _utf8_size(point)
            at += written
        elif _SIGNS[data[at + _1]]:
            saved += _1
            at += _2
        else:
            return _NONE, _0


@inlined
def _past_spaces(data: Bytes, at: Any, end: Any) -> Any:
    while at < end and (data[at] == _SPACE or data[at] == _TAB or data[at] == _RETURN):
        at += _1
    return at


@view_leaf
def _is_key(data: Bytes, start: Any, stop: Any, key: Bytes) -> Any:
    size, same = np.uint64(len(key)), _0
    if stop - start != size:
        return False
    while same < size and data[start + same] == key[same]:
        same += _1
    return same == size


@view_leaf
def _record(data: Bytes, at: Any, end: Any, key: Bytes) -> Any:
    """(end of the line behind its `\\n`, start of the text, its closing quote, bytes of what it says) of one record.

    `at` is its opening brace. The first is `_NONE` where the line is no object, has no text or two, has a key at its
    top that is written with escapes, or a long number.
    """
    nothing = (_NONE, _0, _0, _0)
    depth, keys, found, due = _0, True, False, False
    digits = _0  # that stand before this sign
    text_start = text_stop = text_size = _0
    while at < end:
        sign = data[at]
        at += _1
        digits = digits + _1 if _DIGITS[sign] < np.uint8(10) else _0
        if digits == _TOO_MANY:
            return nothing
        if sign == _QUOTE:
            stop, size = _string_end(data, at, end)
            if stop == _NONE:
                return nothing
            if due:
                text_start, text_stop, text_size, due, found = at, stop, size, False, True
            elif depth == _1 and keys:
                if _next_special(data, at, stop) < stop:  # an escape: it may spell the key
                    return nothing
                if _is_key(data, at, stop, key):
                    colon = _past_spaces(data, stop + _1, end)
                    if found or colon >= end or data[colon] != _COLON:
                        return nothing
                    stop = _past_spaces(data, colon + _1, end) - _1
                    if stop + _1 >= end or data[stop + _1] != _QUOTE:
                        return nothing
                    due = True
                keys = False
            at = stop + _1
        elif sign | _BIT == _OPEN:
            depth += _1
        elif sign | _BIT == _CLOSE:
            depth -= _1
            if depth == _0:
                at = _past_spaces(data, at, end)
                if not found or (at < end and data[at] != _LINE_END):
                    return nothing
                return min(at + _1, end), text_start, text_stop, text_size
        elif sign == _COMMA:
            keys |= depth == _1
        elif sign == _LINE_END:
            return nothing
    return nothing


@kernel
def count_lines(data: Bytes) -> int:
    """The ends of lines in uint8[...], and one for a last line without."""
    lines: int = count_range(data, _0, np.uint64(len(data)), _LINE_END, np.uint8(1))
    return lines + 1


@kernel
def find_texts(data: Bytes, key: Bytes, places: Int64s) -> int:
    """Finds the texts of JSON objects, one a line, so that what is left can be parsed without them.

    Args:
        data: uint8[...], whole lines, valid UTF-8.
        key: uint8[k], the name of the text's field, without quotes.
        places: int64[count_lines(data), 5], filled: start of the line and behind it, start of the text behind its
            quote, the quote that closes it, bytes of what the text says.

    Returns:
        The number of records, those of blank lines left out; -1 where a line has to be looked at by a parser: it is no
        object, is not valid, or its text is not a string that stands there once. Of what is not the text only strings
        and the depth of brackets are checked: the rest is to be parsed.
    """
    at, end = _0, np.uint64(len(data))
    count = 0
    while at < end:
        start = at
        at = _past_spaces(data, at, end)
        if at < end and data[at] == _LINE_END:
            at += _1
            continue
        if at == end:
            break
        if data[at] != _OPEN:
            return -1
        behind, text_start, text_stop, size = _record(data, at, end, key)
        if behind == _NONE:
            return -1
        places[count, 0], places[count, 1] = start, behind
        places[count, 2], places[count, 3], places[count, 4] = text_start, text_stop, size
        count += 1
        at = behind
    return count


@view_leaf
def _put(out: Bytes, at: Any, point: Any) -> Any:
    """Writes a code point as UTF-8; returns the place behind it."""
    size = _utf8_size(point)
    if size == _1:
        out[at] = np.uint8(point)
        return at + _1
    for place in range(size - _1, 0, -1):
        out[at + np.uint64(place)] = np.uint8(np.uint64(0x80) | point & np.uint64(0x3F))
        point >>= np.uint64(6)
    first = np.uint64(0xF00) >> size & np.uint64(0xFF)  # 110…, 1110…, 11110…
    out[at] = np.uint8(first | point)
    return at + size


@view_leaf
def _copy(data: Bytes, start: Any, stop: Any, out: Bytes, at: Any) -> Any:
    size = stop - start
    for place in range(size):
        out[at + np.uint64(place)] = data[start + np.uint64(place)]
    return at + size


@kernel
def copy_texts(data: Bytes, places: Int64s, offsets: Int64s, out: Bytes) -> None:
    """Writes what the texts say.

    Args:
        data: uint8[...], as given to `find_texts`.
        places: int64[n, 5], the records found.
        offsets: int64[n + 1], where each text begins in `out`: the sums of their sizes.
        out: uint8[offsets[n]], filled.
    """
    for record in range(len(places)):
        at, stop = np.uint64(places[record, 2]), np.uint64(places[record, 3])
        put = np.uint64(offsets[record])
        while at < stop:
            special = _next_special(data, at, stop)
            put = _copy(data, at, special, out, put)
            at = special
            if at < stop:
                if data[at + _1] == _U:
                    point = _code_point(data, at, stop)
                    put = _put(out, put, point)
                    at += _12 if point >= np.uint64(0x10000) else _6
                else:
                    out[put] = _SIGNS[data[at + _1]]
                    put += _1
                    at += _2
