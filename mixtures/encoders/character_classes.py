"""What kind of character each code point is: the sets that patterns of tokenizers name, as masks over all of Unicode.

A pattern cuts texts the same everywhere only if "letter" means the same everywhere, so the categories travel with the
package: Unicode 16.0, which the tokenizers and tiktoken libraries use. Costs 1 ms once, 1.1 MB, and as much for a mask.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

FILE: Final = Path(__file__).with_name("categories.npz")
CODE_POINTS: Final = 0x110000
CATEGORIES: Final = (
    *("Lu", "Ll", "Lt", "Lm", "Lo"),
    *("Mn", "Mc", "Me"),
    *("Nd", "Nl", "No"),
    *("Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po"),
    *("Sm", "Sc", "Sk", "So"),
    *("Zs", "Zl", "Zp"),
    *("Cc", "Cf", "Co", "Cn"),
)
WHITE_SPACE: Final = (*range(9, 14), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F)
NUMERIC_17: Final = (*range(0x11DE0, 0x11DEA), *range(0x16FF4, 0x16FF7))
"""Numbers new in Unicode 17.0, which the `Digits` of the tokenizers library knows and its patterns do not."""

Mask = npt.NDArray[np.bool_]


@functools.cache
def categories() -> npt.NDArray[np.uint8]:
    """uint8[CODE_POINTS]: the index into CATEGORIES; surrogates, which no text has, are Cn."""
    with np.load(FILE) as file:
        table = np.repeat(file["category"], np.diff(file["start"], append=CODE_POINTS))
    table.flags.writeable = False
    return table


def has_property(name: str) -> Mask | None:
    """The characters of a general category or of a group of them (`Lu`, `L`); None where there is no such name."""
    members = [number for number, category in enumerate(CATEGORIES) if name and category.startswith(name)]
    return _in_categories(members) if members and len(name) <= 2 else None


def of(*code_points: int) -> Mask:
    """The characters themselves."""
    mask = np.zeros(CODE_POINTS, np.bool_)
    mask[list(code_points)] = True
    return mask


def white_space() -> Mask:
    """The property White_Space, which is what `\\s` means."""
    return of(*WHITE_SPACE, 0x3000)


def numeric() -> Mask:
    """What the `Digits` of the tokenizers library takes for a digit."""
    return _in_categories([CATEGORIES.index(name) for name in ("Nd", "Nl", "No")]) | of(*NUMERIC_17)


def _in_categories(numbers: Sequence[int]) -> Mask:
    chosen = np.zeros(len(CATEGORIES), np.bool_)
    chosen[list(numbers)] = True
    return chosen[categories()]
