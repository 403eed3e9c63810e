"""spaCy's URL expression: whether a whole piece is an address of the web, of mail, or an IP address.

The expression tries all places where a user's name could end and backtracks in each; here each host that can begin
somewhere is read once, up to the character that ends it.
Costs about 1 ns per byte, at most a few times the piece's length in all.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from ..kernels.kernel import view_leaf
from .classes import ALPHA_LOWER, DECIMAL, LABEL, LABEL_EDGE, SCHEME, classes_of, width

Bytes = npt.NDArray[np.uint8]

_0, _1, _2, _3, _4, _5 = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4), np.uint64(5)
_LONGEST_LABEL, _LONGEST_TLD = np.uint64(64), np.uint64(63)  # characters
_OTHER_DIGIT = np.int64(15)  # a decimal digit that is not 0 to 9: \d takes it, [0-9] does not


@view_leaf
def _ends_host(byte: Any) -> Any:
    return (byte == 0x3A) | (byte == 0x2F) | (byte == 0x3F) | (byte == 0x23)  # : / ? #


@view_leaf
def _is_rest(text: Bytes, at: Any, stop: Any, pages: Any, classes: Any) -> bool:
    """Whether `text[at:stop]` is what may follow a host: a port, then a path, a query or a fragment; or nothing."""
    if at < stop and text[at] == 0x3A:
        at += _1
        digits = _0
        while at < stop and digits <= _5 and classes_of(text, at, pages, classes) & DECIMAL:
            at += width(text, at)
            digits += _1
        if digits < _2 or digits > _5:
            return False
    return bool(at == stop or text[at] == 0x2F or text[at] == 0x3F or text[at] == 0x23)


@view_leaf
def _is_domain(text: Bytes, start: Any, stop: Any, pages: Any, classes: Any) -> bool:
    """Whether `text[start:stop]` is labels that end with periods and a top-level domain, then `_is_rest`.

    No period is in a label or a top-level domain, so that there is one way to cut.
    """
    at, labels, characters = start, _0, _0
    first, last, label, lower = False, False, True, True
    while at < stop and not _ends_host(text[at]):
        if text[at] == 0x2E:
            if not (first and last and label and characters <= _LONGEST_LABEL):
                return False
            labels += _1
            characters, first, last, lower = _0, False, False, True
            at += _1
            continue
        found = classes_of(text, at, pages, classes)
        last = found & LABEL_EDGE != 0
        first = last if characters == _0 else first
        label &= found & LABEL != 0
        lower &= found & ALPHA_LOWER != 0
        if not (label or lower):
            return False
        characters += _1
        at += width(text, at)
    if not (labels and lower and characters >= _2 and characters <= _LONGEST_TLD):
        return False
    return _is_rest(text, at, stop, pages, classes)


@view_leaf
def _octet(text: Bytes, at: Any, stop: Any, pages: Any, classes: Any) -> Any:
    """Up to three digits at `at`: where they end, and their number and values as four hexadecimal digits."""
    packed, digits, shift = np.int64(0), np.int64(0), np.int64(8)
    while at < stop and digits < 3 and classes_of(text, at, pages, classes) & DECIMAL:
        value = np.int64(text[at]) - 0x30 if text[at] < 0x80 else _OTHER_DIGIT
        packed |= value << shift
        shift -= 4
        digits += 1
        at += width(text, at)
    return at, digits << 12 | packed


@view_leaf
def _is_octet(packed: Any, position: Any) -> bool:
    """Whether the digits are an octet: first (1 to 223), in the middle (0 to 255) or last (1 to 254)."""
    digits, high, middle, low = packed >> 12, packed >> 8 & 15, packed >> 4 & 15, packed & 15
    if digits == 0:
        return False
    if digits < 3:
        return bool(position == 1 or position == 2 or (high >= 1 and high <= 9))
    if high == 1:
        return True
    if high != 2:
        return False
    if position == 0:
        return bool(middle <= 1 or (middle == 2 and low <= 3))
    return bool(middle <= 4 or (middle == 5 and low <= (4 if position == 3 else 5)))


@view_leaf
def _is_private(first: Any, second: Any) -> bool:
    """Whether the octets begin an address of 10/8, 127/8, 169.254/16, 192.168/16 or 172.16/12."""
    if first == 0x2100 or first == 0x3127:
        return True
    if (first == 0x3169 and second == 0x3254) or (first == 0x3192 and second == 0x3168):
        return True
    if first != 0x3172 or second >> 12 != 2:
        return False
    tens, ones = second >> 8 & 15, second >> 4 & 15
    return bool((tens == 1 and ones >= 6 and ones <= 9) or tens == 2 or (tens == 3 and ones <= 1))


@view_leaf
def _is_address(text: Bytes, start: Any, stop: Any, pages: Any, classes: Any) -> bool:
    """Whether `text[start:stop]` is a public IP address, then `_is_rest`."""
    at, first, second = start, np.int64(0), np.int64(0)
    for position in range(4):
        if position > 0:
            if at >= stop or text[at] != 0x2E:
                return False
            at += _1
        at, packed = _octet(text, at, stop, pages, classes)
        if not _is_octet(packed, position):
            return False
        if position == 0:
            first = packed
        elif position == 1:
            second = packed
    return not _is_private(first, second) and _is_rest(text, at, stop, pages, classes)


@view_leaf
def _is_host(text: Bytes, start: Any, stop: Any, pages: Any, classes: Any) -> bool:
    if start >= stop:
        return False
    if text[start] >= 0x31 and text[start] <= 0x39 and _is_address(text, start, stop, pages, classes):
        return True
    return _is_domain(text, start, stop, pages, classes)


@view_leaf
def is_url(text: Bytes, start: Any, stop: Any, pages: Any, classes: Any) -> bool:
    """Whether `text[start:stop]`, which is not empty and without white space, is what the expression matches whole.

    A host begins at the start, after a scheme and ://, or after any @ but the first character.
    """
    if _is_host(text, start, stop, pages, classes):
        return True
    at, characters = start, _0
    while at < stop and classes_of(text, at, pages, classes) & SCHEME:
        at += width(text, at)
        characters += _1
    slashes = at + _3 < stop and text[at] == 0x3A and text[at + _1] == 0x2F and text[at + _2] == 0x2F
    if characters >= _2 and slashes and _is_host(text, at + _3, stop, pages, classes):
        return True
    at = start + _1
    while at < stop and not (text[at] == 0x40 and _is_host(text, at + _1, stop, pages, classes)):
        at += _1
    return bool(at < stop)
