"""`midtrain curate`: a recipe's inputs to curated documents, through stages that a second run finds done.

Plans the stages from recipe and inputs, brings the last one to completion, and writes the one file that a mixture
opens. Costs, when all is done, a stat of each input and one small read.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import config
from ..errors import RunError
from ..filters import keep_order
from ..filters.deduplication import Deduplication
from ..filters.difficulty import Difficulty
from ..filters.pieces import PieceDedup
from ..filters.rules import Filter, Rule
from ..manifest import Manifest, OutputFile
from ..progress import Progress
from .cells import Rated
from .cut import Cut, large_files
from .deciding import Decide
from .documents import DocumentStage
from .duplicates.barriers import choice_of, pieces_of
from .duplicates.index_join import indexes_of
from .executor import Executor
from .inputs import find_inputs, task_size
from .output import Output
from .pass_rates import PassRates, WriteVerdicts
from .rated_documents import RatedDocuments
from .read_documents import ReadDocuments
from .read_parts import kept_parts
from .recipe import Recipe, Step
from .remove_duplicates import RemoveDuplicates
from .remove_pieces import RemovePieces
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
        ConfigError: an input is missing or empty, or an index is not there or does not fit.
    """
    spec = recipe.spec
    indexes = indexes_of(recipe)
    files = find_inputs(recipe.loaded, recipe.output / "inputs.json")
    size = task_size(spec, files)
    large = large_files(spec.sources, files, size)
    cutting = Cut(recipe.output, large, max(size // PIECE, 1)) if large else None
    fused, rest = _until_barrier(recipe.steps)
    columns = _columns(fused, scores)
    limit = spec.max_quarantined
    label, scoring = _label(fused, "read"), scores and bool(fused)
    reader = ReadDocuments(
        recipe.output, label, fused, columns, limit, scoring, spec.sources, files, size, cutting, _rated(recipe.steps)
    )
    stage: DocumentStage = reader
    stages = [stage, *_decided(stage)]
    while rest:
        barrier, (fused, rest) = rest[0], _until_barrier(rest[1:])
        _check_scores(recipe, barrier, columns)
        fused = (barrier, *fused) if isinstance(barrier.options, Filter) else fused
        columns += tuple(column for column in _columns(fused, scores) if column not in columns)
        label, scoring = _label(fused, barrier.name), scores and bool(fused)
        judged = (recipe.output, label, fused, columns, limit, scoring, stages[-1])
        if isinstance(barrier.options, Filter):
            verdicts = WriteVerdicts(recipe.output, stages[-1], barrier)
            stage = RatedDocuments(*judged, PassRates(recipe.output, stages[-1], barrier, verdicts))
        elif isinstance(barrier.options, PieceDedup):
            stage = RemovePieces(*judged, pieces_of(recipe.output, stages[-1], barrier))
        else:
            index = indexes.get(recipe.steps.index(barrier))
            layer = None if index is None else index.for_recipe(barrier.name, spec.name, reader.given)
            choice = choice_of(recipe.output, stages[-1], barrier, layer)
            stage = RemoveDuplicates(*judged, choice, by_rows=not fused)
        stages += [stage, *_decided(stage)]
    return stages


def _rated(steps: Sequence[Step]) -> tuple[Rated, ...]:
    """The pass rates of metadata that steps look at, those of the first step for each source."""
    found: dict[str, Rated] = {}
    for step in steps:
        if isinstance(step.options, Difficulty) and not step.options.needs_all:
            for source in step.sources:
                found.setdefault(source, Rated(source, step.options.field, step.options.of))
    return tuple(found.values())


def _check_scores(recipe: Recipe, barrier: Step, columns: Sequence[str]) -> None:
    """The scores by which a barrier ranks copies are among the columns that documents have there."""
    if not isinstance(barrier.options, Deduplication):
        return
    for column in keep_order.columns(barrier.options.keep):
        if column not in columns:
            raise recipe.loaded.error(
                ("steps", recipe.steps.index(barrier), barrier.name, "keep"),
                f"the score {column} is a rule's value, which is only there where a run keeps scores",
                fix="run midtrain curate with --scores, or rank by another column",
            )


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
        output.withdraw(stages[-1].fingerprint)
        output.record("recipe.yaml", config.dump(recipe.spec), recipe.loaded.document.name)
        reader = stages[0]
        if isinstance(reader, ReadDocuments) and reader.manifest() is None:
            executor.check(reader, len(reader.foreseen))  # what cannot fit is refused before the first task
        for number, stage in enumerate(stages):
            if not kept_parts(runner.ensure(stage)):
                output.tell_empty(_manifest(recipe, stages[: number + 1]))
                raise _nothing_left(output, stages[: number + 1])
        manifest = _manifest(recipe, stages)
        output.publish(manifest)
        remove_scratch(stages)
    return Curated(manifest, tuple(_funnel(stages)), runner.tasks_run)


def reasons(counts_by_stage: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Documents dropped for each reason, `step.rule`, over all stages: one step may stand in several."""
    dropped: dict[str, int] = {}
    for counts in counts_by_stage:
        for reason, count in counts["dropped"].items():
            dropped[reason] = dropped.get(reason, 0) + count
    return dropped


def _nothing_left(output: Output, stages: Sequence[DocumentStage]) -> RunError:
    dropped = reasons(counts for _, counts in _funnel(stages))
    return RunError(
        "nothing is left: every document was dropped or set aside",
        where=str(stages[-1].folder),
        seen="; ".join(f"{reason} {count:,}" for reason, count in dropped.items()) or None,
        fix=f"loosen the rule that drops most: midtrain report {output.folder} shows the funnel",
    )


def _manifest(recipe: Recipe, stages: Sequence[DocumentStage]) -> Manifest:
    """What the stages, the first of the recipe's, came to; the files are those that the last of them kept."""
    last = stages[-1]
    done = last.finished()
    files = tuple(
        OutputFile(f"stages/{last.folder.name}/{file.path}", file.rows, file.bytes, file.hash, file.source)
        for file in kept_parts(done)
    )
    reader = stages[0]
    assert isinstance(reader, ReadDocuments)  # noqa: S101 - a recipe begins with reading
    options: dict[str, Any] = {
        "name": recipe.spec.name,
        "given": reader.given,
        "scores": list(last.scores),
        "steps": _steps(stages),
    }
    choices = [stage for stage in stages if isinstance(stage, RemoveDuplicates)]
    if choices:
        options["choices"] = {stage.folder.name: stage.choice.folder.name for stage in choices}
    rated = [stage for stage in stages if isinstance(stage, RatedDocuments)]
    if rated:
        options["rates"] = {stage.folder.name: stage.rates.folder.name for stage in rated}
    if last.base is not None:
        options["rows_of"] = f"stages/{last.base.folder.name}"
    return Manifest(
        stage="curate",
        version=1,
        fingerprint=last.fingerprint,
        options=options,
        parents=tuple(stage.fingerprint for stage in stages),
        files=files,
        counts={"funnel": [{"stage": name, **counts} for name, counts in _funnel(stages)]},
    )


def _steps(stages: Sequence[DocumentStage]) -> list[dict[str, Any]]:
    """Every step in order with the stage that it ran in, the sources it saw, and its rules with their bounds.

    Of a barrier also what an index has to know of the documents that it kept.
    """
    return [
        {
            "stage": stage.folder.name,
            "step": step.name,
            "label": step.label,
            "sources": list(step.sources),
            "rules": [_rule(rule) for rule in (step.options.rules if isinstance(step.options, Filter) else ())],
            **_compared(stage, step),
        }
        for stage in stages
        for step in stage.judges
    ]


def _rule(rule: Rule) -> dict[str, Any]:
    """A rule's bounds, and where it has one the value outside them that it keeps."""
    exempt = {} if rule.exempt is None else {"exempt": rule.exempt}
    return {"rule": rule.name, "low": rule.low, "high": rule.high, "source": rule.source, **exempt}


def _compared(stage: DocumentStage, step: Step) -> dict[str, Any]:
    """Version and options of a barrier, and the version of the index that it compared with."""
    if not isinstance(stage, RemoveDuplicates) or step is not stage.choice.step:
        return {}
    record, index = step.record(), stage.choice.index
    seen = None if index is None else {"version": index.version, "fingerprint": index.fingerprint}
    return {"version": record["version"], "options": record["options"], "index": seen}


def _funnel(stages: Sequence[DocumentStage]) -> list[tuple[str, dict[str, Any]]]:
    return [(stage.folder.name, stage.finished().counts) for stage in stages]


def _until_barrier(steps: Sequence[Step]) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    for index, step in enumerate(steps):
        if not isinstance(step.options, Filter) or step.options.needs_all:
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
