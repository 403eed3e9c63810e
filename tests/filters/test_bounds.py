"""Every filter of the catalogue says which of its options scores are only compared with, and is right about it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pydantic
import pytest
from midtrain.filters import catalogue
from midtrain.filters.document import DocumentBatch
from midtrain.filters.language import Language
from midtrain.filters.rules import Filter

Make = Callable[[Sequence[str]], DocumentBatch]
REQUIRED: dict[str, dict[str, Any]] = {  # options without which a step is none
    "datatrove": {"block": "LambdaFilter"},
    "language": {"keep": ("en", "de")},
    "length": {"min_characters": 3},
    "thought_length": {"min_words": 3},
    "url": {"soft_words": ("casino", "poker", "bonus")},
}
TEXTS = [
    "",
    "The cat sat on the mat and that was all that the cat ever did to be of use.\nIt was enough.\n" * 9,
    "# one\n- two ...\n• three…\n" * 5,
    "Der Hund lief mit den anderen Hunden durch den Wald, und es war kalt.",
    "zzz " * 200,
]


def filters() -> list[str]:
    return [name for name in catalogue.names() if issubclass(catalogue.step(name), Filter)]


def made(name: str, **options: Any) -> Filter:
    kind = catalogue.step(name)
    assert issubclass(kind, Filter)
    return kind(**{**REQUIRED.get(name, {}), **options})


def others(step: Filter, option: str) -> Iterator[Filter]:
    """The step with other values of one option: those that it takes, of numbers, truth values and choices."""
    given = step.model_dump(exclude_unset=True)
    for value in other_values(getattr(step, option), type(step).model_fields[option].annotation):
        try:
            found = type(step)(**{**given, option: value})
        except pydantic.ValidationError:
            continue
        if getattr(found, option) != getattr(step, option):
            yield found


def other_values(value: Any, annotation: Any) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    if get_origin(annotation) is Literal:
        return [choice for choice in get_args(annotation) if choice != value]
    if get_origin(annotation) is tuple and get_origin(get_args(annotation)[0]) is Literal:
        return [(*value, choice) for choice in get_args(get_args(annotation)[0]) if choice not in value]
    if isinstance(value, Mapping):
        return [{key: bound * 0.9 for key, bound in value.items()}]
    if value is None:
        return [10, 1, 0.5]
    return [value * 0.9, value + 1, value - 1, value // 2] if isinstance(value, int | float) else []


def is_number(step: Filter, option: str) -> bool:
    value = getattr(step, option)
    return not isinstance(value, bool) and isinstance(value, int | float | None)


def ends(step: Filter) -> list[tuple[str, float | None, float | None, float | None]]:
    return [(rule.name, rule.low, rule.high, rule.exempt) for rule in step.rules]


def values(step: Filter, batch: DocumentBatch) -> dict[str, list[Any]]:
    annotated = step.annotate(batch)
    scores = {name: np.asarray(score).tolist() for name, score in step.scores(annotated).items()}
    columns = {name: annotated.column(name).to_pylist() for name in annotated.record_batch.schema.names}
    return {**columns, **scores}


@pytest.mark.parametrize("name", filters())
def test_bounds_are_options_and_an_unscored_step_has_none(name: str) -> None:
    kind = catalogue.step(name)
    assert issubclass(kind, Filter)
    assert set(kind.bounds) <= set(kind.model_fields)
    assert kind.scored or not kind.bounds


@pytest.mark.parametrize("name", filters())
def test_a_bound_changes_no_value(name: str, make_batch: Make) -> None:
    """Or it says so in `scoring`, as a bound does that also cuts small values off."""
    kind = catalogue.step(name)
    assert issubclass(kind, Filter)
    if not kind.scored:
        pytest.skip("no scores")
    step, batch = made(name), make_batch(TEXTS)
    before = values(step, batch)
    for option in step.bounds:
        changed = list(others(step, option))
        assert changed, f"{name}.{option}: no other number is taken"
        for one in changed:
            if one.scoring == step.scoring:
                assert values(one, batch) == before, option


@pytest.mark.parametrize("name", filters())
def test_no_bound_is_forgotten(name: str) -> None:
    """A number that moves a rule's bound is declared, and every declared option moves a bound."""
    kind = catalogue.step(name)
    assert issubclass(kind, Filter)
    if not kind.scored:
        pytest.skip("no scores")
    step = made(name)
    for option in kind.model_fields:
        moves = any(ends(one) != ends(step) for one in others(step, option))
        if option in kind.bounds or is_number(step, option):
            assert moves == (option in kind.bounds), f"{name}.{option}"


@pytest.mark.parametrize("name", filters())
def test_another_option_is_another_scoring(name: str) -> None:
    if not catalogue.step(name).scored:
        pytest.skip("no scores")
    step = made(name)
    for option in set(type(step).model_fields) - set(step.bounds):
        for one in others(step, option):
            assert one.scoring != step.scoring, option


def test_scores_decide_as_the_step_does(make_batch: Make) -> None:
    batch = make_batch(TEXTS)
    scored = [name for name in filters() if catalogue.step(name).scored]
    assert {"gopher_quality", "language"} <= set(scored)
    for name in scored:
        step = made(name)
        annotated = step.annotate(batch)
        direct, derived = step.decide(annotated), step.decide_scores(step.scores(annotated), len(batch))
        assert direct.rule.tolist() == derived.rule.tolist()
        np.testing.assert_array_equal(direct.value, derived.value)
        np.testing.assert_array_equal(direct.threshold, derived.threshold)


def test_what_cuts_small_values_off_is_no_bound() -> None:
    usual = Language(keep=("en",))
    assert usual.scoring == Language(keep=("en",), min_score=0.9).scoring
    assert usual.scoring != Language(keep=("en",), least=0.001).scoring
