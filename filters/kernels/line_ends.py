"""Numba leaves that find the ends of lines as `str.splitlines()` has them, 64 bytes at a time.

Lines are asked for by rules about bullets and by deduplication of lines and paragraphs, and one byte after another
would cost several times as much. Costs about 0.1 ns per byte, and more where curly quotes are frequent.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .byte_masks import range_bits
from .kernel import inlined
from .machine import lowest_bit

Bytes = npt.NDArray[np.uint8]

_C2: Final = np.uint8(0xC2)
_E2: Final = np.uint8(0xE2)
_ONE: Final = np.uint8(1)
_1, _2, _3, _64 = (np.uint64(number) for number in (1, 2, 3, 64))


@inlined
def line_end_bits(text: Bytes, at: Any, end: Any) -> Any:
    """uint64: bit i is set where a line's end begins at `at + i`, before `end`; "\\r\\n" counts as two."""
    bits = range_bits(text, at, end, np.uint8(0x0A), np.uint8(4)) | range_bits(
        text, at, end, np.uint8(0x1C), np.uint8(3)
    )
    first = range_bits(text, at, end, _C2, _ONE)
    if first:
        bits |= first & range_bits(text, at + _1, end, np.uint8(0x85), _ONE)
    first = range_bits(text, at, end, _E2, _ONE)
    if first:
        first &= range_bits(text, at + _1, end, np.uint8(0x80), _ONE)
        bits |= first & range_bits(text, at + _2, end, np.uint8(0xA8), np.uint8(2))
    return bits


@inlined
def line_end_bytes(text: Bytes, at: Any, end: Any) -> Any:
    """uint64: bytes of the line's end that begins at `at`; "\\r\\n" is one end."""
    byte = text[at]
    if byte < 0x80:
        return _2 if byte == 0x0D and at + _1 < end and text[at + _1] == 0x0A else _1
    return _2 if byte == _C2 else _3


@inlined
def line_end(text: Bytes, at: Any, end: Any) -> Any:
    """uint64: where the first line end from `at` on begins, `end` where there is none before it."""
    while at < end:
        bits = line_end_bits(text, at, end)
        if bits:
            return at + lowest_bit(bits)
        at += _64
    return end
