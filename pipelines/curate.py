"""`midtrain curate`: a recipe's inputs to curated documents, through stages that a second run finds done.

Plans the stages from recipe and inputs, brings the last one to completion, and writes the one file that a mixture
opens. Costs, when all is done, a stat of each input and one small read.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import config
from ..errors import RunError
from ..filters.rules import Filter
from ..manifest import Manifest, OutputFile
from ..progress import Progress
from .choose_duplicates import ChooseDuplicates, WriteKeys
from .cut import Cut, large_files
from .deciding import Decide
from .documents import DocumentStage, ReadDocuments
from .executor import Executor
from .inputs import find_inputs, task_size
from .output import Output
from .parts import kept_parts
from .recipe import Recipe, Step
from .remove_duplicates import RemoveDuplicates
from .runner import STALL, Runner
from .scoring import score_columns
from .stage import remove_scratch
from .tasks import PIECE


@dataclass(frozen=True)
class Curated:
    """What a curation came to: its manifest, the document stages in order, and the tasks that this run did."""

    manifest: Manifest
    stages: tuple[tuple[str, dict[str, Any]], ...]
    tasks_run: int


def plan(recipe: Recipe, scores: bool = False) -> list[DocumentStage]:
    """The document stages of a recipe, in order; barriers hang between them as parents.

    Args:
        recipe: the loaded recipe.
        scores: whether each rule's value is kept as a column: steps between barriers are then two stages, one that
            scores all documents and one that decides by the scores.

    Raises:
        ConfigError: an input is missing or empty.
    """
    spec = recipe.spec
    files = find_inputs(recipe.loaded, recipe.output / "inputs.json")
    size = task_size(spec, files)
    large = large_files(spec.sources, files, size)
    cutting = Cut(recipe.output, large, max(size // PIECE, 1)) if large else None
    fused, rest = _until_barrier(recipe.steps)
    columns = _columns(fused, scores)
    limit = spec.max_quarantined
    label, scoring = _label(fused, "read"), scores and bool(fused)
    stage: DocumentStage = ReadDocuments(
        recipe.output, label, fused, columns, limit, scoring, spec.sources, files, size, cutting
    )
    stages = [stage, *_decided(stage)]
    while rest:
        barrier, (fused, rest) = rest[0], _until_barrier(rest[1:])
        columns += tuple(column for column in _columns(fused, scores) if column not in columns)
        keys = WriteKeys(recipe.output, stages[-1], barrier)
        choice = ChooseDuplicates(recipe.output, stages[-1], keys, barrier)
        label, scoring = _label(fused, barrier.name), scores and bool(fused)
        by_rows = not fused and stages[-1].base is not None
        stage = RemoveDuplicates(recipe.output, label, fused, columns, limit, scoring, stages[-1], choice, by_rows)
        stages += [stage, *_decided(stage)]
    return stages


def _decided(stage: DocumentStage) -> list[Decide]:
    """What decides by a stage's scores; nothing where it has decided itself."""
    if not stage.scoring:
        return []
    return [Decide(stage.root, stage.label, stage.steps, stage.scores, stage.max_quarantined, False, stage)]


def curate(
    recipe: Recipe,
    executor: Executor,
    progress: Progress,
    overwrite: bool = False,
    stall: float = STALL,
    scores: bool = False,
) -> Curated:
    """Runs a recipe.

    Args:
        recipe: the loaded recipe.
        executor: where the tasks run; it is closed when they have.
        progress: what the person sees.
        stall: seconds without any task ending after which the run is given up.
        overwrite: whether the output of another recipe in the same folder may be replaced.
        scores: as in `plan`.

    Raises:
        ConfigError: an input is missing or empty, or the folder holds another result.
        RunError: a file is damaged, too many documents were set aside, none is left, counts do not add up, or another
            run is at work in the folder.
    """
    output = Output(recipe.output, "curate")
    with output.opened() as events, Runner(executor, events, progress, stall) as runner:
        stages = plan(recipe, scores)
        output.claim(stages[-1].fingerprint, overwrite)
        output.record("recipe.yaml", config.dump(recipe.spec), recipe.loaded.document.name)
        reader = stages[0]
        if isinstance(reader, ReadDocuments) and reader.manifest() is None:
            executor.check(reader, len(reader.foreseen))  # what cannot fit is refused before the first task
        for number, stage in enumerate(stages):
            if not kept_parts(runner.ensure(stage)):
                raise _nothing_left(stages[: number + 1])
        manifest = _publish(output, recipe, stages)
        remove_scratch(stages)
    return Curated(manifest, tuple(_funnel(stages)), runner.tasks_run)


def reasons(counts_by_stage: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Documents dropped for each reason, `step.rule`, over all stages: one step may stand in several."""
    dropped: dict[str, int] = {}
    for counts in counts_by_stage:
        for reason, count in counts["dropped"].items():
            dropped[reason] = dropped.get(reason, 0) + count
    return dropped


def _nothing_left(stages: Sequence[DocumentStage]) -> RunError:
    dropped = reasons(counts for _, counts in _funnel(stages))
    return RunError(
        "nothing is left: every document was dropped or set aside",
        where=str(stages[-1].folder),
        seen="; ".join(f"{reason} {count:,}" for reason, count in dropped.items()) or None,
        fix="loosen the rule that drops most",
    )


def _publish(output: Output, recipe: Recipe, stages: Sequence[DocumentStage]) -> Manifest:
    last = stages[-1]
    done = last.finished()
    files = tuple(
        OutputFile(f"stages/{last.folder.name}/{file.path}", file.rows, file.bytes, file.hash, file.source)
        for file in kept_parts(done)
    )
    options: dict[str, Any] = {"name": recipe.spec.name, "scores": list(last.scores), "steps": _steps(stages)}
    if last.base is not None:
        options["rows_of"] = f"stages/{last.base.folder.name}"
    manifest = Manifest(
        stage="curate",
        version=1,
        fingerprint=last.fingerprint,
        options=options,
        parents=tuple(stage.fingerprint for stage in stages),
        files=files,
        counts={"funnel": [{"stage": name, **counts} for name, counts in _funnel(stages)]},
    )
    output.publish(manifest)
    return manifest


def _steps(stages: Sequence[DocumentStage]) -> list[dict[str, Any]]:
    """Every step in order with the stage that it ran in, the sources it saw, and its rules with their bounds."""
    return [
        {
            "stage": stage.folder.name,
            "step": step.name,
            "label": step.label,
            "sources": list(step.sources),
            "rules": [
                {"rule": rule.name, "low": rule.low, "high": rule.high, "source": rule.source}
                for rule in (step.options.rules if isinstance(step.options, Filter) else ())
            ],
        }
        for stage in stages
        for step in stage.judges
    ]


def _funnel(stages: Sequence[DocumentStage]) -> list[tuple[str, dict[str, Any]]]:
    return [(stage.folder.name, stage.finished().counts) for stage in stages]


def _until_barrier(steps: Sequence[Step]) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    for index, step in enumerate(steps):
        if not isinstance(step.options, Filter):
            return tuple(steps[:index]), tuple(steps[index:])
    return tuple(steps), ()


def _columns(steps: Sequence[Step], scores: bool) -> tuple[str, ...]:
    """The score columns that steps add: their own, and the values of their rules where those are kept."""
    names: dict[str, None] = {}
    for step in steps:
        if isinstance(step.options, Filter):
            names |= dict.fromkeys(step.options.score_columns)
    return tuple(names | dict.fromkeys(score_columns(steps) if scores else ()))


def _label(steps: Sequence[Step], otherwise: str) -> str:
    return steps[-1].name if steps else otherwise
