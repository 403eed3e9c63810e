"""Kernels that look addresses up in block lists: host suffixes and address prefixes by hash, words by automaton.

A list of millions of domains has to answer for every document, so that an entry is a 64-bit hash in a table and an
address is never copied: its host is hashed from its end, so that every parent domain comes by on the way.
Costs .2 to .5 µs per address, most of it waiting for the table in memory; importing this module imports Numba.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .kernel import kernel, leaf

Bytes = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

BLOCK: Final = 256  # addresses whose hashes are made before any is looked up, so that waits for memory overlap
LABELS: Final = 127  # a host has no more (RFC 1035: 255 bytes)

_0, _1, _2, _3 = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(3)
_BASIS, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)  # FNV-1a, 64 bit
_MIX_1, _MIX_2, _33 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53), np.uint64(33)  # MurmurHash3


@leaf
def _letter(byte: Any) -> Any:
    return (byte >= 0x41 and byte <= 0x5A) or (byte >= 0x61 and byte <= 0x7A)


@leaf
def _digit(byte: Any) -> Any:
    return byte >= 0x30 and byte <= 0x39


@leaf
def _step(state: Any, byte: Any) -> Any:
    """One byte more of FNV-1a, capital letters of ASCII as small ones."""
    small = byte | np.uint8(0x20) if byte >= 0x41 and byte <= 0x5A else byte
    return (state ^ np.uint64(small)) * _PRIME


@leaf
def _finished(state: Any) -> Any:
    """All bits usable, and never 0, which marks a free slot."""
    state = (state ^ (state >> _33)) * _MIX_1
    state = (state ^ (state >> _33)) * _MIX_2
    state ^= state >> _33
    return state if state else _1


@leaf
def _contains(table: Any, value: Any) -> Any:
    mask = np.uint64(len(table) - 1)
    at = value & mask
    while table[at] != _0:
        if table[at] == value:
            return True
        at = (at + _1) & mask
    return False


@leaf
def _insert(table: Any, value: Any) -> Any:
    """1 where the value is new, else 0."""
    mask = np.uint64(len(table) - 1)
    at = value & mask
    while table[at] != _0:
        if table[at] == value:
            return 0
        at = (at + _1) & mask
    table[at] = value
    return 1


@leaf
def _parts(text: Any, at: Any, end: Any) -> Any:
    """Of an address: where its host starts and stops, whether it is an IP address, where the rest starts and stops.

    Scheme, user, port, fragment, and dots around the host are left out, as is white space around the address.
    """
    while at < end and text[at] <= 0x20:
        at += _1
    while end > at and text[end - _1] <= 0x20:
        end -= _1
    probe = at
    while probe < end and (
        _letter(text[probe]) or _digit(text[probe]) or text[probe] == 0x2B or text[probe] == 0x2D or text[probe] == 0x2E
    ):
        probe += _1
    if probe + _2 < end and text[probe] == 0x3A and text[probe + _1] == 0x2F and text[probe + _2] == 0x2F:
        at = probe + _3
    elif at + _1 < end and text[at] == 0x2F and text[at + _1] == 0x2F:
        at += _2
    start, stop = at, at
    while stop < end and text[stop] != 0x2F and text[stop] != 0x3F and text[stop] != 0x23 and text[stop] != 0x5C:
        if text[stop] == 0x40:  # behind the user
            start = stop + _1
        stop += _1
    rest = stop
    number = start < stop and text[start] == 0x5B
    if number:  # [IPv6]
        start += _1
    probe = start
    while probe < stop and text[probe] != (0x5D if number else 0x3A):
        probe += _1
    stop = probe
    while stop > start and text[stop - _1] == 0x2E:
        stop -= _1
    while start < stop and text[start] == 0x2E:
        start += _1
    if not number and start < stop:
        probe = stop
        while probe > start and _digit(text[probe - _1]):
            probe -= _1
        number = probe < stop and (probe == start or text[probe - _1] == 0x2E)
    probe = rest
    while probe < end and text[probe] != 0x23:
        probe += _1
    return start, stop, number, rest, probe


@leaf
def _entry(text: Any, at: Any, stop: Any, whole: Any) -> Any:
    """Where the entry of a list's line begins; its end where the line is blank or a comment."""
    while at < stop and text[at] <= 0x20:
        at += _1
    if at < stop and text[at] == 0x23:
        return stop
    return at + _1 if not whole and at + _1 < stop and text[at] == 0x2A else at


