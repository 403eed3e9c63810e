"""Decisions follow from scores: the first rule that is broken, bounds included, nothing silent."""

from collections.abc import Callable, Sequence
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from midtrain.errors import RunError
from midtrain.filters.document import DocumentBatch
from midtrain.filters.rules import Barrier, Filter, Rule, first_broken

Make = Callable[[Sequence[str]], DocumentBatch]


def byte_length(batch: DocumentBatch) -> np.ndarray:
    return np.diff(batch.text_offsets).astype(np.float64)


def words(batch: DocumentBatch) -> np.ndarray:
    return np.diff(batch.chunks.ends, prepend=0).astype(np.float64)


class Short(Filter):
    longest: int = 5

    @property
    def rules(self) -> tuple[Rule, ...]:
        return (Rule("bytes", byte_length, 1, self.longest, "test"), Rule("words", words, 1, None, "test"))


def test_the_first_broken_rule_is_reported_and_bounds_are_included(make_batch: Make) -> None:
    batch = make_batch(["", "a", "abcde", "abcdef", "   ", "       "])
    decision = Short().decide(batch)
    assert decision.keep.tolist() == [False, True, True, False, False, False]
    assert decision.rule.tolist() == [0, -1, -1, 0, 1, 0]
    assert decision.rule.dtype == np.int16
    np.testing.assert_array_equal(decision.value, [0, np.nan, np.nan, 6, 0, 7])
    np.testing.assert_array_equal(decision.threshold, [1, np.nan, np.nan, 5, 1, 5])
    assert set(Short().scores(batch)) == {"bytes", "words"}


def test_a_filter_that_adds_nothing_returns_the_batch(make_batch: Make) -> None:
    batch = make_batch(["a"])
    step = Short()
    assert step.annotate(batch) is batch
    assert step.score_columns == ()
    assert step.files == ()
    step.check()


def test_scores_that_are_missing_short_or_nan_are_errors() -> None:
    rule = Rule("r", words, 0, None, "test")
    with pytest.raises(RunError, match="no score for every document"):
        first_broken((rule,), {}, 2)
    with pytest.raises(RunError, match="no score for every document"):
        first_broken((rule,), {"r": np.zeros(1)}, 2)
    with pytest.raises(RunError, match="not a number"):
        first_broken((rule,), {"r": np.array([0.0, np.nan])}, 2)


def test_a_rule_without_bounds_keeps_all() -> None:
    rule = Rule("r", words, None, None, "test")
    decision = first_broken((rule,), {"r": np.array([-np.inf, 0, np.inf])}, 3)
    assert decision.keep.all()


def test_forms_are_frozen_and_have_versions() -> None:
    with pytest.raises(FrozenInstanceError):
        Rule("r", words, 0, None, "test").name = "s"  # type: ignore[misc]
    assert (Filter.version, Barrier.version) == (1, 1)
    assert "version" not in Short.model_fields


def test_one_score_may_be_exempt_from_the_bounds() -> None:
    scores = np.array([0.0, 0.1, 0.2, 0.3])
    rule = Rule("share", lambda batch: scores, 0.15, 0.25, "test", exempt=0.0)
    assert rule.breaks(scores).tolist() == [False, True, False, True]
    decision = first_broken((rule,), {"share": scores}, 4)
    assert decision.rule.tolist() == [-1, 0, -1, 0]
    assert decision.threshold[[1, 3]].tolist() == [0.15, 0.25]
