"""The benchmarks of one command: read before anything is asked, and written as they are answered."""

import json
from pathlib import Path
from typing import Any

import pytest
from midtrain.errors import ConfigError, RunError
from midtrain.trainer.evaluation.asked import Asked
from midtrain.trainer.evaluation.benchmark_score import BenchmarkScore, Manner
from midtrain.trainer.evaluation.verdicts import Sample


@pytest.fixture
def sums(tmp_path: Path) -> str:
    records = [{"id": f"s{i}", "question": f"{i} + {i}?", "answer": str(2 * i)} for i in range(9)]
    (tmp_path / "sums.jsonl").write_text("\n".join(map(json.dumps, records)))
    return str(tmp_path / "sums.jsonl")


class Scripted:
    """Stands in for a trained model: answers each benchmark with one sample, or fails."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def benchmark(self, benchmark: Any, manner: Manner) -> BenchmarkScore:
        self.asked.append(benchmark.name)
        if benchmark.name == "last":
            raise RunError("the card is gone")
        sample = Sample(benchmark.name, "s0", "0 + 0?", "0", "passed", "")
        return BenchmarkScore(benchmark.name, benchmark.form, 9, {"pass@1": 1.0}, {"passed": 9}, (sample,))


def test_what_was_answered_is_on_the_disk_when_a_later_one_fails(sums: str, tmp_path: Path) -> None:
    output = tmp_path / "new/replies.jsonl"
    asked = Asked.read([f"one={sums}", f"two={sums}", f"last={sums}"], 4, str(output), overwrite=False)
    assert [len(one.problems) for one in asked.benchmarks] == [4, 4, 4]
    model = Scripted()
    with pytest.raises(RunError, match="the card is gone"):
        asked.scores(model, Manner())  # type: ignore[arg-type]
    assert model.asked == ["one", "two", "last"]
    assert [json.loads(line)["benchmark"] for line in output.read_text().splitlines()] == ["one", "two"]


def test_nothing_is_overwritten_unasked(sums: str, tmp_path: Path) -> None:
    output = tmp_path / "replies.jsonl"
    output.write_text("mine")
    with pytest.raises(ConfigError, match=r"replies\.jsonl: the file is there already[^$]*--overwrite"):
        Asked.read([f"one={sums}"], None, str(output), overwrite=False)
    Asked.read([f"one={sums}"], None, str(output), overwrite=True).scores(Scripted(), Manner())  # type: ignore[arg-type]
    assert json.loads(output.read_text())["problem"] == "s0"


@pytest.mark.parametrize(
    ("named", "says"),
    [
        (["humaneval"], "needs a name and a file"),
        (["=file"], "needs a name and a file"),
        (["humaneval="], "expected: humaneval=FILE"),
        (["one={sums}", "one={sums}"], "stands twice"),
        (["one={sums}", "two=gone.jsonl"], "gone.jsonl: the benchmark's file cannot be opened"),
    ],
)
def test_benchmarks_that_cannot_be_meant(sums: str, named: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as wrong:
        Asked.read([one.format(sums=sums) for one in named], None, None, overwrite=False)
    assert wrong.value.exit_code == 2


def test_what_another_evaluation_wrote_meanwhile_is_kept(
    sums: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "replies.jsonl"
    asked = Asked.read([f"one={sums}", f"two={sums}"], 4, str(output), overwrite=False)
    output.write_text("the other's")
    (tmp_path / "replies-2.jsonl").write_text("a third's")
    asked.scores(Scripted(), Manner())  # type: ignore[arg-type]
    assert output.read_text() == "the other's"
    assert (tmp_path / "replies-2.jsonl").read_text() == "a third's"
    lines = (tmp_path / "replies-3.jsonl").read_text().splitlines()
    assert {json.loads(line)["benchmark"] for line in lines} == {"one", "two"}
    told = capsys.readouterr().err
    assert told == f"{output} was written meanwhile, so these replies are in {tmp_path / 'replies-3.jsonl'}\n"


def test_an_output_without_a_benchmark_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is nothing to write"):
        Asked.read([], None, str(tmp_path / "x"), overwrite=False)
    assert Asked.read([], None, None, overwrite=False).benchmarks == ()
