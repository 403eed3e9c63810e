"""How well an order is shuffled: sources in its batches, documents in its sources, and whether neighbours are alike.

A corpus lies sorted by where it came from, and a batch of one site or one language moves a model as no batch of the
mixture would; nobody sees that in a loss. So it is measured as statistics has it, and `midtrain verify` prints it.
Costs a look-up of 64,000 places, wherever they are; nothing is kept of a sequence.

Sources are spread more evenly than chance would have them (a prefix is within one sequence of its share), so their
chi-square is far below its degrees of freedom and a neighbour is rather of another source. Inside a source the order is
one of chance: a keyed permutation of sequences whose documents stand in the order of a hash.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .order import Order, Slice
from .phases import PhaseOrder

Float64s = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

BATCHES = 1_000
BATCH_SEQUENCES = 64
LEAST_P = 0.001
MOST_CORRELATION = 0.01
_LEAST_EXPECTED = 5.0  # in a cell of a chi-square, as the rule of thumb has it
_LEAST_SIZE = 1_000  # sequences of a source, below which its order has too few neighbours to tell


@dataclass(frozen=True)
class ChiSquare:
    """A chi-square, its degrees of freedom, and how often chance alone would give a larger one."""

    value: float
    degrees: int
    p: float


@dataclass(frozen=True)
class Correlation:
    """A lag-1 autocorrelation, and how many pairs of neighbours it was taken over."""

    value: float
    pairs: int

    @property
    def bound(self) -> float:
        """0.01, or four standard errors where there are too few pairs to tell that from 0."""
        return max(MOST_CORRELATION, 4 / math.sqrt(max(self.pairs, 1)))


@dataclass(frozen=True)
class Shuffle:
    """What was measured of a phase.

    `sources`: counts of the sources in each batch against their shares. `labels`: those of the labels that were given.
    `source_neighbours`: whether a sequence is of the source of the one before it. `order_neighbours`: places in their
    pack of sequences that a source draws one after the other; None where no source has enough.
    """

    phase: str
    batches: int
    sources: ChiSquare
    labels: ChiSquare | None
    source_neighbours: Correlation
    order_neighbours: Correlation | None

    @property
    def faults(self) -> tuple[str, ...]:
        """What is worse than chance, in words; nothing where the phase is shuffled."""
        found = []
        for name, test in (("sources", self.sources), ("labels", self.labels)):
            if test is not None and test.p <= LEAST_P:
                found.append(f"{name} in batches: chi-square {test.value:,.0f} at {test.degrees:,}, p {test.p:.1e}")
        alike, order = self.source_neighbours, self.order_neighbours
        if alike.value >= alike.bound:
            found.append(f"neighbours are of one source: lag-1 autocorrelation {alike.value:.3f}")
        if order is not None and abs(order.value) >= order.bound:
            found.append(f"neighbours lie close in their source: lag-1 autocorrelation {order.value:.3f}")
        return tuple(found)


def measure(
    order: Order,
    phase: str,
    labels: Callable[[Slice], Int64s] | None = None,
    batch_sequences: int = BATCH_SEQUENCES,
    batches: int = BATCHES,
) -> Shuffle | None:
    """Measures batches that lie evenly over a phase.

    Args:
        order: of the mixture.
        phase: its name.
        labels: of the sequences of a batch, how many have each label: int64[labels], the same ones each time. All
            documents may be counted where they are chunked; packed whole, likes lie side by side, so one a sequence.
        batch_sequences: sequences a batch.
        batches: how many, or as many as the phase has.

    Returns:
        None where the phase has no two batches.
    """
    opened = order.phase(phase)
    batches = min(batches, opened.sequences // batch_sequences)
    if batches < 2:
        return None
    starts = np.array([number * (opened.sequences - batch_sequences) // (batches - 1) for number in range(batches)])
    counts = np.zeros((batches, opened.quotas.size), dtype=np.int64)
    labelled: list[Int64s] = []
    alike, ranks = 0, np.zeros(3)
    for number, first in enumerate(starts.tolist()):
        places = order.slice(phase, first, batch_sequences)
        counts[number] = np.bincount(places.source, minlength=opened.quotas.size)
        alike += int(np.count_nonzero(places.source[1:] == places.source[:-1]))
        ranks += _neighbours(opened, places)
        if labels is not None:
            labelled.append(labels(places))
    expected = opened.expected(starts + batch_sequences) - opened.expected(starts)
    return Shuffle(
        phase,
        batches,
        chi_square(counts, expected, batches * (_cells(expected)[1] - 1)),
        _labels(labelled),
        _alike(alike, batches * (batch_sequences - 1), expected / batch_sequences),
        Correlation(float(ranks[0] / ranks[1]), int(ranks[2])) if ranks[2] else None,
    )


def chi_square(counts: Int64s, expected: Float64s, degrees: int) -> ChiSquare:
    """Pearson's chi-square of counts[batches, cells]; cells that expect fewer than 5 a batch are taken together."""
    owner, cells = _cells(expected)
    if cells < 2 or degrees < 1:
        return ChiSquare(0.0, 0, 1.0)
    together = np.zeros((expected.shape[1], cells))
    together[np.arange(owner.size), owner] = 1
    seen, wanted = counts @ together, expected @ together
    value = float(((seen - wanted) ** 2 / np.maximum(wanted, 1e-12)).sum())
    return ChiSquare(value, degrees, upper_tail(value, degrees))


