"""Interleaving of sources by Tijdeman's rule for the chairman assignment problem (Discrete Mathematics 32, 1980).

A mixture has to hold in every stretch of training, not only at its end: with k sources every prefix of the order stays
within 1 - 1/(2k - 2) sequences of each source's share, for any shares and any number of sources, and every source ends
at exactly its quota. Costs a scan of the k sources a sequence in Numba (about 2·k ns); counts are kept every 65,536
sequences, so that a lookup replays at most one block.

The rule. After t places source i, with quota q_i of N, should have q_i·t/N of them. Its next sequence may come once
that share is 1/(2k - 2) ahead of what it has, and has to come before the share is more than 1 - 1/(2k - 2) ahead. Of
those that may come, the one is taken that has to come first. Places are whole, so it is enough to compare the last
place at which each one may still come: they are unit tasks with whole release times and deadlines, and for these
earliest deadline first finds an order whenever there is one, however ties are broken (here: the first source). That
there is one is Tijdeman's theorem. All arithmetic is exact: r_i = q_i·t - N·A_i never exceeds N, and is carried from
draw to draw.
"""

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ..errors import RunError

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]

BLOCK = 65_536


class _State(NamedTuple):
    """Where every source stands before a place; each array int64[k], all but `window` written by the kernel."""

    counts: Int64s  # sequences of it so far
    residual: Int64s  # q_i·t - N·A_i at its own t, that of `since`
    since: Int64s  # the t at which the residual was taken
    release: Int64s  # first t at which its next sequence may come
    deadline: Int64s  # last t at which it may


def cumulative_counts(quotas: Int64s) -> UInt64s:
    """How many sequences each source has had before every block: uint64[ceil(N / BLOCK), k], the first row zeros.

    Args:
        quotas: int64[k], sequences of each source; zeros are fine.

    Raises:
        ValueError: no quota, a negative one, or N times k past 2^60.
    """
    quotas, total, window = _checked(quotas)
    rows = np.zeros((-(-total // BLOCK), quotas.size), dtype=np.uint64)
    source, ordinal = np.empty(BLOCK, dtype=np.int32), np.empty(BLOCK, dtype=np.int64)
    state = _state(quotas, rows[0], 0, total, window)
    for block in range(1, len(rows)):
        _advance(quotas, total, window, state, (block - 1) * BLOCK, source, ordinal)
        rows[block] = state.counts
    return rows


def replay(quotas: Int64s, counts_row: UInt64s, block_start: int, length: int) -> tuple[Int32s, Int64s]:
    """The order from a place on whose counts are known.

    Args:
        quotas: int64[k], as given to `cumulative_counts`.
        counts_row: uint64[k], sequences of each source before `block_start`.
        block_start: a place, 0 to N.
        length: how many places, up to N - block_start.

    Returns:
        source int32[length], and ordinal int64[length]: how many sequences that source has had in the phase before.

    Raises:
        ValueError: as `cumulative_counts`, or places outside the phase.
        RunError: the counts are not those of this place.
    """
    quotas, total, window = _checked(quotas)
    if not 0 <= block_start <= block_start + length <= total:
        raise ValueError(f"places {block_start:,} to {block_start + length:,} of a phase of {total:,}")
    state = _state(quotas, counts_row, block_start, total, window)
    source, ordinal = np.empty(length, dtype=np.int32), np.empty(length, dtype=np.int64)
    filled = _advance(quotas, total, window, state, block_start, source, ordinal)
    if filled < length:
        raise _foreign_counts(block_start + filled, "no source may and must come next", "one of them")
    return source, ordinal


def _foreign_counts(place: int, seen: str, expected: str) -> RunError:
    return RunError(
        "the counts of the order do not belong to this place: no order of these quotas has them",
        where=f"sequence {place:,}",
        seen=seen,
        expected=expected,
        fix="build the mixture again: the order's .counts file has changed since it was written",
    )


def _checked(quotas: Int64s) -> tuple[Int64s, int, int]:
    """The quotas, N, and 2k - 2 of the k sources that have any (2 for k = 1: it is always its turn)."""
    quotas = np.ascontiguousarray(quotas, dtype=np.int64)
    if quotas.ndim != 1 or quotas.size == 0 or quotas.min() < 0:
        raise ValueError(f"quotas are int64[k], none negative: {quotas}")
    total = sum(quotas.tolist())
    window = max(2 * int(np.count_nonzero(quotas)) - 2, 2)
    if not 0 < total * window < 1 << 61:
        raise ValueError(f"{total:,} sequences of {quotas.size:,} sources: from 1 to 2^60 / sources are possible")
    return quotas, total, window


def _state(quotas: Int64s, counts_row: UInt64s, start: int, total: int, window: int) -> _State:
    """The state at a place, in Python's integers: the products pass 64 bits, the residuals do not."""
    counts = [int(count) for count in counts_row]
    residual = [quota * start - total * count for quota, count in zip(quotas.tolist(), counts, strict=True)]
    if sum(counts) != start or any(abs(value) > total for value in residual):
        farthest = max(map(abs, residual)) / total
        seen = f"{sum(counts):,} sequences, the farthest source {farthest:.2f} from its share"
        raise _foreign_counts(start, seen, f"{start:,} sequences, every source within one of its share")
    state = _State(
        np.array(counts, dtype=np.int64),
        np.array(residual, dtype=np.int64),
        np.full(quotas.size, start, dtype=np.int64),
        np.empty(quotas.size, dtype=np.int64),
        np.empty(quotas.size, dtype=np.int64),
    )
    for source in range(quotas.size):
        _set_window(quotas, total, window, state, source)
    return state


@numba.njit(cache=True, nogil=True)
def _set_window(quotas: Int64s, total: int, window: int, state: _State, source: int) -> None:
    """First and last t of a source's next sequence: window·(r + q·(t - since)) reaches N, and passes (window - 1)·N."""
    if state.counts[source] >= quotas[source]:
        state.release[source] = np.iinfo(np.int64).max
        state.deadline[source] = np.iinfo(np.int64).max
        return
    pace = window * quotas[source]
    behind = window * state.residual[source]
    state.release[source] = state.since[source] - (behind - total) // pace
    state.deadline[source] = state.since[source] + ((window - 1) * total - behind) // pace + 1


@numba.njit(cache=True, nogil=True)
def _advance(
    quotas: Int64s, total: int, window: int, state: _State, start: int, source_out: Int32s, ordinal_out: Int64s
) -> int:
    """Fills the places from `start` on and moves the state past them; returns how many could be filled in time."""
    for place in range(source_out.size):
        time = start + place + 1
        chosen = -1
        for source in range(quotas.size):
            if state.release[source] <= time and (chosen < 0 or state.deadline[source] < state.deadline[chosen]):
                chosen = source
        if chosen < 0 or state.deadline[chosen] < time:
            return place
        source_out[place] = chosen
        ordinal_out[place] = state.counts[chosen]
        state.residual[chosen] += quotas[chosen] * (time - state.since[chosen]) - total
        state.since[chosen] = time
        state.counts[chosen] += 1
        _set_window(quotas, total, window, state, chosen)
    return source_out.size
