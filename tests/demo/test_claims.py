"""The demo's claims: each holds on results that are good, and each fails alone on results that miss its bound."""

from collections.abc import Callable
from typing import Any

import pytest
from midtrain.demo.claims import check
from midtrain.demo.results import Results

Make = Callable[..., Results]


def changed(results: Results, model: str, **values: Any) -> dict[str, Any]:
    """One model's evaluation with the scores of its second family changed."""
    evaluation: dict[str, Any] = getattr(results, model)
    first, second = evaluation["tasks"]
    return {**evaluation, "tasks": [first, {**second, **values}]}


def test_all_hold_where_midtraining_taught_and_the_control_did_not(results: Make) -> None:
    checks = check(results())
    assert [one.holds for one in checks] == [True] * 12
    assert {one.word for one in checks} == {"yes"}
    assert len({one.text for one in checks}) == 12


BROKEN = [
    ("before", {"accuracy": 0.254}, "word_problem: before midtraining at most 25%", "25.4%"),
    ("after", {"accuracy": 0.848}, "word_problem: after midtraining at least 85%", "84.8%"),
    ("control", {"accuracy": 0.504}, "word_problem: control at most 50%", "50.4%"),
    ("control", {"parsed": 237}, "word_problem: at least 95% of the control's replies are answers", "94.8%"),
    ("control", {"twin_loss": 3.0}, "word_problem: the control's loss on unseen answers", "3.0000 against 3.0000"),
    ("control", {"twin_loss": float("nan")}, "word_problem: the control's loss on unseen answers", "nan against"),
    ("after", {"problems": 199}, "word_problem: at least 200 held-out problems", "199"),
]


@pytest.mark.parametrize(("model", "values", "text", "seen"), BROKEN, ids=lambda value: str(value)[:30])
def test_each_can_fail_alone(results: Make, model: str, values: dict[str, Any], text: str, seen: str) -> None:
    good = results()
    failed = [one for one in check(results(**{model: changed(good, model, **values)})) if not one.holds]
    assert len(failed) == 1
    assert failed[0].text.startswith(text)
    assert seen in failed[0].seen
    assert failed[0].word == "NO"


@pytest.mark.parametrize(
    ("model", "values"),
    [
        ("before", {"accuracy": 0.25}),
        ("after", {"accuracy": 0.85}),
        ("control", {"accuracy": 0.5}),
        ("control", {"parsed": 238}),
        ("after", {"problems": 200}),
    ],
)
def test_the_bounds_themselves_still_hold(results: Make, model: str, values: dict[str, Any]) -> None:
    good = results()
    assert all(one.holds for one in check(results(**{model: changed(good, model, **values)})))


def test_a_family_that_one_model_was_not_asked_is_an_error(results: Make) -> None:
    good = results()
    with pytest.raises(ValueError, match="shorter"):
        check(results(control={**good.control, "tasks": good.control["tasks"][:1]}))
