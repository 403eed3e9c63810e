"""Evaluation inside a run: training stays what it is, and numbers and replies lie in the run's folder."""

import json
import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch
from midtrain import sandbox
from midtrain.config import load
from midtrain.errors import ConfigError, RunError
from midtrain.trainer import metrics
from midtrain.trainer.evaluation.benchmarks import read
from midtrain.trainer.run import RunConfig
from midtrain.trainer.train import train
from midtrain.trainer.trained import Trained

RUN = """\
name: tiny
output: {root}/{name}
shards: {root}/shards
seed: 3
threads: 1
model: {{hidden_size: 32, num_layers: 2, num_heads: 4, num_kv_heads: 2, head_dim: 8, num_experts: 2, expert_size: 24,
  router_size: 8, init_std: 0.2}}
phases:
  - {{phase: first, batch_tokens: 512, steps: 4, optimizer: {{name: muon, lr: 0.01}}, schedule: {{name: constant}},
     rope_theta: 1e4}}
checkpoint: {{every: 4}}
"""
EVALUATE = """\
evaluate:
  every: 2
  tasks: [modular_chain]
  benchmarks: {{sums: {root}/sums.jsonl, arc: {root}/arc.jsonl{code}}}
  samples: 3
  steps: [2]
  prompt: answer
  max_new_tokens: 5
  n: 4
  k: [1, 3]
  temperature: 0.9
  top_p: 0.9
"""


@pytest.fixture(scope="module")
def root(built_workshop: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("in_training")
    shutil.copytree(built_workshop.root / "shards", root / "shards")
    sums = [{"id": f"s{i}", "question": f"What is {i} + {i}?", "answer": str(2 * i)} for i in range(9)]
    arc = [
        {"id": f"a{i}", "question": f"Is it {i}?", "choices": ["no", "yes"], "answer": "AB"[i % 2]} for i in range(9)
    ]
    code = [
        {"id": f"c{i}", "prompt": f"def f{i}():\n", "entry_point": f"f{i}", "test": "def check(f): assert f() == 1"}
        for i in range(9)
    ]
    for name, records in (("sums", sums), ("arc", arc), ("code", code)):
        (root / f"{name}.jsonl").write_text("\n".join(map(json.dumps, records)))
    return root


def run(root: Path, name: str, evaluate: str = "", **options: Any) -> Path:
    threads = torch.get_num_threads()
    path = root / f"{name}.yaml"
    path.write_text(RUN.format(root=root, name=name) + evaluate)
    try:
        return train(load(path, RunConfig), **options).folder
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def evaluated(root: Path) -> Path:
    code = f", code: {root}/code.jsonl" if sandbox.isolation() is None else ""
    return run(root, "evaluated", EVALUATE.format(root=root, code=code))


@pytest.fixture(scope="module")
def undisturbed(root: Path) -> Path:
    return run(root, "undisturbed")


def test_losses_and_weights_are_bitwise_those_of_a_run_without(evaluated: Path, undisturbed: Path) -> None:
    losses = [
        [row["loss"] for row in metrics.rows(folder / "metrics.jsonl") if row["kind"] == "step"]
        for folder in (evaluated, undisturbed)
    ]
    assert len(losses[0]) == 4
    assert losses[0] == losses[1]
    with_, without = (Trained.open(folder).model.state_dict() for folder in (evaluated, undisturbed))
    assert all(torch.equal(tensor, without[name]) for name, tensor in with_.items())


def test_scores_stand_in_the_metrics_by_name(evaluated: Path) -> None:
    measured = [row for row in metrics.rows(evaluated / "metrics.jsonl") if row["kind"] == "evaluation"]
    assert [row["step"] for row in measured] == [2, 4]
    names = {"sums.pass@1", "sums.pass@3", "arc.accuracy", "arc.accuracy_per_byte", "tasks.modular_chain.pass@3"}
    names |= {"code.pass@1", "code.pass@3"} if sandbox.isolation() is None else set()
    for row in measured:
        assert names <= row.keys()
        assert all(0 <= row[name] <= 1 for name in names)


def test_replies_are_kept_beside_and_are_of_the_same_problems(root: Path, evaluated: Path) -> None:
    files = sorted((evaluated / "evaluations").iterdir())
    assert [file.name for file in files] == ["step-00000002.jsonl", "step-00000004.jsonl"]
    kept = [[orjson.loads(line) for line in file.read_bytes().splitlines()] for file in files]
    asked = [one.id for one in read("sums", str(root / "sums.jsonl"), 3).problems]
    for lines in kept:
        of_sums = [line for line in lines if line["benchmark"] == "sums"]
        assert [line["problem"] for line in of_sums] == [problem for problem in asked for _ in range(4)]
        assert all(line["prompt"].endswith("assistant\n") for line in of_sums)
        assert {"verdict", "reply", "detail"} <= of_sums[0].keys()
        assert sum(line["benchmark"] == "arc" for line in lines) == 3
        assert sum(line["benchmark"] == "modular_chain" for line in lines) == 3
        if sandbox.isolation() is None:
            assert sum(line["benchmark"] == "code" for line in lines) == 12
    assert kept[0] != kept[1]


def test_a_run_can_be_evaluated_again_with_the_same_scores(root: Path, evaluated: Path) -> None:
    from midtrain.trainer.evaluation.benchmark_score import Manner
    from midtrain.trainer.evaluation.sampling import Sampling

    last = [row for row in metrics.rows(evaluated / "metrics.jsonl") if row["kind"] == "evaluation"][-1]
    manner = Manner("answer", "", 5, Sampling(0.9, 0.9, n=4), (1, 3))
    found = Trained.open(evaluated).benchmark(read("sums", str(root / "sums.jsonl"), 3), manner)
    assert {f"sums.{name}": value for name, value in found.scores.items()} == pytest.approx(
        {name: value for name, value in last.items() if name.startswith("sums.")}
    )


def test_what_cannot_be_asked_ends_the_run_before_it_begins(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = EVALUATE.format(root=root, code=f", gone: {root}/gone.jsonl")
    with pytest.raises(ConfigError, match=r"gone\.yaml:\d+: evaluate\.benchmarks\.gone: .*gone\.jsonl: the"):
        run(root, "gone", gone)
    monkeypatch.setattr(sandbox, "isolation", lambda: "unshare: Operation not permitted")
    with pytest.raises(RunError, match=r"code: programs that a model wrote cannot be isolated[^$]*unshare") as wrong:
        run(root, "unisolated", EVALUATE.format(root=root, code=f", code: {root}/code.jsonl"))
    assert wrong.value.exit_code == 1
    assert not (root / "gone").exists()
    assert not (root / "unisolated").exists()
