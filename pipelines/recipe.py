"""The recipe: what is read, and the steps that documents go through, as the YAML says it.

Every key is checked when the file is loaded, each step's options by the step itself, so that a recipe that loads can
run. Costs no more than the imports of the steps it names.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from .. import config, storage
from ..config import Address, Count, Loaded, OutputFolder, Section, ShareOrCount
from ..errors import ConfigError
from ..filters import catalogue, keep_order
from ..filters.deduplication import Deduplication, LossLimited
from ..filters.rules import Barrier, Filter, Transform
from ..yaml_document import KeyPath
from . import message_steps, source_fields

NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
Format = Literal["jsonl", "parquet", "text", "reasoning", "generated"]
Form = Literal["worked", "answer_only", "fact"]
PARQUET = (".parquet", ".pq")  # endings
LEAST_QUARANTINED = 10  # documents of a source that may be set aside whatever the share


class SourceSpec(Section):
    """One source of a recipe: files of one format, or generated problems."""

    name: str = Field(pattern=f"^{NAME}$")
    path: Address | None = None
    format: Format | None = None
    fields: dict[str, str | tuple[str, ...]] | str = Field(
        default_factory=dict,
        description="our field to the file's; of format: reasoning also a layout's name, or auto, which is the default",
    )
    calculator_marks: Literal["keep", "remove"] = Field(
        default="keep", description="GSM8K's <<48/2=24>> in what the assistant says"
    )
    opened: bool = Field(
        default=False,
        description="whether prompts ended in <think>: a reply without any tag is then a thought that was cut off",
    )
    document: Literal["file", "line"] = "file"
    tasks: tuple[str, ...] = ()
    form: Form = "worked"
    steps: tuple[int, ...] = ()
    count: Annotated[Count, Field(gt=0)] | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _belongs_together(self) -> "SourceSpec":
        if self.format != "reasoning" and (self.calculator_marks != "keep" or self.opened):
            raise ValueError("calculator_marks and opened belong to format: reasoning")
        if self.format == "generated":
            if self.path is not None or self.fields:
                raise ValueError("a generated source has no path and no fields")
            if not self.tasks or self.count is None:
                raise ValueError("a generated source needs tasks and count")
            if self.form == "fact" and self.steps:
                raise ValueError("facts have one step: leave steps out")
            if self.form != "fact" and (not self.steps or min(self.steps) < 1):
                raise ValueError("a generated source needs steps, such as [4, 5]")
            return self
        if self.path is None:
            raise ValueError("a source needs a path (or format: generated)")
        if self.tasks or self.steps or self.count is not None:
            raise ValueError("tasks, steps and count belong to format: generated")
        return self

    @property
    def columns(self) -> dict[str, str]:
        """The fields of plain documents: our column to the file's, one to one."""
        fields = self.fields.items() if isinstance(self.fields, dict) else ()
        return {name: column for name, column in fields if isinstance(column, str)}

    def container(self, path: str) -> Literal["jsonl", "parquet", "text"]:
        """How the file's bytes are laid out: by the format, for reasoning by the file's ending."""
        if self.format in ("jsonl", "parquet", "text"):
            return self.format
        bare = path.removesuffix(".gz").removesuffix(".zst")
        if bare.endswith(PARQUET):
            return "parquet"
        if bare.endswith((".jsonl", ".ndjson", ".json")):
            return "jsonl"
        if bare.endswith((".txt", ".text", ".md", ".rst")) and self.format is None:
            return "text"
        raise ConfigError(
            f"source {self.name}: the ending does not say what the file is",
            where=path,
            expected=".jsonl .parquet .txt (.gz .zst)",
            fix="set format: jsonl, parquet or text",
        )


class RecipeSpec(Section):
    """A recipe as the YAML holds it; `steps` are single-key mappings, checked by `load`."""

    name: str = Field(pattern=f"^{NAME}$")
    output: OutputFolder
    sources: tuple[SourceSpec, ...] = Field(min_length=1)
    steps: tuple[dict[str, dict[str, Any] | None], ...] = ()
    max_quarantined: ShareOrCount = Field(
        default=0.001,
        ge=0,
        description=f"share of a source's documents ({LEAST_QUARANTINED} are always allowed), or a number of them",
    )

    @field_validator("steps", mode="before")
    @classmethod
    def _have_options(cls, steps: object) -> object:
        for step in steps if isinstance(steps, tuple) else ():
            if isinstance(step, str):
                raise ValueError(f"a step is one name with its options: write - {step}: {{}}")
        return steps


@dataclass(frozen=True)
class Step:
    """One step of a recipe: its name, its options, the sources it applies to, which one of its name it is."""

    name: str
    options: Filter | Barrier
    sources: tuple[str, ...]
    place: int = 1

    @property
    def label(self) -> str:
        """What its columns are called by: its name, with its place where it is not the first of that name."""
        return self.name if self.place == 1 else f"{self.name}.{self.place}"

    def record(self) -> dict[str, Any]:
        """What the step's output depends on; files by their content, and alarms not at all."""
        files = self.options.files if isinstance(self.options, Filter) else ()
        unrecorded = self.options.unrecorded if isinstance(self.options, Barrier) else ()
        return {
            "step": self.name,
            "version": self.options.version,
            "options": self.options.model_dump(mode="json", exclude=set(unrecorded)),
            "files": [storage.hash_file(path) for path in files],
            "sources": list(self.sources),
        }


