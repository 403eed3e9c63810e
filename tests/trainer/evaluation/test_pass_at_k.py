"""pass@k against the binomials of its definition, and against what it estimates."""

import itertools
from fractions import Fraction
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain.errors import ConfigError
from midtrain.trainer.evaluation.pass_at_k import check_ks, mean_pass_at_k, pass_at_k


@given(st.data())
def test_it_is_the_formula_of_the_paper(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 300))
    right, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    exact = 1 - Fraction(comb(n - right, k), comb(n, k))
    assert pass_at_k(n, right, k) == pytest.approx(float(exact), abs=1e-12)


def test_it_is_the_mean_over_all_choices_of_k_replies() -> None:
    replies = [True, False, False, True, False, False]
    for k in range(1, 7):
        chosen = list(itertools.combinations(replies, k))
        assert pass_at_k(6, 2, k) == pytest.approx(sum(map(any, chosen)) / len(chosen))


def test_large_numbers_neither_overflow_nor_cancel() -> None:
    assert pass_at_k(100_000, 1, 100) == pytest.approx(0.001, rel=1e-9)
    assert pass_at_k(100_000, 50_000, 100) == pytest.approx(1.0)
    assert pass_at_k(100_000, 0, 100) == 0.0
    assert pass_at_k(10, 4, 7) == 1.0  # no 7 of them are all wrong


def test_the_mean_is_over_problems() -> None:
    assert mean_pass_at_k(4, [0, 4, 1], [1, 2]) == pytest.approx({1: 5 / 12, 2: 1.5 / 3})


@pytest.mark.parametrize(
    ("ks", "n", "says"),
    [([1, 10], 5, r"pass@10[^$]*from 5 replies[^$]*n 10 replies or more"), ([0], 5, "pass@0"), ([1, 1], 5, "twice")],
)
def test_what_cannot_be_estimated(ks: list[int], n: int, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as wrong:
        check_ks(ks, n)
    assert wrong.value.exit_code == 2
    with pytest.raises(ConfigError, match="no estimate"):
        check_ks([], 3)
