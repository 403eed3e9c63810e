"""What the tokenizer must know of a character: sixteen yes-or-no classes, looked up by code point in UTF-8 text.

spaCy's expressions test a character against lists of up to a hundred ranges; a table gives all answers in two loads.
Costs about 2 ns per character outside ASCII and less within.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..kernels.kernel import view_leaf

Bytes = npt.NDArray[np.uint8]

# Each is a bit of the entry in `classes`. The generator says which of spaCy's expressions each comes from.
PREFIX: Final = np.uint16(1 << 0)  # a prefix whatever follows
SUFFIX: Final = np.uint16(1 << 1)  # a suffix whatever comes before
INFIX: Final = np.uint16(1 << 2)  # an infix whatever stands around
ALPHA: Final = np.uint16(1 << 3)
ALPHA_LOWER: Final = np.uint16(1 << 4)  # small letters and letters without case
ALPHA_UPPER: Final = np.uint16(1 << 5)  # capital letters and letters without case
QUOTE: Final = np.uint16(1 << 6)
DIGIT: Final = np.uint16(1 << 7)  # 0 to 9
DECIMAL: Final = np.uint16(1 << 8)  # \d: decimal digits of all scripts
BEFORE_PERIOD: Final = np.uint16(1 << 9)  # a period that follows one of these is a suffix
UNIT_END: Final = np.uint16(1 << 10)  # the last character of a unit or a currency
SCHEME: Final = np.uint16(1 << 11)  # of a URL's scheme
LABEL: Final = np.uint16(1 << 12)  # inside a label of a host's name
LABEL_EDGE: Final = np.uint16(1 << 13)  # first or last of a label
DELIMITER: Final = np.uint16(1 << 14)  # may be an infix, or the period that a URL needs; all beyond ASCII may be
OPERATOR: Final = np.uint16(1 << 15)  # + - * ^ between digits

_1, _2, _3, _6, _63 = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(6), np.uint64(63)
_8, _12, _18, _255 = np.uint64(8), np.uint64(12), np.uint64(18), np.uint64(255)
_ASCII, _TWO, _THREE, _FOUR = np.uint64(0x80), np.uint64(0xC0), np.uint64(0xE0), np.uint64(0xF0)


@view_leaf
def width(text: Bytes, at: Any) -> Any:
    """Bytes of the character that starts at `at`: uint64."""
    first = np.uint64(text[at])
    return _1 + np.uint64(first >= _TWO) + np.uint64(first >= _THREE) + np.uint64(first >= _FOUR)


@view_leaf
def before(text: Bytes, at: Any) -> Any:
    """Where the character starts that ends just before `at`; the caller knows that there is one."""
    at -= _1
    while np.uint64(text[at]) & _TWO == _ASCII:
        at -= _1
    return at


@view_leaf
def classes_of(text: Bytes, at: Any, pages: Any, classes: Any) -> Any:
    """The classes of the character that starts at `at`: uint16."""
    first = np.uint64(text[at])
    if first < _ASCII:
        return classes[first]
    point = np.uint64(text[at + _1]) & _63
    if first < _THREE:
        point |= (first & np.uint64(31)) << _6
    elif first < _FOUR:
        point = (first & np.uint64(15)) << _12 | point << _6 | np.uint64(text[at + _2]) & _63
    else:
        point = (first & np.uint64(7)) << _18 | point << _12 | (np.uint64(text[at + _2]) & _63) << _6
        point |= np.uint64(text[at + _3]) & _63
    return classes[np.uint64(pages[point >> _8]) << _8 | point & _255]
