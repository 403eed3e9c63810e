"""Bands of pass rates."""

from typing import Any

import orjson
import pyarrow as pa
import pydantic
import pytest
from midtrain.errors import RunError
from midtrain.filters.difficulty import Difficulty
from midtrain.filters.document import SCHEMA, DocumentBatch


def batch(*metadata: Any) -> DocumentBatch:
    rows = [
        {"id": str(row), "text": "x", "source": "s", "metadata": None if one is None else orjson.dumps(one).decode()}
        for row, one in enumerate(metadata)
    ]
    return DocumentBatch(pa.RecordBatch.from_pylist(rows, schema=SCHEMA))


def test_a_band_keeps_both_of_its_ends() -> None:
    step = Difficulty(low=0.25, high=0.75)
    rates = batch(*({"pass_rate": rate} for rate in (0.0, 0.25, 0.5, 0.75, 1, 0.249)))
    decision = step.decide(rates)
    assert decision.keep.tolist() == [False, True, True, True, False, False]
    assert [step.rules[rule].name for rule in decision.rule if rule >= 0] == ["pass_rate"] * 3
    assert decision.threshold[[0, 4]].tolist() == [0.25, 0.75]


def test_published_rates_are_text() -> None:
    """OpenMathReasoning's pass_rate_72b_tir."""
    records = batch(*({"rate": rate} for rate in ("0.65625", "n/a", "1.0", " NaN ", float("nan"))))
    assert Difficulty(field="rate").scores(records)["pass_rate"].tolist() == [0.65625, -1, 1, -1, -1]


def test_what_is_missing_has_a_rule_of_its_own() -> None:
    records = batch(None, {}, {"pass_rate": None}, {"pass_rate": []}, {"pass_rate": 0.5})
    decision = Difficulty(low=0.25).decide(records)
    assert decision.rule.tolist() == [0, 0, 0, 0, -1]
    assert Difficulty().rules[0].name == "known"
    assert Difficulty(low=0.25, missing="keep").decide(records).keep.all()


def test_lists_of_outcomes_and_percent() -> None:
    records = batch({"ok": [True, False, False, True]}, {"ok": [1, 0, 0, 0]})
    assert Difficulty(field="ok").scores(records)["pass_rate"].tolist() == [0.5, 0.25]
    assert Difficulty(field="p", of=100).scores(batch({"p": 40}))["pass_rate"].tolist() == [0.4]


@pytest.mark.parametrize("value", [1.5, -0.1, "hard", "1.5", [0.5, "x"], {"a": 1}, float(40)])
def test_what_is_no_rate_is_an_error(value: Any) -> None:
    with pytest.raises(RunError, match="no pass rate") as raised:
        Difficulty().decide(batch({"pass_rate": 0.5}, {"pass_rate": value}))
    assert "document 1 of source s" in str(raised.value.where)


def test_a_band_without_room_is_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="no pass rate lies between"):
        Difficulty(low=0.5, high=0.4)
