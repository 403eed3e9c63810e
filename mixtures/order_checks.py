"""What must hold in the order of a phase: counts that a replay gives again, places that fit shares, separate draws.

The order is a function, so whether it is right can be asked of all its places. Costs a replay of the phase (about 20 ns
a place and source) and the permutations of up to a million sequences an epoch.
"""

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from .permutation import epoch_key, permute, unpermute
from .phases import PhaseOrder

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]

WHOLE = 1 << 20  # sequences of an epoch up to which all of them are looked at
SAMPLE = 1 << 16  # of a larger one


@dataclass(frozen=True)
class Replayed:
    """What a replay of a phase's rows found."""

    wrong_row: int  # the first whose counts do not follow from the one before; -1 for none
    gap: float  # how far a source is from its share of a segment at the worst place, in sequences


def replayed(order: PhaseOrder) -> Replayed:
    """Replays all of a phase as it was planned.

    Raises:
        RunError: the counts are not those of an order of the quotas.
    """
    gap, rows = 0.0, len(order.counts)
    for row in range(rows):
        start, _ = order.row_bounds(row)
        sources, _ = order.replay_row(row)
        counts = order.counts[row].astype(np.int64)
        after = order.counts[row + 1].astype(np.int64) if row + 1 < rows else order.quotas
        if not np.array_equal(counts + np.bincount(sources, minlength=len(counts)), after):
            return Replayed(row + 1, gap)
        segment = int(np.searchsorted(order.starts, start, side="right")) - 1
        first, length = int(order.starts[segment]), int(order.starts[segment + 1] - order.starts[segment])
        quotas = order.segment_quotas(segment)
        inside = counts - order.counts[order.row_of(first)].astype(np.int64)
        pairs = zip(quotas.tolist(), inside.tolist(), strict=True)
        behind = np.array([quota * (start - first) - length * count for quota, count in pairs], np.int64)
        gap = max(gap, int(_largest_gap(quotas, length, behind, sources)) / length)
    return Replayed(-1, gap)


def permutes(seed: int, source: str, epoch: int, size: int) -> bool:
    """Whether an epoch's draws are every sequence once, and a sequence has its draw: all of them, or a sample."""
    key = epoch_key(seed, source, epoch)
    places = np.arange(size) if size <= WHOLE else np.random.default_rng(key).integers(0, size, SAMPLE)
    moved = permute(places, size, key)
    if size <= WHOLE and not (np.bincount(moved, minlength=size) == 1).all():
        return False
    return np.array_equal(unpermute(moved, size, key), places)


@numba.njit(cache=True, nogil=True)
def _largest_gap(quotas: Int64s, total: int, behind: Int64s, sources: Int32s) -> np.int64:
    """The most that a source is before or behind its share at any of these places, in sequences times `total`.

    A source is furthest behind just before it is drawn and furthest before just after, so only these are looked at.
    """
    since = np.zeros(quotas.size, np.int64)
    worst = np.int64(0)
    for place in range(sources.size):
        source = sources[place]
        now = behind[source] + quotas[source] * (place - since[source])
        worst = max(worst, now, total - quotas[source] - now)
        behind[source] = now + quotas[source] - total
        since[source] = place + 1
    for source in range(quotas.size):
        now = behind[source] + quotas[source] * (sources.size - since[source])
        worst = max(worst, now, -now)
    return worst
