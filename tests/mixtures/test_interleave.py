"""Tijdeman's rule: the theorem's bound at every prefix, exact quotas, and replay from any block."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import RunError
from midtrain.mixtures.interleave import BLOCK, cumulative_counts, replay


def from_start(quotas, length=None):
    quotas = np.array(quotas, dtype=np.int64)
    zeros = np.zeros(quotas.size, dtype=np.uint64)
    return replay(quotas, zeros, 0, int(quotas.sum()) if length is None else length)


def assert_bound(quotas, source):
    """|share·t - count| <= 1 - 1/(2k - 2) for every source at every prefix, in whole numbers; k without zero quotas."""
    quotas = np.array(quotas, dtype=np.int64)
    total, k = int(quotas.sum()), int(np.count_nonzero(quotas))
    time = np.arange(1, source.size + 1)
    for number, quota in enumerate(quotas):
        residual = int(np.abs(quota * time - total * np.cumsum(source == number)).max())
        assert residual < total
        assert residual * (2 * k - 2) <= (2 * k - 3) * total if k > 1 else residual == 0


def plain(quotas):
    """Tijdeman's rule in fractions: of those whose share is far enough ahead, the one that can wait the least."""
    total, k = sum(quotas), sum(quota > 0 for quota in quotas)
    slack = Fraction(1, max(2 * k - 2, 2))
    counts, order = [0] * len(quotas), []
    for time in range(1, total + 1):
        ahead = [Fraction(quota * time, total) - count for quota, count in zip(quotas, counts, strict=True)]
        may = [i for i, value in enumerate(ahead) if value >= slack]
        chosen = min(may, key=lambda i: ((1 - slack - ahead[i]) * total // quotas[i], i))
        order.append((chosen, counts[chosen]))
        counts[chosen] += 1
    return order


QUOTAS = st.lists(st.one_of(st.integers(0, 3), st.integers(0, 120)), min_size=1, max_size=9).filter(sum)


@settings(deadline=None)  # the first call compiles
@given(QUOTAS)
def test_equals_the_rule_in_plain_python(quotas):
    source, ordinal = from_start(quotas)
    assert list(zip(source.tolist(), ordinal.tolist(), strict=True)) == plain(quotas)


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.one_of(st.integers(0, 3), st.integers(0, 5000)), min_size=1, max_size=40).filter(sum))
def test_every_prefix_is_within_the_bound_and_the_end_is_exact(quotas):
    source, ordinal = from_start(quotas)
    assert np.bincount(source, minlength=len(quotas)).tolist() == quotas
    assert_bound(quotas, source)
    for number, quota in enumerate(quotas):
        assert ordinal[source == number].tolist() == list(range(quota))


@pytest.mark.parametrize(
    "quotas",
    [[1, 1_000_000], [1_000_000, 1, 1, 1], [0, 1_000_000, 0, 1, 333_333], [7], [1, 1], [1] * 3000, [0, 5, 0]],
    ids=["1:1M", "1M:1:1:1", "zeros", "one", "pair", "3000 sources", "one of three"],
)
def test_extreme_quotas(quotas):
    source, _ = from_start(quotas)
    assert np.bincount(source, minlength=len(quotas)).tolist() == quotas
    if len(quotas) < 1000:
        assert_bound(quotas, source)


def test_twelve_sources_hold_their_share_in_every_window():
    shares = np.array([0.45, 0.2, 0.12, 0.08, 0.05, 0.04, 0.03, 0.02, 0.006, 0.003, 0.0009, 0.0001])
    quotas = np.round(shares * 100_000).astype(np.int64)
    source, _ = from_start(quotas)
    for number, quota in enumerate(quotas):
        counts = np.concatenate([[0], np.cumsum(source == number)])
        in_window = counts[1000:] - counts[:-1000]
        assert np.abs(in_window - 1000 * quota / quotas.sum()).max() < 2


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_replay_from_any_block_equals_the_run_from_the_start(data):
    quotas = np.array(data.draw(st.lists(st.sampled_from([0, 1, 17, 30_000, 90_001]), min_size=2, max_size=6)))
    quotas[0] = 150_000
    source, ordinal = from_start(quotas)
    counts = cumulative_counts(quotas)
    assert counts.shape == (-(-int(quotas.sum()) // BLOCK), quotas.size)
    assert counts.dtype == np.uint64
    for block, row in enumerate(counts):
        start = block * BLOCK
        assert row.tolist() == np.bincount(source[:start], minlength=quotas.size).tolist()
        length = data.draw(st.integers(0, min(2 * BLOCK, source.size - start)))
        again = replay(quotas, row, start, length)
        assert np.array_equal(again[0], source[start : start + length])
        assert np.array_equal(again[1], ordinal[start : start + length])


def test_does_not_overflow_at_two_to_the_40_sequences():
    # Quotas with a common factor repeat: wherever a multiple of the reduced total begins, the order starts again.
    base = np.array([1, 600, 23, 0, 400], dtype=np.int64)
    base_source, base_ordinal = from_start(base)
    factor = 2**30
    start = (factor - 3) * base.sum()
    source, ordinal = replay(base * factor, (base * (factor - 3)).astype(np.uint64), int(start), 2 * int(base.sum()))
    assert np.array_equal(source, np.tile(base_source, 2))
    assert np.array_equal(ordinal[: base.sum()], base_ordinal + (base * (factor - 3))[base_source])


def test_thousands_of_sources_at_two_to_the_40_sequences_stay_in_bound():
    quotas = np.random.default_rng(4).integers(1, 2**29, 4000)
    source, _ = from_start(quotas, 6000)
    total = int(quotas.sum())
    assert total > 2**39
    counts = np.bincount(source, minlength=quotas.size)
    for quota, count in zip(quotas.tolist(), counts.tolist(), strict=True):
        assert abs(quota * 6000 - total * count) * 7998 <= 7997 * total


@pytest.mark.parametrize("quotas", [[], [0, 0], [3, -1], [2**60, 2**60]])
def test_refuses_quotas_that_are_none(quotas):
    with pytest.raises(ValueError, match=r"quotas|sequences"):
        cumulative_counts(np.array(quotas, dtype=np.int64))


def test_refuses_places_outside_the_phase():
    with pytest.raises(ValueError, match="places"):
        from_start([3, 4], 8)


@pytest.mark.parametrize("row", [[2, 1], [0, 4], [4, 0], [5, -1]])
def test_counts_of_another_place_are_an_error(row):
    quotas = np.array([30, 30], dtype=np.int64)
    with pytest.raises(RunError, match="do not belong to this place"):
        replay(quotas, np.array(row, dtype=np.int64), 4, 10)
    assert replay(quotas, np.array([2, 2]), 4, 10)[0].size == 10


def test_counts_that_no_order_reaches_are_an_error():
    # Each is within one sequence of its share (0.95), but three sources would all have to come at the next place.
    quotas = np.array([95, 95, 95, 205, 205, 305], dtype=np.int64)
    row = np.array([0, 0, 0, 3, 3, 4], dtype=np.uint64)
    with pytest.raises(RunError, match="do not belong to this place"):
        replay(quotas, row, 10, 20)
