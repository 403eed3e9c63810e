"""Numba leaves that answer what rule sets ask about the words of a piece of text, from the chunk cache.

Words are spaCy's English tokens without those of white space, as datatrove has them; sentences are those of spaCy's
sentencizer over all tokens. Sums come from the entries of whole chunks, no token is looked at.
Costs about 2 ns per byte of known chunks for a sum; importing this module imports Numba.
"""

import functools
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .chunk_entries import ENTRY_LENGTHS, ENTRY_ONE_MORE, ENTRY_OUT_0, ENTRY_STARTS, hash_token
from .chunk_kernels import first_stop, look_up
from .kernel import kernel, view_leaf

Bytes = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]

# Places in the sums of a piece of text.
WORDS: Final = 0
PLAIN_WORDS: Final = 1  # words that are not all punctuation
PLAIN_CHARACTERS: Final = 2  # code points in them
ALPHABETIC_WORDS: Final = 3  # words with at least one alphabetic character
STOP_WORDS: Final = 4  # bit i: DEFAULT_STOP_WORDS[i] occurs
SUMS: Final = 5

# Rae et al. 2021, arXiv 2112.11446, appendix A.1.1.
DEFAULT_STOP_WORDS: Final = ("the", "be", "to", "of", "and", "that", "have", "with")

_0, _1, _2, _3 = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(3)
_4, _5 = np.uint64(4), np.uint64(5)
_BYTE: Final = np.uint64(0xFF)
_HALF: Final = np.uint64(0xFFFFFFFF)
_32: Final = np.uint64(32)
# Bytes of text that are looked up for each sentence that is still wanted.
_SENTENCE_BYTES: Final = 160


@view_leaf
def sum_words(text: Bytes, start: Any, stop: Any, words: Any, sums: Int64) -> None:
    """Sets the `SUMS` sums of `text[start:stop]`, a piece of valid UTF-8; `words` comes from `chunk_cache.opened`."""
    entries, found = words[1], words[7]
    at, end = np.uint64(start), np.uint64(stop)
    counts, letters, fields = _0, _0, _0
    # Two counts of 32 bits are added at once: a text has less than 2^32 bytes.
    while at < end:
        count, at = look_up(text, at, end, words)
        for chunk in range(count):
            entry = np.uint64(found[chunk])
            counts += entries[entry + _2]
            letters += entries[entry + _3]
            fields |= entries[entry + _4]
    sums[WORDS], sums[PLAIN_WORDS] = counts & _HALF, counts >> _32
    sums[PLAIN_CHARACTERS], sums[ALPHABETIC_WORDS] = letters & _HALF, letters >> _32
    sums[STOP_WORDS] = fields & _BYTE


@view_leaf
def count_words(text: Bytes, start: Any, stop: Any, words: Any) -> Any:
    """The number of words of `text[start:stop]`."""
    entries, found = words[1], words[7]
    at, end, total = np.uint64(start), np.uint64(stop), _0
    while at < end:
        count, at = look_up(text, at, end, words)
        for chunk in range(count):
            total += entries[np.uint64(found[chunk]) + _2] & _HALF
    return np.int64(total)


@view_leaf
def token_characters(entry: Any, token: Any, words: Any) -> Any:
    """The number of characters of a token, by its place in its chunk, and that of the entry, which is kept."""
    entries, arena = words[1], words[2]
    tokens = entries[entry + _2] & _HALF
    if tokens <= _3:
        return entries[entry + _4] >> (np.uint64(ENTRY_LENGTHS) + (token << _3)) & _BYTE
    return arena[entries[entry + _5] + tokens + (token >> _3)] >> ((token & np.uint64(7)) << _3) & _BYTE


@view_leaf
def token_hash(text: Bytes, chunk: Any, entry: Any, token: Any, words: Any) -> Any:
    """The hash of a token of a chunk of the last block, and the number of its characters.

    Args:
        text: the text that was looked up.
        chunk: uint64, its place in the block.
        entry: uint64, `found[chunk]`.
        token: uint64, the token's place in the chunk.
        words: the cache.
    """
    entries, arena = words[1], words[2]
    if entry == _0:
        start, stops = words[4][chunk], words[8]
        place = first_stop(chunk, words) + token
        begin = start + np.uint64(stops[place - _1]) if token else start
        return hash_token(text, begin, start + np.uint64(stops[place]))
    characters = token_characters(entry, token, words)
    if entries[entry + _2] & _HALF <= _3:
        return entries[entry + _5 + token], characters
    return arena[entries[entry + _5] + token], characters


