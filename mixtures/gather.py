"""Kernels of the reader: from the places of spans to a batch.

A copy of many short pieces waits for memory that no processor could foresee, so the next row is asked for while one is
copied, and what can be copied in blocks without a loop is.
Costs a copy of 10 to 17 bytes a token.

The addresses are those that `placements` checked; nothing here looks at a size again.
"""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from .placements import Int64s, Records, at, carray

PADDING = -1  # segment number of tokens that stand for nothing

_code: Any = cgutils  # of which nothing is typed
_LINE = 64  # bytes
_BLOCK = 64  # tokens that the compiler copies without a loop


def _prefetch(typing_context: Any, address: Any) -> Any:
    """Asks for the line of an address, and waits for nothing; any address will do."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        function = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        callee = _code.get_or_insert_function(builder.module, function, "llvm.prefetch.p0i8")
        place = builder.inttoptr(arguments[0], byte)
        # To be read, to stay in the nearest memory, data.
        builder.call(callee, [place, *(ir.Constant(number, value) for value in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(types.int64), generate


prefetch: Any = intrinsic(_prefetch)


@numba.njit(cache=True, nogil=True)
def copy_batch(
    placed: Records,
    ends: Int64s,
    row: int,
    padding: int,
    tokens: npt.NDArray[np.int64],
    positions: npt.NDArray[np.int32],
    segments: npt.NDArray[np.int32],
    loss_mask: npt.NDArray[np.bool_],
) -> Any:
    """Copies sequences into a batch of B rows of T tokens.

    Args:
        placed: PLACED[m], the spans of a window.
        ends: int64[n + 1], where the spans of each row of the window begin, and the end of the last.
        row: of the window, the first to be copied.
        padding: token behind the end of a short sequence.
        tokens: int64[B, T], written.
        positions: int32[B, T], written; none are where it has no rows.
        segments: int32[B, T], written; none are where it has no rows.
        loss_mask: bool[B, T], written; none are where it has no rows.

    Returns:
        The largest token.
    """
    rows = len(tokens)
    largest: Any = np.int64(0)
    for b in range(rows):
        first, last = ends[row + b], ends[row + b + 1]
        largest = max(largest, _copy_tokens(placed, first, last, padding, tokens[b]))
        if positions.size:
            _copy_positions(placed, first, last, positions[b])
        if segments.size:
            _copy_segments(placed, first, last, segments[b])
        if loss_mask.size:
            _copy_mask(placed, first, last, loss_mask[b])
    return largest


@numba.njit(nogil=True)
def _copy_tokens(placed: Records, first: Any, last: Any, padding: int, out: npt.NDArray[np.int64]) -> Any:
    """Copies a row; for every block of it, asks for as much of the next one, which no processor could foresee."""
    narrow, wide = np.uint16(0), np.uint32(0)
    done: Any = 0
    k = first
    asked, inside = last, 0  # a span of the next row, and the bytes of it that were asked for
    while k < last:
        begin, length, is_wide = placed[k].tokens, np.int64(placed[k].length), placed[k].wide
        size = 4 if is_wide else 2
        k += 1
        while k < last and placed[k].tokens == begin + length * size:  # lies behind it: a row of a chunked source
            length += placed[k].length
            k += 1
        words, halves = carray(at(begin), (length,), np.uint32), carray(at(begin), (length,), np.uint16)
        whole = length // _BLOCK * _BLOCK
        for start in range(0, whole, _BLOCK):
            asked, inside = _ask(placed, asked, inside, _BLOCK * size)
            into = out[done + start : done + start + _BLOCK]
            if is_wide:
                for j in range(_BLOCK):
                    wide = max(wide, words[start + j])
                    into[j] = words[start + j]
            else:
                for j in range(_BLOCK):
                    narrow = max(narrow, halves[start + j])
                    into[j] = halves[start + j]
        for j in range(whole, length):
            if is_wide:
                wide = max(wide, words[j])
                out[done + j] = words[j]
            else:
                narrow = max(narrow, halves[j])
                out[done + j] = halves[j]
        done += length
    out[done:] = padding
    return max(np.int64(narrow), np.int64(wide))


@numba.njit(nogil=True)
def _ask(placed: Records, k: Any, inside: Any, count: int) -> Any:
    """Asks for the next bytes of the spans from number k on, of which some were asked for; returns where it ended."""
    if k >= placed.size:
        return k, inside
    for byte in range(0, count, _LINE):
        prefetch(placed[k].tokens + inside + byte)
    inside += count
    if inside >= placed[k].length * (4 if placed[k].wide else 2):
        return k + 1, 0
    return k, inside


@numba.njit(nogil=True)
def _copy_positions(placed: Records, first: Any, last: Any, out: npt.NDArray[np.int32]) -> None:
    done, position = 0, np.int32(0)
    for k in range(first, last):
        position = np.int32(position + placed[k - 1].length) if placed[k].continues else np.int32(0)
        # Whole blocks, a few too many: the next span is written over them.
        length = np.int32(min((placed[k].length + _BLOCK - 1) // _BLOCK * _BLOCK, out.size - done))
        into = out[done : done + length]
        for j in range(length):  # of 32 bits, as a position is
            into[j] = position + np.int32(j)
        done += placed[k].length
    out[done:] = 0


@numba.njit(nogil=True)
def _copy_segments(placed: Records, first: Any, last: Any, out: npt.NDArray[np.int32]) -> None:
    done, segment = 0, -1
    for k in range(first, last):
        segment += 0 if placed[k].continues else 1
        out[done : done + placed[k].length] = segment
        done += placed[k].length
    out[done:] = PADDING


@numba.njit(nogil=True)
def _copy_mask(placed: Records, first: Any, last: Any, out: npt.NDArray[np.bool_]) -> None:
    done = since = 0  # from `since` to `done` all are trained, and not written yet
    for k in range(first, last):
        length = placed[k].length
        if placed[k].mask:
            out[since:done] = True
            _unpack(placed[k].mask, np.int64(placed[k].bit), out[done : done + length])
            since = done + length
        done += length
    out[since:done] = True
    out[done:] = False


@numba.njit(nogil=True)
def _unpack(mask: Any, bit: Any, out: npt.NDArray[np.bool_]) -> None:
    """Bits from a byte's bit on, least significant first; reads no byte behind the last bit's."""
    packed = carray(at(mask), ((bit + out.size + 7) // 8,), np.uint8)
    head = min((8 - bit) % 8, out.size)
    for j in range(head):
        out[j] = (packed[0] >> np.uint8(bit + j)) & np.uint8(1)
    byte = (bit + head) // 8
    whole = (out.size - head) // 8
    for n in range(whole):
        bits = packed[byte + n]
        into = out[head + 8 * n : head + 8 * n + 8]
        for j in range(8):
            into[j] = (bits >> np.uint8(j)) & np.uint8(1)
    for j in range(head + 8 * whole, out.size):
        out[j] = (packed[(bit + j) // 8] >> np.uint8((bit + j) % 8)) & np.uint8(1)
