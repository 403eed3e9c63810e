"""The kernel that counts the letters of texts by script.

A thought that changes its language changes its script in most cases, and counting letters by ranges of code points
costs a fraction of asking a model. Signs, digits and Greek, which is notation, are no letters of a script here.
Costs about 2 ns a byte.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .kernel import kernel, view_leaf

SCRIPTS: Final = (
    "latin", "cyrillic", "hebrew", "arabic", "indic", "thai", "hangul", "kana", "han", "caucasian",
)  # fmt: skip


@view_leaf
def _script(point: Any) -> int:
    """The place in `SCRIPTS` of a code point beyond ASCII; -1 for what is no letter of these."""
    if point < 0x370:
        return 0 if 0xC0 <= point <= 0x24F and point != 0xD7 and point != 0xF7 else -1
    if point < 0x530:
        return 1 if point >= 0x400 else -1
    if point < 0x780:
        if point < 0x590:
            return 9
        if point < 0x600:
            return 2 if 0x5D0 <= point <= 0x5F2 else -1
        return 3 if 0x620 <= point <= 0x64A or 0x671 <= point <= 0x6D3 or point >= 0x750 else -1
    if point < 0x1100:
        if 0x900 <= point < 0xE00:
            return 4
        if 0xE01 <= point <= 0xE4E:
            return 5
        return 9 if point >= 0x10A0 else -1
    if point < 0x1200 or 0x3130 <= point < 0x3190 or 0xAC00 <= point < 0xD7B0:
        return 6
    if 0x1E00 <= point < 0x1F00 or 0xFF21 <= point <= 0xFF5A:
        return 0
    if 0x3041 <= point <= 0x30FA or 0xFF66 <= point <= 0xFF9D:
        return 7
    if 0x3400 <= point < 0x4DC0 or 0x4E00 <= point < 0xA000 or 0xF900 <= point < 0xFB00 or 0x20000 <= point < 0x32000:
        return 8
    if 0xFB50 <= point <= 0xFDFB or 0xFE70 <= point <= 0xFEFC:
        return 3
    return -1


@kernel
def count(
    text: npt.NDArray[np.uint8],
    start: npt.NDArray[np.int64],
    stop: npt.NDArray[np.int64],
    found: npt.NDArray[np.int64],
) -> None:
    """Adds the letters of m texts to `found` (int64[m, len(SCRIPTS)]).

    Args:
        text: uint8[...], UTF-8.
        start: int64[m], where each begins.
        stop: int64[m], one past where it ends.
    """
    for piece in range(len(start)):
        at, end = start[piece], stop[piece]
        while at < end:
            byte = np.int64(text[at])
            if byte < 0x80:
                found[piece, 0] += (byte | 0x20) - 0x61 < 26 and (byte | 0x20) >= 0x61
                at += 1
                continue
            if byte < 0xE0:
                width, point = 2, byte & 0x1F
            elif byte < 0xF0:
                width, point = 3, byte & 0x0F
            else:
                width, point = 4, byte & 0x07
            for place in range(at + 1, min(at + width, end)):
                point = point << 6 | (np.int64(text[place]) & 0x3F)
            script = _script(point)
            if script >= 0:
                found[piece, script] += 1
            at += width
