"""The tokenizer's tables: what `generate_tables` read out of spaCy, loaded once per process.

spaCy is a large dependency that is needed for nothing else; its expressions and exceptions fit in 100 kB.
Costs about 5 ms once, and half a megabyte.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

FILE: Final = Path(__file__).with_name("tables.npz")


@dataclass(frozen=True)
class Tables:
    """What `tokenizer.tokenize` takes, in its order; all read-only.

    pages: uint16[4352], for each 256 code points the number of their block of `classes`; the first is 0.
    classes: uint16[256 × blocks], the classes of each code point, bits as in `classes.py`.
    lengths: uint64[4096], bit sets of string lengths by their first two bytes (`strings.lengths_from`).
    slots: int16[2^k], string numbers in a hash table with linear probing, -1 where there is none.
    strings: uint8[n, 31], the exceptions, units and currencies.
    masks: uint32[n, 4], of each string its bytes and token stops, columns as in `strings.py`.
    """

    pages: npt.NDArray[np.uint16]
    classes: npt.NDArray[np.uint16]
    lengths: npt.NDArray[np.uint64]
    slots: npt.NDArray[np.int16]
    strings: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.uint32]
    spacy_version: str

    def arrays(self) -> tuple[Any, ...]:
        """The arrays in the order in which `tokenizer.tokenize` takes them."""
        return self.pages, self.classes, self.lengths, self.slots, self.strings, self.masks


@functools.cache
def load() -> Tables:
    """The tables of this package.

    Raises:
        OSError: the package was installed without its data.
    """
    with np.load(FILE, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in ("pages", "classes", "lengths", "slots", "strings", "masks")}
        version = str(stored["spacy_version"])
    for array in arrays.values():
        array.flags.writeable = False
    return Tables(**arrays, spacy_version=version)


def arrays() -> tuple[Any, ...]:
    """`load().arrays()`: what `tokenizer.tokenize` takes between the chunk and the stops."""
    return load().arrays()
