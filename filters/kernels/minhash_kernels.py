"""Numba kernels that make MinHash's band keys of documents, and the sets of shingles that candidates are verified by.

A shingle is the hash of `ngram` consecutive units. Two documents agree in a hash's minimum as often as their sets of
shingles have in common (Broder 1997), so they share the key of a band of `rows` minima with J^rows.
Costs about 2.5 ns per shingle for 112 hashes, 6 ns for its place in a sorted set; importing this module imports Numba.

The hashes are multiply-add modulo 2^32 of the high half of a mixed shingle: one to one, so the order of the values of
distinct shingles is all that a hash adds.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types

from ...errors import RunError
from .kernel import fixed, intrinsic, kernel, view_leaf
from .unit_kernels import mix

Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]
UInt32 = npt.NDArray[np.uint32]

VERSION: Final = 1  # of keys and shingles: raise it when one changes

LANES: Final = 16  # hashes in one vector
_MOST_VECTORS: Final = 8  # of minima in one pass: with multipliers and addends they fill 24 of AVX-512's 32 registers
_BLOCK: Final = 4096  # shingles that are made before they are hashed
_BASE: Final = np.uint64(0x9FB21C651E98DF25)  # odd
_KEY_FACTOR: Final = np.uint64(0xD6E8FEB86659FD93)
_0, _1, _32 = np.uint64(0), np.uint64(1), np.uint64(32)
_EMPTY: Final = np.uint64(2**64 - 1)
_ITEM: Final = ir.IntType(32)
_VECTOR: Final = ir.VectorType(_ITEM, LANES)


@intrinsic
def _lower_minima(
    typing_context: Any, values: Any, count: Any, multipliers: Any, addends: Any, minima: Any, at: Any, vectors: Any
) -> Any:
    """Lowers `minima[at:at + 16 * vectors]` to the least of `value * multiplier + addend` over `values[:count]`.

    All arrays are uint32; `vectors` is 1 to 8, each number its own loop that keeps the minima in registers.
    """
    number = types.uint64

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = [
            context.make_array(kind)(context, builder, argument).data
            for kind, argument in zip(signature.args, arguments, strict=True)
            if isinstance(kind, types.Array)
        ]
        count, at, vectors = arguments[1], arguments[5], arguments[6]
        after = builder.append_basic_block("lowered")
        switch = builder.switch(vectors, after)
        for width in range(1, _MOST_VECTORS + 1):
            entry = builder.append_basic_block(f"lower_{width}")
            switch.add_case(ir.Constant(ir.IntType(64), width), entry)
            builder.position_at_end(entry)
            _lowering_loop(builder, data, count, at, width, after)
        builder.position_at_end(after)
        return context.get_dummy_value()

    return types.void(values, number, multipliers, addends, minima, number, number), generate


def _lowering_loop(builder: Any, data: list[Any], count: Any, at: Any, width: int, after: Any) -> None:
    """The loop over values for so many vectors; ends in a jump to `after`."""
    values, *tables = data
    index = ir.IntType(64)
    entry = builder.block
    places: list[list[Any]] = []
    for table in tables:
        vectors = builder.bitcast(builder.gep(table, [at]), _VECTOR.as_pointer())
        places.append([builder.gep(vectors, [ir.Constant(index, vector)]) for vector in range(width)])
    factors, terms, least = ([builder.load(place, align=4) for place in row] for row in places)
    loop, done = builder.append_basic_block(), builder.append_basic_block()
    builder.cbranch(builder.icmp_unsigned("<", ir.Constant(index, 0), count), loop, done)
    builder.position_at_end(loop)
    step = builder.phi(index)
    step.add_incoming(ir.Constant(index, 0), entry)
    minima = []
    for vector in range(width):
        minimum = builder.phi(_VECTOR)
        minimum.add_incoming(least[vector], entry)
        minima.append(minimum)
    value = builder.load(builder.gep(values, [step]))
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    lane = builder.insert_element(undefined, value, ir.Constant(_ITEM, 0))
    spread = builder.shuffle_vector(lane, undefined, ir.Constant(ir.VectorType(_ITEM, LANES), None))
    lowered = []
    for vector in range(width):
        hashed = builder.add(builder.mul(spread, factors[vector]), terms[vector])
        lowered.append(builder.select(builder.icmp_unsigned("<", hashed, minima[vector]), hashed, minima[vector]))
    following = builder.add(step, ir.Constant(index, 1))
    step.add_incoming(following, loop)
    for minimum, value in zip(minima, lowered, strict=True):
        minimum.add_incoming(value, loop)
    builder.cbranch(builder.icmp_unsigned("<", following, count), loop, done)
    builder.position_at_end(done)
    for vector in range(width):
        result = builder.phi(_VECTOR)
        result.add_incoming(least[vector], entry)
        result.add_incoming(lowered[vector], loop)
        minima[vector] = result
    for place, value in zip(places[2], minima, strict=True):
        builder.store(value, place, align=4)
    builder.branch(after)


@view_leaf
def _fill_shingles(hashes: UInt64, at: Any, count: Any, ngram: Any, shingles: UInt64) -> None:
    """Writes the shingles that begin with units `at` to `at + count - 1`: polynomials of their hashes, mixed."""
    for place in range(count):
        shingles[np.uint64(place)] = hashes[at + np.uint64(place)]
    for unit in range(_1, ngram):
        first = at + np.uint64(unit)
        for place in range(count):
            shingles[np.uint64(place)] = shingles[np.uint64(place)] * _BASE + hashes[first + np.uint64(place)]
    for place in range(count):
        shingles[np.uint64(place)] = mix(shingles[np.uint64(place)])


@kernel
def _fill_keys(
    hashes: UInt64,
    ends: Int64,
    ngram: int,
    multipliers: UInt32,
    addends: UInt32,
    minima: UInt32,
    shingles: UInt64,
    values: UInt32,
    keys: UInt64,
    rows: int,
) -> None:
    """Writes the band keys of all documents; `minima`, `shingles` and `values` are scratch."""
    vectors = np.uint64(len(multipliers) // LANES)
    passes = (vectors + np.uint64(_MOST_VECTORS - 1)) // np.uint64(_MOST_VECTORS)
    size, block = np.uint64(ngram), np.uint64(_BLOCK)
    at = _0
    for document in range(len(ends)):
        end = np.uint64(ends[document])
        if end < at + size:
            keys[document, :] = _0
            at = end
            continue
        minima[:] = np.uint32(0xFFFFFFFF)
        last = end - size + _1
        while at < last:
            count = min(block, last - at)
            _fill_shingles(hashes, at, count, size, shingles)
            for place in range(count):
                values[np.uint64(place)] = np.uint32(shingles[np.uint64(place)] >> _32)
            first = _0
            for number in range(passes):
                following = vectors * np.uint64(number + 1) // passes
                _lower_minima(values, count, multipliers, addends, minima, first * np.uint64(LANES), following - first)
                first = following
            at += count
        at = end
        row = _0
        for band in range(keys.shape[1]):
            state = mix(np.uint64(band) + _1)
            for _ in range(rows):
                state = (state ^ np.uint64(minima[row])) * _KEY_FACTOR
                state ^= state >> _32
                row += _1
            keys[document, band] = mix(state)


def band_keys(
    hashes: UInt64, ends: Int64, ngram: int, multipliers: UInt32, addends: UInt32, bands: int, rows: int
) -> UInt64:
    """The keys of each document's bands; documents that share one are candidates.

    Args:
        hashes: uint64[m], the units of all documents.
        ends: int64[n], for each document one past its last unit.
        ngram: units in a shingle.
        multipliers: uint32[bands * rows], odd.
        addends: uint32[bands * rows].

    Returns:
        uint64[n, bands]; zeros for a document of fewer than `ngram` units, which has no shingle.
    """
    room = -(-bands * rows // LANES) * LANES
    padded = np.zeros((2, room), np.uint32)
    padded[0, : bands * rows], padded[1, : bands * rows] = multipliers, addends
    minima, keys = np.empty(room, np.uint32), np.empty((len(ends), bands), np.uint64)
    shingles, values = np.empty(_BLOCK, np.uint64), np.empty(_BLOCK, np.uint32)
    _fill_keys(fixed(hashes), fixed(ends), ngram, padded[0], padded[1], minima, shingles, values, keys, rows)
    return keys


TABLE: Final = 1 << 20  # distinct shingles that one table is made for
_SPARSENESS: Final = 4  # slots for each: with one and a half a set takes 9 ns per shingle, with four 6


def table_room(shingles: int) -> int:
    """Slots of a table for so many, and behind them room for all that runs over."""
    return (_SPARSENESS + 1) * shingles + 1


@view_leaf
def _insert(
    table: UInt64, slots: Any, sweep: Any, sweeps: Any, most: Any, shingles: UInt64, count: Any, entered: Any
) -> Any:
    """Enters the shingles of one sweep into a table that is kept in order; the number entered so far.

    Linear probing from a place that rises with the value, smaller values first: the table from first to last slot is
    sorted (Amble and Knuth 1974, Ordered hash tables).
    """
    for number in range(count):
        key = shingles[np.uint64(number)]
        if key == _EMPTY:
            key -= _1
        place = (key >> _32) * (slots * sweeps) >> _32
        if place // slots != sweep if sweeps > _1 else False:
            continue
        place -= sweep * slots
        held = table[place]
        while held < key:
            place += _1
            held = table[place]
        if held == key:
            continue
        if entered == most:
            return entered + _1
        entered += _1
        while True:
            table[place] = key
            if held == _EMPTY:
                break
            key, place = held, place + _1
            held = table[place]
    return entered


@kernel
def fill_sets(
    hashes: UInt64, ends: Int64, ngram: int, room: int, block: UInt64, table: UInt64, shingles: UInt64, set_ends: Int64
) -> np.int64:
    """Writes the sorted distinct shingles of all documents and gives their number, -1 where they cannot be parted.

    A document of more than `room` shingles is gone over several times, each time for those of one range. `table` is all
    empty, and has room for `table_room(min(room, the largest document))`.
    """
    size, length, most = np.uint64(ngram), np.uint64(len(block)), np.uint64(room)
    at, written = _0, _0
    for document in range(len(ends)):
        end = np.uint64(ends[document])
        last = end - size + _1 if end >= at + size else at
        sweeps = (last - at + most - _1) // most
        first_written = written
        sweep = _0
        while sweep < sweeps:
            slots = min(last - at, most)
            slots = slots * np.uint64(_SPARSENESS)
            entered, begin = _0, at
            while begin < last and entered <= most:
                count = min(length, last - begin)
                _fill_shingles(hashes, begin, count, size, block)
                entered = _insert(table, slots, sweep, sweeps, most, block, count, entered)
                begin += count
            if entered > most:  # more distinct ones than fit: begin again with smaller sweeps
                table[: slots + most] = _EMPTY
                sweeps, sweep, written = sweeps * np.uint64(2), _0, first_written
                if sweeps * slots >> _32:
                    return np.int64(-1)
                continue
            place, until = _0, written + entered
            while written < until:
                held = table[place]
                shingles[written] = held
                written += np.uint64(held != _EMPTY)
                table[place] = _EMPTY
                place += _1
            sweep += _1
        at = end
        set_ends[document] = written
    return np.int64(written)


def shingle_sets(hashes: UInt64, ends: Int64, ngram: int) -> tuple[UInt64, Int64]:
    """The distinct shingles of each document, sorted; none of a document of fewer than `ngram` units.

    Args:
        hashes: uint64[m], the units of all documents.
        ends: int64[n], for each document one past its last unit.
        ngram: units in a shingle.

    Returns:
        uint64[...]; int64[n], for each document one past its last shingle.

    Raises:
        RunError: more than a million different shingles agree in their high bits, as those of a text made to do so.
    """
    largest = int(np.diff(ends, prepend=0).max(initial=0))
    table = np.full(table_room(min(largest, TABLE)), _EMPTY)
    shingles, set_ends = np.empty(len(hashes) + 1, np.uint64), np.empty(len(ends), np.int64)
    count = fill_sets(fixed(hashes), fixed(ends), ngram, TABLE, np.empty(_BLOCK, np.uint64), table, shingles, set_ends)
    if count < 0:
        raise RunError("a text has too many shingles with like hashes", expected=f"at most {TABLE}", fix="remove it")
    return shingles[:count], set_ends
