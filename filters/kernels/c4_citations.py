"""Numba leaves that copy text, with the citations of Wikipedia's pages or without.

C4 takes `[12]`, `[]`, `[edit]` and `[citation needed]` out of lines; any decimal digit of Unicode is one.
Costs about 1 ns a byte of lines with a bracket; importing this module imports Numba.
"""

import functools
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .kernel import view_leaf

Bytes = npt.NDArray[np.uint8]
UInt = Any  # np.uint64, as in `c4_scan`

_EDIT: Final = np.frombuffer(b"edit]", np.uint8)
_NEEDED: Final = np.frombuffer(b"citation needed]", np.uint8)
_0, _1, _2, _3, _4, _6, _7 = (np.uint64(number) for number in (0, 1, 2, 3, 4, 6, 7))


@functools.cache
def digits() -> Bytes:
    """uint8[0x110000 / 8]: bit `point % 8` of byte `point // 8` is set where the code point is a decimal digit (Nd)."""
    flags = np.fromiter((chr(point).isdecimal() for point in range(0x110000)), np.bool_, 0x110000)
    table = np.packbits(flags, bitorder="little")
    table.flags.writeable = False
    return table


@view_leaf
def _begins(text: Bytes, at: UInt, stop: UInt, wanted: Bytes) -> Any:
    letter, size = _0, np.uint64(len(wanted))
    while letter < size and at + letter < stop and text[at + letter] == wanted[letter]:
        letter += _1
    return letter == size


@view_leaf
def _citation(text: Bytes, at: UInt, stop: UInt, digits: Bytes) -> UInt:
    """One past the citation that begins with the bracket at `at` (`[12]`, `[]`, `[edit]`, …), or `at`."""
    after = at + _1
    if _begins(text, after, stop, _EDIT):
        return after + np.uint64(len(_EDIT))
    if _begins(text, after, stop, _NEEDED):
        return after + np.uint64(len(_NEEDED))
    while after < stop:
        point = np.uint64(text[after])
        if point == np.uint64(0x5D):
            return after + _1
        width = _1
        if point >= np.uint64(0xF0):
            point, width = point & _7, _4
        elif point >= np.uint64(0xE0):
            point, width = point & np.uint64(0x0F), _3
        elif point >= np.uint64(0xC0):
            point, width = point & np.uint64(0x1F), _2
        for more in range(_1, width):
            point = point << _6 | np.uint64(text[after + more] & 0x3F)
        if not digits[point >> np.uint64(3)] >> np.uint8(point & _7) & 1:
            return at
        after += width
    return at


@view_leaf
def copy(text: Bytes, start: UInt, stop: UInt, out: Bytes, put: UInt) -> UInt:
    """Writes `text[start:stop]` to `out` from `put` on, byte by byte in their order; gives one past the last."""
    for at in range(stop - start):
        out[put + at] = text[start + at]
    return put + (stop - start)


@view_leaf
def copy_without_citations(text: Bytes, start: UInt, stop: UInt, digits: Bytes, out: Bytes, put: UInt) -> UInt:
    """As `copy`, without Wikipedia's citations."""
    at = start
    while at < stop:
        if text[at] == 0x5B:
            after = _citation(text, at, stop, digits)
            if after > at:
                at = after
                continue
        out[put] = text[at]
        at += _1
        put += _1
    return put
