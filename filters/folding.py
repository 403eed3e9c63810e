"""The folding table: which characters make up the units that texts are compared by, and what each is taken for.

Two copies of a text differ in case, accents, width and typography before they differ in words, so units are compared
after folding; and a table that travels with the package folds the same under every Python, whose Unicode differs.
Costs 1 ms once and 170 kB; text of one script touches a few cache lines of it.

A character is folded to its compatibility decomposition (NFKD), without the marks U+0300 to U+036F, its case folded;
Hangul stays in syllables.
What has no looks (joiners, soft hyphens, variation selectors) is nothing; letters, digits and marks make up units; a
character of a script that is written without spaces is a unit of its own with its marks; all else separates.
Sources: Unicode Standard Annex 15 (normalization forms) and section 3.13 (default case folding).
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

FILE: Final = Path(__file__).with_name("folding.npz")

# What a character is, in the low bits of an entry.
SEPARATOR: Final = 0
NOTHING: Final = 1
LETTER: Final = 2
SINGLE: Final = 3  # a unit of its own
MARK: Final = 4  # part of the unit before it, whatever that is
COMBINING: Final = 5  # a mark whose place among the other marks of its base does not count
SEVERAL: Final = 6  # stands for several others
KIND_BITS: Final = 3


@dataclass(frozen=True)
class Folding:
    """What `unit_kernels` takes, in its order; all read-only.

    pages: uint16[4352], for each 256 code points the number of their block of `entries`.
    entries: int32[256 × blocks], for each code point its kind, and above KIND_BITS what is added to the code point, or
        where the kind is SEVERAL, the place of its expansion.
    expansions: int32[...], at each such place the number of characters, then for each its kind and code point.
    """

    pages: npt.NDArray[np.uint16]
    entries: npt.NDArray[np.int32]
    expansions: npt.NDArray[np.int32]
    unicode_version: str

    def arrays(self) -> tuple[Any, ...]:
        """The arrays in the order in which the kernels take them."""
        return self.pages, self.entries, self.expansions


@functools.cache
def load() -> Folding:
    """The table of this package.

    Raises:
        OSError: the package was installed without its data.
    """
    with np.load(FILE, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in ("pages", "entries", "expansions")}
        version = str(stored["unicode_version"])
    for array in arrays.values():
        array.flags.writeable = False
    return Folding(**arrays, unicode_version=version)


@functools.cache
def version() -> str:
    """What another table differs in: the Unicode version and a hash of the table, such as `14.0.0-1f2e3d4c5b6a7988`."""
    import xxhash

    table = load()
    return f"{table.unicode_version}-{xxhash.xxh3_64_hexdigest(b''.join(array.tobytes() for array in table.arrays()))}"
