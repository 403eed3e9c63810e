"""A Numba kernel that says whether bytes are UTF-8, so that no other kernel has to ask.

Every kernel that decodes relies on it, and it is the one pass over a text that cannot be skipped; Arrow's own looks at
eight bytes at a time. Blocks of 64 are asked which bytes begin a character of two, three or four bytes, and whether the
bytes that continue one are just those that follow them.
Costs about 0.06 ns per byte of ASCII and 0.15 of other text; importing this module imports Numba.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from .byte_masks import range_bits
from .kernel import inlined, kernel

_0, _1, _2, _3, _64 = (np.uint64(number) for number in (0, 1, 2, 3, 64))
_61, _62, _63 = (np.uint64(number) for number in (61, 62, 63))


@inlined
def _bits(text: Any, at: Any, end: Any, first: int, last: int) -> Any:
    return range_bits(text, at, end, np.uint8(first), np.uint8(last - first + 1))


@inlined
def _wrong_second(text: Any, at: Any, end: Any, three: Any, four: Any, before: Any) -> Any:
    """(bytes behind E0, ED, F0 and F4 that these do not allow, of those first bytes the block's last one as bits).

    Overlong forms, surrogates, and what lies above U+10FFFF (RFC 3629, section 4).
    """
    wrong, carried = _0, _0
    if three | before:
        first, then = _bits(text, at, end, 0xE0, 0xE0), _bits(text, at, end, 0x80, 0x9F)
        wrong |= (first << _1 | before & _1) & then
        carried |= first >> _63
        first, then = _bits(text, at, end, 0xED, 0xED), _bits(text, at, end, 0xA0, 0xBF)
        wrong |= (first << _1 | before >> _1 & _1) & then
        carried |= first >> _63 << _1
    if four | before:
        first, then = _bits(text, at, end, 0xF0, 0xF0), _bits(text, at, end, 0x80, 0x8F)
        wrong |= (first << _1 | before >> _2 & _1) & then
        carried |= first >> _63 << _2
        first, then = _bits(text, at, end, 0xF4, 0xF4), _bits(text, at, end, 0x90, 0xBF)
        wrong |= (first << _1 | before >> _3 & _1) & then
        carried |= first >> _63 << _3
    return wrong, carried


@inlined
def _lie_within(text: Any, offsets: Any) -> bool:
    """Whether the documents lie within the bytes, one behind the other."""
    wrong = offsets[0] < 0 or offsets[-1] > len(text)
    for document in range(len(offsets) - 1):
        wrong |= offsets[document] > offsets[document + 1]
    return not wrong


@inlined
def _begin_characters(text: Any, offsets: Any, end: Any) -> bool:
    """Whether no document begins in the middle of a character."""
    for document in range(len(offsets) - 1):
        at = np.uint64(offsets[document])
        if at < end and text[at] & np.uint8(0xC0) == np.uint8(0x80):
            return False
    return True


@kernel
def is_utf8(text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> bool:
    """Whether each of n documents is UTF-8 by itself, and lies within the text.

    Args:
        text: uint8[...].
        offsets: int64[n + 1]: document d is `text[offsets[d]:offsets[d + 1]]`.
    """
    if not _lie_within(text, offsets):
        return False
    at, end = np.uint64(offsets[0]), np.uint64(offsets[-1])
    follow, before = _0, _0  # bytes due at the block's start, as bits; first bytes at the last one's end that bind them
    while at < end:
        high = _bits(text, at, end, 0x80, 0xFF)
        if high | follow:
            two = _bits(text, at, end, 0xC2, 0xDF)
            three = _bits(text, at, end, 0xE0, 0xEF)
            four = _bits(text, at, end, 0xF0, 0xF4)
            longer = three | four
            due = follow | (two | longer) << _1 | longer << _2 | four << _3
            wrong, before = _wrong_second(text, at, end, three, four, before)
            # A block that ends early has no bits behind its end, so what is due there is found wrong here or carried.
            size = min(end - at, _64)
            inside = ~_0 if size == _64 else (_1 << size) - _1
            others = _bits(text, at, end, 0x80, 0xBF)
            if wrong | (others ^ (due & inside)) | (others ^ (high & ~(two | longer))):
                return False
            if size < _64:
                return bool(due & ~inside == _0 and _begin_characters(text, offsets, end))
            follow = (two | longer) >> _63 | longer >> _62 | four >> _61
        at += _64
    return bool(follow == _0 and _begin_characters(text, offsets, end))
