"""The keyed permutation: a bijection with an inverse, as good as a shuffle, and a source's epochs built on it."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import RunError
from midtrain.mixtures.permutation import Draws, epoch_key, permute, unpermute


def test_is_a_bijection_with_an_inverse_for_every_small_n():
    for n in range(1, 2000):
        indices = np.arange(n)
        moved = permute(indices, n, epoch_key(1, "web", n))
        assert np.array_equal(np.sort(moved), indices), n
        assert np.array_equal(unpermute(moved, n, epoch_key(1, "web", n)), indices), n


@settings(deadline=None)  # the first call compiles
@given(st.data(), st.integers(0, 2**64 - 1))
def test_inverts_in_large_domains(data, key):
    n = data.draw(st.integers(1, 2**62))
    index = data.draw(st.integers(0, n - 1))
    moved = permute(index, n, key)
    assert isinstance(moved, int)
    assert 0 <= moved < n
    assert unpermute(moved, n, key) == index
    assert permute(np.array([index]), n, key).tolist() == [moved]


def test_keeps_the_shape_and_does_not_change_its_argument():
    indices = np.arange(12).reshape(3, 4)
    moved = permute(indices, 12, 7)
    assert moved.shape == (3, 4)
    assert moved.ravel().tolist() == permute(np.arange(12), 12, 7).tolist()
    assert indices.tolist() == np.arange(12).reshape(3, 4).tolist()


@pytest.mark.parametrize(("index", "n"), [(5, 5), (-1, 5), (0, 0), (0, 2**62 + 1)])
def test_refuses_what_lies_outside(index, n):
    with pytest.raises(IndexError):
        permute(index, n, 1)
    with pytest.raises(IndexError):
        unpermute(np.array([index]), n, 1)


def test_the_key_depends_on_seed_source_and_epoch():
    keys = {epoch_key(seed, source, epoch) for seed in (0, 1) for source in ("a", "b", "a1") for epoch in (0, 1, 11)}
    assert len(keys) == 18
    # Frozen: another key would silently reorder every mixture that was ever built.
    assert epoch_key(1, "web", 0) == 8121156182349641874
    assert permute(np.arange(8), 8, epoch_key(1, "web", 0)).tolist() == [7, 1, 2, 6, 3, 0, 4, 5]


def z_score(counts, cells: int) -> float:
    """Chi-square of counts against equal frequencies, in standard deviations from its mean."""
    counts = np.asarray(list(counts), dtype=float)
    expected = counts.sum() / cells
    chi_square = ((counts - expected) ** 2).sum() / expected + (cells - counts.size) * expected
    return (chi_square - (cells - 1)) / math.sqrt(2 * (cells - 1))


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_every_order_of_a_few_elements_is_equally_likely(n):
    orders = math.factorial(n)
    seen = Counter(permute(np.arange(n), n, epoch_key(3, "s", epoch)).tobytes() for epoch in range(30 * orders))
    assert len(seen) == orders
    assert z_score(seen.values(), orders) < 4


def test_places_of_one_index_are_uniform_over_keys():
    places = np.bincount([permute(17, 100, epoch_key(5, "s", epoch)) for epoch in range(5000)], minlength=100)
    assert abs(z_score(places, 100)) < 4


def test_a_sorted_corpus_comes_out_mixed():
    n, sources, batch = 256_000, 8, 256
    source = permute(np.arange(n), n, epoch_key(9, "sorted", 0)) * sources // n
    batches = source.reshape(-1, batch)
    counts = np.stack([(batches == value).sum(axis=1) for value in range(sources)], axis=1)
    expected = batch / sources
    chi_square = ((counts - expected) ** 2 / expected).sum()
    freedom = len(batches) * (sources - 1)
    assert abs(chi_square - freedom) < 4 * math.sqrt(2 * freedom)
    centred = source - source.mean()
    assert abs((centred[1:] * centred[:-1]).mean() / centred.var()) < 0.01
    steps = np.diff(permute(np.arange(n), n, epoch_key(9, "sorted", 0)))
    assert np.unique(steps).size > 0.7 * n * (1 - 1 / math.e)


def test_epochs_have_unlike_orders():
    first, second = (permute(np.arange(10_000), 10_000, epoch_key(1, "web", epoch)) for epoch in (0, 1))
    assert (first == second).sum() < 10  # 1 expected
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.04  # 4 standard deviations


def test_draws_are_the_rest_and_then_whole_epochs():
    draws = Draws(seed=1, source="web", rest_size=5, rest_epoch=2, full_size=7, full_epoch=3)
    located = draws.locate(np.arange(5 + 7 + 7))
    assert located.epoch.tolist() == [2] * 5 + [3] * 7 + [4] * 7
    assert located.full.tolist() == [False] * 5 + [True] * 14
    assert located.sequence[:5].tolist() == permute(np.arange(5), 5, epoch_key(1, "web", 2)).tolist()
    assert located.sequence[5:12].tolist() == permute(np.arange(7), 7, epoch_key(1, "web", 3)).tolist()
    assert located.sequence[12:].tolist() == permute(np.arange(7), 7, epoch_key(1, "web", 4)).tolist()
    assert [draws.epoch(draw) for draw in (0, 4, 5, 11, 12)] == [2, 2, 3, 3, 4]
    assert [draws.left_in_epoch(draw) for draw in (0, 4, 5, 11, 12)] == [5, 1, 7, 1, 7]
    shuffled = np.array([18, 0, 11, 5, 4])
    assert draws.locate(shuffled).sequence.tolist() == located.sequence[shuffled].tolist()


def test_a_draw_beyond_the_plan_is_an_error():
    with pytest.raises(RunError, match="beyond the plan"):
        Draws(1, "web", 5, 0, 0, 1).locate(np.array([4, 5]))
