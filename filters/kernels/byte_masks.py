"""Sixty-four bytes of text at a time: which of them lie in a range, as the bits of one integer.

What a filter asks of bytes (where the lines end, how many spaces, dots or code points there are) is the same few vector
instructions, and no loop over single bytes is compiled to them where it also has to stop or to remember a place.
Costs about 0.03 ns per byte and question; LLVM makes them for any processor (AVX-512, AVX2, NEON), at other widths
than 64 from more than one instruction. Importing this module imports Numba, so it is imported where it is used.
"""

import functools
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types

from .kernel import inlined, intrinsic, view_leaf
from .machine import load_8

Bytes = npt.NDArray[np.uint8]

_0, _1, _8, _64 = (np.uint64(number) for number in (0, 1, 8, 64))
_BLOCK: Final = ir.VectorType(ir.IntType(8), 64)
_WORDS: Final = ir.VectorType(ir.IntType(64), 8)
# Odd numbers from the fractional parts of the square roots of the first eight primes.
_FACTORS: Final = np.array(
    [
        0x6A09E667F3BCC909,
        0xBB67AE8584CAA73B,
        0x3C6EF372FE94F82B,
        0xA54FF53A5F1D36F1,
        0x510E527FADE682D1,
        0x9B05688C2B3E6C1F,
        0x1F83D9ABFB41BD6B,
        0x5BE0CD19137E2179,
    ],
    np.uint64,
)


def _is_text(array: Any) -> Any:
    return isinstance(array, types.Array) and array.dtype == types.uint8 and array.ndim == 1 and array.layout == "C"


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, at: Any, to: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), to.as_pointer())


@intrinsic
def _range_bits(typing_context: Any, text: Any, at: Any, first: Any, count: Any) -> Any:
    """uint64: bit i is set where `first <= text[at + i] < first + count`; reads 64 bytes from `at`, unchecked."""
    if not _is_text(text):
        return None
    signature = types.uint64(text, types.uint64, types.uint8, types.uint8)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, at, first, count = arguments
        block = builder.load(_pointer(context, builder, signature.args[0], array, at, _BLOCK), align=1)
        low, size = (_splat(builder, value) for value in (first, count))
        return builder.bitcast(builder.icmp_unsigned("<", builder.sub(block, low), size), ir.IntType(64))

    return signature, generate


def _splat(builder: Any, value: Any) -> Any:
    lane = builder.insert_element(ir.Constant(_BLOCK, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), 64), None)
    return builder.shuffle_vector(lane, ir.Constant(_BLOCK, ir.Undefined), zeros)


@intrinsic
def _mixed_block(typing_context: Any, text: Any, at: Any, size: Any) -> Any:
    """uint64: `mixed_block` of a block that lies within `text`, unchecked."""
    if not _is_text(text):
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, at, size = arguments
        block = builder.load(_pointer(context, builder, signature.args[0], array, at, _BLOCK), align=1)
        places = ir.Constant(_BLOCK, list(range(64)))
        inside = builder.icmp_unsigned("<", places, _splat(builder, builder.trunc(size, ir.IntType(8))))
        words = builder.bitcast(builder.select(inside, block, ir.Constant(_BLOCK, None)), _WORDS)
        mixed = builder.mul(words, ir.Constant(_WORDS, [int(factor) for factor in _FACTORS]))
        lanes = [builder.extract_element(mixed, ir.Constant(ir.IntType(32), lane)) for lane in range(8)]
        return functools.reduce(builder.add, lanes)

    return types.uint64(text, types.uint64, types.uint64), generate


@intrinsic
def _unequal_bits(typing_context: Any, text: Any, one: Any, other: Any) -> Any:
    """uint64: bit i is set where `text[one + i] != text[other + i]`; reads 64 bytes from each, unchecked."""
    if not _is_text(text):
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, *places = arguments
        blocks = [
            builder.load(_pointer(context, builder, signature.args[0], array, place, _BLOCK), align=1)
            for place in places
        ]
        return builder.bitcast(builder.icmp_unsigned("!=", *blocks), ir.IntType(64))

    return types.uint64(text, types.uint64, types.uint64), generate


