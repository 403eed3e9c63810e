"""The sketch of a rule's values: bins that hold exactly what lies between their edges, however the values came."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.pipelines.value_sketch import BITS, SMALLEST, Bound, ValueSketch, cell_of, edge_of

FINITE = st.floats(allow_nan=False, allow_infinity=False, width=64)
VALUES = st.lists(
    st.one_of(FINITE, st.floats(-3, 3), st.integers(-5000, 5000).map(float), st.sampled_from([0.0, -0.0, 1.0, 0.5])),
    min_size=1,
    max_size=60,
)


def sketch_of(values, batches=1):
    sketch = ValueSketch()
    for batch in np.array_split(np.array(values, np.float64), batches):
        sketch.add(batch)
    return sketch


def ordinary(values):
    """Without those so large or so small that 8 bytes for each cell between them would slow the test down."""
    return [0.0 if abs(value) < 1e-9 else math.copysign(min(abs(value), 1e12), value) for value in values]


@settings(deadline=None)
@given(st.lists(FINITE, min_size=2, max_size=50))
def test_cells_are_in_the_order_of_their_values(values):
    values = np.array(sorted(values), np.float64) + 0.0
    cells = cell_of(values)
    assert (np.diff(cells) >= 0).all()
    inside = np.abs(values) >= SMALLEST
    assert (edge_of(cells)[inside] <= values[inside]).all()
    with np.errstate(over="ignore"):
        above = edge_of(cells + 1)
    assert ((values < above) | np.isnan(above))[inside].all()
    assert (cells[np.abs(values) < SMALLEST] == 0).all()


@settings(deadline=None)
@given(st.floats(2 * SMALLEST, 1e300), st.booleans())
def test_a_cell_is_no_wider_than_a_thousandth_of_its_value(value, negative):
    value = -value if negative else value
    (cell,) = cell_of(np.array([value]))
    low, high = edge_of(np.array([cell, cell + 1]))
    assert high - low <= abs(value) * 2.0**-BITS * (1 + 2.0**-BITS)


@settings(deadline=None)
@given(
    VALUES, st.integers(1, 5), st.lists(st.builds(Bound, st.floats(0, 100), st.booleans(), st.booleans()), max_size=3)
)
def test_bins_hold_exactly_what_lies_between_their_edges(values, batches, bounds):
    values = ordinary(values)
    sketch = sketch_of(values, batches)
    bins = sketch.bins(bounds)
    edges, counts = np.array(bins.edges), sketch.counts(bins)
    assert (np.diff(edges) > 0).all()
    assert len(counts) == len(edges) - 1
    # Python's own comparisons; what is nearer to zero than the smallest cell counts as zero.
    assert list(counts) == [sum(low <= value < high for value in values) for low, high in pairwise(edges)]
    assert sum(counts) == len(values)
    assert all(edges[0] <= bound.value <= edges[-1] for bound in bounds if bound.value >= SMALLEST)


@settings(deadline=None)
@given(VALUES, st.floats(0.01, 100), st.booleans())
def test_a_bin_of_what_is_dropped_alone_never_lies_on_the_kept_side(values, bound, below):
    dropped = [value for value in ordinary(values) if (value < bound if below else value > bound)]
    if not dropped:
        return
    sketch = sketch_of(dropped)
    bins = sketch.bins([Bound(bound, below, kept=False)])
    for (low, high), count in zip(pairwise(bins.edges), sketch.counts(bins), strict=True):
        if count:
            assert high <= bound * 1.002 if below else low >= bound * 0.998


@settings(deadline=None)
@given(VALUES, st.floats(0.01, 100), st.booleans())
def test_a_bin_of_what_is_kept_alone_never_lies_on_the_wrong_side(values, bound, below):
    kept = [value for value in ordinary(values) if (value >= bound if below else value <= bound)]
    if not kept:
        return
    sketch = sketch_of(kept)
    bins = sketch.bins([Bound(bound, below)])
    for (low, high), count in zip(pairwise(bins.edges), sketch.counts(bins), strict=True):
        if count:
            assert low >= bound * 0.998 if below else high <= bound * 1.002


@settings(deadline=None)
@given(VALUES, st.integers(2, 6))
def test_batches_change_nothing(values, batches):
    one, many = sketch_of(ordinary(values)), sketch_of(ordinary(values), batches)
    bins = one.bins()
    assert many.bins() == bins
    assert one.counts(bins) == many.counts(bins)
    assert (one.count, one.low, one.high, one.whole) == (many.count, many.low, many.high, many.whole)


@settings(deadline=None)
@given(VALUES, st.floats(0.01, 1))
def test_a_quantile_is_near_the_value_of_that_rank(values, share):
    values = sorted(ordinary(values))
    rank = max(math.ceil(share * len(values)), 1) - 1
    assert sketch_of(values).quantile(share) == pytest.approx(values[rank], rel=2.0**-BITS, abs=1e-9)


def test_no_value_is_no_histogram():
    sketch = sketch_of([math.nan, math.inf, -math.inf])
    assert sketch.count == 0
    assert sketch.bins() is None
    assert sketch.counts(sketch_of([1.0, 2.0]).bins()) == (0,) * (len(sketch_of([1.0, 2.0]).bins().cells) - 1)
    assert math.isnan(sketch.quantile(0.5))


def test_whole_numbers_get_bins_of_whole_numbers():
    sketch = sketch_of(np.arange(100.0))
    bins = sketch.bins([Bound(50.0, True)])
    assert not bins.log
    assert all(edge == int(edge) for edge in bins.edges[:-1])
    assert set(sketch.counts(bins)[1:-1]) == {3}
    assert 50.0 in bins.edges


def test_a_wide_spread_is_drawn_by_its_logarithm():
    sketch = sketch_of(np.exp(np.random.default_rng(0).normal(3, 3, 10_000)))
    bins = sketch.bins([Bound(7.5, True)])
    assert bins.log
    assert bins.edges[0] == 0
    ratios = np.diff(np.log(bins.edges[1:-1]))
    assert ratios.max() < 1.05 * ratios.min()
    assert any(abs(edge - 7.5) < 7.5 * 2.0**-BITS for edge in bins.edges)
    assert 30 < len(bins.cells) < 60
    assert max(sketch.counts(bins)) < 1500  # it is a bell


def test_a_narrow_spread_is_drawn_as_it_is_and_ends_bins_at_both_bounds():
    bins = sketch_of(np.random.default_rng(0).normal(5, 1, 10_000)).bins([Bound(3.1, True), Bound(7.77, False)])
    assert not bins.log
    assert 35 < len(bins.cells) < 50
    for bound in (3.1, 7.77):
        assert any(abs(edge - bound) < bound * 2.0**-BITS for edge in bins.edges)


@pytest.mark.parametrize("value", [0.0, 1.0, -4.5, 1e-12, 3e7])
def test_one_value_is_one_bin(value):
    sketch = sketch_of([value] * 3)
    assert sorted(sketch.counts(sketch.bins()))[-2:] in ([3], [0, 3])