@leaf
def _can_match(text: Any, at: Any, stop: Any, whole: Any) -> Any:
    """Whether an entry is what it is taken for: a domain, or an address where `whole`."""
    start, host_stop, number, rest, rest_stop = _parts(text, at, stop)
    fits = start < host_stop
    for place in range(start, host_stop):
        byte = text[place]
        named = _letter(byte) or _digit(byte) or byte == 0x2D or byte == 0x2E or byte == 0x5F or byte >= 0x80
        fits &= named or (number and byte == 0x3A)
    for place in range(host_stop, rest):
        byte = text[place]  # of the port, and dots and a bracket before it
        fits &= _digit(byte) or byte == 0x2E or byte == 0x3A or byte == 0x5D
    if whole:
        return fits and (rest == rest_stop or text[rest_stop - _1] > 0x20)
    return fits and (rest == rest_stop or (rest + _1 == rest_stop and text[rest] == 0x2F))


@leaf
def _host_hash(text: Any, start: Any, stop: Any) -> Any:
    state = _BASIS
    while stop > start:
        stop -= _1
        state = _step(state, text[stop])
    return _finished(state)


@leaf
def _without_www(text: Any, start: Any, stop: Any) -> Any:
    www = (
        stop - start > np.uint64(4)
        and text[start] | 0x20 == 0x77
        and text[start + _1] | 0x20 == 0x77
        and text[start + _2] | 0x20 == 0x77
        and text[start + _3] == 0x2E
    )
    return start + np.uint64(4) if www else start


@kernel
def wide_hosts(text: Bytes, offsets: Int64) -> npt.NDArray[np.bool_]:
    """bool[n]: whether the host of each address has a byte outside ASCII."""
    found = np.zeros(len(offsets) - 1, np.bool_)
    for row in range(len(found)):
        start, stop, _, _, _ = _parts(text, np.uint64(offsets[row]), np.uint64(offsets[row + 1]))
        for at in range(start, stop):
            found[row] |= text[at] >= 0x80
    return found


@kernel
def add_lines(text: Bytes, whole: bool, table: Hashes) -> int:
    """Adds the lines of a list to a table and returns how many were new; blank lines and comments (#) are passed by.

    Args:
        text: uint8[...], the list.
        whole: whether a line is an address (host and path) or a domain (`*.` before it is left out).
        table: uint64[2^k], 0 where a slot is free; it must have more slots than lines.
    """
    new, at, end = 0, _0, np.uint64(len(text))
    while at < end:
        stop = at
        while stop < end and text[stop] != 0x0A:
            stop += _1
        at = _entry(text, at, stop, whole)
        if at < stop:
            start, host_stop, _, rest, rest_stop = _parts(text, at, stop)
            if whole and host_stop > start:
                while rest_stop > rest and text[rest_stop - _1] == 0x2F:
                    rest_stop -= _1
                state = _BASIS
                for place in range(_without_www(text, start, host_stop), host_stop):
                    state = _step(state, text[place])
                for place in range(rest, rest_stop):
                    state = _step(state, text[place])
                new += _insert(table, _finished(state))
            elif host_stop > start:
                new += _insert(table, _host_hash(text, start, host_stop))
        at = stop + _1
    return new


@kernel
def check_lines(text: Bytes, whole: bool) -> tuple[int, int, int]:
    """How many lines of a list are entries, how many of those no address can match, and where the first of them begins.

    Those have no host, or signs in host or port that none has; a `#` behind white space, which is no comment there; or
    are a domain with a path, which would be taken for the whole domain.

    Args:
        text: uint8[...], the list.
        whole: as of `add_lines`.

    Returns:
        Both numbers, and a place in the text; its end where every entry can match.
    """
    entries, wrong, at, end = 0, 0, _0, np.uint64(len(text))
    first = end
    while at < end:
        begin = stop = at
        while stop < end and text[stop] != 0x0A:
            stop += _1
        at = _entry(text, at, stop, whole)
        if at < stop:
            entries += 1
            if not _can_match(text, at, stop, whole):
                wrong += 1
                first = min(first, begin)
        at = stop + _1
    return entries, wrong, int(first)