@dataclass(frozen=True)
class Recipe:
    """A loaded recipe: the sections, the steps ready to run, and where each came from in the file."""

    loaded: Loaded[RecipeSpec]
    steps: tuple[Step, ...]

    @property
    def spec(self) -> RecipeSpec:
        """The validated YAML."""
        return self.loaded.value

    @property
    def output(self) -> storage.Location:
        """The folder that the recipe writes, on this machine or in a store."""
        return storage.location(self.spec.output)


def load(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Loads and checks a recipe.

    Raises:
        ConfigError: whatever cannot be right: a key, a type, a step's name, an option, a source that no step knows.
    """
    loaded = config.load(path, RecipeSpec, overrides)
    names = [source.name for source in loaded.value.sources]
    for index, source in enumerate(loaded.value.sources):
        if source.name in names[:index]:
            raise loaded.error(("sources", index, "name"), f"two sources are called {source.name}")
        if source.format == "generated":
            _check_tasks(loaded, index, source)
        else:
            source_fields.check(loaded, index, source)
    steps = [_step(loaded, index) for index in range(len(loaded.value.steps))]
    before: Counter[str] = Counter()
    for index, step in enumerate(steps):
        before[step.name] += 1
        steps[index] = replace(step, place=before[step.name])
        _check_keep(loaded, index, steps)
        message_steps.check_whole(loaded, index, steps)
    return Recipe(loaded, tuple(steps))


def _check_tasks(loaded: Loaded[RecipeSpec], index: int, source: SourceSpec) -> None:
    from ..mixtures import tasks

    where = ("sources", index)
    for key, values in (("tasks", source.tasks), ("steps", source.steps)):
        for position, value in enumerate(values):
            if value in values[:position]:
                raise loaded.error((*where, key, position), f"{value} stands twice", fix="name it once")
    at: KeyPath
    for position, name in enumerate(source.tasks):
        at = (*where, "tasks", position)
        if name not in tasks.names() and not name.startswith(tasks.GYM):
            raise _unknown(loaded, at, f"no task is called {name}", name, tasks.names())
        try:
            task = tasks.task(name)
            at = (*where, "form")
            tasks.check_form(task, source.form)
            for place, steps in enumerate(source.steps):
                at = (*where, "steps", place)
                task.problem(random.Random(0), steps)
        except ConfigError as wrong:
            raise loaded.error(at, wrong.what, expected=wrong.expected, fix=wrong.fix) from None


def _unknown(loaded: Loaded[RecipeSpec], path: KeyPath, what: str, name: str, known: Sequence[str]) -> ConfigError:
    return loaded.error(path, what, expected=", ".join(known), fix=config.did_you_mean(name, known))


def _step(loaded: Loaded[RecipeSpec], index: int) -> Step:
    entry = loaded.value.steps[index]
    where = ("steps", index)
    if len(entry) != 1:
        raise loaded.error(where, "a step is one name with its options", expected="- gopher_quality: {min_words: 50}")
    name = next(iter(entry))
    try:
        kind = catalogue.step(name)
    except ConfigError as unknown:
        raise loaded.error((*where, name), unknown.what, expected=unknown.expected, fix=unknown.fix) from None
    options = config.validate(loaded.document.at((*where, name), without=("sources",)), kind).value
    try:
        options.check()
    except ConfigError as wrong:
        what = f"{wrong.what} ({wrong.where})" if wrong.where else wrong.what
        raise loaded.error((*where, name), what, seen=wrong.seen, expected=wrong.expected, fix=wrong.fix) from None
    sources = _step_sources(loaded, index, name)
    if isinstance(options, Transform | Barrier) and options.rewrites:
        message_steps.check_rewriting(loaded, index, name, sources)
    if isinstance(options, Deduplication) and options.folds:
        message_steps.check_folding(loaded, index, name)
    if isinstance(options, Filter) and options.needs_all:
        message_steps.check_traces(loaded, index, name, sources)
    for position, source in enumerate(options.allow_loss if isinstance(options, LossLimited) else ()):
        if source not in sources:
            path = (*where, name, "allow_loss", position)
            raise _unknown(loaded, path, f"{name} applies to no source called {source}", source, sources)
    return Step(name, options, sources)


def _check_keep(loaded: Loaded[RecipeSpec], index: int, steps: Sequence[Step]) -> None:
    """A score by which copies are ranked must be a column of an earlier step, if only where a run keeps all scores."""
    options = steps[index].options
    if not isinstance(options, Deduplication):
        return
    from .scoring import score_columns

    known = [
        column for step in steps[:index] if isinstance(step.options, Filter) for column in step.options.score_columns
    ]
    known += score_columns(steps[:index])
    for column in keep_order.columns(options.keep):
        if column not in known:
            where = ("steps", index, steps[index].name, "keep")
            if not known:
                fix = "put a step in front that has scores, or take it out of keep"
                raise loaded.error(where, f"no earlier step has the score {column}, or any other", fix=fix)
            raise _unknown(loaded, where, f"no earlier step has the score {column}", column, known)


def _step_sources(loaded: Loaded[RecipeSpec], index: int, name: str) -> tuple[str, ...]:
    known = [source.name for source in loaded.value.sources]
    chosen = (loaded.value.steps[index][name] or {}).get("sources")
    if chosen is None:
        return tuple(known)
    where = ("steps", index, name, "sources")
    if not isinstance(chosen, (list, tuple)) or not chosen:
        raise loaded.error(where, "sources is a list of source names", expected=", ".join(known))
    for position, source in enumerate(chosen):
        if source not in known:
            raise _unknown(loaded, (*where, position), f"no source is called {source}", str(source), known)
    return tuple(chosen)
