"""The kernel that counts characters and white-space delimited chunks of UTF-8 text in one pass.

Bounds on length need numbers only, and the views that hold where each piece lies take 16 bytes a piece to make.
Costs about 1 ns per byte and no memory but the counts.
"""

import numpy as np
import numpy.typing as npt

from .kernel import kernel, leaf

# Unsigned offsets: Numba adds a test for negative ones to every signed subscript.
_0, _1, _2 = np.uint64(0), np.uint64(1), np.uint64(2)


@leaf
def _wide_space(text, at, end):  # type: ignore[no-untyped-def]
    """Bytes of the white space outside ASCII that begins at `at`, else 0."""
    first = text[at]
    if first == 0xC2 and at + _1 < end:
        return _2 if text[at + _1] == 0x85 or text[at + _1] == 0xA0 else _0
    if (first == 0xE1 or first == 0xE2 or first == 0xE3) and at + _2 < end:
        second, third = text[at + _1], text[at + _2]
        if first == 0xE2 and second == 0x80:  # U+2000-200A, 2028, 2029, 202F
            space = third <= 0x8A or third == 0xA8 or third == 0xA9 or third == 0xAF
        elif first == 0xE2:  # U+205F
            space = second == 0x81 and third == 0x9F
        elif first == 0xE1:  # U+1680
            space = second == 0x9A and third == 0x80
        else:  # U+3000
            space = second == 0x80 and third == 0x80
        return np.uint64(3) if space else _0
    return _0


@kernel
def count(
    text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Characters (code points) and chunks (what `str.split()` without arguments gives) of n documents.

    Args:
        text: uint8[...], UTF-8.
        offsets: int64[n + 1], document d is `text[offsets[d]:offsets[d + 1]]`.

    Returns:
        int64[n] and int64[n].
    """
    documents = len(offsets) - 1
    characters, chunks = np.empty(documents, np.int64), np.empty(documents, np.int64)
    for document in range(documents):
        at, end = np.uint64(offsets[document]), np.uint64(offsets[document + 1])
        seen, opened, outside = _0, _0, _1
        while at < end:
            byte = text[at]
            width, space = _1, np.uint64((byte == 0x20) | ((byte >= 0x09) & (byte <= 0x0D)) | ((byte >> 2) == 0x07))
            if byte >= 0xC2:
                wide = _wide_space(text, at, end)
                if wide:
                    width, space = wide, _1
            seen += np.uint64((byte & 0xC0) != 0x80)
            opened += outside & (space ^ _1)
            outside = space
            at += width
        characters[document], chunks[document] = seen, opened
    return characters, chunks