@view_leaf
def count_stop_words(
    text: Bytes, start: Any, stop: Any, words: Any, stop_hashes: UInt64, seen: npt.NDArray[np.bool_], enough: int
) -> int:
    """Distinct stop words among the words of `text[start:stop]`; stops looking at `enough` of them.

    Args:
        text, start, stop, words: as for `sum_words`.
        stop_hashes: uint64[k], `word_hashes` of the stop words.
        seen: bool[k], scratch.
        enough: the number that is enough.
    """
    entries, found = words[1], words[7]
    at, end, distinct = np.uint64(start), np.uint64(stop), 0
    seen[:] = False
    while at < end and distinct < enough:
        count, at = look_up(text, at, end, words)
        for chunk in range(count):
            entry = np.uint64(found[chunk])
            for token in range(entries[entry + _2] & _HALF):
                state, _ = token_hash(text, np.uint64(chunk), entry, np.uint64(token), words)
                place = np.searchsorted(stop_hashes, state)
                if place < len(stop_hashes) and stop_hashes[place] == state and not seen[place]:
                    seen[place] = True
                    distinct += 1
    return min(distinct, enough)


@kernel
def _hash_words(text: Bytes, ends: Int64, hashes: UInt64) -> None:
    start = 0
    for word in range(len(ends)):
        hashes[word], _ = hash_token(text, np.uint64(start), np.uint64(ends[word]))
        start = ends[word]


def hash_in_order(words: tuple[str, ...]) -> UInt64:
    """uint64[k]: the hash of each of k words, as tokens have them (read-only)."""
    parts = [word.encode() for word in words]
    text = np.frombuffer(b"".join(parts), np.uint8)
    hashes = np.empty(len(parts), np.uint64)
    _hash_words(text, np.cumsum([len(part) for part in parts], dtype=np.int64), hashes)
    hashes.flags.writeable = False
    return hashes


@functools.cache
def word_hashes(words: tuple[str, ...]) -> UInt64:
    """uint64[k]: the hashes of the k distinct words, sorted (read-only)."""
    hashes = np.sort(hash_in_order(tuple(dict.fromkeys(words))))
    hashes.flags.writeable = False
    return hashes


@view_leaf
def is_joined(text: Bytes, stop: Any, start: Any) -> Any:
    """Whether two chunks have one space between them, which is no token."""
    return stop + _1 == start and text[stop] == np.uint8(0x20)


@view_leaf
def _ends_blank(text: Bytes, before: Any, stop: Any, seen: Any) -> Any:
    """Whether the white space from `before` to a piece's end is a sentence of its own."""
    return 1 if seen and before < stop and not is_joined(text, before, stop) else 0


@view_leaf
def _is_next_line(text: Bytes, stop: Any, start: Any) -> Any:
    """Whether a piece that ends at `stop` and one that begins at `start` can be looked up together.

    They can where a line feed, or one after a carriage return, is all that is between them.
    """
    return (start == stop + 1 or (start == stop + 2 and text[stop] == 0x0D)) and text[start - 1] == 0x0A


@view_leaf
def count_sentences(text: Bytes, starts: Int64, stops: Int64, first: Any, last: Any, enough: Any, words: Any) -> Any:
    """The sentences of the pieces `first` to `last`, each piece alone, as datatrove's `split_into_sentences` has them.

    A sentence begins with a piece's first token and, after a token that ends one, with the next that is no punctuation;
    that may be white space, unless it is a single space. A blank or empty piece is one sentence.

    Args:
        text: uint8[...], valid UTF-8.
        starts, stops: int64[...], the first byte of each piece, and one past its last, in the order of the text.
        first, last: the pieces that are asked about.
        enough: the number of sentences at which counting them can end.
        words: as for `sum_words`.

    Returns:
        Their number, or any number not below `enough` if there are so many.
    """
    entries, chunk_starts, chunk_stops, found = words[1], words[4], words[5], words[7]
    total, piece = np.int64(0), np.int64(first)
    while piece < last and total < enough:
        at, stop = np.uint64(starts[piece]), np.int64(stops[piece])
        after = piece + 1
        limit = np.int64(starts[piece]) + _SENTENCE_BYTES * (enough - total)
        while after < last and stops[after] <= limit and _is_next_line(text, stop, starts[after]):
            stop = stops[after]
            after += 1
        end, seen, before = np.uint64(stop), _0, at
        total += 1
        while at < end and total < enough:
            count, at = look_up(text, at, end, words)
            for chunk in range(count):
                entry, start = np.uint64(found[chunk]), chunk_starts[chunk]
                while np.int64(start) >= stops[piece]:
                    total += 1 + _ends_blank(text, before, np.uint64(stops[piece]), seen)
                    piece, seen = piece + 1, _0
                    before = np.uint64(starts[piece])
                if seen and not is_joined(text, before, start):
                    total, seen = total + 1, _0
                before = chunk_stops[chunk]
                fields = entries[entry + _4]
                within = fields >> np.uint64(ENTRY_STARTS) & _BYTE if entry else entries[_5]
                total += np.int64(within + (seen & fields >> np.uint64(ENTRY_ONE_MORE)))
                seen = fields >> (np.uint64(ENTRY_OUT_0) + seen) & _1
        while piece < after:
            total += _ends_blank(text, before, np.uint64(stops[piece]), seen) + (piece + 1 < after)
            piece, seen = piece + 1, _0
            if piece < after:
                before = np.uint64(starts[piece])
    return total
