"""Single mistakes in recipes, mixtures and runs, through the command: file:line, key path, nearest key, exit code 2."""

import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from midtrain import cli

RECIPE = """\
name: web
output: out/web
max_quarantined: 0.5%
sources:
  - name: docs
    path: docs.jsonl
    format: jsonl
    fields:
      text: body
  - name: sums
    path: sums.jsonl
    format: reasoning
    fields:
      prompt: question
      response: solution
      answer: answer
  - name: chains
    format: generated
    tasks:
      - modular_chain
    form: worked
    steps: [4, 5]
    count: 20
    seed: 7
steps:
  - gopher_quality:
      sources: [docs]
      min_words: 2
      max_words: 100K
      min_stop_words: 0
  - exact_dedup: {}
"""

MIXTURE = """\
name: mixed
output: out/shards
seed: 1
tokenizer:
  train:
    vocab_size: 300
    sources: [web]
sources:
  - name: web
    documents: out/web
    where:
      source: docs
    held_out: 10%
  - name: chains
    documents: out/web
    where:
      source: [chains]
    template: chatml
    pack: whole
    too_long: drop
phases:
  - name: pretrain
    sequence_length: 256
    tokens: 1K
    weights:
      web: 0.25
      chains:
        share: 0.75
        loss: all
        max_epochs: 4
"""

RUN = """\
name: tiny
output: runs/tiny
shards: out/shards
seed: 1
model: zaya-tiny
precision: fp32
phases:
  - phase: pretrain
    batch_tokens: 64Ki
    optimizer:
      name: muon
      lr: 0.01
      clip: 1
    schedule:
      name: wsd
      warmup: 100
      decay: 0.2
    rope_theta: 1e4
  - phase: midtrain
    batch_tokens: 64Ki
    schedule: {name: cosine}
checkpoint:
  every: 100
  keep: 3
evaluate:
  every: 100
  held_out: true
  tasks: [modular_chain]
metrics: [tensorboard]
"""

FILES = {"curate": RECIPE, "build": MIXTURE, "train": RUN}


@dataclass(frozen=True)
class Mutation:
    """One mistake: `old` becomes `new` in the verb's file, and the complaint stands at the line of `at`."""

    verb: str
    old: str
    new: str
    says: tuple[str, ...]
    at: str = ""

    def text(self) -> str:
        base = FILES[self.verb]
        assert base.count(self.old) == 1, f"{self.old!r} does not stand in the file once"
        return base.replace(self.old, self.new)

    def line(self) -> int:
        text = self.text()
        marker = self.at or self.new.strip()
        assert text.count(marker) == 1, f"{marker!r} does not stand in the mutated file once"
        return text.count("\n", 0, text.index(marker)) + 1


