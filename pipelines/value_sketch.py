"""The distribution of a rule's values: counted once, in cells narrow enough for any histogram that is drawn of them.

A report sees the range of the values only when it has read them all, and reading hundreds of millions twice to learn
where the bins go would double its cost. A cell holds the values that share sign, exponent and ten bits of the fraction:
0.1 % of the value wide at most, so bins that end at cells' edges have exact counts. Costs about 10 ns a value, and 8
bytes a cell: 8 KiB for each doubling that the values span.
"""

from collections.abc import Sequence
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
class Bound:
    """A bound of a rule.

    Args:
        value: the last one that is kept.
        below: whether what is below it is dropped, or what is above it.
        kept: whether there are values of documents that are kept, or of dropped ones alone.
    """

    value: float
    below: bool
    kept: bool = True


@dataclass(frozen=True)
class Bins:
    """Where a histogram's bins end, as cells of a sketch: bin i is `cells[i]` to before `cells[i + 1]`.

    Args:
        log: whether the bins are equal steps of the logarithm; values below the first edge above 0 are then in a first
            bin that begins at 0.
        cells: n + 1 cells, rising.
    """

    log: bool
    cells: tuple[int, ...]

    @property
    def edges(self) -> tuple[float, ...]:
        """n + 1 values, rising: bin i holds `edges[i] <= value < edges[i + 1]`."""
        return tuple(edge_of(np.array(self.cells, np.int64)).tolist())


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

    def counts(self, bins: Bins) -> tuple[int, ...]:
        """How many values lie in each bin."""
        if self.count == 0:
            return (0,) * (len(bins.cells) - 1)
        place = np.clip(np.array(bins.cells) - self._start, 0, len(self._cells))
        return tuple(np.diff(np.concatenate([[0], np.cumsum(self._cells)])[place]).tolist())

    def bins(self, bounds: Sequence[Bound] = ()) -> Bins | None:
        """About 40 bins over all values and bounds, which end at the first two bounds where they can.

        Cells seldom end at a bound itself: the next edge is taken on the side where it puts the fewest values into a
        bin of the other side.

        Args:
            bounds: finite, in the order in which they are to be edges.

        Returns:
            None where there is no value.
        """
        if self.count == 0:
            return None
        marks = [0.0 if abs(bound.value) < SMALLEST else bound.value for bound in bounds]
        low, high = min(self.low, *marks, np.inf), max(self.high, *marks, -np.inf)
        positive = np.where(np.arange(self._start, self._start + len(self._cells)) > 0, self._cells, 0)
        log = low >= 0 and bool(positive.any()) and high > LOG_SPREAD * self._quantile(0.5, positive)
        if log:
            least = min([edge_of(self._start + np.flatnonzero(positive)[:1])[0], *(mark for mark in marks if mark > 0)])
            exponents = _grid(np.log2(least), np.log2(high), [float(np.log2(mark)) for mark in marks if mark > 0], 0.0)
            edges = np.concatenate([[0.0], np.round(np.exp2(exponents)) if self.whole else np.exp2(exponents)])
        else:
            edges = _grid(low, high, marks, 1.0 if self.whole else 0.0)
            edges = _from_zero(edges) if low >= 0 else edges
        at_bounds = [_edge_at(bound) for bound in bounds]
        cells = [cell for cell in cell_of(edges).tolist() if all(abs(cell - other) > 1 for other in at_bounds)]
        near = [
            cell
            for place, (cell, mark) in enumerate(zip(at_bounds, marks, strict=True))
            if place == 0 or (np.abs(edges - mark) <= 3e-3 * abs(mark)).any()
        ]
        first, last = cell_of(np.array([low, high])).tolist()
        inside = [cell for cell in {*cells, *near} if first <= cell <= last + 1]
        return Bins(log, tuple(sorted({*inside, min([first, *cells[:1]]), max([last + 1, *cells[-1:]])})))


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


def _edge_at(bound: Bound) -> int:
    """The cell that a bound is drawn at: no value that is kept, or where none is, no dropped one, is across it."""
    cell = int(cell_of(np.array([bound.value]))[0])
    if bound.kept:  # a value on the bound is kept, and is a common one
        return cell if bound.below else cell + 1
    return cell + int(edge_of(np.array([cell]))[0] < bound.value) if bound.below else cell


def _grid(low: float, high: float, marks: Sequence[float], unit: float) -> _Float64:
    """About 40 equal steps, from at most `low` to beyond `high`, of which the first two marks are ends.

    Args:
        unit: what a step is a multiple of; 0 for any.
    """
    step = (high - low) / BINS or max(abs(high), 1.0) / BINS
    if unit:
        step = max(np.ceil(step / unit), 1.0) * unit
    elif len(marks) > 1 and abs(marks[1] - marks[0]) > step / 2:
        step = abs(marks[1] - marks[0]) / max(round(abs(marks[1] - marks[0]) / step), 1)
    anchor = marks[0] if marks else low
    first, last = np.floor((low - anchor) / step), np.floor((high - anchor) / step) + 1
    return np.asarray(anchor + step * np.arange(first, last + 1), np.float64)


def _from_zero(edges: _Float64) -> _Float64:
    """The edges of values that are never below 0; a first bin of less than half a step goes to the next one."""
    if edges[0] >= 0:
        return edges
    edges = np.maximum(edges, 0.0)
    return np.delete(edges, 1) if len(edges) > 3 and edges[1] < (edges[3] - edges[2]) / 2 else edges
