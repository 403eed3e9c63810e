"""Pass rates as corpora state them."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain.filters.pass_rate import is_stated, pass_rate


@given(st.lists(st.integers(0, 100), min_size=1, max_size=20))
def test_a_list_is_its_mean_in_any_spelling(values: list[int]) -> None:
    mean = sum(values) / len(values) / 100
    for spelled in (values, [float(one) for one in values], [str(one) for one in values]):
        found = pass_rate(spelled, 100.0)
        assert found is not None
        assert math.isclose(found, mean, abs_tol=1e-12)


@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_truth_counts_whole_whatever_stands_for_always(values: list[bool]) -> None:
    assert pass_rate(values, 100.0) == sum(values) / len(values)


@pytest.mark.parametrize(
    "value",
    [None, {}, {"a": 1}, [], [None], [1, -1, 1, 1], [2, 0, 0], "hard", "0.5 of 1", 1.01, -0.01, math.nan, math.inf],
)
def test_what_is_no_rate(value: Any) -> None:
    assert pass_rate(value) is None


def test_what_states_nothing() -> None:
    assert [is_stated(one) for one in (None, "", " N/A ", "None", [], math.nan)] == [False] * 6
    assert [is_stated(one) for one in (0, 0.0, "0", "hard", False, [0])] == [True] * 6
