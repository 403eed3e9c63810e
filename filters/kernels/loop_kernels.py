"""The kernel that finds loops in traces: lines, sentences and n-grams that come again, and a periodic end.

A model that has lost its way says the same until it is cut off; shares of repeated pieces see it say so in the middle,
and the period of the end sees it whatever the pieces are.
Costs about 10 ns a byte, linear in a text's length; 4 bytes for each byte of the longest text, and 8 for its table.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .kernel import kernel, view_leaf

MEASURES: Final = 4  # shares of lines, of sentences, of n-grams, and of the end
SHORTEST: Final = 10  # bytes of a line or sentence that is compared: "So," comes again in any proof
REPEATS: Final = 4  # times that a periodic end has to say its period
LEAST: Final = 100  # bytes of a periodic end: a thought may end in "…" or in a number of many digits

_PRIME: Final = np.uint64(0x100000001B3)  # FNV-1a's
_BASIS: Final = np.uint64(0xCBF29CE484222325)
_BASE: Final = np.uint64(0x9E3779B97F4A7C15)
_0, _1, _32 = np.uint64(0), np.uint64(1), np.uint64(32)


def room(longest: int) -> int:
    """Slots of the table that texts of so many bytes need: a power of two, at most half of it in use."""
    return 1 << max(longest, 8).bit_length()


@view_leaf
def _seen(table: Any, mask: Any, key: Any) -> bool:
    """Whether the key stands in the table already; it does afterwards."""
    key = key | _1
    slot = (key * _BASE) >> _32 & mask
    while table[slot] != _0:
        if table[slot] == key:
            return True
        slot = (slot + _1) & mask
    table[slot] = key
    return False


@view_leaf
def _is_space(byte: Any) -> bool:
    return bool(byte == 0x20 or (byte >= 0x09 and byte <= 0x0D))


@view_leaf
def _is_ideograph(text: Any, at: int, stop: int) -> bool:
    """Whether a kana or a Han character of the basic plane begins there: U+3040 to 30FF, U+3400 to 9FFF."""
    lead = text[at]
    if lead < 0xE3 or lead > 0xE9 or at + 2 >= stop:
        return False
    code = (np.int64(lead) & 0xF) << 12 | (np.int64(text[at + 1]) & 0x3F) << 6 | np.int64(text[at + 2]) & 0x3F
    return bool((code >= 0x3040 and code <= 0x30FF) or (code >= 0x3400 and code <= 0x9FFF))


@view_leaf
def _is_full_stop(text: Any, at: int) -> bool:
    """Whether the three bytes before are the ideographic full stop, or a full-width mark of exclamation or question."""
    if text[at - 3] == 0xE3:
        return bool(text[at - 2] == 0x80 and text[at - 1] == 0x82)
    return bool(text[at - 3] == 0xEF and text[at - 2] == 0xBC and (text[at - 1] == 0x81 or text[at - 1] == 0x9F))


@view_leaf
def _duplicates(text: Any, start: int, stop: int, sentences: bool, table: Any, mask: Any) -> float:
    """The share of bytes in lines, or sentences, that stood before; white space at their ends counts for nothing."""
    total, again = 0, 0
    begin = start
    for at in range(start, stop + 1):
        ends, taken = at == stop or text[at] == 0x0A, 1
        if sentences and not ends and at > start and _is_space(text[at]):
            before = text[at - 1]
            ends = before == 0x2E or before == 0x21 or before == 0x3F
        if sentences and not ends and at - 3 >= start and _is_full_stop(text, at):
            ends, taken = True, 0  # the next sentence follows without white space
        if not ends:
            continue
        first, last = begin, at
        while first < last and _is_space(text[first]):
            first += 1
        while last > first and _is_space(text[last - 1]):
            last -= 1
        begin = at + taken
        total += last - first
        if last - first < SHORTEST:
            continue
        value = _BASIS
        for place in range(first, last):
            value = (value ^ np.uint64(text[place])) * _PRIME
        if _seen(table, mask, value):
            again += last - first
    return again / total if total else 0.0


@view_leaf
def _ngrams(text: Any, start: int, stop: int, size: int, ring: Any, table: Any, mask: Any) -> float:
    """The share of words in n-grams that stood before.

    Words are what stands between ASCII's white space, and each sign of Chinese and Japanese, which have none.
    """
    power = _1
    for _ in range(size):
        power *= _BASE
    words, covered, reach = 0, 0, 0  # reach: the number of the word up to which all that is covered is counted
    rolling, at = _0, start
    while True:
        while at < stop and _is_space(text[at]):
            at += 1
        if at == stop:
            break
        value = _BASIS
        first, alone = at, _is_ideograph(text, at, stop)
        while at < stop and (
            at < first + 3 if alone else not _is_space(text[at]) and not _is_ideograph(text, at, stop)
        ):
            value = (value ^ np.uint64(text[at])) * _PRIME
            at += 1
        old = ring[words % size] if words >= size else _0
        ring[words % size] = value
        rolling = rolling * _BASE + value - old * power
        words += 1
        if words >= size and _seen(table, mask, rolling):
            covered += words - max(reach, words - size)
            reach = words
    return covered / words if words else 0.0


@view_leaf
def _tail(text: Any, start: int, stop: int, fail: Any) -> float:
    """The share of the longest end that says its period at least `REPEATS` times; digits are alike, as in a count.

    By the prefix function (Knuth, Morris, Pratt 1977) of the text read backwards.
    """
    length = stop - start
    longest = 0
    fail[0] = -1
    matched = -1
    for at in range(length):
        byte = _folded(text[stop - 1 - at])
        while matched >= 0 and _folded(text[stop - 1 - matched]) != byte:
            matched = fail[matched]
        matched += 1
        fail[at + 1] = matched
        if at + 1 >= LEAST and at + 1 >= REPEATS * (at + 1 - matched):
            longest = at + 1
    return longest / length if length else 0.0


@view_leaf
def _folded(byte: Any) -> Any:
    return np.uint8(0x30) if byte >= 0x30 and byte <= 0x39 else byte


@kernel
def measure(
    text: npt.NDArray[np.uint8],
    start: npt.NDArray[np.int64],
    stop: npt.NDArray[np.int64],
    size: int,
    fail: npt.NDArray[np.int32],
    table: npt.NDArray[np.uint64],
    values: npt.NDArray[np.float64],
) -> None:
    """Writes the four measures of m texts into `values` (float64[m, MEASURES]).

    Args:
        text: uint8[...], UTF-8.
        start: int64[m], where each begins.
        stop: int64[m], one past where it ends.
        size: n of the n-grams.
        fail: int32[longest + 1], for the kernel to write in.
        table: uint64[room(longest)], likewise.
    """
    ring = np.empty(size, np.uint64)
    for piece in range(len(start)):
        begin, end = start[piece], stop[piece]
        slots = 16
        while slots <= end - begin:
            slots *= 2
        own, mask = table[:slots], np.uint64(slots - 1)
        own[:] = _0
        values[piece, 0] = _duplicates(text, begin, end, False, own, mask)
        own[:] = _0
        values[piece, 1] = _duplicates(text, begin, end, True, own, mask)
        own[:] = _0
        values[piece, 2] = _ngrams(text, begin, end, size, ring, own, mask)
        values[piece, 3] = _tail(text, begin, end, fail)
