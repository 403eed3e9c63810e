"""What is drawn from the commands' results: the problems shown, and the curves."""

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from midtrain.demo.results import Results, losses

Make = Callable[..., Results]


def test_solved_problems_are_the_first_that_are_right_families_in_turn(results: Make) -> None:
    assert [one["statement"] for one in results().solved] == [
        *("modular_chain 1 + 1 =", "word_problem 1 + 1 =", "modular_chain 2 + 1 =")
    ]


def test_where_one_family_solved_few_the_other_fills_up(results: Make) -> None:
    good = results()
    chain, story = good.after["tasks"]
    after = {**good.after, "tasks": [{**chain, "examples": chain["examples"][:2]}, story]}
    assert [one["statement"] for one in results(after=after).solved] == [
        *("modular_chain 1 + 1 =", "word_problem 1 + 1 =", "word_problem 2 + 1 =")
    ]
    none = [{**task, "examples": []} for task in (chain, story)]
    assert results(after={**good.after, "tasks": none}).solved == []


def test_evaluations_are_in_the_order_of_the_tables(results: Make) -> None:
    found = results()
    assert found.evaluations == (found.before, found.after, found.control)


def test_losses_are_smoothed_from_the_steps_of_a_run(tmp_path: Path) -> None:
    rows = [
        {"kind": "step", "step": 1, "loss": 8.0},
        {"kind": "evaluation", "step": 1, "held_out.text.loss": 1.0},
        {"kind": "step", "step": 2, "loss": 6.0},
        {"kind": "alarm", "step": 2, "message": "…"},
        {"kind": "step", "step": 3, "loss": 6.0},
    ]
    (tmp_path / "metrics.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    assert losses(tmp_path) == [(1, 8.0), (2, pytest.approx(7.8)), (3, pytest.approx(7.62))]
