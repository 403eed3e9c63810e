"""A Numba kernel that counts the long lines of documents.

A line's length is in characters and its bytes are all that is there, so continuation bytes are left out of the count.
Costs about 0.5 ns per byte; importing this module imports Numba.
"""

import numpy as np
import numpy.typing as npt

from .kernel import kernel


@kernel
def count_paragraphs(
    text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], shortest: int, enough: int
) -> npt.NDArray[np.float64]:
    """For each of n documents its lines (between newlines alone) of at least `shortest` characters, `enough` at most.

    Args:
        text, offsets: the documents, as in `DocumentBatch`.

    Returns:
        float64[n]
    """
    counts = np.zeros(len(offsets) - 1, np.float64)
    one = np.uint64(1)
    for document in range(len(offsets) - 1):
        at, end = np.uint64(offsets[document]), np.uint64(offsets[document + 1])
        found, characters = 0, 0
        while at < end and found < enough:
            byte = text[at]
            if byte == 0x0A:
                found += characters >= shortest
                characters = 0
            else:
                characters += byte & 0xC0 != 0x80
            at += one
        if found < enough:
            found += characters >= shortest
        counts[document] = found
    return counts