MUTATIONS = [
    # Misspelt keys, at every depth.
    Mutation("curate", "output: out", "ouput: out", ("ouput: unknown key ouput", "did you mean output?")),
    Mutation("curate", "steps:\n", "stepz:\n", ("stepz: unknown key stepz", "did you mean steps?"), "stepz:"),
    Mutation("curate", "path: docs", "pth: docs", ("sources.0.pth: unknown key pth", "did you mean path?")),
    Mutation("curate", "text: body", "txt: body", ("sources.0.fields.txt: ", "did you mean text?")),
    Mutation("curate", "response: sol", "reponse: sol", ("sources.1.fields.reponse: ", "did you mean response?")),
    Mutation("curate", "min_words: 2", "min_word: 2", ("steps.0.gopher_quality.min_word: ", "did you mean min_words?")),
    Mutation("curate", "exact_dedup: {}", "exact_dedup: {ngram: 5}", ("steps.1.exact_dedup.ngram: ", "remove the key")),
    Mutation("build", "seed: 1", "sed: 1", ("sed: unknown key sed", "did you mean seed?")),
    Mutation("build", "vocab_size:", "vocabsize:", ("tokenizer.train.vocabsize: ", "did you mean vocab_size?")),
    Mutation("build", "held_out:", "heldout:", ("sources.0.heldout: ", "did you mean held_out?")),
    Mutation("build", "sequence_length:", "seq_length:", ("phases.0.seq_length: ", "did you mean sequence_length?")),
    Mutation("build", "max_epochs:", "max_epoch:", ("phases.0.weights.chains.max_epoch: ", "did you mean max_epochs?")),
    Mutation("train", "precision:", "precison:", ("precison: unknown key", "did you mean precision?")),
    Mutation("train", "warmup:", "warm_up:", ("phases.0.schedule.warm_up: ", "did you mean warmup?")),
    Mutation("train", "clip: 1", "clp: 1", ("phases.0.optimizer.clp: ", "did you mean clip?")),
    Mutation("train", "keep: 3", "keeep: 3", ("checkpoint.keeep: ", "did you mean keep?")),
    # Names that nothing has.
    Mutation("curate", "gopher_quality:", "gopher_qualty:", ("steps.0.gopher_qualty: unknown step", "gopher_quality?")),
    Mutation("curate", "sources: [docs]", "sources: [dcos]", ("steps.0.gopher_quality.sources.0: ", "mean docs?")),
    Mutation("curate", "- modular_chain", "- modular_chian", ("sources.2.tasks.0: no task", "mean modular_chain?")),
    Mutation("curate", "form: worked", "form: workd", ("sources.2.form: ", "did you mean worked?")),
    Mutation("curate", "format: reasoning", "format: resoning", ("sources.1.format: ", "did you mean reasoning?")),
    Mutation("build", "sources: [web]", "sources: [wbe]", ("tokenizer.train.sources.0: ", "did you mean web?")),
    Mutation("build", "web: 0.25", "wed: 0.25", ("phases.0.weights.wed: no source", "did you mean web?")),
    Mutation("build", "template: chatml", "template: chatlm", ("sources.1.template: ",)),
    Mutation("build", "pack: whole", "pack: hole", ("sources.1.pack: ", "did you mean whole?")),
    Mutation("build", "loss: all", "loss: al", ("phases.0.weights.chains.loss: ", "did you mean all?")),
    Mutation("build", "source: docs", "sorce: docs", ("no column sorce", "did you mean source?"), "name: web"),
    Mutation("build", "source: docs", "source: dosc", ("is called dosc", "did you mean docs?"), "name: web"),
    Mutation("train", "model: zaya-tiny", "model: zaya-tniy", ("model: ", "did you mean zaya-tiny?")),
    Mutation("train", "name: muon", "name: moun", ("phases.0.optimizer.name: ", "did you mean muon?")),
    Mutation("train", "name: cosine", "name: cosin", ("phases.1.schedule.name: ", "did you mean cosine?")),
    Mutation("train", "[tensorboard]", "[tensorbord]", ("metrics.0: ", "tensorboard"), "metrics:"),
    # Missing keys, doubled keys, missing files.
    Mutation("curate", "output: out/web\n", "", ("output: the key output is missing",), "name: web"),
    Mutation("curate", "  - name: docs\n    path", "  - path", ("sources.0.name: the key name",), "- path: d"),
    Mutation("curate", "count: 20", "form: fact", ("the key form stands twice", "first in line 21")),
    Mutation("curate", "path: docs.jsonl", "path: dcos.jsonl", ("sources.0.path: ", "no such file")),
    Mutation("curate", "    path: docs.jsonl\n", "", ("sources.0: a source needs a path",), "- name: docs"),
    Mutation(
        "build",
        "tokens: 1K\n",
        "\n",
        ("phase pretrain, source web: a share of nothing", "tokens, sequences or a f"),
        "web: 0",
    ),
    Mutation("build", "web: 0.25", "chains: 0.25", ("the key chains stands twice",), "chains:\n        share"),
    Mutation(
        "build",
        "        share: 0.75\n",
        "",
        ("phases.0.weights.chains: a weight is one of share",),
        "chains:\n        lo",
    ),
    Mutation("train", "shards: out/shards\n", "", ("shards: the key shards is missing",), "name: tiny"),
    Mutation("train", "keep: 3", "every: 3", ("checkpoint.every: the key every stands twice",), "every: 3"),
    # Types and shapes.
    Mutation("curate", "steps: [4, 5]", "steps: 4", ("sources.2.steps: must be a list",)),
    Mutation("curate", "exact_dedup: {}", "exact_dedup", ("write - exact_dedup: {}",), "steps:\n"),
    Mutation("curate", "sources: [docs]", "sources: docs", ("steps.0.gopher_quality.sources: ", "list of source")),
    Mutation("curate", "text: body", "text: 5", ("sources.0.fields.text: must be text",)),
    Mutation("curate", "name: sums", "name: docs", ("sources.1.name: two sources",), "docs\n    path: su"),
    Mutation("build", "weights:\n      web: 0.25", "weights:\n      - web", ("not YAML",), "chains:\n        share"),
    Mutation("build", "web: 0.25", "web: high", ("phases.0.weights.web: a share is a number from 0 to 1",)),
    Mutation("build", "seed: 1", "seed: one", ("seed: must be a whole number",)),
    Mutation("build", "  train:\n    vocab", "  - train:\n    - vocab", ("tokenizer: must be text",), "tokenizer:"),
    Mutation("train", "held_out: true", "held_out: 1", ("evaluate.held_out: must be true or false",)),
    Mutation("train", "tasks: [modular_chain]", "tasks: modular_chain", ("evaluate.tasks: must be a list",)),
    # Numbers and units.
    Mutation("curate", "0.5%", "0.5 percent", ("max_quarantined: not a count",)),
    Mutation("curate", "0.5%", "100%", ("max_quarantined: a share is from 0 to below 1",)),
    Mutation("curate", "max_words: 100K", "max_words: 100k", ("steps.0.gopher_quality.max_words: not a count",)),
    Mutation("curate", "min_words: 2", "min_words: 1e-3", ("gopher_quality.min_words: must be a whole number",)),
    Mutation("curate", "count: 20", "count: -20", ("sources.2.count: Input should be greater than 0",)),
    Mutation("curate", "[4, 5]", "[4, 500]", ("sources.2.steps.1: ", "modular_chain"), "steps: [4"),
    Mutation("build", "share: 0.75", "share: 0.7", ("the weights do not sum to 1", "0.95"), "weights:"),
    Mutation("build", "web: 0.25", "web: -0.25", ("phases.0.weights.web: a share is a number from 0 to 1",)),
    Mutation("build", "tokens: 1K", "tokens: 1KB", ("phases.0.tokens: not a count",)),
    Mutation("build", "tokens: 1K", "tokens: 1e-3", ("phases.0.tokens: must be a whole number",)),
    Mutation("build", "held_out: 10%", "held_out: 110%", ("sources.0.held_out: a share",)),
    Mutation("build", "source: docs", 'score: ">high"', ("sources.0.where.score: ", "no number")),
    Mutation("train", "warmup: 100", "warmup: 1e-3", ("phases.0.schedule.warmup: must be a whole number",)),
    Mutation("train", "lr: 0.01", "lr: -0.01", ("phases.0.optimizer.lr: Input should be greater than 0",)),
    Mutation("train", "seed: 1", "seed: -1", ("seed: Input should be greater",)),
    Mutation("train", "keep: 3", "keep: 3KiB", ("checkpoint.keep: not a count",)),
    # YAML that can be read in two ways, or in none.
    Mutation("curate", "name: web", "name: on", ("name: on can be read as a truth value",)),
    Mutation("curate", "    format: jsonl", "\tformat: jsonl", ("indent with spaces, not tabs",)),
    Mutation("curate", "name: chains", "name: *web", ("not YAML: found undefined alias",)),
    Mutation("build", "too_long: drop", "too_long: no", ("sources.1.too_long: no can be read as a truth value",)),
    Mutation("build", "output: out/shards", "output: 'out/shards", ("not YAML: found unexpected end",)),
    Mutation("train", "held_out: true", "held_out: yes", ("evaluate.held_out: yes can be read",)),
    Mutation("train", "theta: 1e4", "theta: &x 1e4\n    steps: *x", ("phases.0.steps: aliases",), "steps: *x"),
    Mutation("train", "seed: 1", "seed: 99999999999999999999", ("seed: the number is too large for 64 bits",)),
    # An output that would not be where it says.
    Mutation(
        "curate", "output: out/web", "output: ftp://host/web", ("output: an output cannot be made there", "s3://")
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the corpora of the recipe, and its output."""
    folder = tmp_path_factory.mktemp("mutations")
    (folder / "docs.jsonl").write_text("".join(f'{{"body": "the {word} of the day"}}\n' for word in ("a", "b", "c")))
    (folder / "sums.jsonl").write_text('{"question": "1+1?", "solution": "It is 2.", "answer": 2}\n')
    (folder / "recipe.yaml").write_text(RECIPE)
    command = [sys.executable, "-m", "midtrain", "curate", "recipe.yaml", "--workers", "0"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def midtrain(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """The command in this process and that folder: exit code and what it wrote to standard error."""

    def run(*arguments: str) -> tuple[int | str | None, str]:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["midtrain", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code, capsys.readouterr().err

    return run


Command = Callable[..., tuple[int | str | None, str]]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: f"{one.verb}: {one.new.strip() or one.old.strip()}")
def test_every_mistake_is_named_where_it_stands(mutation: Mutation, folder: Path, midtrain: Command):
    (folder / "mutated.yaml").write_text(mutation.text())
    code, said = midtrain(mutation.verb, "mutated.yaml")
    assert code == 2
    assert "Traceback" not in said
    assert said.startswith("midtrain: configuration error\n")
    first = said.splitlines()[1]
    assert re.match(rf"mutated\.yaml:{mutation.line()}: ", first), f"not at line {mutation.line()}: {said}"
    for part in mutation.says:
        assert part in said


def test_there_are_at_least_thirty_and_each_is_another():
    assert len({(one.verb, one.text()) for one in MUTATIONS}) == len(MUTATIONS) >= 30
    assert {one.verb for one in MUTATIONS} == set(FILES)


@pytest.mark.parametrize("verb", FILES)
def test_a_missing_file_is_named(verb: str, midtrain: Command):
    code, said = midtrain(verb, "none.yaml")
    assert (code, said) == (2, "midtrain: configuration error\nnone.yaml: no such file\n  fix:      check the path\n")


@pytest.mark.parametrize("verb", FILES)
def test_a_wrong_setting_of_the_command_line_names_itself(verb: str, folder: Path, midtrain: Command):
    (folder / "good.yaml").write_text(FILES[verb])
    code, said = midtrain(verb, "good.yaml", "--set", "naem=x")
    assert code == 2
    assert "\n--set naem: naem: unknown key naem\n" in said
    assert "did you mean name?" in said


def test_the_unchanged_files_are_right(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Otherwise a mutation could be refused for another reason than its own."""
    from midtrain import config
    from midtrain.mixtures import schema
    from midtrain.pipelines import recipe
    from midtrain.trainer.run import RunConfig

    monkeypatch.chdir(folder)
    for verb, text in FILES.items():
        (folder / f"{verb}.yaml").write_text(text)
    assert recipe.load("curate.yaml").spec.sources[2].count == 20
    assert schema.load("build.yaml").value.phases[0].tokens == 1000
    assert config.load("train.yaml", RunConfig).value.phases[0].batch_tokens == 65536


# Loads the command, then says on standard output which heavy libraries it took.
WRAPPER = """
import sys
from midtrain import cli
try:
    cli.main()
finally:
    print(sorted({"torch", "ray", "transformers", "numba"} & set(sys.modules)))
"""


@pytest.mark.measures
@pytest.mark.parametrize(
    ("verb", "old", "new", "says"),
    [
        ("curate", "min_words: 2", "min_word: 2", "did you mean min_words?"),
        ("build", "share: 0.75", "share: 0.7", "do not sum to 1"),
        ("train", "name: muon", "name: moun", "did you mean muon?"),
    ],
)
def test_the_real_command_answers_at_once_and_without_torch(folder: Path, verb: str, old: str, new: str, says: str):
    (folder / "real.yaml").write_text(FILES[verb].replace(old, new))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", WRAPPER, verb, "real.yaml"]
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert process.returncode == 2
    assert process.stdout == "[]\n"
    assert says in process.stderr
    assert "Traceback" not in process.stderr
    # Of the processor, so that a busy machine does not fail the test: a third of a second on a fast one, and one where
    # others share its cores.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 4.0


def test_the_installed_command_is_the_same(folder: Path):
    command = Path(sys.executable).with_name("midtrain")
    if not command.exists():
        pytest.skip("midtrain is not installed beside this Python")
    process = subprocess.run(
        [command, "curate", "none.yaml"], cwd=folder, capture_output=True, text=True, check=False, env={**os.environ}
    )
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.splitlines()[1] == "none.yaml: no such file"
