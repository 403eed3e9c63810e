"""Pretraining, midtraining and fine-tuning in one run file, on real text: killed in the second phase, and resumed."""

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from midtrain.mixtures.built import Built
from midtrain.storage import open_stream
from midtrain.trainer import history
from midtrain.trainer.checkpoints import checkpoint, checkpoint_folder
from midtrain.trainer.metrics import rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

PATIENCE = 900  # seconds that one command may take on a machine that is busy elsewhere
CLOCK = {"seconds", "tokens_per_second"}
PHASES = [
    {
        "name": "pretrain",
        "sequence_length": 128,
        "tokens": "48K",
        "weights": {"web": 0.9, "gsm8k": {"share": 0.1, "loss": "all"}},
    },
    {
        "name": "midtrain",
        "sequence_length": 256,
        "tokens": "48K",
        "weights": {"web": 0.3, "gsm8k": {"share": 0.7, "loss": "all"}},
    },
    {"name": "sft", "sequence_length": 512, "tokens": "24K", "weights": {"gsm8k": {"share": 1, "loss": "assistant"}}},
]
RUN = {
    "name": "three",
    "seed": 1,
    "threads": 1,
    "precision": "fp32",
    "model": {"preset": "zaya-tiny", "hidden_size": 32, "num_layers": 2, "head_dim": 8, "expert_size": 32},
    "phases": [
        {
            "phase": "pretrain",
            "batch_tokens": 1024,
            "optimizer": {"name": "muon", "lr": 0.01, "adamw_lr": 0.004, "weight_decay": 0.1},
            "schedule": {"name": "wsd", "warmup": 5, "decay": 0.2, "final": 0.5},
        },
        {
            "phase": "midtrain",
            "batch_tokens": 2048,
            "micro_batch_tokens": 1024,
            "optimizer": {"name": "muon", "lr": 0.005, "adamw_lr": 0.002, "z_loss": 1e-4},
            "schedule": {"name": "cosine"},
            "rope_theta": 1e5,
        },
        {
            "phase": "sft",
            "batch_tokens": 1024,
            "optimizer": {"name": "adamw", "lr": 0.001, "fresh": True, "balancing": {"kind": "none"}},
            "schedule": {"name": "linear", "warmup": 3},
            "rope_theta": 1e6,
        },
    ],
    "checkpoint": {"every": 7, "keep": 2},
}
SLOWLY = str(Path(__file__).with_name("slow_steps.py"))  # the command, with time to be killed in


