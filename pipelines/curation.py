"""A finished curation as it lies in its output: the stages in order, their steps, and the rows of what was dropped.

A report asks the files and not the recipe, which may have changed since. Costs a small read and a stat of its files for
each stage; rows are read a row group at a time, with the columns asked for alone, from a store several files at once.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from .. import locks, storage
from ..errors import ConfigError, RunError
from ..manifest import EMPTY, NAME, Manifest, OutputFile
from ..remote import RemotePath
from ..storage import Location
from .parts import NAMES
from .read_parts import AHEAD

FILES_AT_ONCE = 8  # of a store


class Reason(NamedTuple):
    """Why documents left: the stage's folder, the step, the rule."""

    stage: str
    step: str
    rule: str


@dataclass(frozen=True)
class RuleRecord:
    """A rule as it was applied: the smallest and the largest value that it kept, and where they come from.

    `exempt` is one value outside them that it kept too, None for none.
    """

    name: str
    low: float | None
    high: float | None
    source: str
    exempt: float | None = None


@dataclass(frozen=True)
class StepRecord:
    """A step as it was applied, and the stage that it ran in; its columns are called by its label."""

    stage: str
    name: str
    label: str
    sources: tuple[str, ...]
    rules: tuple[RuleRecord, ...]


@dataclass(frozen=True)
class StageRecord:
    """A stage of documents: the folder's name, where it lies, and what it came to."""

    name: str
    folder: Location
    manifest: Manifest

    @property
    def counts(self) -> dict[str, Any]:
        """Its counts."""
        return self.manifest.counts

    @property
    def scored(self) -> bool:
        """Whether it holds every document with its scores, and the next stage decides."""
        return bool(self.manifest.options.get("scored"))

    def files(self, below: str) -> list[OutputFile]:
        """Its files in a folder below it."""
        return [file for file in self.manifest.files if file.path.startswith(below + "/")]


@dataclass(frozen=True)
class Curation:
    """What a finished run of curate left.

    Args:
        root: the output.
        manifest: the output's own.
        stages: in the order in which documents passed them.
        steps: in the order in which they were applied; without rules where the run did not record them.
        recorded: whether the run recorded rules, and language and size of what it dropped.
        choices: what chose the duplicates that a stage dropped, by the stage's name.
        rates: what counted the traces by which a stage judged, by the stage's name.
    """

    root: Location
    manifest: Manifest
    stages: tuple[StageRecord, ...]
    steps: tuple[StepRecord, ...]
    recorded: bool
    choices: dict[str, StageRecord]
    rates: dict[str, StageRecord]

    @property
    def name(self) -> str:
        """The recipe's name."""
        return str(self.manifest.options["name"])

    @property
    def sources(self) -> list[str]:
        """The recipe's sources, as they were read."""
        return list(self.stages[0].counts["sources"])

    def dropped(self, columns: Sequence[str]) -> Iterator[tuple[StageRecord, str, pa.Table]]:
        """The dropped documents: stage, source, and rows with these columns.

        Raises:
            RunError: a file is gone, damaged, or holds another number of rows than was written.
        """
        for stage in self.stages:
            for file, rows in read_files(stage.folder, stage.files("dropped"), columns):
                yield stage, file.source, rows

    def quarantined(self) -> Iterator[tuple[StageRecord, dict[str, Any]]]:
        """What was set aside: stage, and the entry with its id, source, step, error and place.

        Raises:
            RunError: a file is gone or damaged.
        """
        for stage in self.stages:
            for file in stage.files("quarantine"):
                path = stage.folder / file.path
                for line in storage.read_bytes(path).splitlines():
                    try:
                        entry = orjson.loads(line)
                        yield stage, {name: str(entry[name]) for name in ("id", "source", "step", "error", "place")}
                    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
                        raise _damaged(path, error) from None


def open_curation(output: str | Location) -> Curation:
    """Opens the output of a finished run of curate.

    Raises:
        ConfigError: there is none.
        RunError: the run is not complete, or a file of it is gone or was cut short.
    """
    root = storage.location(output)
    manifest = curated_manifest(root)
    stages = tuple(_stage_of(root, entry, manifest.parents) for entry in manifest.counts["funnel"])
    choices, rates = (
        {stage: _parent(root, stages, stage, name) for stage, name in manifest.options.get(kind, {}).items()}
        for kind in ("choices", "rates")
    )
    steps = manifest.options.get("steps")
    known = steps is not None and all("dropped_text_bytes" in stage.counts for stage in stages)
    found = _steps(steps) if steps is not None else _seen_steps(stages)
    return Curation(root, manifest, stages, found, known, choices, rates)


def curated_manifest(root: Location) -> Manifest:
    """The manifest of a finished run of curate, or what one that kept no document told.

    Raises:
        ConfigError: there is none.
        RunError: the run is not complete.
    """
    manifest = find_manifest(root)
    if manifest is None:
        raise _nothing(root)
    if manifest.stage != "curate":
        raise ConfigError("the folder is not a curated output", where=str(root), seen=f"an output of {manifest.stage}")
    return manifest


