"""The kernel that takes small windows out of long texts and lays each text out as the one line that fastText reads.

fastText's time goes by the bytes that it sees, and a language shows in a few hundred, if they come from all over the
text: a page's head and foot are menus and names. Costs about 2 ns per byte taken; the rest of a text is not touched.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from .kernel import kernel, leaf

Bytes = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]


@leaf
def _copied(text: Any, start: Any, stop: Any, out: Any, at: Any) -> Any:
    """Copies bytes, a line's end as a space; returns the place behind them."""
    for place in range(start, stop):
        byte = text[place]
        out[at] = np.uint8(0x20) if byte == 0x0A else byte
        at += 1
    return at


@leaf
def _window(text: Any, start: Any, stop: Any, begin: Any, end: Any, reach: Any) -> Any:
    """A window of a text moved to white space within reach of its ends, or else to borders of characters."""
    first, last = begin, end
    if begin > start:
        while first < begin + reach and text[first] > 0x20:
            first += 1
        if first == begin + reach:
            first = begin
            while first < end and text[first] & 0xC0 == 0x80:
                first += 1
    if end < stop:
        while last > end - reach and text[last] > 0x20:
            last -= 1
        if last == end - reach:
            last = end
            while last > first and text[last] & 0xC0 == 0x80:
                last -= 1
    return first, last


@kernel
def samples(
    text: Bytes, offsets: Int64, rows: Int64, windows: int, size: int
) -> tuple[Bytes, Int64, npt.NDArray[np.bool_]]:
    """One line of each text, its windows joined by spaces; they lie evenly over it, the first and last at its ends.

    Args:
        text: uint8[...], UTF-8.
        offsets: int64[n + 1], document d is `text[offsets[d]:offsets[d + 1]]`.
        rows: int64[m], the documents to take.
        windows: how many a text, at least two; a text of no more than `windows + 1` times `size` bytes is taken whole.
        size: bytes; 0 takes every text whole.

    Returns:
        uint8[...] with the lines behind a byte to spare, int64[m + 1] with their borders, bool[m]: whether the line is
        the whole text.
    """
    room = 1
    limit = (windows + 1) * size
    for row in rows:
        length = offsets[row + 1] - offsets[row]
        room += (length if size == 0 or length <= limit else windows * (size + 1)) + 1
    out, borders = np.empty(room, np.uint8), np.zeros(len(rows) + 1, np.int64)
    whole = np.empty(len(rows), np.bool_)
    out[0], at = np.uint8(0x0A), 1
    borders[0] = 1
    for place in range(len(rows)):
        start, stop = offsets[rows[place]], offsets[rows[place] + 1]
        whole[place] = size == 0 or stop - start <= limit
        if whole[place]:
            at = _copied(text, start, stop, out, at)
        else:
            for window in range(windows):
                begin = start + (stop - start - size) * window // (windows - 1)
                first, last = _window(text, start, stop, begin, begin + size, size // 4)
                at = _copied(text, first, last, out, at)
                out[at] = 0x20
                at += 1
        out[at] = 0x0A
        at += 1
        borders[place + 1] = at
    return out[:at], borders, whole


@kernel
def first_visible(text: Bytes, borders: Int64) -> Int64:
    """int64[n]: the first byte of each piece that is no white space of ASCII and no control, or the piece's end."""
    found = np.empty(len(borders) - 1, np.int64)
    for piece in range(len(found)):
        at, stop = borders[piece], borders[piece + 1]
        while at < stop and text[at] <= 0x20:
            at += 1
        found[piece] = at
    return found
