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
from ..filters import catalogue
from ..filters.rules import Barrier, Filter, Transform
from ..yaml_document import KeyPath

NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
DOCUMENT_FIELDS = ("text", "id", "url", "date", "language")
REASONING_FIELDS = ("prompt", "reasoning", "response", "answer", "messages", "system", "id", "url", "date")
TURNS = ("prompt", "reasoning", "response", "system")  # fields that become turns, where there are no messages
Format = Literal["jsonl", "parquet", "text", "reasoning", "generated"]
Form = Literal["worked", "answer_only", "fact"]
LEAST_QUARANTINED = 10  # documents of a source that may be set aside whatever the share


class SourceSpec(Section):
    """One source of a recipe: files of one format, or generated problems."""

    name: str = Field(pattern=f"^{NAME}$")
    path: Address | None = None
    format: Format | None = None
    fields: dict[str, str] = Field(default_factory=dict)
    document: Literal["file", "line"] = "file"
    tasks: tuple[str, ...] = ()
    form: Form = "worked"
    steps: tuple[int, ...] = ()
    count: Annotated[Count, Field(gt=0)] | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _belongs_together(self) -> "SourceSpec":
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

    def container(self, path: str) -> Literal["jsonl", "parquet", "text"]:
        """How the file's bytes are laid out: by the format, for reasoning by the file's ending."""
        if self.format in ("jsonl", "parquet", "text"):
            return self.format
        bare = path.removesuffix(".gz").removesuffix(".zst")
        if bare.endswith((".parquet", ".pq")):
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
        """What the step's output depends on; files by their content."""
        files = self.options.files if isinstance(self.options, Filter) else ()
        return {
            "step": self.name,
            "version": self.options.version,
            "options": self.options.model_dump(mode="json"),
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
            _check_fields(loaded, index, source)
    steps = [_step(loaded, index) for index in range(len(loaded.value.steps))]
    before: Counter[str] = Counter()
    for index, step in enumerate(steps):
        before[step.name] += 1
        steps[index] = replace(step, place=before[step.name])
    return Recipe(loaded, tuple(steps))


def _check_fields(loaded: Loaded[RecipeSpec], index: int, source: SourceSpec) -> None:
    where = ("sources", index, "fields")
    known = REASONING_FIELDS if source.format == "reasoning" else DOCUMENT_FIELDS
    for field in source.fields:
        if source.format == "text":
            raise loaded.error((*where, field), "plain text has no fields", fix="remove fields, or correct format")
        if field not in known:
            raise _unknown(loaded, (*where, field), f"no field can be mapped to {field}", field, known)
    if source.format != "reasoning":
        return
    turns = [field for field in TURNS if field in source.fields]
    if "messages" in source.fields and turns:
        raise loaded.error(
            (*where, turns[0]), f"messages hold every turn: {turns[0]} would not be read", fix="leave one out"
        )
    if "messages" not in source.fields and not ("prompt" in turns and {"response", "reasoning"} & set(turns)):
        raise loaded.error(where, "a reasoning source needs fields: {prompt: …, response: …} or {messages: …}")


def _check_tasks(loaded: Loaded[RecipeSpec], index: int, source: SourceSpec) -> None:
    from ..mixtures import tasks

    where = ("sources", index)
    for key, values in (("tasks", source.tasks), ("steps", source.steps)):
        for position, value in enumerate(values):
            if value in values[:position]:
                raise loaded.error((*where, key, position), f"{value} stands twice", fix="name it once")
    for position, task in enumerate(source.tasks):
        if task not in tasks.names():
            raise _unknown(loaded, (*where, "tasks", position), f"no task is called {task}", task, tasks.names())
        for place, steps in enumerate(source.steps):
            try:
                tasks.task(task).problem(random.Random(0), steps)
            except ConfigError as wrong:
                raise loaded.error((*where, "steps", place), wrong.what, expected=wrong.expected) from None


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
    if isinstance(options, Filter):
        try:
            options.check()
        except ConfigError as wrong:
            what = f"{wrong.what} ({wrong.where})" if wrong.where else wrong.what
            raise loaded.error((*where, name), what, expected=wrong.expected, fix=wrong.fix) from None
    sources = _step_sources(loaded, index, name)
    if isinstance(options, Transform) and options.rewrites:
        _check_rewriting(loaded, index, name, sources)
    return Step(name, options, sources)


def _check_rewriting(loaded: Loaded[RecipeSpec], index: int, name: str, sources: Sequence[str]) -> None:
    """A text that is made of messages cannot be rewritten: the messages would go on saying what they said."""
    specs = loaded.value.sources
    turns = [spec.name for spec in specs if spec.name in sources and spec.format in ("reasoning", "generated")]
    if not turns:
        return
    others = [source for source in sources if source not in turns]
    raise loaded.error(
        ("steps", index, name),
        f"{name} rewrites text, and the documents of {', '.join(turns)} are messages, which it would leave as they are",
        expected="sources of plain documents",
        fix=f"add sources: [{', '.join(others)}] to the step" if others else "remove the step",
    )


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
