"""How evenly routers spread tokens: normalized entropy of the load over the experts that compute, step by step.

Real web text in a mixture that is built here; a `zaya-tiny` with 16 experts, 400 steps of 16Ki tokens, Muon and AdamW
as in the demo, each kind of layer trained from the same seed on the same batches in float32. The entropy is that of a
step's global batch over ln 16, the mean over the layers; a kind is even from the first of ten steps in a row at .99 or
more. The technical report of ZAYA1 (arXiv 2605.05365, Fig. 4) has its router there in about 400 steps.
Costs a quarter of an hour of one core a kind, and the mixture, which `--folder` keeps, a minute.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import torch
from midtrain.mixtures.built import Built
from midtrain.trainer.batch import Batch
from midtrain.trainer.loader import batches
from midtrain.trainer.models.model import MoEModel
from midtrain.trainer.models.presets import resolve
from midtrain.trainer.optimizers.balancing import Balancer
from midtrain.trainer.optimizers.optimizer import Optimizer
from midtrain.trainer.optimizers.schedule import factor
from midtrain.trainer.optimizers.settings import BalancingConfig, OptimizerConfig, ScheduleConfig
from midtrain.trainer.step import StepResult, train_step
from rows import Row, heading, show, write

PHASE, LENGTH = "only", 256
BATCH_TOKENS = 16 * 1024
STEPS, EVERY, IN_A_ROW, EVEN = 400, 50, 10, 0.99
MICRO_SEQUENCES = 16
SCHEDULE = ScheduleConfig(name="wsd", warmup=10, decay=0.2)
MUON: dict[str, Any] = {"name": "muon", "lr": 0.01, "adamw_lr": 0.004, "weight_decay": 0.02}
EXPERTS = 16


@dataclass(frozen=True)
class Kind:
    """A layer and how its load is balanced."""

    name: str
    moe: dict[str, Any]
    balancing: BalancingConfig


KINDS = {
    "zaya": Kind("ZAYA1's router, biases by AdamW", {"kind": "zaya"}, BalancingConfig(kind="adamw", lr=1e-2)),
    "sign": Kind("linear router, biases by sign", {"kind": "linear"}, BalancingConfig(kind="sign", lr=1e-2)),
    "auxiliary": Kind(
        "linear router, auxiliary loss", {"kind": "linear", "balance_weight": 0.01}, BalancingConfig(kind="none")
    ),
    "zero_computation": Kind(
        "zero-computation experts, their loss", {"kind": "zero_computation"}, BalancingConfig(kind="none")
    ),
}
"""Weights of the auxiliary losses are those of arXiv 2101.03961 (0.01) and arXiv 2410.07348 (0.01)."""


def build(data: Path, folder: Path) -> Built:
    """Curates and builds the English web text, as a person would; what stands in the folder is taken."""
    if (folder / "shards" / "manifest.json").exists():
        return Built.open(folder / "shards")
    folder.mkdir(parents=True, exist_ok=True)
    recipe = {
        "name": "web",
        "output": str(folder / "web"),
        "sources": [{"name": "web", "path": str(data / "text/web_small.jsonl.gz")}],
        "steps": [{"language": {"keep": ["en"], "min_score": 0.65}}, {"gopher_quality": {}}, {"exact_dedup": {}}],
    }
    mixture = {
        "name": "web",
        "output": str(folder / "shards"),
        "tokenizer": {"train": {"vocab_size": 1024, "sources": ["web"]}, "end_of_document": "<|end|>"},
        "sources": [{"name": "web", "documents": str(folder / "web")}],
        "phases": [{"name": PHASE, "sequence_length": LENGTH, "weights": {"web": {"epochs": 1}}}],
    }
    print(f"curating and building web text in {folder}, once", flush=True)
    for verb, content in (("curate", recipe), ("build", mixture)):
        path = folder / f"{verb}.yaml"
        path.write_bytes(orjson.dumps(content))
        subprocess.run([sys.executable, "-m", "midtrain", verb, str(path)], check=True, capture_output=True)
    return Built.open(folder / "shards")


def trained(kind: Kind, built: Built, steps: int, seed: int, device: str = "cpu") -> Iterator[StepResult]:
    """Trains a kind from its seed; yields what each step measured."""
    config = resolve({"preset": "zaya-tiny", "num_experts": EXPERTS, "moe": kind.moe})
    torch.manual_seed(seed)
    model = MoEModel(config.with_vocab(built.vocab_size)).to(device)
    optimizer = Optimizer(model, OptimizerConfig(**MUON, balancing=kind.balancing))
    balancer = Balancer(model, kind.balancing)
    sequences = BATCH_TOKENS // LENGTH
    if steps * sequences > built.phases[PHASE].sequences:
        raise ValueError(f"{built.phases[PHASE].sequences:,} sequences do not make {steps} steps of {sequences}")
    read: Iterator[Batch] = batches(built, PHASE, 0, sequences, end=steps * sequences, device=torch.device(device))
    for step, batch in enumerate(read):
        scale = factor(SCHEDULE, step, steps)
        yield train_step(
            model, optimizer, balancer, batch, micro_sequences=MICRO_SEQUENCES, scale=scale, bf16=False, name=str(step)
        )


def first_even(entropies: Sequence[float]) -> int | None:
    """The first of ten steps in a row, counted from 1, at which the load is even."""
    row = 0
    for step, entropy in enumerate(entropies, start=1):
        row = row + 1 if entropy >= EVEN else 0
        if row == IN_A_ROW:
            return step - IN_A_ROW + 1
    return None


def measure(key: str, built: Built, steps: int, seed: int, device: str) -> Row:
    """Trains a kind and tells its course: step, entropy (mean and least layer), loss."""
    kind, started = KINDS[key], time.process_time()
    print(f"{kind.name}:", flush=True)
    entropies: list[float] = []
    for result in trained(kind, built, steps, seed, device):
        entropies.append(result.load_entropy)
        if len(entropies) % EVERY == 0 or len(entropies) == steps:
            print(
                f"  step {len(entropies):>4}  entropy {result.load_entropy:.4f}  least layer "
                f"{result.load_entropy_min:.4f}  loss {result.loss:.4f}",
                flush=True,
            )
    even, minutes = first_even(entropies), (time.process_time() - started) / 60
    print(f"  even from step {even}; highest {max(entropies):.4f}; {minutes:.1f} min of processor time", flush=True)
    last = sum(entropies[-IN_A_ROW:]) / IN_A_ROW
    return show(Row(f"{kind.name}, last ten steps", last, EVEN, "of ln 16", last / EVEN, 1.0, even is not None))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("MIDTRAIN_DATA"), help="folder with text/")
    parser.add_argument("--json", type=Path, help="where the rows are written")
    parser.add_argument("--folder", type=Path, help="where the mixture is built, and found by the next run")
    parser.add_argument("--only", choices=list(KINDS), help="one kind")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--balancing", type=json.loads, help='other settings, such as {"kind": "adamw", "lr": 1e-2}')
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("--data, or MIDTRAIN_DATA, names the folder of corpora")
    torch.set_num_threads(arguments.threads)
    if arguments.balancing:
        settings = BalancingConfig.model_validate(arguments.balancing)
        KINDS.update({key: Kind(kind.name, kind.moe, settings) for key, kind in KINDS.items()})
    heading()
    with tempfile.TemporaryDirectory() as name:
        built = build(arguments.data, arguments.folder or Path(name))
        kinds = [arguments.only] if arguments.only else list(KINDS)
        wanted = (built, arguments.steps, arguments.seed, arguments.device)
        write([measure(key, *wanted) for key in kinds], arguments.json)


if __name__ == "__main__":
    main()
