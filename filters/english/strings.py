"""Look-up of a piece of text among spaCy's exceptions and units.

A chunk is compared with 1,347 exceptions up to three times per affix that is taken off, and nearly never is one.
A table of lengths by first two bytes answers most of these in 2 ns; the rest costs a hash, about 20 ns.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..kernels.kernel import view_leaf

Bytes = npt.NDArray[np.uint8]

LONGEST: Final = 31  # bytes of a string at most, so that its token stops fit 32 bits
LENGTH_ROWS: Final = 4096
# Columns of `masks`: the length in bytes, and bit sets of token stops (bit b: a token stops b bytes into the string).
LENGTH: Final = 0
RULE: Final = 1  # the tokens of an exception, 0 if it is none
PATTERN: Final = 2  # the tokens that are joined and cut anew by the exception, 0 if there are none
UNIT: Final = 3  # 1 if it is a unit or currency that is a suffix after a digit

_1, _4, _33 = np.uint64(1), np.uint64(4), np.uint64(33)
_LONGEST = np.uint64(LONGEST)
_LENGTH_MASK = np.uint64(LENGTH_ROWS - 1)
_OFFSET, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)


@view_leaf
def lengths_from(text: Bytes, at: Any, stop: Any, lengths: Any) -> Any:
    """Bit sets of lengths that strings with these first two bytes have: exceptions in bits 0–31, patterns in 32–63."""
    second = np.uint64(text[at + _1]) if at + _1 < stop else np.uint64(0)
    return lengths[(np.uint64(text[at]) | second << _4) & _LENGTH_MASK]


@view_leaf
def find(text: Bytes, start: Any, stop: Any, slots: Any, strings: Any, masks: Any) -> Any:
    """The number of the string that is `text[start:stop]`, at most `LONGEST` bytes, or -1."""
    state = _OFFSET
    for at in range(start, stop):
        state = (state ^ np.uint64(text[at])) * _PRIME
    mask = np.uint64(len(slots) - 1)
    slot = (state ^ state >> _33) & mask
    length = stop - start
    while slots[slot] >= 0:
        number = np.uint64(slots[slot])
        if np.uint64(masks[number, 0]) == length:
            same = True
            for i in range(length):
                if strings[number, i] != text[start + i]:
                    same = False
                    break
            if same:
                return np.int64(number)
        slot = (slot + _1) & mask
    return np.int64(-1)


@view_leaf
def find_exception(text: Bytes, start: Any, stop: Any, lengths: Any, slots: Any, strings: Any, masks: Any) -> Any:
    """The number of the exception that is `text[start:stop]`, or -1."""
    if stop - start > _LONGEST or not lengths_from(text, start, stop, lengths) >> (stop - start) & _1:
        return np.int64(-1)
    number = find(text, start, stop, slots, strings, masks)
    return number if number >= 0 and masks[number, RULE] else np.int64(-1)
