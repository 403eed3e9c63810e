"""spaCy's prefixes and suffixes: how many bytes at the start or end of a piece are cut off as a token.

The expressions have 110 and 200 alternatives; the character at the edge decides which few of them can match.
Costs a few ns per call; a run of periods is read once, since it is cut off whole.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from ..kernels.kernel import view_leaf
from .classes import ALPHA_UPPER, BEFORE_PERIOD, PREFIX, SUFFIX, UNIT_END, before, classes_of, width
from .strings import LONGEST, UNIT, find

Bytes = npt.NDArray[np.uint8]

_0, _1, _2, _3 = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(3)
_LONGEST = np.uint64(LONGEST)


@view_leaf
def _is_digit(byte: Any) -> Any:
    return (byte >= 0x30) & (byte <= 0x39)


@view_leaf
def prefix_bytes(text: Bytes, start: Any, stop: Any, pages: Any, classes: Any) -> Any:
    """Bytes of the prefix of `text[start:stop]`, which is not empty; 0 if it has none."""
    if classes_of(text, start, pages, classes) & PREFIX:
        return width(text, start)
    first = text[start]
    if first == 0x2E:  # two or more periods
        at = start + _1
        while at < stop and text[at] == 0x2E:
            at += _1
        return at - start if at > start + _1 else _0
    if first == 0x2B:  # + unless before a digit
        return _0 if start + _1 < stop and _is_digit(text[start + _1]) else _1
    if (first == 0x41 or first == 0x43) and start + _1 < stop and text[start + _1] == 0x24:
        return _2  # A$ C$
    if first == 0x55 and start + _2 < stop and text[start + _1] == 0x53 and text[start + _2] == 0x24:
        return _3  # US$
    return _0


@view_leaf
def _period_bytes(text: Bytes, start: Any, stop: Any, pages: Any, classes: Any) -> Any:
    """Bytes of the suffix of a piece that ends with a period and has a character before it."""
    if text[stop - _2] == 0x2E:
        at = stop - _2
        while at > start and text[at - _1] == 0x2E:
            at -= _1
        return stop - at
    at = before(text, stop - _1)
    found = classes_of(text, at, pages, classes)
    if found & BEFORE_PERIOD:
        return _1
    if at == start:
        return _0
    degrees = at >= start + _2 and text[at - _2] == 0xC2 and text[at - _1] == 0xB0
    if degrees and (text[at] == 0x43 or text[at] == 0x46 or text[at] == 0x4B):  # °C. °F. °K.
        return _1
    if found & ALPHA_UPPER and classes_of(text, before(text, at), pages, classes) & ALPHA_UPPER:
        return _1
    return _0


@view_leaf
def _unit_bytes(text: Bytes, start: Any, stop: Any, slots: Any, strings: Any, masks: Any) -> Any:
    """Bytes of the unit or currency at the end, which must follow a digit; 0 if there is none.

    No unit holds a digit, so that only what follows the last digit can be one.
    """
    at = stop
    while at > start and not _is_digit(text[at - _1]):
        at -= _1
        if stop - at > _LONGEST:
            return _0
    if at == start:
        return _0
    number = find(text, at, stop, slots, strings, masks)
    return stop - at if number >= 0 and masks[number, UNIT] else _0


@view_leaf
def suffix_bytes(
    text: Bytes, start: Any, stop: Any, pages: Any, classes: Any, slots: Any, strings: Any, masks: Any
) -> Any:
    """Bytes of the longest suffix of `text[start:stop]`, which is not empty; 0 if it has none."""
    last = text[stop - _1]
    if last == 0x2E:
        return _period_bytes(text, start, stop, pages, classes) if stop - start > _1 else _0
    at = before(text, stop)
    found = classes_of(text, at, pages, classes)
    if found & SUFFIX:
        if stop - at == _3 and at >= start + _3 and text[at] == 0xE2 and text[at + _1] == 0x80 and last == 0xA6:
            double = text[at - _3] == 0xE2 and text[at - _2] == 0x80 and text[at - _1] == 0xA6
            return _3 + _3 if double else _3  # …… is one suffix
        return stop - at
    if last == 0x73 or last == 0x53:  # 's 'S ’s ’S
        if at > start and text[at - _1] == 0x27:
            return _2
        if at >= start + _3 and text[at - _3] == 0xE2 and text[at - _2] == 0x80 and text[at - _1] == 0x99:
            return _3 + _1
    if last == 0x2B:  # + after a digit
        return _1 if at > start and _is_digit(text[at - _1]) else _0
    return _unit_bytes(text, start, stop, slots, strings, masks) if found & UNIT_END else _0
