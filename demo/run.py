"""`midtrain demo`: the whole road on this machine's own text, each step the command that a person would type.

Raw text and generated problems are curated, built into shards and pretrained on; then one copy of the model is
midtrained on worked solutions and another, the control, on the same problems with their answers alone. It fails unless
midtraining taught reasoning and the control, which saw as many tokens, did not. Takes a few minutes of two cores.
"""

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import storage
from ..errors import ConfigError, RunError
from ..filters.language import Language
from ..progress import duration
from ..tables import columns
from . import claims, report
from .commands import Command, Timetable
from .corpus import write_corpus
from .results import MIXTURE_SOURCES, TEXT_SOURCES, Results, losses

HERE = Path(__file__).parent
PROBLEMS = 250  # held-out problems of each family
MARK = ".midtrain-demo"  # what tells a folder of ours, which may be replaced, from any other


@dataclass(frozen=True)
class Size:
    """How much is learned: families of problems, tokens of each phase if not the YAML files', the share of all."""

    tasks: tuple[str, ...]
    phases: tuple[str, ...] = ()
    share: float = 1.0


WHOLE = Size(("modular_chain", "word_problem"))
QUICK = Size(("modular_chain",), ("240K", "720K", "720K"), 0.5)
"""Half of it: with one family to learn, half of the tokens do; fewer do not (docs/log.md)."""


@dataclass(frozen=True)
class Paths:
    """Where the demo's parts stand below its folder."""

    root: Path

    @property
    def raw(self) -> Path:
        """The machine's own text."""
        return self.root / "raw"

    @property
    def curated(self) -> Path:
        """The output of curate."""
        return self.root / "curated"

    @property
    def shards(self) -> Path:
        """The output of build."""
        return self.root / "shards"

    def run(self, name: str) -> Path:
        """The folder of a training run."""
        return self.root / "runs" / name


def run(output: str, seed: int, overwrite: bool, size: Size = WHOLE) -> None:
    """Runs the demo and prints its table.

    Args:
        output: the folder that everything goes to.
        seed: of the mixture and the models.
        overwrite: whether an earlier demo in the folder may be replaced.
        size: how much is learned.

    Raises:
        ConfigError: the folder is taken, or a package is missing.
        RunError: a command failed, or midtraining did not do what it should.
    """
    Language(keep=("en",)).check()  # ends with the exact command where the language model is missing
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the commands end with the demo
    paths = Paths(Path(output))
    _claim(paths.root, overwrite)
    times = Timetable(size.share)
    try:
        results = _road(paths, seed, times, size)
    finally:
        times.close()
    checks = claims.check(results)
    page = report.write(paths.root, results, checks, times.elapsed())
    print(report.table(results))
    print(columns([["claim", "seen", "holds"], *([check.text, check.seen, check.word] for check in checks)]))
    print(f"\n{page}: the same with loss curves and solved problems; {duration(times.elapsed())} in all")
    failed = [check for check in checks if not check.holds]
    if failed:
        raise RunError(
            "the demo's claim does not hold: " + "; ".join(f"{check.text} (seen: {check.seen})" for check in failed),
            where=str(paths.root),
            fix="try another --seed; if it fails again, please report it with the folder's report.html",
        )


def _claim(root: Path, overwrite: bool) -> None:
    if root.exists() and any(root.iterdir() if root.is_dir() else [root]):
        if not (root / MARK).is_file() or not overwrite:
            fix = "pass --overwrite to run it anew" if (root / MARK).is_file() else "name another folder"
            raise ConfigError("the folder is taken", where=str(root), fix=fix)
        storage.remove_tree(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        (root / MARK).touch()
    except OSError as error:
        raise ConfigError(
            f"the folder cannot be made: {error.strerror}", where=str(root), fix="name another folder"
        ) from None


def _road(paths: Paths, seed: int, times: Timetable, size: Size) -> Results:
    times.say("writing this machine's own text: documentation topics, docstrings, READMEs")
    write_corpus(paths.raw)
    times.done("corpus")
    curated = times.run("curate", _curate(paths, size))
    built = times.run("build", _build(paths, seed, size))
    times.run("pretrain", _train(paths, "pretrain", seed, built))
    before = times.run("before", _evaluate(paths, "pretrain", "answer", size))
    times.run_beside("midtrain", [_train(paths, name, seed, built) for name in ("midtrain", "control")])
    after, control = times.run_beside(
        "after", [_evaluate(paths, "midtrain", "reasoning", size), _evaluate(paths, "control", "answer", size)]
    )
    curves = {name: losses(paths.run(name)) for name in ("pretrain", "midtrain", "control")}
    return Results(curated, built, before, after, control, curves)


def _settings(**values: Any) -> list[str]:
    return [part for key, value in values.items() for part in ("--set", f"{key.replace('__', '.')}={value}")]


def _curate(paths: Paths, size: Size) -> Command:
    changed: dict[str, Any] = {"output": paths.curated}
    changed |= {f"sources__{i}__path": paths.raw / f"{name}.jsonl" for i, name in enumerate(TEXT_SOURCES)}
    if size.tasks != WHOLE.tasks:
        generated = range(len(TEXT_SOURCES), len(TEXT_SOURCES) + len(MIXTURE_SOURCES) - 1)
        changed |= {f"sources__{i}__tasks": f"[{', '.join(size.tasks)}]" for i in generated}
    return Command("curate", HERE / "recipe.yaml", _settings(**changed))


def _build(paths: Paths, seed: int, size: Size) -> Command:
    changed: dict[str, Any] = {"output": paths.shards, "seed": seed}
    changed |= {f"sources__{i}__documents": paths.curated for i in range(len(MIXTURE_SOURCES))}
    changed |= {f"phases__{i}__tokens": tokens for i, tokens in enumerate(size.phases)}
    return Command("build", HERE / "mixture.yaml", _settings(**changed))


def _train(paths: Paths, name: str, seed: int, built: dict[str, Any]) -> Command:
    settings = _settings(output=paths.run(name), shards=paths.shards, seed=seed)
    if name != "pretrain":
        settings += _settings(init_from=paths.run("pretrain"))
    total = sum(row["tokens"] for row in built["rows"] if row["phase"] == name)
    return Command("train", HERE / f"{name}.yaml", settings, paths.run(name) / "metrics.jsonl", total)


def _evaluate(paths: Paths, name: str, prompt: str, size: Size) -> Command:
    tasks = [part for task in size.tasks for part in ("--task", task)]
    options = [*tasks, "--prompt", prompt, "--samples", str(PROBLEMS), "--max-new-tokens", "96"]
    return Command("eval", paths.run(name), options)