def find_manifest(root: Location) -> Manifest | None:
    """The manifest of an output, or what a run that kept no document told; None where there is neither."""
    return Manifest.find(root) or Manifest.find(root, EMPTY)


def read_files(
    folder: Location, files: Sequence[OutputFile], columns: Sequence[str]
) -> Iterator[tuple[OutputFile, pa.Table]]:
    """The rows of Parquet files, each row group with its file; columns that are not there are left out.

    Raises:
        RunError: a file is gone, damaged, or holds another number of rows than was written.
    """
    if not isinstance(folder, RemotePath):
        for file in files:
            for rows in _row_groups(folder, file, columns):
                yield file, rows
        return
    with ThreadPoolExecutor(FILES_AT_ONCE) as threads:
        waiting: deque[tuple[OutputFile, Future[list[pa.Table]]]] = deque()
        for file in files:
            waiting.append((file, threads.submit(lambda one: list(_row_groups(folder, one, columns)), file)))
            if len(waiting) >= FILES_AT_ONCE:
                done, tables = waiting.popleft()
                yield from ((done, rows) for rows in tables.result())
        for done, tables in waiting:
            yield from ((done, rows) for rows in tables.result())


def _row_groups(folder: Location, file: OutputFile, columns: Sequence[str]) -> Iterator[pa.Table]:
    path = folder / file.path
    try:
        with storage.open_ranges(path, AHEAD) as stream:
            footer = pq.read_metadata(stream)
            if footer.num_rows != file.rows:
                raise RunError(
                    "the file holds another number of rows than was written",
                    where=str(path),
                    seen=f"{footer.num_rows:,}",
                    expected=f"{file.rows:,}",
                    fix=f"remove {folder} and run again: the stage is made anew",
                )
            there = footer.schema.to_arrow_schema().names
            chosen = [name for name in columns if name in there]
            few = [name for name in NAMES if name in chosen]
            with pq.ParquetFile(stream, metadata=footer, read_dictionary=few) as opened:
                for group in range(opened.num_row_groups):
                    yield opened.read_row_group(group, chosen).combine_chunks()
    except (OSError, pa.ArrowInvalid) as error:
        raise _damaged(path, error) from None


def _damaged(path: Location, error: Exception) -> RunError:
    return RunError(f"the file is damaged: {error}", where=str(path), fix="remove its folder and run again")


def _nothing(root: Location) -> ConfigError | RunError:
    if locks.held(root) is None:
        return ConfigError(
            f"there is no curated output (no {NAME})",
            where=str(root),
            fix="name the recipe's output, or run midtrain curate first",
        )
    return RunError(
        f"the run is not complete (no {NAME}), so what becomes of its documents is not known yet",
        where=str(root),
        fix=f"midtrain status {root} says how far it is; the same midtrain curate goes on where it stopped",
    )


def _stage_of(root: Location, entry: dict[str, Any], parents: Sequence[str]) -> StageRecord:
    name = str(entry["stage"])
    return _stage(root, name, lambda found: found.fingerprint in parents and {"stage": name, **found.counts} == entry)


def _parent(root: Location, stages: Sequence[StageRecord], stage: str, name: str) -> StageRecord:
    parents = next(one.manifest.parents for one in stages if one.name == stage)
    return _stage(root, name, lambda found: found.fingerprint in parents)


def _stage(root: Location, name: str, is_it: Callable[[Manifest], bool]) -> StageRecord:
    folder = root / "stages" / name
    found = Manifest.find(folder)
    if found is None or not is_it(found):
        raise RunError(
            "a stage of the output is gone"
            if found is None
            else "the stage is not the one that the output was made of",
            where=str(folder),
            seen=None if found is None else found.fingerprint,
            fix="run midtrain curate again: what is missing is made anew",
        )
    found.check_sizes(folder)
    return StageRecord(name, folder, found)


def _steps(recorded: Sequence[dict[str, Any]]) -> tuple[StepRecord, ...]:
    return tuple(
        StepRecord(
            entry["stage"],
            entry["step"],
            entry["label"],
            tuple(entry["sources"]),
            tuple(
                RuleRecord(rule["rule"], rule["low"], rule["high"], rule["source"], rule.get("exempt"))
                for rule in entry["rules"]
            ),
        )
        for entry in recorded
    )


def _seen_steps(stages: Sequence[StageRecord]) -> tuple[StepRecord, ...]:
    """Of a run that did not record its steps: those that dropped something."""
    found: list[StepRecord] = []
    for stage in stages:
        sources = tuple(stage.counts["sources"])
        given = [str(step["step"]) for step in stage.manifest.options.get("steps", ())]
        named = dict.fromkeys(reason.partition(".")[0] for reason in stage.counts["dropped"])
        barrier = [name for name in named if name not in given]
        found += [StepRecord(stage.name, name, name, sources, ()) for name in [*barrier, *given]]
    return tuple(found)
