"""A phase whose weights change on its way, as a list of segments with whole quotas each.

The order of a phase is exact because quotas are whole numbers, and a curve has none; cut into segments whose ends lie
within one sequence of the curve, every prefix stays within two of it. Costs a row of counts a segment, and there are
as many segments as it takes for a chord to leave the curve by less than a fraction of a sequence: about a hundred in
a phase of a thousand sequences, 3,000 in one of a million.

A source of quota q whose share goes from a to b has had q·(x + r·H(x)) sequences at x of the phase's tokens, with
r = (b - a) / (a + b): H(x) = x² - x where shares move in straight lines, -sin(πx)/π along half a cosine. What a source
has at the end of a segment is whole, and is found as Tijdeman's places are: it lies between the curve's value rounded
down and up, and of those that may be rounded up the ones come first whose curve passes that number first. Only sums and
products of doubles are used, which every machine rounds alike.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numba
import numpy as np
import numpy.typing as npt

from ..interleave import BLOCK, cumulative_counts

Change = Literal["linear", "cosine"]
Float64s = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]

MAX_SEGMENTS = 65_536
_HALVINGS = 60  # of the interval [0, 1], for x from a place
_TAYLOR = 11  # terms of the sine up to π/2: the next is below 2^-60


@dataclass(frozen=True)
class Curve:
    """How the shares of a phase's sources move from its first token to its last; the tuples run parallel over them."""

    start: tuple[Fraction, ...]
    end: tuple[Fraction, ...]
    change: Change

    def slopes(self) -> Float64s:
        """r = (b - a) / (a + b) of every source, 0 for one without a share: float64[k]."""
        pairs = zip(self.start, self.end, strict=True)
        return np.array([float((b - a) / (a + b)) if a + b else 0.0 for a, b in pairs], dtype=np.float64)


def segment_starts(total: int, segments: int) -> Int64s:
    """The first place of every segment and the phase's length: int64[segments + 1]."""
    return np.array([segment * total // segments for segment in range(segments + 1)], dtype=np.int64)


def row_places(starts: Int64s) -> tuple[Int64s, Int64s]:
    """Where the rows of counts stand: one at every segment's start, and one every 65,536 places inside it.

    Args:
        starts: int64[segments + 1], from `segment_starts`.

    Returns:
        places int64[rows + 1], the last the phase's length, and first_rows int64[segments + 1]: each segment's first.
    """
    rows = -(-np.diff(starts) // BLOCK)
    first_rows = np.concatenate([np.zeros(1, np.int64), np.cumsum(rows)])
    inside = np.arange(first_rows[-1]) - np.repeat(first_rows[:-1], rows)
    places = np.repeat(starts[:-1], rows) + inside * BLOCK
    return np.append(places, starts[-1]), first_rows


def phase_counts(quotas: Int64s, curve: Curve | None) -> tuple[UInt64s, int]:
    """How many sequences each source has had before every row of a phase, and the number of its segments.

    Args:
        quotas: int64[k], sequences of each source.
        curve: how its shares move; None where they do not.

    Returns:
        counts uint64[rows, k], rows as of `row_places`; and the number of segments, 1 where shares do not move.

    Raises:
        ValueError: as `cumulative_counts`.
    """
    if curve is None or not curve.slopes().any():
        return cumulative_counts(quotas), 1
    knots = curve_knots(quotas, curve)
    segments = len(knots) - 1
    rows = []
    for before, quota in zip(knots, np.diff(knots, axis=0), strict=False):
        if quota.sum() > BLOCK:
            rows.append(before + cumulative_counts(quota).astype(np.int64))
        else:
            rows.append(before[np.newaxis])
    return np.concatenate(rows).astype(np.uint64), segments


def curve_knots(quotas: Int64s, curve: Curve) -> Int64s:
    """What every source has had at every segment's start and at the phase's end: int64[segments + 1, k].

    Each is within one sequence of the curve, none falls, rows sum to their places, the last is the quotas.
    """
    quotas = np.ascontiguousarray(quotas, dtype=np.int64)
    slopes = curve.slopes()
    places = segment_starts(int(quotas.sum()), _segments(quotas, slopes))
    return _rounded(curve_values(quotas, curve, places), places)


def curve_values(quotas: Int64s, curve: Curve, places: Int64s) -> Float64s:
    """What the curve gives every source before a place, in sequences: float64[n, k] for places int64[n]."""
    slopes, total = curve.slopes(), float(quotas.sum())
    lean = 0.0  # of the places themselves: sources hold different numbers of tokens a sequence
    for quota, slope in zip(quotas.tolist(), slopes.tolist(), strict=True):
        lean += quota * slope
    low, high = np.zeros(places.size), np.ones(places.size)
    for _ in range(_HALVINGS):
        middle = (low + high) * 0.5
        below = total * middle + lean * _bend(middle, curve.change) < places
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    at = np.where(places == total, 1.0, high)[:, np.newaxis]
    return np.asarray(quotas * (at + slopes * _bend(at, curve.change)))


def _segments(quotas: Int64s, slopes: Float64s) -> int:
    """So many that a chord leaves the curve by less than 1/(2k) of a sequence, where q·r·π/(8·s²) is the most it can.

    Four times that is allowed for: the places lean as the sources do.
    """
    bend = math.pi * float(np.abs(quotas * slopes).max()) / 2
    needed = math.ceil(math.sqrt(bend * 2 * max(int(np.count_nonzero(quotas)), 1)))
    return max(1, min(needed, MAX_SEGMENTS, int(quotas.sum())))


def _bend(at: Float64s, change: Change) -> Float64s:
    """H: by how much a source of r = 1 is behind an even course."""
    if change == "linear":
        return at * at - at
    angle = np.minimum(at, 1.0 - at) * math.pi
    square, series = angle * angle, np.zeros_like(angle)
    for term in range(_TAYLOR, 0, -1):
        series = (1.0 - series) * square * (1.0 / (2 * term * (2 * term + 1)))
    return np.asarray((series - 1.0) * angle * (1.0 / math.pi))


@numba.njit(cache=True, nogil=True)
def _rounded(values: Float64s, places: Int64s) -> Int64s:
    """Whole counts at every knot, of sum `places`, from the curve's values float64[n, k]."""
    knots = np.zeros(values.shape, dtype=np.int64)
    last, sources = values.shape[0] - 1, values.shape[1]
    passes = np.zeros(sources, dtype=np.int64)  # the first knot at which the curve has passed the next number
    for knot in range(1, last + 1):
        row = knots[knot]
        for source in range(sources):
            row[source] = max(knots[knot - 1, source], np.int64(math.floor(values[knot, source])))
        missing = places[knot] - row.sum()
        for source in range(sources):
            while passes[source] < last and values[passes[source], source] < row[source] + 1:
                passes[source] += 1
        while missing > 0:
            chosen = -1
            for source in range(sources):
                if row[source] < values[knot, source] and (chosen < 0 or passes[source] < passes[chosen]):
                    chosen = source
            if chosen < 0:  # sums of doubles may miss the last bit: the one that is least ahead
                chosen = int(np.argmax(values[knot] - row))
            row[chosen] += 1
            missing -= 1
        while missing < 0:
            ahead = np.where(row > knots[knot - 1], row - values[knot], -np.inf)
            row[np.argmax(ahead)] -= 1
            missing += 1
    return knots
