"""The golden run: 300 steps on real text whose losses must not move; builds its mixture, and stores its curve anew.

    MIDTRAIN_DATA=... python tests/trainer/golden_run.py FOLDER            # a run in FOLDER, and what it differs by
    MIDTRAIN_DATA=... python tests/trainer/golden_run.py FOLDER --write    # the same, stored as golden_curve.json

The tokenizer has a token for every byte and no merges, so that no library's training of one is part of the curve.
Costs half a minute of one core.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson
import tokenizers
from midtrain.trainer.metrics import rows

CURVE = Path(__file__).with_name("golden_curve.json")
STEPS, EVERY, THREADS = 300, 10, 1
TEXT = "text/c4_wiki_demo.jsonl.zst"
BATCH_TOKENS, LENGTH = 2048, 128
RUN = {
    "name": "golden",
    "seed": 8,
    "threads": THREADS,
    "precision": "fp32",
    "model": {
        "preset": "zaya-tiny",
        "hidden_size": 64,
        "num_layers": 3,
        "head_dim": 16,
        "num_experts": 6,
        "expert_size": 64,
        "router_size": 16,
    },
    "phases": [
        {
            "phase": "only",
            "steps": STEPS,
            "batch_tokens": BATCH_TOKENS,
            "micro_batch_tokens": BATCH_TOKENS // 2,
            "optimizer": {
                "name": "muon",
                "lr": 0.005,
                "adamw_lr": 0.003,
                "weight_decay": 0.02,
                "z_loss": 1e-4,
            },
            "schedule": {"name": "wsd", "warmup": 20, "decay": 0.3},
        }
    ],
    "checkpoint": {"every": 50},
}


def byte_tokenizer(path: Path) -> None:
    """Writes a tokenizer.json of 256 bytes and an end of document."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|end|>"])
    tokenizer.save(str(path))


def midtrain(*arguments: object) -> None:
    """Runs a command; raises with what it said where it fails."""
    command = [sys.executable, "-m", "midtrain", *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{arguments[0]} ended with {ended.returncode}: {ended.stderr[-3000:]}")


def build(data: Path, folder: Path) -> Path:
    """Curates and builds the mixture; returns the folder of its shards."""
    folder.mkdir(parents=True, exist_ok=True)
    byte_tokenizer(folder / "tokenizer.json")
    recipe = {
        "name": "golden",
        "output": str(folder / "curated"),
        "sources": [{"name": "web", "path": str(data / TEXT)}],
        "steps": [{"exact_dedup": {"max_loss": None}}],
    }
    mixture = {
        "name": "golden",
        "output": str(folder / "shards"),
        "seed": 0,
        "tokenizer": {"path": str(folder / "tokenizer.json"), "end_of_document": "<|end|>"},
        "sources": [{"name": "web", "documents": str(folder / "curated")}],
        "phases": [{"name": "only", "sequence_length": LENGTH, "weights": {"web": {"epochs": 1}}}],
    }
    for verb, content in (("curate", recipe), ("build", mixture)):
        path = folder / f"{verb}.yaml"
        path.write_bytes(orjson.dumps(content))
        midtrain(verb, path)
    return folder / "shards"


def run_file(folder: Path, shards: Path, name: str = "run", changes: Mapping[str, object] | None = None) -> Path:
    """Writes the run's file; its output is the folder of the same name."""
    path = folder / f"{name}.yaml"
    output = {"output": str(folder / name), "shards": str(shards)}
    path.write_bytes(orjson.dumps({**RUN, **output, **(changes or {})}, option=orjson.OPT_INDENT_2))
    return path


def losses(run: Path) -> list[float]:
    """The loss of every step that a run has on record."""
    return [row["loss"] for row in rows(run / "metrics.jsonl") if row["kind"] == "step"]


def thinned(curve: Sequence[float]) -> list[float]:
    """The losses of the first step and of every tenth."""
    return [curve[0], *curve[EVERY - 1 :: EVERY]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", action="store_true", help="store the curve")
    parser.add_argument("--changes", type=json.loads, default={}, help='keys of the run to change, {"threads": 2}')
    arguments = parser.parse_args()
    shards = arguments.folder / "shards"
    if not shards.exists():
        build(Path(os.environ["MIDTRAIN_DATA"]), arguments.folder)
    file = run_file(arguments.folder, shards, changes=arguments.changes)
    midtrain("train", file, "--overwrite")
    found = thinned(losses(arguments.folder / "run"))
    if CURVE.exists():
        apart = [abs(a - b) for a, b in zip(found, json.loads(CURVE.read_text())["losses"], strict=True)]
        print(f"apart from the stored curve by at most {max(apart):.6f}, to step 100 by {max(apart[:11]):.6f}")
    if arguments.write:
        stored = {"steps": STEPS, "every": EVERY, "threads": THREADS, "losses": found}
        CURVE.write_bytes(orjson.dumps(stored, option=orjson.OPT_INDENT_2) + b"\n")
    print(" ".join(f"{loss:.4f}" for loss in found))


if __name__ == "__main__":
    main()
