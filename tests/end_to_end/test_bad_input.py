"""What a person can give that is wrong, through the command: the designed error, its exit code, never a traceback.

Mistakes in the YAML itself are `tests/ground/test_mutated_configurations.py`; these are files, folders and checkpoints.
"""

import gzip
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch
from midtrain.config import load
from midtrain.storage import hash_file
from midtrain.trainer.run import RunConfig
from midtrain.trainer.train import train

SIZES = "hidden_size: 16, num_layers: 1, num_heads: 2, num_kv_heads: 2, head_dim: 8, num_experts: 2, expert_size: 16"
RUN = f"""\
name: tiny
output: run
shards: shards
threads: 1
model: {{{SIZES}, router_size: 8}}
phases:
  - {{phase: first, batch_tokens: 512, steps: 2, optimizer: {{name: adamw, lr: 0.01}}, schedule: {{name: constant}}}}
  - {{phase: second, batch_tokens: 512, steps: 1, schedule: {{name: constant}}}}
checkpoint: {{every: 1}}
"""


@pytest.fixture(scope="module")
def finished(built_workshop: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, curated documents, shards and a run, each beside the YAML that made it."""
    threads, root = torch.get_num_threads(), tmp_path_factory.mktemp("finished")
    for name in ("data", "out", "shards"):
        shutil.copytree(built_workshop.root / name, root / name)
    for name, content in (("recipe", built_workshop.recipe()), ("mixture", built_workshop.mixture())):
        relative = orjson.dumps(content).decode().replace(f"{built_workshop.root}/", "")
        (root / f"{name}.yaml").write_text(relative)
    (root / "run.yaml").write_text(RUN)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        train(load("run.yaml", RunConfig))
    torch.set_num_threads(threads)
    return root


@pytest.fixture
def folder(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, entered."""
    shutil.copytree(finished, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def cut(pattern: str) -> Callable[[Path], None]:
    """Takes the last byte of the one file that matches."""

    def spoil(folder: Path) -> None:
        path = sorted(folder.glob(pattern))[0]
        path.write_bytes(path.read_bytes()[:-1])

    return spoil


def alter(pattern: str) -> Callable[[Path], None]:
    """Turns one bit in the middle of a file, whose size stays."""

    def spoil(folder: Path) -> None:
        path = sorted(folder.glob(pattern))[0]
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    return spoil


def remove(pattern: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = sorted(folder.glob(pattern))[0]
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()

    return spoil


def put(name: str, content: bytes) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return spoil


def nothing(folder: Path) -> None:
    """The folder is right; the command is wrong."""


@dataclass(frozen=True)
class Case:
    """What is spoilt, the command that then meets it, its exit code, and what its error must say."""

    name: str
    spoil: Callable[[Path], None]
    command: str
    code: int
    says: tuple[str, ...]


NEW = "--set output=new"
CASES = [
    # Curate: inputs and outputs.
    Case(
        "a compressed file cut short",
        put("data/a.jsonl.gz", gzip.compress(b'{"text": "word"}\n' * 9)[:-9]),
        f"curate recipe.yaml --workers 0 {NEW} --set sources.0.path=data/a.jsonl.gz",
        1,
        ("data/a.jsonl.gz", "damaged or cut short"),
    ),
    Case(
        "no JSON in a file of JSON",
        put("data/a.jsonl", b"plain words\n" * 50),
        f"curate recipe.yaml --workers 0 {NEW}",
        1,
        ("source a: too many documents had to be set aside", "50 of 50", "a.jsonl, byte 0: not JSON"),
    ),
    Case(
        "no Parquet in a file of Parquet",
        put("data/a.parquet", b"PAR1 no more"),
        f"curate recipe.yaml --workers 0 {NEW} --set sources.0={{name: a, path: data/a.parquet}}",
        1,
        ("data/a.parquet", "is not a Parquet file"),
    ),
    Case("the output of another recipe", nothing, "curate recipe.yaml --set steps=[]", 2, ("out", "another result")),
    Case("a curation into shards", nothing, "curate recipe.yaml --set output=shards", 2, ("another result of build",)),
    # Build: documents, tokenizer, outputs.
    Case("no documents", remove("out"), f"build mixture.yaml {NEW}", 2, ("mixture.yaml:", "run midtrain curate first")),
    Case(
        "a tokenizer that is none",
        put("tokenizer.json", b"{}"),
        f"build mixture.yaml --workers 0 {NEW} --set tokenizer=tokenizer.json",
        2,
        ("tokenizer.json",),
    ),
    Case(
        "a tokenizer that is not there",
        nothing,
        f"build mixture.yaml --workers 0 {NEW} --set tokenizer=none.json",
        2,
        ("none.json",),
    ),
    Case("the output of another mixture", nothing, "build mixture.yaml --set seed=9", 2, ("another result of build",)),
    # Train: shards.
    Case(
        "no shards", remove("shards"), f"train run.yaml {NEW}", 2, ("shards: there are no built shards", "build first")
    ),
    Case("documents for shards", nothing, f"train run.yaml {NEW} --set shards=out", 2, ("an output of curate",)),
    Case(
        "a manifest that is none",
        put("shards/manifest.json", b'{"stage": '),
        f"train run.yaml {NEW}",
        1,
        ("shards/manifest.json: is not a manifest",),
    ),
    *(
        Case(
            f"{pattern} cut short", cut(f"shards/{pattern}"), f"train run.yaml {NEW}", 1, (says, "cut short", " bytes")
        )
        for pattern, says in (
            ("tokens/web-*/part-00000.tokens", "/part-00000.tokens: "),
            ("tokens/web-*/part-00000.ends", "/part-00000.ends: "),
            ("tokens/worked-*/part-00000.loss", "/part-00000.loss: "),
            ("tokens/web-*/held_out-00000.tokens", "/held_out-00000.tokens: "),
            ("packs/*/part-00000.spans", "packs/"),
            ("order/first-*.counts", ".counts: "),
            ("stages/tokenizer-*/tokenizer.json", "/tokenizer.json: "),
        )
    ),
    Case(
        "shards of which a part is gone",
        remove("shards/tokens/twins-*/part-00000.ends"),
        f"train run.yaml {NEW}",
        1,
        ("part-00000.ends: shard missing", "no file"),
    ),
    # Train: the model against the shards.
    Case(
        "a preset that names another vocabulary",
        nothing,
        f"train run.yaml {NEW} --set model=zaya-mini",
        2,
        ("model: the model's vocabulary is not that of the shards", "vocab_size 32768 for a tokenizer of 400 tokens"),
    ),
    Case(
        "a vocabulary smaller than the shards'",
        nothing,
        f"train run.yaml {NEW} --set model.vocab_size=399",
        2,
        ("model: the model's vocabulary is not that of the shards", "400 to 528"),
    ),
    # Train: outputs and checkpoints.
    Case("the output of a run", nothing, "train run.yaml", 2, ("run.yaml:2: output", "there already", "--overwrite")),
    Case(
        "a folder that no run made",
        nothing,
        "train run.yaml --set output=data --overwrite",
        2,
        ("output: the folder holds no config.yaml, so it is not removed",),
    ),
    Case(
        "going on as another model",
        nothing,
        "train run.yaml --resume --set model.num_experts=3",
        2,
        ("num_experts", "seen:", "expected:"),
    ),
    Case(
        "going on with another rate",
        nothing,
        "train run.yaml --resume --set phases.0.optimizer.lr=0.5",
        2,
        ("phases.0.optimizer.lr: a resumed run keeps its configuration", "0.01"),
    ),
    Case(
        "weights of another model",
        nothing,
        f"train run.yaml {NEW} --set init_from=run --set model.hidden_size=24",
        2,
        ("the checkpoint is one of another model: hidden_size differs", "hidden_size 16", "hidden_size 24"),
    ),
    Case(
        "weights from nowhere",
        nothing,
        f"train run.yaml {NEW} --set init_from=none",
        2,
        ("init_from: no checkpoint is here", "checkpoints/step-NNNNNNNN"),
    ),
    *(
        Case(
            f"a checkpoint {how}, to {verb}",
            spoil,
            command,
            1,
            ("step-00000003", "altered", "another checkpoint"),
        )
        for how, spoil in (
            ("whose tensors were cut", cut("run/checkpoints/step-00000003/*.distcp")),
            ("whose tensors were altered", alter("run/checkpoints/step-00000003/*.distcp")),
            ("whose metadata were altered", alter("run/checkpoints/step-00000003/.metadata")),
            ("whose manifest was altered", alter("run/checkpoints/step-00000003/manifest.json")),
        )
        for verb, command in (
            ("go on", "train run.yaml --resume"),
            ("start from", f"train run.yaml {NEW} --set init_from=run"),
            ("generate", "generate run hello"),
        )
    ),
    # Evaluate, generate.
    Case("no run to evaluate", nothing, "eval none", 2, ("none: no checkpoint is here", "no such folder")),
    Case("shards that moved", remove("shards"), "eval run", 2, ("--shards FOLDER",)),
    Case("a source that is none", nothing, "eval run --source wbe", 2, ("no source is called wbe", "web")),
    Case("a task that is none", nothing, "eval run --task modular_chian", 2, ("did you mean modular_chain?",)),
    Case("nothing to reply to", nothing, "generate run ", 2, ("there is no text to reply to",)),
    Case("a nucleus of nothing", nothing, "generate run hello --temperature 1 --top-p 0", 2, ("top_p",)),
]


def words(command: str) -> list[str]:
    """The command's words; a space inside braces or after the last word belongs to its word."""
    joined = command.replace(": ", ":\0").replace(", ", ",\0")
    return [word.replace("\0", " ") for word in joined.split(" ")]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_wrong_is_said(case: Case, folder: Path, midtrain: Any) -> None:
    case.spoil(folder)
    kept = [path for path in folder.rglob("*") if path.is_file() and path.name != "inputs.json"]  # that is a cache
    before = {path: hash_file(path) for path in kept}
    said = midtrain(*words(case.command))
    assert "Traceback" not in said.err
    assert said.err.startswith(f"midtrain: {'configuration' if case.code == 2 else 'run'} error\n"), said
    assert said.code == case.code
    for part in case.says:
        assert part in said.err
    assert {path: hash_file(path) for path in before} == before  # nothing that was there is lost or changed


def test_the_unspoilt_folder_is_right(folder: Path, midtrain: Any) -> None:
    """Otherwise a case could be refused for another reason than its own."""
    for command in ("curate recipe.yaml", "build mixture.yaml", f"train run.yaml {NEW} --set init_from=run"):
        assert midtrain(*words(command)).code == 0
    for command in ("train run.yaml --resume", "eval run --source web", "generate run hello"):
        assert midtrain(*words(command)).code == 0


def test_a_document_that_is_not_utf8_is_set_aside_with_its_place(folder: Path, midtrain: Any) -> None:
    path = folder / "data/a.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:5], b'{"text": "caf\xe9"}\n', *lines[5:]]))
    said = midtrain(*words(f"curate recipe.yaml --workers 0 {NEW} --json"))
    assert said.code == 0
    assert orjson.loads(said.out)["funnel"][0]["sources"]["a"]["quarantined"] == 1
    rows = [orjson.loads(line) for file in (folder / "new").rglob("quarantine/*") for line in file.open("rb")]
    (row,) = (row for row in rows if row["source"] == "a")
    place = sum(map(len, lines[:5]))
    assert row["place"].endswith(f"a.jsonl, byte {place}")
    assert row["error"] == "not UTF-8 at byte 13 of the line"
