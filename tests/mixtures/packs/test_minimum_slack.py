"""Minimum bin slack: every sequence is as full as what is left allows, held to all subset sums in plain Python."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.mixtures.packs.best_fit import best_fit
from midtrain.mixtures.packs.minimum_slack import minimum_slack


def fullest(longest, others, capacity):
    """The largest sum of the longest and any others that fits."""
    sums = {longest}
    for length in others:
        sums |= {one + length for one in sums if one + length <= capacity}
    return max(sums)


@settings(deadline=None)  # the first call compiles
@given(st.sampled_from([7, 63, 64, 65, 130, 300]), st.data())
def test_every_sequence_takes_the_longest_left_and_what_fills_it_best(capacity, data):
    lengths = data.draw(st.lists(st.integers(1, capacity), max_size=30))
    decreasing = np.array(sorted(lengths, reverse=True), np.int64)
    bins = minimum_slack(decreasing, capacity).tolist()
    assert sorted(set(bins)) == list(range(max(bins, default=-1) + 1))
    left = list(zip(decreasing.tolist(), bins, strict=True))
    for number in range(max(bins, default=-1) + 1):
        mine = [length for length, chosen in left if chosen == number]
        others = [length for length, _ in left]
        assert mine[0] == others[0]
        assert sum(mine) == fullest(others[0], others[1:], capacity)
        left = [one for one in left if one[1] != number]
    assert not left


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=40))
def test_items_of_equal_length_go_in_their_order(lengths):
    decreasing = np.array(sorted(lengths, reverse=True), np.int64)
    bins = minimum_slack(decreasing, 20)
    for length in set(lengths):
        assert (np.diff(bins[decreasing == length]) >= 0).all()


def test_it_fills_where_best_fit_does_not():
    """Documents of about a third of a sequence, as reasoning is."""
    lengths = np.random.default_rng(1).lognormal(6.8, 0.35, 5_000).astype(np.int64) + 1
    decreasing = -np.sort(-lengths[lengths <= 4096])
    fewest = -(-int(decreasing.sum()) // 4096)
    assert best_fit(decreasing, 4096).max() + 1 > 1.01 * fewest
    assert minimum_slack(decreasing, 4096).max() + 1 == fewest


def test_where_its_work_is_spent_the_rest_goes_nowhere():
    decreasing = -np.sort(-np.random.default_rng(2).integers(300, 2000, 500))
    whole = minimum_slack(decreasing, 4096)
    some = minimum_slack(decreasing, 4096, work=1000)
    assert whole.min() == 0
    assert some.min() == -1
    assert (some[some >= 0] == whole[some >= 0]).all()
