"""Writes `folding.npz` from Python's Unicode data. Run by hand: `python -m midtrain.filters.generate_folding`.

Units, and with them every index of what was kept, must not change with the Python that runs; so the table is made once.
Costs about 3 s, when the Unicode version is to be raised.
"""

import re
import sys
import unicodedata
from pathlib import Path
from typing import Final

import numpy as np

from . import folding
from .folding import COMBINING, KIND_BITS, LETTER, MARK, NOTHING, SEPARATOR, SEVERAL, SINGLE, Folding

CODE_POINTS: Final = sys.maxunicode + 1
BASE_MARKS: Final = range(0x300, 0x370)  # what is taken off letters
# Scripts that put no spaces between words, by how the names of their characters begin.
WITHOUT_SPACES: Final = (
    *("CJK ", "IDEOGRAPHIC ", "HIRAGANA ", "KATAKANA ", "KATAKANA-HIRAGANA ", "HALFWIDTH KATAKANA", "VERTICAL KANA "),
    *("THAI ", "LAO ", "KHMER ", "MYANMAR ", "TIBETAN ", "YI ", "TANGUT ", "NUSHU ", "KHITAN "),
)
# Characters without looks: the property Default_Ignorable_Code_Point but for fillers, which stand for letters.
INVISIBLE: Final = (
    *(range(0xAD, 0xAE), range(0x61C, 0x61D), range(0x180B, 0x1810), range(0x200C, 0x2010), range(0x202A, 0x202F)),
    *(range(0x2060, 0x2070), range(0xFE00, 0xFE10), range(0xFEFF, 0xFF00), range(0xE0000, 0xE1000)),
)


def fold(character: str) -> str:
    """What a character is taken for: empty, itself, another one or several."""
    decomposed = _without_marks(unicodedata.normalize("NFKD", character))
    return _join_hangul(_without_marks(unicodedata.normalize("NFKD", decomposed.casefold())))


def kind(character: str) -> int:
    """What a folded character is in a text, one of the kinds of `folding`."""
    point = ord(character)
    if point in BASE_MARKS or any(point in some for some in INVISIBLE):
        return NOTHING
    category = unicodedata.category(character)
    if category[0] == "M":
        return COMBINING if unicodedata.combining(character) else MARK
    if category[0] not in "LN":
        return SEPARATOR
    return SINGLE if unicodedata.name(character, "").startswith(WITHOUT_SPACES) else LETTER


def generate() -> Folding:
    """The table, as this Python's Unicode has it; surrogates separate."""
    entries = np.zeros(CODE_POINTS, np.int32)
    places: dict[str, int] = {}
    expansions: list[int] = []
    for point in range(CODE_POINTS):
        character = chr(point)
        if unicodedata.category(character) in ("Cn", "Co", "Cs"):
            entries[point] = kind(character)
            continue
        folded = fold(character)
        if len(folded) == 1:
            own = kind(folded)
            entries[point] = own if own in (SEPARATOR, NOTHING) else (ord(folded) - point) << KIND_BITS | own
        elif not folded:
            entries[point] = NOTHING
        else:
            if folded not in places:
                places[folded] = len(expansions)
                expansions += [len(folded), *(ord(one) << KIND_BITS | kind(one) for one in folded)]
            entries[point] = places[folded] << KIND_BITS | SEVERAL
    unique: dict[bytes, int] = {}
    pages = [unique.setdefault(block.tobytes(), len(unique)) for block in entries.reshape(-1, 256)]
    return Folding(
        pages=np.array(pages, np.uint16),
        entries=np.frombuffer(b"".join(unique), np.int32),
        expansions=np.array(expansions, np.int32),
        unicode_version=unicodedata.unidata_version,
    )


def write(table: Folding, path: Path) -> None:
    """Writes the table as `folding.load` reads it."""
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **vars(table))


def _without_marks(text: str) -> str:
    return "".join(character for character in text if ord(character) not in BASE_MARKS)


def _join_hangul(text: str) -> str:
    return re.sub("[\u1100-\u11ff]+", lambda jamo: unicodedata.normalize("NFC", jamo[0]), text)


if __name__ == "__main__":
    write(generate(), folding.FILE)