@kernel
def in_domains(text: Bytes, offsets: Int64, table: Hashes) -> npt.NDArray[np.bool_]:
    """bool[n]: whether the host, or a domain above it of at least two labels, stands in the table.

    A host of one label and an IP address are looked up as they are. Of more than `LABELS` labels the last are looked
    up, and the host.
    """
    documents = len(offsets) - 1
    found = np.zeros(documents, np.bool_)
    hashes = np.empty(BLOCK * (LABELS + 1), np.uint64)
    ends = np.empty(BLOCK, np.uint64)
    for first in range(0, documents, BLOCK):
        size = min(BLOCK, documents - first)
        made = _0
        for row in range(size):
            begin, end = np.uint64(offsets[first + row]), np.uint64(offsets[first + row + 1])
            start, at, number, _, _ = _parts(text, begin, end)
            state, labels = _BASIS, _0
            whole = at > start
            while at > start:
                at -= _1
                if text[at] == 0x2E and not number:
                    labels += _1
                    if labels > _1 and labels <= np.uint64(LABELS):
                        hashes[made] = _finished(state)
                        made += _1
                state = _step(state, text[at])
            if whole:
                hashes[made] = _finished(state)
                made += _1
            ends[row] = made
        at = _0
        for row in range(size):
            hit = False
            while at < ends[row]:
                hit |= _contains(table, hashes[at])
                at += _1
            found[first + row] = hit
    return found


@kernel
def in_addresses(text: Bytes, offsets: Int64, table: Hashes) -> npt.NDArray[np.bool_]:
    """bool[n]: whether the address, or one above it (to a `/`, `?` or `&`), stands in the table; `www.` is left out."""
    found = np.zeros(len(offsets) - 1, np.bool_)
    for row in range(len(found)):
        start, stop, _, rest, end = _parts(text, np.uint64(offsets[row]), np.uint64(offsets[row + 1]))
        if stop == start:
            continue
        state = _BASIS
        for at in range(_without_www(text, start, stop), stop):
            state = _step(state, text[at])
        hit = False
        at = rest
        while at < end and not hit:
            byte = text[at]
            if byte == 0x2F or byte == 0x3F or byte == 0x26:
                hit = _contains(table, _finished(state))
            state = _step(state, byte)
            at += _1
        found[row] = hit or _contains(table, _finished(state))
    return found


@kernel
def add_words(text: Bytes, offsets: Int64, table: Hashes) -> None:
    """Adds words of small letters and digits to a table."""
    for row in range(len(offsets) - 1):
        state = _BASIS
        for at in range(offsets[row], offsets[row + 1]):
            state = _step(state, text[at])
        _insert(table, _finished(state))


@kernel
def count_words(
    text: Bytes,
    offsets: Int64,
    fold: bool,
    words: Hashes,
    soft: Hashes,
    moves: npt.NDArray[np.uint32],
    accepts: npt.NDArray[np.bool_],
) -> npt.NDArray[np.int64]:
    """int64[n, 3]: whether a word of each address stands in `words`, how many different ones in `soft`, and whether
    the address without all that is no letter or digit of ASCII contains a subword.

    Args:
        text, offsets: the addresses.
        fold: whether capital letters of a word count as small ones; in a subword they do.
        words, soft: tables of words.
        moves: uint32[states, 36], the automaton of subwords: the next state by letter or digit.
        accepts: bool[states], whether a subword ends there.
    """
    result = np.zeros((len(offsets) - 1, 3), np.int64)
    counted = np.full(len(soft), -1, np.int64)  # the address for which each slot was counted last
    mask = np.uint64(len(soft) - 1)
    for row in range(len(offsets) - 1):
        state, inside, node = _BASIS, False, np.uint32(0)
        capital: Any = False
        at, end = np.uint64(offsets[row]), np.uint64(offsets[row + 1])
        while at <= end:
            byte = text[at] if at < end else np.uint8(0)
            letter = _letter(byte)
            if letter or _digit(byte):
                state, inside = _step(state, byte), True
                capital |= letter and byte < 0x60
                sign = (byte & 0x1F) - 1 if letter else byte - 0x30 + 26
                node = moves[node, np.uint64(sign)]
                result[row, 2] |= accepts[node]
            elif inside:
                if fold or not capital:
                    value = _finished(state)
                    result[row, 0] |= _contains(words, value)
                    slot = value & mask
                    while soft[slot] != _0 and soft[slot] != value:
                        slot = (slot + _1) & mask
                    if soft[slot] == value and counted[slot] != row:
                        counted[slot] = row
                        result[row, 1] += 1
                state, inside, capital = _BASIS, False, False
            at += _1
    return result
