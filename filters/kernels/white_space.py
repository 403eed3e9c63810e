"""Numba leaves that step over white space at either end of a piece of UTF-8 text, as `str.strip()` does.

What white space is is Python's definition (`str.isspace()`), because the published filters are Python programs.
Costs a few comparisons per character of white space and two where there is none.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from .kernel import view_leaf

Bytes = npt.NDArray[np.uint8]

_0, _1, _2, _3 = (np.uint64(number) for number in range(4))


@view_leaf
def _is_space(byte: Any) -> Any:
    """Whether this byte of ASCII is white space."""
    return byte == 0x20 or 0x09 <= byte <= 0x0D or 0x1C <= byte <= 0x1F


@view_leaf
def _is_wide_space(first: Any, second: Any, third: Any) -> Any:
    """Whether these bytes are white space: U+1680, 2000-200A, 2028, 2029, 202F, 205F, 3000."""
    if first == 0xE2 and second == 0x80:
        return third <= 0x8A or third == 0xA8 or third == 0xA9 or third == 0xAF
    if first == 0xE2:
        return second == 0x81 and third == 0x9F
    if first == 0xE3:
        return second == 0x80 and third == 0x80
    return first == 0xE1 and second == 0x9A and third == 0x80


@view_leaf
def after_space(text: Bytes, at: Any, end: Any) -> Any:
    """uint64: the first place from `at` (uint64) that holds no white space, `end` where there is none before it."""
    while at < end:
        byte = text[at]
        if byte < 0x80:
            if not _is_space(byte):
                break
            at += _1
        elif byte == 0xC2:
            if text[at + _1] != 0x85 and text[at + _1] != 0xA0:
                break
            at += _2
        elif byte < 0xE1 or byte > 0xE3 or not _is_wide_space(byte, text[at + _1], text[at + _2]):
            break
        else:
            at += _3
    return at


@view_leaf
def before_space(text: Bytes, at: Any, end: Any) -> Any:
    """uint64: one past the last place before `end` (uint64) that holds no white space, `at` where there is none."""
    while end > at:
        byte = text[end - _1]
        if byte < 0x80:
            if not _is_space(byte):
                break
            end -= _1
        elif end - at >= _2 and text[end - _2] == 0xC2:
            if byte != 0x85 and byte != 0xA0:
                break
            end -= _2
        elif end - at >= _3 and _is_wide_space(text[end - _3], text[end - _2], byte):
            end -= _3
        else:
            break
    return end
