"""spaCy's infixes: where a piece without affixes is cut inside.

A hyphen between letters, an operator between digits, a comma, period, slash or colon between words, an ellipsis or a
symbol anywhere.
Costs about 1 ns per byte of a piece that has a character which may be an infix; others are not read.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from ..kernels.kernel import view_leaf
from .classes import ALPHA, ALPHA_LOWER, ALPHA_UPPER, DELIMITER, DIGIT, INFIX, OPERATOR, QUOTE, classes_of, width

Bytes = npt.NDArray[np.uint8]

_0, _1, _2, _3 = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(3)
_NONE = np.uint16(0)


@view_leaf
def _is(text: Bytes, at: Any, stop: Any, mask: Any, pages: Any, classes: Any) -> bool:
    """Whether a character of one of the classes in `mask` starts at `at`."""
    return bool(at < stop and classes_of(text, at, pages, classes) & mask != 0)


@view_leaf
def _hyphen_bytes(text: Bytes, at: Any, stop: Any, pages: Any, classes: Any) -> Any:
    """Bytes of the hyphen or dash at `at` that a letter follows, else 0: - -- --- ~ – — ——."""
    first = text[at]
    if first == 0x2D:
        after = at + _1
        while after < stop and after < at + _3 and text[after] == 0x2D:
            after += _1
        return after - at if _is(text, after, stop, ALPHA, pages, classes) else _0
    if first == 0x7E:
        return _1 if _is(text, at + _1, stop, ALPHA, pages, classes) else _0
    if first != 0xE2 or text[at + _1] != 0x80:
        return _0
    if text[at + _2] == 0x93:
        return _3 if _is(text, at + _3, stop, ALPHA, pages, classes) else _0
    if text[at + _2] != 0x94:
        return _0
    after = at + _3
    if after < stop and text[after] == 0xE2 and text[after + _1] == 0x80 and text[after + _2] == 0x94:
        after += _3
    return after - at if _is(text, after, stop, ALPHA, pages, classes) else _0


@view_leaf
def _infix_bytes(text: Bytes, at: Any, stop: Any, left: Any, here: Any, pages: Any, classes: Any) -> Any:
    """Bytes of the infix at `at`, else 0; `left` and `here` are the classes before and at `at`."""
    byte = text[at]
    if byte == 0x2E:
        after = at + _1
        while after < stop and text[after] == 0x2E:
            after += _1
        if after > at + _1:
            return after - at
        joins = left & (ALPHA_LOWER | QUOTE) and _is(text, after, stop, ALPHA_UPPER | QUOTE, pages, classes)
        return _1 if joins else _0
    if here & INFIX:
        return width(text, at)
    if here & OPERATOR and left & DIGIT and at + _1 < stop:
        following = text[at + _1]
        if following == 0x2D or (following >= 0x30 and following <= 0x39):
            return _1
    if byte == 0x2C:
        return _1 if left & ALPHA and _is(text, at + _1, stop, ALPHA, pages, classes) else _0
    if not left & (ALPHA | DIGIT):
        return _0
    if byte == 0x3A or byte == 0x3C or byte == 0x3E or byte == 0x3D or byte == 0x2F:  # : < > = /
        return _1 if _is(text, at + _1, stop, ALPHA, pages, classes) else _0
    return _hyphen_bytes(text, at, stop, pages, classes)


@view_leaf
def split_infixes(
    text: Bytes, origin: Any, start: Any, stop: Any, pages: Any, classes: Any, stops: Any, tokens: Any
) -> Any:
    """Writes the token stops of `text[start:stop]`, counted from `origin`, to `stops[tokens:]`; gives their new number.

    No infix stands at the very start, which spaCy would pass over: what needs nothing before it is also a prefix.
    """
    at, begin, left = start, start, _NONE
    while at < stop:
        here = classes_of(text, at, pages, classes)
        if not here & DELIMITER:  # nearly all of ASCII; beyond it only dashes and INFIX are looked at
            left = here
            at += _1
            continue
        looked_at = text[at] < 0x80 or text[at] == 0xE2 or here & INFIX != 0
        cut = _infix_bytes(text, at, stop, left, here, pages, classes) if looked_at else _0
        if cut == _0:
            left = here
            at += width(text, at)
            continue
        if at > begin:
            stops[tokens] = at - origin
            tokens += _1
        stops[tokens] = at + cut - origin
        tokens += _1
        begin = at + cut
        # All infixes of several characters repeat one, so that the first's classes are the last's.
        left = here
        at += cut
    if begin < stop:
        stops[tokens] = stop - origin
        tokens += _1
    return tokens