@intrinsic
def count_bits(typing_context: Any, bits: Any) -> Any:
    """uint64: how many bits of a uint64 are set."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@view_leaf
def _last_range_bits(text: Bytes, at: Any, first: Any, count: Any) -> Any:
    """`range_bits` where fewer than 64 bytes of `text` are left, to the end of `text`."""
    size = np.uint64(len(text))
    if size >= _64:
        return _range_bits(text, size - _64, first, count) >> (at + _64 - size)
    bits = _0
    for place in range(at, size):
        bits |= np.uint64(np.uint8(text[np.uint64(place)] - first) < count) << (np.uint64(place) - at)
    return bits


@inlined
def range_bits(text: Bytes, at: Any, end: Any, first: Any, count: Any) -> Any:
    """uint64: bit i is set where `first <= text[at + i] < first + count`, for the bytes from `at` and before `end`.

    Args:
        text: uint8[...]; no byte outside it is read.
        at, end: uint64, `at < end`.
        first, count: uint8.
    """
    if at + _64 <= np.uint64(len(text)):
        bits = _range_bits(text, at, first, count)
    else:
        bits = _last_range_bits(text, at, first, count)
    return bits if end - at >= _64 else bits & ((_1 << (end - at)) - _1)


@view_leaf
def _last_word(text: Bytes, at: Any) -> Any:
    """`word_at` where fewer than eight bytes of `text` are left, to the end of `text`."""
    size = np.uint64(len(text))
    if size >= _8:
        return load_8(text, size - _8) >> (_8 * (at + _8 - size))
    word = _0
    for place in range(at, size):
        word |= np.uint64(text[np.uint64(place)]) << (_8 * (np.uint64(place) - at))
    return word


@inlined
def word_at(text: Bytes, at: Any, end: Any) -> Any:
    """uint64: the up to eight bytes of `text` from `at` and before `end`, the first one lowest, zeros behind them.

    Args:
        text: uint8[...]; no byte outside it is read.
        at, end: uint64, `at < end`.
    """
    word = load_8(text, at) if at + _8 <= np.uint64(len(text)) else _last_word(text, at)
    return word if end - at >= _8 else word & ((_1 << (_8 * (end - at))) - _1)


@inlined
def count_range(text: Bytes, at: Any, end: Any, first: Any, count: Any) -> Any:
    """uint64: how many bytes from `at` and before `end` lie in `first` to `first + count - 1`."""
    found = _0
    while at < end:
        found += count_bits(range_bits(text, at, end, first, count))
        at += _64
    return found


@inlined
def count_characters(text: Bytes, at: Any, end: Any) -> Any:
    """uint64: code points of the UTF-8 bytes from `at` and before `end`: the bytes that continue none."""
    return end - min(at, end) - count_range(text, at, end, np.uint8(0x80), np.uint8(0x40))


@view_leaf
def _same_words(text: Bytes, one: Any, other: Any, size: Any) -> Any:
    done = _0
    while done < size:
        if word_at(text, one + done, one + size) != word_at(text, other + done, other + size):
            return False
        done += _8
    return True


@inlined
def same_bytes(text: Bytes, one: Any, other: Any, size: Any) -> Any:
    """Whether the `size` bytes from `one` are those from `other` (uint64)."""
    while size >= _64:
        if _unequal_bits(text, one, other):
            return False
        one, other, size = one + _64, other + _64, size - _64
    if max(one, other) + _64 > np.uint64(len(text)):
        return _same_words(text, one, other, size)
    return _unequal_bits(text, one, other) & ((_1 << size) - _1) == _0


@view_leaf
def _last_mixed_block(text: Bytes, at: Any, stop: Any) -> Any:
    """`mixed_block` where fewer than 64 bytes of `text` are left."""
    mixed, word = _0, _0
    while at < stop:
        mixed += word_at(text, at, stop) * _FACTORS[word]
        at, word = at + _8, word + _1
    return mixed


@inlined
def mixed_block(text: Bytes, at: Any, stop: Any) -> Any:
    """uint64: a sum of products that two pieces of up to 64 bytes, `text[at:stop]`, seldom share unless they are equal.

    The low bits depend on few bits of the text: the last step of a hash has to mix the high ones into them.
    """
    if at + _64 > np.uint64(len(text)):
        return _last_mixed_block(text, at, stop)
    return _mixed_block(text, at, min(stop - at, _64))
