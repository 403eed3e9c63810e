"""The distribution of a rule's values: counted once, in cells narrow enough for any histogram that is drawn of them.

A report sees the range of the values only when it has read them all, and reading hundreds of millions twice to learn
where the bins go would double its cost. A cell holds the values that share sign, exponent and ten bits of the fraction:
0.1 % of the value wide at most, so bins that end at cells' edges have exact counts. Costs about 10 ns a value, and 8
bytes a cell: 8 KiB for each doubling that the values span.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

BITS = 10  # of the fraction
SMALLEST = 2.0**-30  # values nearer to zero share the cell of zero
BINS = 40
LOG_SPREAD = 30.0  # the end of the axis over the median of what is above 0, from which the axis is logarithmic
_SHIFT = 52 - BITS
_FIRST = int(np.float64(SMALLEST).view(np.int64)) >> _SHIFT

_Float64 = npt.NDArray[np.float64]
_Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Histogram:
    """Counts between edges: `counts[i]` values lie in `edges[i] <= value < edges[i + 1]`.

    Args:
        log: whether the bins are equal steps of the logarithm; values below the first edge above 0 are then in a first
            bin that begins at 0.
        edges: n + 1 values, rising.
        counts: n numbers.
    """

    log: bool
    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass
class ValueSketch:
    """Counts of values by cell; adding is all that it takes, in any order and in any batches.

    Args:
        count: finite values so far.
        low: the smallest of them.
        high: the largest of them.
        whole: whether all of them are whole numbers.
    """

    count: int = 0
    low: float = np.inf
    high: float = -np.inf
    whole: bool = True
    _start: int = 0  # the cell that `_cells` begins with
    _cells: _Int64 = field(default_factory=lambda: np.zeros(0, np.int64), repr=False)

    def add(self, values: _Float64) -> None:
        """Counts the finite ones among float64[n]."""
        values = values[np.isfinite(values)] + 0.0  # -0.0 is 0.0
        if len(values) == 0:
            return
        self.count += len(values)
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        self.whole = self.whole and bool((values == np.floor(values)).all())
        cells = cell_of(values)
        first, last = int(cells.min()), int(cells.max())
        self._make_room(first, last)
        self._cells[first - self._start : last + 1 - self._start] += np.bincount(cells - first)

    def _make_room(self, first: int, last: int) -> None:
        if len(self._cells) == 0:
            self._start, self._cells = first, np.zeros(last + 1 - first, np.int64)
            return
        stop = self._start + len(self._cells)
        before, behind = max(self._start - first, 0), max(last + 1 - stop, 0)
        if before or behind:
            self._cells = np.pad(self._cells, (before, behind))
            self._start -= before

    def quantile(self, share: float) -> float:
        """A value that this share of the values does not exceed, to 0.1 %; of no values, NaN."""
        return self._quantile(share, self._cells) if self.count else float("nan")

    def _quantile(self, share: float, cells: _Int64) -> float:
        """Of the values in these cells, which begin where all do."""
        place = int(np.searchsorted(np.cumsum(cells), max(share * int(cells.sum()), 1)))
        cell = self._start + place
        found = edge_of(np.array([cell, cell + 1]))
        middle = float(found[0]) if self.whole or cell == 0 else float(found.mean())
        return min(max(middle, self.low), self.high)

    def histogram(self, bounds: tuple[float, ...] = ()) -> Histogram | None:
        """About 40 bins over all values and the bounds, one of which begins at the first bound.

        Args:
            bounds: finite values that must lie on the axis.

        Returns:
            None where there is no value.
        """
        if self.count == 0:
            return None
        bounds = tuple(0.0 if abs(bound) < SMALLEST else bound for bound in bounds)
        low, high = min(self.low, *bounds, np.inf), max(self.high, *bounds, -np.inf)
        positive = np.where(np.arange(self._start, self._start + len(self._cells)) > 0, self._cells, 0)
        log = low >= 0 and bool(positive.any()) and high > LOG_SPREAD * self._quantile(0.5, positive)
        wanted = self._log_edges(high, bounds) if log else _linear_edges(low, high, bounds, self.whole)
        cells, ends = np.unique(cell_of(wanted)), cell_of(np.array([low, high])) + np.array([0, 1])
        cells = np.unique(np.concatenate([cells, ends[:1][cells[:1] > ends[0]], ends[1:][cells[-1:] < ends[1]]]))
        inner = np.searchsorted(np.arange(self._start, self._start + len(self._cells)), cells)
        below = np.concatenate([[0], np.cumsum(self._cells)])[inner]
        return Histogram(log, tuple(edge_of(cells).tolist()), tuple(np.diff(below).tolist()))

    def _log_edges(self, high: float, bounds: tuple[float, ...]) -> _Float64:
        """0, then steps of equal ratio up to beyond the largest value."""
        positive = np.arange(self._start, self._start + len(self._cells))[self._cells > 0]
        positive = positive[positive > 0]
        least = float(edge_of(positive[:1])[0]) if len(positive) else high
        least = min([least, *(bound for bound in bounds if bound > 0)])
        anchor = next((bound for bound in bounds if bound > 0), least)
        step = max(np.log2(high / least) / BINS, 2.0**-BITS * 4)
        first, last = np.floor(np.log2(least / anchor) / step), np.floor(np.log2(high / anchor) / step) + 1
        edges = anchor * np.exp2(step * np.arange(first, last + 1))
        edges[int(-first)] = anchor
        return np.concatenate([[0.0], np.unique(np.round(edges)) if self.whole else edges])


def cell_of(values: _Float64) -> _Int64:
    """int64[n], rising with the value: 0 holds the values nearer to zero than `SMALLEST`."""
    bits = np.ascontiguousarray(values).view(np.int64)
    ordered = bits ^ ((bits >> 63) & np.int64(0x7FFF_FFFF_FFFF_FFFF))  # as whole numbers in the values' order
    cells = ordered >> _SHIFT
    return np.where(cells >= _FIRST, cells - _FIRST + 1, np.where(cells < -_FIRST, cells + _FIRST, 0))


def edge_of(cells: _Int64) -> _Float64:
    """float64[n]: the smallest value of each cell; of the cell around zero, 0."""
    ordered = np.where(cells > 0, cells - 1 + _FIRST, cells - _FIRST) << _SHIFT
    bits = ordered ^ ((ordered >> 63) & np.int64(0x7FFF_FFFF_FFFF_FFFF))
    return np.where(cells == 0, 0.0, bits.view(np.float64))


def _linear_edges(low: float, high: float, bounds: tuple[float, ...], whole: bool) -> _Float64:
    """Equal steps from the first bound down to below the smallest value and up to beyond the largest."""
    step = (high - low) / BINS or max(abs(high), 1.0) / BINS
    if whole:
        step = max(np.ceil(step), 1.0)
    anchor = bounds[0] if bounds else low
    first, last = np.floor((low - anchor) / step), np.floor((high - anchor) / step) + 1
    edges = anchor + step * np.arange(first, last + 1)
    return np.unique(np.maximum(edges, 0.0)) if low >= 0 else edges
