"""What train and eval print: a line over itself on a terminal, few lines elsewhere, and tables of the same numbers."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from midtrain.trainer import show
from midtrain.trainer.evaluation.evaluate import Example, HeldOutLoss, TaskScore
from midtrain.trainer.pace import TrainProgress
from midtrain.trainer.show import Reporter
from midtrain.trainer.train import TrainResult


def at(step: int, **changed: Any) -> TrainProgress:
    values = {"loss": 2.5, "tokens_per_second": 6400.4, "seconds_left": 125.0, **changed}
    return TrainProgress("pretrain", step, 1200, **values)


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(show, "time", clock)
    return clock


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.out == ""  # standard output is the result's alone
    return captured.err.splitlines()


def test_without_a_terminal_the_first_and_last_step_and_one_each_30_seconds(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Reporter() as report:
        for step in range(1, 1201):
            report(at(step))
            clock.now += 0.125
    said = lines(capsys)
    assert [line.split("/")[0] for line in said] == [
        f"pretrain  step {step}" for step in ("1", "241", "481", "721", "961", "1,200")
    ]
    assert said[0] == "pretrain  step 1/1,200  loss 2.5000  6,400 tokens/s  2 min 05 s left"


def test_evaluations_and_alarms_are_always_told(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter() as report:
        report(at(7, alarm="expert 3 of layer 2 has had no token for 20 steps"))
        report(at(8, evaluation={"held_out.web.loss": 3.14159, "tasks.modular_chain.accuracy": 0.5}))
    assert lines(capsys) == [
        "step 7: expert 3 of layer 2 has had no token for 20 steps",
        "step 8: held_out.web.loss 3.142  tasks.modular_chain.accuracy 0.5",
    ]


def test_a_quiet_reporter_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter(shown=False) as report:
        for progress in (at(1), at(2, alarm="dead"), at(3, evaluation={"a": 1.0})):
            report(progress)
    assert lines(capsys) == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_steps_overwrite_one_line_that_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with Reporter() as report:
        report(at(1))
        report(at(2))
        report(at(2, evaluation={"loss": 1.0}))
        report(at(3))
    written = screen.getvalue()
    assert written.count("\n") == 3  # behind the steps, the evaluation, and the end
    assert written.endswith("\n")
    steps, evaluation, last = written.removesuffix("\n").split("\n")
    assert [part.split("/")[0] for part in steps.split("\r")] == ["", "pretrain  step 1", "pretrain  step 2"]
    assert len({len(part) for part in steps.split("\r")[1:]}) == 1  # nothing of a longer line is left
    assert evaluation == "step 2: loss 1"
    assert last.startswith("\rpretrain  step 3/")


def test_the_line_is_ended_where_the_run_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)

    def fail() -> None:
        with Reporter() as report:
            report(at(1))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert screen.getvalue().endswith("\n")


def result(**changed: Any) -> TrainResult:
    values: dict[str, Any] = {
        "folder": Path("runs/tiny"),
        "step": 1200,
        "steps": 1200,
        "tokens": 2_400_000,
        "seconds": 375.0,
        "loss": 1.23456,
        "checkpoint": Path("runs/tiny/checkpoints/step-00001200"),
        "stopped_by": None,
    }
    return TrainResult(**{**values, **changed})


def test_a_finished_run() -> None:
    table = show.trained(result())
    assert table.text == (
        "runs/tiny: done at step 1,200 of 1,200, loss 1.2346, 2,400,000 tokens in 6 min 15 s; checkpoint step-00001200"
    )
    assert json.loads(orjson.dumps(table.data))["checkpoint"] == "runs/tiny/checkpoints/step-00001200"


def test_a_stopped_run_says_how_to_go_on() -> None:
    table = show.trained(result(step=7, stopped_by=15, loss=None, checkpoint=None))
    assert "stopped by signal 15; --resume goes on at step 7 of 1,200, 2,400,000 tokens" in table.text
    assert table.text.endswith("checkpoint none")
    assert (table.data["loss"], table.data["checkpoint"], table.data["stopped_by"]) == (None, None, 15)


LOSS = HeldOutLoss("web", 2.71828, 1.41421, 12_345, 100)
SCORE = TaskScore(
    "modular_chain", "reasoning", 8, 8, 6, 7, {1: 0.75}, 0.5, (Example("1 + 1 =", "<think>\n2", "2", True),)
)


def test_an_evaluation_as_tables_and_as_data() -> None:
    table = show.evaluated([LOSS], [SCORE])
    held_out, tasks = table.text.split("\n\n")
    assert held_out.splitlines()[1].split() == ["web", "100", "12,345", "2.7183", "1.4142"]
    task = tasks.splitlines()[1].split("  ")
    assert [cell for cell in (cell.strip() for cell in task) if cell] == [
        *("modular_chain", "reasoning", "8", "8", "6", "@1 75.0 %", "87.5 %", "0.5000")
    ]
    data = json.loads(orjson.dumps(table.data))
    assert data["held_out"] == [
        {"source": "web", "documents": 100, "tokens": 12_345, "loss": 2.71828, "bits_per_byte": 1.41421}
    ]
    assert {key: data["tasks"][0][key] for key in ("accuracy", "parsed", "problems", "twin_loss")} == {
        "accuracy": 0.75,
        "parsed": 7,
        "problems": 8,
        "twin_loss": 0.5,
    }
    assert data["tasks"][0]["examples"] == [
        {"statement": "1 + 1 =", "reply": "<think>\n2", "answer": "2", "correct": True}
    ]


@pytest.mark.parametrize(("losses", "scores", "blocks"), [([LOSS], [], 1), ([], [SCORE], 1), ([], [], 0)])
def test_what_was_not_measured_is_not_shown(losses: list[HeldOutLoss], scores: list[TaskScore], blocks: int) -> None:
    table = show.evaluated(losses, scores)
    assert len([line for line in table.text.splitlines() if line.startswith(("held out ", "task "))]) == blocks
    if not blocks:
        assert table.text == "nothing was held out, and no task or benchmark named"
    assert (len(table.data["held_out"]), len(table.data["tasks"])) == (len(losses), len(scores))
