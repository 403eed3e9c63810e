"""The stages of a curated output with the recipe's steps that they carried out, for whoever follows documents through.

A manifest names stages and a recipe names steps; both must be of the same run before one explains the other. Costs a
small read a stage.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import storage
from ..errors import ConfigError
from ..filters.rules import Filter
from ..manifest import Manifest, OutputFile
from ..storage import Location
from . import exchange
from . import recipe as recipes
from .duplicates.choice import DUPLICATES, exchanged
from .finding import number
from .read_parts import kept_parts
from .recipe import Recipe, Step

RECIPE = "recipe.yaml"


@dataclass(frozen=True)
class Finished:
    """A stage that is done."""

    folder: Location
    manifest: Manifest

    @classmethod
    def read(cls, folder: Location) -> "Finished":
        """Reads the manifest of a stage's folder.

        Raises:
            RunError: there is none.
        """
        return cls(folder, Manifest.read(folder))

    def part(self, task: int) -> OutputFile | None:
        """What a task keeps, of a stage of documents."""
        return next((file for file in kept_parts(self.manifest) if number(file) == task), None)


@dataclass(frozen=True)
class Segment:
    """Per-document steps up to the next barrier, behind the barrier before them, if there is one.

    `first` is the stage that brings the documents, `last` the one that decides: the same where nothing is scored.
    `choice` is what chose the documents that the barrier drops; None where there is none, or the run kept none. `rates`
    are those by which the first step judges; None where it needs none.
    """

    barrier: Step | None
    steps: tuple[Step, ...]
    first: Finished
    last: Finished
    choice: Finished | None
    rates: Finished | None = None

    def dropped_rows(self, part: int) -> set[int] | None:
        """The rows of an earlier stage's part that the barrier drops, as its choice says; None where there is none.

        Raises:
            RunError: a file is gone or damaged.
        """
        if self.choice is None:
            return None
        paths = [self.choice.folder / file.path for file in exchanged(self.choice.manifest.files)]
        return set(exchange.read(paths, part, DUPLICATES).column("row").to_pylist())


def recipe_beside(root: Location) -> Recipe:
    """The recipe that the run left beside the output; of one in a store, a copy on this machine is loaded.

    Raises:
        ConfigError: there is none, or it cannot be loaded.
    """
    text = storage.read_if_there(root / RECIPE)
    if text is None:
        raise ConfigError("the output has no recipe", where=str(root / RECIPE), fix="run midtrain curate again")
    with tempfile.TemporaryDirectory(prefix="midtrain-explain-") as folder:
        (Path(folder) / RECIPE).write_bytes(text)
        return recipes.load(Path(folder) / RECIPE)


def segments(root: Location, manifest: Manifest, recipe: Recipe) -> list[Segment]:
    """The stages of an output with the recipe's steps; those that no document reached are not among them.

    Raises:
        ConfigError: the recipe beside the output is not the one that made it.
    """
    stages = iter([Finished.read(root / "stages" / entry["stage"]) for entry in manifest.counts["funnel"]])
    choices, rates = (manifest.options.get(name, {}) for name in ("choices", "rates"))
    groups: list[tuple[Step | None, list[Step]]] = [(None, [])]
    for step in recipe.steps:
        if isinstance(step.options, Filter) and step.options.needs_all:
            groups.append((None, [step]))
        elif isinstance(step.options, Filter):
            groups[-1][1].append(step)
        else:
            groups.append((step, []))
    found: list[Segment] = []
    for barrier, steps in groups:
        first = next(stages, None)
        if first is None and not manifest.files:
            return found
        scored = first is not None and first.manifest.options.get("scored") is True
        last = next(stages, None) if scored else first
        if first is None or last is None or not _made_by(last.manifest, steps):
            raise ConfigError(
                "the recipe beside the output is not the one that made it",
                where=str(root / RECIPE),
                fix="run midtrain curate with the output's recipe again",
            )
        beside = (
            None if name is None else Finished.read(root / "stages" / name)
            for name in (choices.get(first.folder.name), rates.get(first.folder.name))
        )
        found.append(Segment(barrier, tuple(steps), first, last, *beside))
    return found


def _made_by(manifest: Manifest, steps: Sequence[Step]) -> bool:
    there = [(record["step"], record["options"]) for record in manifest.options["steps"]]
    return there == [(step.name, step.options.model_dump(mode="json")) for step in steps]