class Road:
    """A folder with shards of three phases, and runs on them."""

    def __init__(self, data: Path, root: Path) -> None:
        self.root = root
        with (
            open_stream(str(data / "cot/gsm8k_train.jsonl.gz")) as stream,
            open(root / "gsm8k.jsonl", "wb") as taken,
        ):
            taken.writelines(itertools.islice(stream, 600))
        reasoning = {"prompt": "question", "reasoning": "solution", "response": "answer"}
        recipe = {
            "name": "three",
            "output": str(root / "curated"),
            "sources": [
                {"name": "web", "path": str(data / "text/c4_wiki_demo.jsonl.zst")},
                {"name": "gsm8k", "path": str(root / "gsm8k.jsonl"), "format": "reasoning", "fields": reasoning},
            ],
            "steps": [{"exact_dedup": {"max_loss": None}}],
        }
        self.midtrain("curate", self.yaml("recipe", recipe))
        tokenizer = {"train": {"vocab_size": 512, "sources": ["web", "gsm8k"]}, "end_of_document": "<|end|>"}
        self.build("shards", tokenizer, PHASES)

    def build(self, name: str, tokenizer: Any, phases: list[Any]) -> None:
        """A mixture of some phases in a folder of its own."""
        used = {source for phase in phases for source in phase["weights"]}
        sources = [
            {"name": "web", "documents": str(self.root / "curated"), "where": {"source": "web"}},
            {
                "name": "gsm8k",
                "documents": str(self.root / "curated"),
                "where": {"source": "gsm8k"},
                "template": "chatml",
                "too_long": "split",
            },
        ]
        mixture = {
            "name": name,
            "output": str(self.root / name),
            "tokenizer": tokenizer,
            "sources": [source for source in sources if source["name"] in used],
            "phases": phases,
        }
        self.midtrain("build", self.yaml(name, mixture))

    def yaml(self, name: str, content: Any) -> Path:
        path = self.root / f"{name}.yaml"
        path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
        return path

    def run(self, name: str, **changed: Any) -> Path:
        """The file of a run whose output is the folder of its name."""
        places = {"output": str(self.root / f"{name}_run"), "shards": str(self.root / "shards")}
        return self.yaml(f"{name}_run", RUN | places | changed)

    def midtrain(self, *arguments: object) -> None:
        command = [sys.executable, "-m", "midtrain", *map(str, arguments)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
        assert ended.returncode == 0, ended.stderr[-4000:]

    def train(self, name: str, *options: str, **changed: Any) -> Path:
        self.midtrain("train", self.run(name, **changed), *options)
        return self.root / f"{name}_run"


@pytest.fixture(scope="module")
def road(tmp_path_factory) -> Road:
    if "MIDTRAIN_DATA" not in os.environ:
        pytest.skip("MIDTRAIN_DATA names no folder of real corpora")
    return Road(Path(os.environ["MIDTRAIN_DATA"]), tmp_path_factory.mktemp("three"))


@pytest.fixture(scope="module")
def undisturbed(road) -> Path:
    return road.train("undisturbed")


def steps_of(folder: Path) -> list[dict]:
    """The rows of steps, without what a clock measured."""
    found = [row for row in rows(folder / "metrics.jsonl") if row["kind"] == "step"]
    return [{key: value for key, value in row.items() if key not in CLOCK} for row in found]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load_model(checkpoint_folder.find(folder)).state_dict()


def test_each_phase_has_its_length_batch_rates_and_rope_base(road, undisturbed):
    built = Built.open(road.root / "shards")
    told = [
        (one.phase, one.sequence_length, one.batch_sequences, one.rope_theta)
        for one in history.read(undisturbed).stretches
    ]
    assert told == [("pretrain", 128, 8, 1e4), ("midtrain", 256, 8, 1e5), ("sft", 512, 2, 1e6)]
    steps = steps_of(undisturbed)
    assert [row["step"] for row in steps] == list(range(1, len(steps) + 1))
    by_phase = {name: [row for row in steps if row["phase"] == name] for name in built.phases}
    assert {name: len(found) for name, found in by_phase.items()} == {
        name: -(-built.phases[name].sequences // batch)
        for name, batch in (("pretrain", 8), ("midtrain", 8), ("sft", 2))
    }
    assert [found[0]["first_sequence"] for found in by_phase.values()] == [0, 0, 0]
    pretrain, midtrain, sft = by_phase.values()
    assert [row["lr"] for row in pretrain[:6]] == pytest.approx([0.002, 0.004, 0.006, 0.008, 0.01, 0.01])
    assert 0.005 < pretrain[-1]["lr"] < 0.006  # final: 0.5
    assert midtrain[0]["lr"] == pytest.approx(0.005, rel=0.02)
    assert midtrain[-1]["lr"] < 0.0001
    assert sft[2]["lr"] == pytest.approx(0.001)
    assert [("z_loss" in found[0]) for found in by_phase.values()] == [False, True, False]
    assert midtrain[-1]["loss"] < pretrain[0]["loss"] - 0.8
    contents = checkpoint_folder.find(undisturbed).contents
    assert (contents.optimizer, contents.balancing, contents.model.rope_theta) == ("adamw", "none", 1e6)


def test_fine_tuning_trains_on_the_assistants_tokens_alone(road, undisturbed):
    built = Built.open(road.root / "shards")
    steps = steps_of(undisturbed)
    before = next(row for row in reversed(steps) if row["phase"] == "midtrain")
    taught = targets = real = 0
    for batch in built.batches("sft", 0, 2):
        follows = (batch.segments[:, 1:] == batch.segments[:, :-1]) & (batch.segments[:, 1:] >= 0)
        targets += int(follows.sum())
        taught += int((follows & batch.loss_mask[:, 1:]).sum())
        real += int((batch.segments >= 0).sum())
    assert steps[-1]["supervised_tokens"] - before["supervised_tokens"] == taught
    assert steps[-1]["tokens"] - before["tokens"] == real
    assert 0.3 < taught / targets < 0.9  # questions are read and not learnt
    # In pretraining every token that has one before it is learnt.
    pretrain = list(built.batches("pretrain", 0, 8))
    assert all(np.array_equal(batch.loss_mask, batch.segments >= 0) for batch in pretrain[:5])


def test_killed_in_the_second_phase_and_resumed_it_is_bitwise_the_same_run(road, undisturbed):
    expected = steps_of(undisturbed)
    inside = [row["step"] for row in expected if row["phase"] == "midtrain"]
    kill = random.Random(time.time_ns()).choice(inside[2:-3])
    print("killed after step", kill)
    file, folder = road.run("killed"), road.root / "killed_run"
    process = subprocess.Popen(
        [sys.executable, SLOWLY, "train", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + PATIENCE
    metrics = folder / "metrics.jsonl"
    while not metrics.exists() or metrics.read_bytes().count(b'"kind":"step"') < kill:
        assert process.poll() is None, "the run ended by itself"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    stood = checkpoint_folder.find(folder).contents.position
    assert stood.step < len(expected)
    road.train("killed", "--resume")
    assert steps_of(folder) == expected
    trained = weights(undisturbed)
    assert all(torch.equal(tensor, trained[name]) for name, tensor in weights(folder).items())
    assert history.read(folder).stretches == history.read(undisturbed).stretches


def test_fine_tuning_in_a_run_of_its_own_goes_on_from_the_weights_with_another_mixture(road, undisturbed):
    """The checkpoint at the end of midtraining, and shards of the one tokenizer that hold the last phase alone."""
    (path,) = (road.root / "shards/stages").glob("tokenizer-*/tokenizer.json")
    tokenizer = {"path": str(path), "end_of_document": "<|end|>"}
    road.build("sft_shards", tokenizer, PHASES[2:])
    steps = steps_of(undisturbed)
    last = max(row["step"] for row in steps if row["phase"] == "midtrain")
    begin = undisturbed / "checkpoints" / f"step-{last:08d}"
    folder = road.train(
        "sft", shards=str(road.root / "sft_shards"), init_from=str(begin), phases=[RUN["phases"][2]], seed=5
    )
    found = steps_of(folder)
    in_one = next(row for row in steps if row["phase"] == "sft")
    assert found[0]["step"] == 1
    assert found[0]["loss"] == pytest.approx(in_one["loss"], rel=0.25)
    assert found[0]["loss"] < steps[0]["loss"] - 0.8
