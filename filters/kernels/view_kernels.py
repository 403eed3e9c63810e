"""Numba kernels that write out the words and the sentences of documents as pairs of byte offsets.

Rule sets that only sum over words read the chunk cache (`word_kernels`); these are for those that want each piece.
Costs about 6 ns per byte of known chunks and 16 bytes per piece; importing this module imports Numba.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .characters import SENTENCE_END, UNICODE_PUNCTUATION
from .chunk_entries import ENTRY_ONE_MORE, ENTRY_OUT_0, ENTRY_STARTS, decode
from .chunk_kernels import first_stop, look_up
from .kernel import kernel, view_leaf
from .word_kernels import is_joined, token_characters

Bytes = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]

_0, _1, _2, _4, _5 = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(4), np.uint64(5)
_BYTE: Final = np.uint64(0xFF)
_HALF: Final = np.uint64(0xFFFFFFFF)


@view_leaf
def _token_stop(text: Bytes, at: Any, chunk: Any, entry: Any, token: Any, words: Any) -> Any:
    """One past the last byte of a token of a chunk of the last block, which begins at byte `at`."""
    if entry == _0:
        return words[4][chunk] + np.uint64(words[8][first_stop(chunk, words) + token])
    for _ in range(token_characters(entry, token, words)):
        lead = text[at]
        at += np.uint64(1 + (lead >= 0xC0) + (lead >= 0xE0) + (lead >= 0xF0))
    return at


@kernel
def fill_words(text: Bytes, offsets: Int64, words: Any, starts: Int64, stops: Int64, ends: Int64) -> Any:
    """Writes the words of all documents, and gives their number."""
    entries, chunk_starts, found = words[1], words[4], words[7]
    total = _0
    for document in range(len(ends)):
        at, end = np.uint64(offsets[document]), np.uint64(offsets[document + 1])
        while at < end:
            count, at = look_up(text, at, end, words)
            for chunk in range(count):
                entry, place = np.uint64(found[chunk]), chunk_starts[chunk]
                for token in range(entries[entry + _2] & _HALF):
                    starts[total] = place
                    place = _token_stop(text, place, np.uint64(chunk), entry, np.uint64(token), words)
                    stops[total] = place
                    total += _1
        ends[document] = total
    return np.int64(total)


@kernel
def count_words_of(text: Bytes, offsets: Int64, words: Any) -> Any:
    """The number of words of all documents."""
    entries, found = words[1], words[7]
    total = _0
    for document in range(len(offsets) - 1):
        at, end = np.uint64(offsets[document]), np.uint64(offsets[document + 1])
        while at < end:
            count, at = look_up(text, at, end, words)
            for chunk in range(count):
                total += entries[np.uint64(found[chunk]) + _2] & _HALF
    return np.int64(total)


@view_leaf
def _token_kind(text: Bytes, at: Any, stop: Any, classes: Bytes) -> Any:
    """What the token is to the sentencizer: `SENTENCE_END`, `UNICODE_PUNCTUATION` or 0."""
    every, characters = np.uint8(255), 0
    while at < stop:
        point, at = decode(text, at)
        every &= classes[point]
        characters += 1
    if characters == 1 and every & SENTENCE_END:
        return SENTENCE_END
    return every & UNICODE_PUNCTUATION


@kernel
def fill_sentences(text: Bytes, offsets: Int64, words: Any, starts: Int64, stops: Int64, ends: Int64) -> Any:
    """Writes the sentences of all documents, end to end, and gives their number."""
    entries, chunk_starts, chunk_stops, found, classes = words[1], words[4], words[5], words[7], words[9]
    total = 0
    for document in range(len(ends)):
        at, end = np.uint64(offsets[document]), np.uint64(offsets[document + 1])
        starts[total] = at
        seen, before = _0, at
        while at < end:
            count, at = look_up(text, at, end, words)
            for chunk in range(count):
                entry, place = np.uint64(found[chunk]), chunk_starts[chunk]
                if seen and not is_joined(text, before, place):
                    stops[total], starts[total + 1], seen = before, before, _0
                    total += 1
                fields = entries[entry + _4]
                within = fields >> np.uint64(ENTRY_STARTS) & _BYTE if entry else entries[_5]
                if within + (seen & fields >> np.uint64(ENTRY_ONE_MORE)):
                    last = before
                    for token in range(entries[entry + _2] & _HALF):
                        stop = _token_stop(text, place, np.uint64(chunk), entry, np.uint64(token), words)
                        kind = _token_kind(text, place, stop, classes)
                        if kind == SENTENCE_END:
                            seen = _1
                        elif seen and kind == 0:
                            stops[total], starts[total + 1], seen = last, last, _0
                            total += 1
                        place, last = stop, stop
                else:
                    seen = fields >> (np.uint64(ENTRY_OUT_0) + seen) & _1
                before = chunk_stops[chunk]
        if seen and before < end and not is_joined(text, before, end):
            stops[total], starts[total + 1] = before, before
            total += 1
        stops[total] = end
        total += 1
        ends[document] = total
    return total
