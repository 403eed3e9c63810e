"""The evaluation of a run: what is measured, at which length, and what cannot be."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from midtrain.config import Loaded, validate
from midtrain.errors import ConfigError, RunError
from midtrain.mixtures import tokenizer_training
from midtrain.mixtures.built import BuiltSource, HeldOutDocument
from midtrain.mixtures.templates import CHATML
from midtrain.mixtures.tokenizers import Tokenizer
from midtrain.trainer.evaluation import measure as measured
from midtrain.trainer.evaluation.evaluate import held_out_loss, task_accuracy
from midtrain.trainer.evaluation.measure import PROBLEM_SEED, evaluator
from midtrain.trainer.models.config import ModelConfig
from midtrain.trainer.models.model import MoEModel
from midtrain.trainer.run import RunConfig, plan_phases
from midtrain.yaml_document import override, parse

RUN = """\
name: tiny
output: run
shards: shards
model: zaya-tiny
phases:
  - {phase: short, batch_tokens: 64, optimizer: {name: muon, lr: 0.01}, schedule: {name: constant}}
  - {phase: long, batch_tokens: 64, schedule: {name: constant}}
evaluate: {every: 5, tasks: [modular_chain], samples: 8, steps: [2], prompt: answer, max_new_tokens: 4}
"""


@dataclass(frozen=True)
class Phase:
    sequence_length: int
    sequences: int

    @property
    def planned_sequences(self):
        return self.sequences


@dataclass
class StandIn:
    """The parts of a built mixture that evaluation reads."""

    tokenizer_path: Path
    end_of_document_text: str
    sources: dict[str, BuiltSource] = field(default_factory=dict)
    checked: int = 0
    phases = {"short": Phase(16, 20), "long": Phase(32, 20)}  # noqa: RUF012

    def open_tokenizer(self) -> Tokenizer:
        self.checked += 1
        return Tokenizer.open(self.tokenizer_path, self.end_of_document_text)

    def held_out(self, source: str):
        rng = np.random.default_rng(len(source))
        for length in (40, 9, 25):
            yield HeldOutDocument(rng.integers(0, 60, length).astype(np.uint32), np.ones(length, np.bool_), 3 * length)


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path, monkeypatch):
    """Below this folder the run's own is made, whose name is relative."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Tokenizer:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    texts = ["7 + 4 * 3 - 9 mod 10, left to right =", "the answer is the last digit of what is left"] * 30
    tokenizer_training.train(texts, 300, "<|end|>", path)
    return Tokenizer.open(path, "<|end|>")


@pytest.fixture
def built(tokenizer) -> StandIn:
    sources = {
        "web": BuiltSource("web", None, "tokens/web", "chunk", "error", 1, 9, 9, 400, 400, 3),
        "tasks": BuiltSource("tasks", CHATML, "tokens/tasks", "whole", "drop", 1, 9, 9, 400, 300, 0),
    }
    return StandIn(Path(tokenizer.path), tokenizer.end_of_document_text, sources)


@pytest.fixture
def model(tokenizer) -> MoEModel:
    torch.manual_seed(1)
    sizes = ModelConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=16,
        num_layers=2,
        num_heads=2,
        num_kv_heads=2,
        head_dim=8,
        num_experts=2,
        expert_size=16,
        router_size=8,
    )
    return MoEModel(sizes).eval()


def read(*settings: str) -> Loaded[RunConfig]:
    return validate(override(parse(RUN, "run.yaml"), settings), RunConfig)


def make(built, *settings: str):
    run = read(*settings)
    return evaluator(run, plan_phases(run, built.phases), built)


def test_measures_what_evaluate_measures_by_name(built, model, tokenizer):
    with torch.no_grad():
        values = make(built)(model, 1)
        expected = held_out_loss(model, built.held_out("web"), 16, 4, source="web")
        (score,) = task_accuracy(model, tokenizer, ["modular_chain"], "answer", 8, [2], PROBLEM_SEED, max_new_tokens=4)
    assert values == {
        "held_out.web.loss": pytest.approx(expected.loss),
        "held_out.web.bits_per_byte": pytest.approx(expected.bits_per_byte),
        "tasks.modular_chain.accuracy": score.accuracy,
        "tasks.modular_chain.parsed": score.parsed / 8,
        "tasks.modular_chain.twin_loss": pytest.approx(score.twin_loss),
    }
    assert built.checked == 1


def test_held_out_documents_are_read_at_the_phases_length(built, model):
    measure = make(built, "evaluate.tasks=[]")
    with torch.no_grad():
        by_step = {step: measure(model, step)["held_out.web.loss"] for step in (5, 6)}  # short has 5 steps
        for step, length in ((5, 16), (6, 32)):
            expected = held_out_loss(model, built.held_out("web"), length, 64 // length, source="web")
            assert by_step[step] == pytest.approx(expected.loss)
    assert by_step[5] != by_step[6]


@pytest.mark.parametrize(
    ("function", "setting", "told"),
    [
        ("held_out_loss", "evaluate.tasks=[]", r"web: .*the held-out loss[^$]*smaller micro_batch_tokens in the phase"),
        (
            "task_accuracy",
            "evaluate.held_out=false",
            r"modular_chain: .*replies to problems[^$]*evaluate\.max_new_tokens",
        ),
    ],
)
def test_memory_that_runs_out_is_named_with_what_to_lower(built, model, monkeypatch, function, setting, told):
    def full(*args, **rest):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 17.19 GiB.")

    measure = make(built, setting)
    monkeypatch.setattr(measured, function, full)
    with pytest.raises(RunError, match=told):
        measure(model, 1)


def test_held_out_can_be_left_out(built, model):
    with torch.no_grad():
        assert set(make(built, "evaluate.held_out=false")(model, 1)) == {
            "tasks.modular_chain.accuracy",
            "tasks.modular_chain.parsed",
            "tasks.modular_chain.twin_loss",
        }


def test_a_run_that_asks_for_none_gets_none(built):
    assert make(built, "evaluate=null") is None


def test_what_cannot_be_measured_is_named_before_the_run(built):
    with pytest.raises(ConfigError, match=r"evaluate\.tasks\.0: [^$]*did you mean modular_chain"):
        make(built, "evaluate.tasks=[modular_chian]")
    for setting, problem in (
        ("steps=[65]", "has no problems of this many steps"),
        ("samples=1M", "has too few problems"),
    ):
        with pytest.raises(ConfigError, match=rf"evaluate\.tasks\.0: modular_chain {problem}"):
            make(built, f"evaluate.{setting}")
    built.sources.pop("web")
    with pytest.raises(ConfigError, match=r"run\.yaml:\d+: evaluate: there is nothing to measure"):
        make(built, "evaluate.tasks=[]")


def test_the_tokenizer_must_know_the_template(built, monkeypatch):
    def lacking(self: Tokenizer, template: str) -> None:
        raise ConfigError(f"the tokenizer lacks a token of {template}")

    monkeypatch.setattr(Tokenizer, "check", lacking)
    with pytest.raises(ConfigError, match="lacks a token of chatml"):
        make(built)
