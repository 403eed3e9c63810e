"""What an entry of the chunk cache holds, and the leaves that describe a chunk's tokens in one.

All that any rule set asks of a chunk fits one line of the processor's cache: sums for those that add up words, what the
sentencizer does with it from either state, and the hashes of its tokens for those that compare them.
Costs about 0.15 µs for a chunk; importing this imports Numba.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .characters import ALPHABETIC, PUNCTUATION, SENTENCE_END, UNICODE_PUNCTUATION
from .kernel import view_leaf

Bytes = npt.NDArray[np.uint8]
UInt64 = npt.NDArray[np.uint64]

# An entry is eight words of 64 bits: two words of key, two of counts, one of fields, three of tokens.
ENTRY: Final = 8
ENTRY_SIZE_BITS: Final = 8  # in the word of fields: stop words 0-7, bytes of the chunk 8-15, then single bits
ENTRY_OUT_0: Final = 16  # whether the sentencizer has seen a sentence's end after the chunk, if it had not before
_OUT_1: Final = 17  # the same, if it had
ENTRY_ONE_MORE: Final = 18  # whether one more sentence begins in the chunk if it had
ENTRY_HITS: Final = 20  # two bits: look-ups since the last sweep, at most 3
ENTRY_STARTS: Final = 24  # eight bits: sentences that begin in the chunk if it had not
ENTRY_LENGTHS: Final = 32  # three bytes: characters of the first three tokens

_0, _1, _2, _3 = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(3)
# Odd multipliers: the second constant of xxh64 (Collet) and the first of MurmurHash3's finalizer (Appleby).
_P1: Final = np.uint64(0xC2B2AE3D27D4EB4F)
_P3: Final = np.uint64(0xFF51AFD7ED558CCD)
# The base of the polynomial over a token's characters.
BASE: Final = np.uint64(0xD6E8FEB86659FD93)


@view_leaf
def decode(text: Bytes, at: Any) -> Any:
    """The code point at byte `at` of valid UTF-8, and where the next one begins."""
    lead = np.uint32(text[at])
    if lead < 0x80:
        return lead, at + _1
    second = np.uint32(text[at + _1] & 0x3F)
    if lead < 0xE0:
        return (lead & np.uint32(0x1F)) << np.uint32(6) | second, at + _2
    third = np.uint32(text[at + _2] & 0x3F)
    if lead < 0xF0:
        return (lead & np.uint32(0x0F)) << np.uint32(12) | second << np.uint32(6) | third, at + _3
    point = (lead & np.uint32(0x07)) << np.uint32(18) | second << np.uint32(12) | third << np.uint32(6)
    return point | np.uint32(text[at + _3] & 0x3F), at + np.uint64(4)


@view_leaf
def hash_token(text: Bytes, start: Any, stop: Any) -> Any:
    """The hash of the token `text[start:stop]`, and the number of its characters.

    A polynomial in `BASE` over scrambled code points, modulo 2^64, so that the hash of two strings joined follows from
    theirs: hash(ab) = hash(a) * BASE ** len(b) + hash(b).
    """
    state, characters = _0, _0
    while start < stop:
        point, start = decode(text, start)
        state = state * BASE + scramble(point)
        characters += _1
    return state, characters


@view_leaf
def scramble(point: Any) -> Any:
    """A code point spread over 64 bits, so that no two short strings differ by a multiple of a power of two alone."""
    word = (np.uint64(point) + _1) * _P1
    word = (word ^ word >> np.uint64(29)) * _P3
    return word ^ word >> np.uint64(32)


@view_leaf
def describe(
    text: Bytes,
    start: Any,
    tokens: Any,
    token_stops: Any,
    classes: Bytes,
    stop_words: UInt64,
    entries: UInt64,
    entry: Any,
    arena: UInt64,
    used: Any,
    kept: bool,
) -> None:
    """Fills the entry at word `entry`, but for its key, with what `tokens` tokens from `start` on are.

    For an entry that is not kept the tokens themselves are left out, and its sentences stand in word 5.
    """
    plain, plain_characters, alphabetic, stops, lengths = _0, _0, _0, _0, _0
    out_0, out_1, starts_0, starts_1 = _0, _1, _0, _0
    in_arena = kept and tokens > _3
    hashes = used if in_arena else entry + np.uint64(5)
    at = start
    packed = _0
    for number in range(tokens):
        token = np.uint64(number)
        stop = start + np.uint64(token_stops[token])
        state, characters = _0, _0
        some, every = np.uint8(0), np.uint8(255)
        while at < stop:
            point, at = decode(text, at)
            kind = classes[point]
            some |= kind
            every &= kind
            state = state * BASE + scramble(point)
            characters += _1
        if every & PUNCTUATION == 0:
            plain += _1
            plain_characters += characters
        alphabetic += np.uint64(some & ALPHABETIC)
        if every & SENTENCE_END and characters == _1:
            out_0, out_1 = _1, _1
        elif every & UNICODE_PUNCTUATION == 0:
            starts_0 += out_0
            starts_1 += out_1
            out_0, out_1 = _0, _0
        for word in range(len(stop_words)):
            if stop_words[word] == state:
                stops |= _1 << np.uint64(word)
        if not kept:
            continue
        if in_arena:
            arena[hashes + token] = state
            packed |= characters << ((token & np.uint64(7)) << _3)
            if token & np.uint64(7) == np.uint64(7) or token + _1 == tokens:
                arena[hashes + tokens + (token >> _3)] = packed
                packed = _0
        else:
            entries[hashes + token] = state
            lengths |= characters << (np.uint64(ENTRY_LENGTHS) + (token << _3))
    if in_arena:
        entries[entry + np.uint64(5)] = used
    elif not kept:
        entries[entry + np.uint64(5)] = starts_0
    entries[entry + _2] = tokens | plain << np.uint64(32)
    entries[entry + _3] = plain_characters | alphabetic << np.uint64(32)
    fields = stops | lengths | out_0 << np.uint64(ENTRY_OUT_0) | out_1 << np.uint64(_OUT_1)
    fields |= (starts_1 - starts_0) << np.uint64(ENTRY_ONE_MORE)
    if kept:
        fields |= starts_0 << np.uint64(ENTRY_STARTS)
    entries[entry + np.uint64(4)] = fields