def upper_tail(value: float, degrees: int) -> float:
    """How often a chi-square of so many degrees is larger, after Wilson and Hilferty (PNAS 17, 1931); from ten on."""
    spread = 2 / (9 * degrees)
    normal = ((value / degrees) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)
    return 0.5 * math.erfc(normal / math.sqrt(2))


def _cells(expected: Float64s) -> tuple[Int64s, int]:
    """The cell of each column, int64[columns], and their number: what expects too little shares the last one."""
    mean = expected.mean(axis=0)
    large = mean >= _LEAST_EXPECTED
    cells = int(np.count_nonzero(large))
    owner = np.where(large, np.cumsum(large) - 1, cells)
    if mean[~large].sum() >= _LEAST_EXPECTED:
        return owner, cells + 1
    return np.minimum(owner, max(cells - 1, 0)), max(cells, 1)


def _labels(counts: Sequence[Int64s]) -> ChiSquare | None:
    """Counts of labels against those of all batches together: a table's test of independence."""
    if not counts:
        return None
    table = np.stack(counts)
    total = max(int(table.sum()), 1)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / total
    return chi_square(table, expected, (len(table) - 1) * (_cells(expected)[1] - 1))


def _alike(alike: int, pairs: int, shares: Float64s) -> Correlation:
    """The lag-1 autocorrelation of the source, as a category: 0 by chance, 1 where it never changes."""
    by_chance = float((shares**2).sum(axis=1).mean())
    return Correlation((alike / pairs - by_chance) / (1 - by_chance) if by_chance < 1 else 0.0, pairs)


def _neighbours(opened: PhaseOrder, places: Slice) -> Float64s:
    """Of what a source draws one after the other: the sum of products, of squares, and how many pairs."""
    sums = np.zeros(3)
    sizes = {pool.index: pool.sequences for entry in opened.entries for pool in (entry.rest, entry.full) if pool}
    for pack in np.unique(places.pack):
        if sizes[int(pack)] < _LEAST_SIZE:
            continue
        chosen = places.pack == pack
        for source in np.unique(places.source[chosen]):
            rank = (places.sequence[chosen & (places.source == source)] + 0.5) / sizes[int(pack)] - 0.5
            squares = (rank[1:] ** 2 + rank[:-1] ** 2) / 2
            sums += [float((rank[1:] * rank[:-1]).sum()), float(squares.sum()), rank.size - 1]
    return sums
