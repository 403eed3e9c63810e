"""Changing weights: whole counts at every segment's end, and every prefix within two sequences of the exact curve."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.mixtures.interleave import BLOCK, cumulative_counts
from midtrain.mixtures.phases import PhaseFile, PhaseOrder, SourceEntry, write_phase
from midtrain.mixtures.plans.segments import Curve, curve_knots, curve_values, phase_counts, row_places, segment_starts


def shares(parts):
    return tuple(Fraction(part, sum(parts)) for part in parts)


def whole_order(root, quotas, curve):
    """The phase on disk, and the source at each of its places."""
    counts, segments = phase_counts(np.array(quotas, dtype=np.int64), curve)
    entries = tuple(
        SourceEntry(name=f"s{i}", share=0.5, loss="all", quota=quota, first_draw=0, rest=None, full=None)
        for i, quota in enumerate(quotas)
    )
    file = PhaseFile(
        version=2,
        phase="p",
        seed=1,
        sequence_length=8,
        sequences=sum(quotas),
        segments=segments,
        indexes=(),
        sources=entries,
    )
    order = PhaseOrder.open(root, write_phase(root, file, counts))
    rows = [order.replay_row(row) for row in range(len(order.counts))]
    source, ordinal = (np.concatenate(column) for column in zip(*rows, strict=True))
    for number, quota in enumerate(quotas):
        assert np.array_equal(ordinal[source == number], np.arange(quota))
    return order, source


def prefixes(source, k):
    """How many of every source stand before each place: int64[n + 1, k]."""
    counts = np.zeros((source.size + 1, k), dtype=np.int64)
    for number in range(k):
        counts[1:, number] = np.cumsum(source == number)
    return counts


@st.composite
def changing(draw, most=20_000):
    """Quotas and a curve: 2 to 40 sources, some rare, some coming or going, tokens a sequence that differ."""
    k = draw(st.integers(2, 40))
    part = st.one_of(st.just(0), st.integers(1, 3), st.integers(1, 10_000))
    start, end = (draw(st.lists(part, min_size=k, max_size=k).filter(sum)) for _ in range(2))
    curve = Curve(shares(start), shares(end), draw(st.sampled_from(["linear", "cosine"])))
    length = draw(st.integers(2, most))
    fill = draw(st.lists(st.sampled_from([0.5, 0.9, 1.0]), min_size=k, max_size=k))
    mean = [(a + b) / 2 for a, b in zip(curve.start, curve.end, strict=True)]
    quotas = [math.ceil(share * length / filled) for share, filled in zip(mean, map(Fraction, fill), strict=True)]
    return quotas, curve


@settings(deadline=None, max_examples=60)
@given(changing())
def test_knots_are_whole_never_fall_and_stay_within_one_of_the_curve(case):
    quotas, curve = case
    quotas = np.array(quotas, dtype=np.int64)
    knots = curve_knots(quotas, curve)
    places = segment_starts(int(quotas.sum()), len(knots) - 1)
    assert knots[0].tolist() == [0] * quotas.size
    assert knots[-1].tolist() == quotas.tolist()
    assert knots.sum(axis=1).tolist() == places.tolist()
    assert np.diff(knots, axis=0).min() >= 0
    assert np.abs(knots - curve_values(quotas, curve, places)).max() < 1 + 1e-6


@settings(deadline=None, max_examples=40)
@given(changing(4_000))
def test_every_prefix_is_within_two_of_the_curve_and_within_one_of_its_segment(tmp_path_factory, case):
    quotas, curve = case
    order, source = whole_order(tmp_path_factory.mktemp("order"), quotas, curve)
    assert np.bincount(source, minlength=len(quotas)).tolist() == quotas
    counts = prefixes(source, len(quotas))
    exact = curve_values(np.array(quotas), curve, np.arange(source.size + 1))
    assert np.abs(counts - exact).max() < 2
    for segment, (first, stop) in enumerate(zip(order.starts[:-1], order.starts[1:], strict=True)):
        share = order.segment_quotas(segment) / (stop - first)
        within = np.arange(stop - first + 1)[:, np.newaxis] * share
        assert np.abs(counts[first : stop + 1] - counts[first] - within).max() < 1


@pytest.mark.parametrize("change", ["linear", "cosine"])
def test_the_curve_is_the_integral_of_the_shares(change):
    # Where sequences of all sources hold as much, the sum of the curve is the place, and its slope is the share.
    curve = Curve(shares([8, 2, 0]), shares([2, 6, 2]), change)
    quotas = np.array([500_000, 400_000, 100_000])
    at = np.linspace(0, 1, 101)
    places = np.round(at * 1_000_000).astype(np.int64)
    values = curve_values(quotas, curve, places)
    eased = at if change == "linear" else (1 - np.cos(np.pi * at)) / 2
    share = np.array([0.8, 0.2, 0.0]) + eased[:, np.newaxis] * np.array([-0.6, 0.4, 0.2])
    assert np.allclose(np.gradient(values, places, axis=0)[1:-1], share[1:-1], atol=2e-4)
    assert np.allclose(values.sum(axis=1), places, atol=1e-6)
    assert values[-1].tolist() == quotas.tolist()


def test_a_source_that_joins_and_one_that_goes_leave_early_and_come_late(tmp_path):
    order, source = whole_order(tmp_path, [5_000, 5_000], Curve(shares([1, 0]), shares([0, 1]), "linear"))
    counts = prefixes(source, 2)
    assert counts[1_000].tolist() == pytest.approx([950, 50], abs=2)
    assert counts[5_000].tolist() == pytest.approx([3_750, 1_250], abs=2)
    assert len(order.starts) - 1 == pytest.approx(2 * math.sqrt(10_000), rel=0.5)


def test_a_rare_source_comes_as_often_as_its_quota(tmp_path):
    quotas = [600_000, 399_997, 3]
    curve = Curve(shares([700_000, 299_997, 3]), shares([500_000, 499_997, 3]), "cosine")
    _, source = whole_order(tmp_path, quotas, curve)
    places = np.flatnonzero(source == 2)
    assert places.size == 3
    assert np.abs(places - np.array([1, 3, 5]) * 1e6 / 6).max() <= 1e6 / 3


def test_long_segments_have_a_row_every_block(tmp_path):
    # Shares that hardly move need few segments, each longer than a block.
    quotas = [200_010, 199_990]
    curve = Curve(shares([200_011, 199_989]), shares([200_009, 199_991]), "linear")
    order, source = whole_order(tmp_path, quotas, curve)
    assert 1 < len(order.starts) - 1 < len(order.counts)
    counts = prefixes(source, 2)
    for row in range(len(order.counts)):
        start, stop = order.row_bounds(row)
        assert 0 < stop - start <= BLOCK
        assert order.row_of(start) == order.row_of(stop - 1) == row
        assert order.counts[row].tolist() == counts[start].tolist()


def test_what_shares_come_to_is_whole_at_segments_and_even_between(tmp_path):
    order, source = whole_order(tmp_path, [300, 500, 200], Curve(shares([6, 4, 0]), shares([0, 6, 4]), "linear"))
    counts = prefixes(source, 3)
    assert np.array_equal(order.expected(order.starts), counts[order.starts])
    places = np.arange(source.size + 1)
    expected = order.expected(places)
    assert np.allclose(expected.sum(axis=1), places)
    assert np.abs(expected - counts).max() < 1
    middle = (order.starts[3] + order.starts[4]) / 2
    assert np.allclose(order.expected(np.array([middle])), (counts[order.starts[3]] + counts[order.starts[4]]) / 2)


@pytest.mark.parametrize("ends", [([1, 1, 2], [1, 1, 2]), None], ids=["equal ends", "no curve"])
def test_shares_that_do_not_move_are_one_segment_and_todays_order(ends):
    quotas = np.array([100_000, 100_001, 200_000])
    counts, segments = phase_counts(quotas, ends and Curve(shares(ends[0]), shares(ends[1]), "linear"))
    assert segments == 1
    assert np.array_equal(counts, cumulative_counts(quotas))
    places, first_rows = row_places(segment_starts(400_001, 1))
    assert places.tolist() == [*range(0, 400_001, BLOCK), 400_001]
    assert first_rows.tolist() == [0, len(counts)]


def test_a_thousand_million_sequences_take_bounded_memory():
    quotas = np.array([600_000_000, 400_000_000])
    knots = curve_knots(quotas, Curve(shares([9, 1]), shares([3, 7]), "linear"))
    places = segment_starts(10**9, len(knots) - 1)
    assert len(knots) <= 65_537
    assert (
        np.abs(knots - curve_values(quotas, Curve(shares([9, 1]), shares([3, 7]), "linear"), places)).max() < 1 + 1e-5
    )
