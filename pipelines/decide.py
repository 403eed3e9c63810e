"""`midtrain decide`: a recipe's thresholds applied to scores that a run has kept, without a look at any text.

A threshold is found by trying, and a try that reads the corpus again takes hours. Costs a stat of each input and the
scores' columns; what lies behind a barrier sees other documents, and is made anew from those.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import storage
from ..errors import ConfigError
from ..manifest import Manifest
from ..progress import Progress
from .curate import Curated, curate, plan
from .curation import find_manifest
from .deciding import Decide
from .documents import DocumentStage
from .executor import Executor
from .recipe import Recipe
from .runner import STALL
from .scoring import filters
from .stage import Counts, add_counts


@dataclass(frozen=True)
class Looked:
    """What thresholds would come to.

    Args:
        stages: folder and counts of the document stages, as far as scores tell.
        before: the same of the result that stands in the folder; empty where none does.
        behind: the first stage that scores tell nothing of; empty where there is none.
        decided: the labels of the steps that scores tell of.
        dropped: documents by label and rule; of steps of one name in one stage, by the first one's label.
        dropped_before: the same of the result that stands there.
    """

    stages: tuple[tuple[str, Counts], ...]
    before: tuple[tuple[str, Counts], ...]
    behind: str
    decided: frozenset[str]
    dropped: dict[tuple[str, str], int]
    dropped_before: dict[tuple[str, str], int]


def decide(
    recipe: Recipe, executor: Executor, progress: Progress, overwrite: bool = False, stall: float = STALL
) -> Curated:
    """Makes a recipe's thresholds those of its output; arguments as of `curate`.

    Raises:
        ConfigError: no run has kept these scores; as `curate`.
        RunError: as `curate`.
    """
    _planned(recipe)
    return curate(recipe, executor, progress, overwrite, stall, scores=True)


def look(recipe: Recipe) -> Looked:
    """What a recipe's thresholds would come to; writes nothing.

    Raises:
        ConfigError: no run has kept these scores.
    """
    stages = _planned(recipe)
    found: list[tuple[str, Counts]] = []
    behind, decided = "", set[str]()
    dropped: dict[tuple[str, str], int] = {}
    for stage in stages:
        counts = _counts(stage)
        if counts is None:
            behind = stage.name
            break
        found.append((stage.folder.name, counts))
        decided |= {step.label for step in stage.judges}
        dropped |= _by_label(counts, [(step.name, step.label) for step in stage.judges])
    published = find_manifest(recipe.output)
    before = [] if published is None else published.counts.get("funnel", [])
    dropped_before: dict[tuple[str, str], int] = {}
    for entry in before:
        steps = [] if published is None else published.options.get("steps", [])
        own = [(step["step"], step["label"]) for step in steps if step["stage"] == entry["stage"]]
        dropped_before |= _by_label(entry, own)
    return Looked(
        tuple(found),
        tuple((entry["stage"], entry) for entry in before),
        behind,
        frozenset(decided),
        dropped,
        dropped_before,
    )


def _by_label(counts: Counts, steps: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """A stage's dropped documents by label and rule; they are counted by the steps' names."""
    labels = dict(reversed(steps))
    found = {}
    for reason, count in counts["dropped"].items():
        name, _, rule = reason.partition(".")
        found[labels.get(name, name), rule] = count
    return found


def _planned(recipe: Recipe) -> list[DocumentStage]:
    """The stages of a recipe whose scores are there; where there is no output at all, no input is looked at."""
    name = recipe.loaded.document.name
    if not filters(recipe.steps):
        raise ConfigError(
            "the recipe has no thresholds: none of its steps looks at one document at a time",
            where=name,
            fix="midtrain curate needs no scores for it",
        )
    if not storage.names(recipe.output / "stages"):
        raise ConfigError(
            "no run has kept these scores",
            where=str(recipe.output),
            seen="no scores at all",
            fix=f"midtrain curate {name} --scores",
        )
    stages = plan(recipe, scores=True)
    check(stages, recipe)
    return stages


def check(stages: Sequence[DocumentStage], recipe: Recipe) -> None:
    """Looks for the scores that a recipe's first steps are to be decided by.

    Raises:
        ConfigError: there are none, or of other options: which.
    """
    scored = next(stage for stage in stages if stage.scoring)
    if scored.manifest() is not None:
        return
    raise ConfigError(
        "no run has kept these scores",
        where=str(recipe.output),
        seen=_nearest(scored, recipe.output),
        expected="scores of the same inputs and steps, of which only bounds may differ: " + _bounds(scored),
        fix=f"midtrain curate {recipe.loaded.document.name} --scores",
    )


def _bounds(stage: DocumentStage) -> str:
    """The steps' options that are bounds; of a table of bounds, the values are, and what they are bounds of is not."""
    found = []
    for _, step, options in filters(stage.steps):
        tables = [name for name in options.bounds if isinstance(getattr(options, name), Mapping)]
        names = [f"{name} (its values, not its keys)" if name in tables else name for name in options.bounds]
        found.append(f"{step.name}: {', '.join(names) or 'none'}")
    return "; ".join(found)


def _nearest(stage: DocumentStage, output: storage.Location) -> str:
    """What scores there are, and in which options they differ from those that a stage would make."""
    found = []
    for name in storage.names(output / stage.group):
        manifest = Manifest.find(output / stage.group / name) if "-scores-" in name else None
        if manifest is not None:
            found.append(_differences(stage.options(), manifest.options))
    return min(found, key=len, default="no scores at all")


def _differences(wanted: dict[str, Any], there: dict[str, Any]) -> str:
    names = [key for key in wanted if key not in ("steps", "scores") and wanted[key] != there.get(key)]
    mine, other = wanted["steps"], there.get("steps", [])
    if [step["step"] for step in mine] != [step["step"] for step in other]:
        names.append("steps")
        return f"scores with other {', '.join(names)}"
    for one, two in zip(mine, other, strict=True):
        names += [f"{one['step']}.{key}" for key, value in one["options"].items() if two["options"].get(key) != value]
        names += [f"{one['step']}.{key}" for key in one if key != "options" and one[key] != two.get(key)]
    return f"scores with other {', '.join(names)}" if names else "scores whose run is not complete"


def _counts(stage: DocumentStage) -> Counts | None:
    """What becomes of a stage's documents: as it stands there, or as its scores tell; None where they do not."""
    done = stage.manifest()
    if done is not None:
        return done.counts
    if not isinstance(stage, Decide) or stage.upstream.manifest() is None:
        return None
    total: Counts = {}
    for task in range(stage.tasks()):
        source = stage.source_of(task)
        with tempfile.TemporaryDirectory(prefix="midtrain-decide-") as folder:
            with stage.writer(task, Path(folder)) as writer:
                for batch in stage.incoming(task, writer, None):
                    stage.apply(batch, source, writer)
                writer.abandon()
            add_counts(total, writer.counts())
    return total
