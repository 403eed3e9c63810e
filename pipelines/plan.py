"""`midtrain plan`: what a recipe will take, before it runs: memory, disk and time, and what of it is done already.

A run that fails for want of memory or disk after a night is the dearest way to learn that it does not fit. Costs a
sample of every source (seconds); nothing where all is done.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..progress import duration
from ..storage import Location
from ..tables import Table, columns
from . import budget as budgets
from .budget import Budget, spelled
from .curate import plan as stages_of
from .documents import DocumentStage
from .duplicates import estimates as near
from .duplicates.similar import ChooseSimilar
from .estimates import Estimator, StagePlan, in_order, needed, tasks_of
from .executor import default_workers
from .extents import Extent, extent
from .read_documents import ReadDocuments
from .recall_curve import RecallCurve, curves
from .recipe import Recipe
from .sample import Sampled, take

START_SECONDS = 1.5  # of the workers


@dataclass(frozen=True)
class Input:
    """A source: its files, their bytes, the bytes of the records in them, the tasks that read it."""

    source: str
    files: int
    bytes: int
    text: int
    tasks: int


@dataclass(frozen=True)
class Plan:
    """What a recipe will take.

    Args:
        output: where to.
        inputs: the sources, in the recipe's order.
        stages: in the order in which they run.
        budget: the memory that the run may use.
        wanted: workers that were asked for.
        free: bytes that are free at the output; None in a store, which has no end.
        curves: what the steps that compare similar documents find.
    """

    output: Location
    inputs: tuple[Input, ...]
    stages: tuple[StagePlan, ...]
    budget: Budget
    wanted: int
    free: int | None
    curves: tuple[RecallCurve, ...] = ()

    @property
    def to_do(self) -> list[StagePlan]:
        """The stages that have tasks left."""
        return [one for one in self.stages if one.estimated]

    def workers(self, one: StagePlan) -> int:
        """How many workers a stage gets; 0 where not even one fits."""
        fit = budgets.workers(self.budget.bytes, max(one.memory, 1), budgets.driver(one.tasks), self.wanted)
        return min(fit, max(one.tasks - one.done, 1))

    @property
    def memory(self) -> int:
        """Bytes that the run holds at its peak."""
        held = (budgets.driver(one.tasks) + self.workers(one) * one.memory for one in self.to_do)
        return max(held, default=0)

    @property
    def disk_peak(self) -> int:
        """Bytes below the output at the end of the last stage: scratch stands until then."""
        return sum(max(one.disk, one.held) for one in self.stages)

    @property
    def disk_after(self) -> int:
        """Bytes below the output when the run is complete."""
        return sum(one.disk for one in self.stages if not one.stage.scratch)

    @property
    def disk_more(self) -> int:
        """Bytes that have to be free."""
        return sum(max(one.disk - one.held, 0) for one in self.stages)

    @property
    def seconds(self) -> float:
        """Wall time that is left, on a machine with nothing else to do."""
        left = [one.seconds / max(self.workers(one), 1) for one in self.to_do]
        return sum(left) + START_SECONDS if left else 0.0

    def refuse(self) -> None:
        """Raises ConfigError where the run cannot fit: the memory of a worker, a component of candidates, the disk."""
        for one in self.to_do:
            if isinstance(one.stage, ChooseSimilar):
                near.refuse(one.stage, one.documents)
        for one in sorted(self.to_do, key=lambda one: -one.memory):
            least = budgets.needed(one.memory, budgets.driver(one.tasks))
            if least > self.budget.bytes:
                raise budgets.refusal(one.stage.name, self.budget.bytes, least)
        if self.free is not None and self.disk_more > self.free:
            raise ConfigError(
                "the disk is too small for the run",
                where=str(self.output),
                seen=f"{spelled(self.free, up=False)} free",
                expected=f"about {spelled(self.disk_more, up=True)}: scratch is removed when the run is complete",
                fix="make room, or choose another output",
            )


def plan(recipe: Recipe, workers: int | None, memory: str | None, scores: bool = False) -> Plan:
    """Plans a recipe.

    Args:
        recipe: the loaded recipe.
        workers: that are wanted; 0 works in one process, None is one a core.
        memory: `--memory`; None for the default.
        scores: whether the run is to keep each rule's value.

    Raises:
        ConfigError: an input is missing or empty, or `memory` is no size.
        RunError: what the sample finds: a damaged file, a crash.
    """
    found = budgets.of(memory)
    stages = stages_of(recipe, scores)
    ordered = in_order(stages[-1])
    manifests = ((stage.fingerprint, stage.manifest()) for stage in ordered)
    finished = {fingerprint: manifest for fingerprint, manifest in manifests if manifest is not None}
    missing = needed(stages[-1], finished)
    to_judge = [stage for stage in stages if stage.fingerprint in missing]
    reader = stages[0]
    assert isinstance(reader, ReadDocuments)  # noqa: S101 - a recipe begins with reading
    extents = {source.name: extent(source, reader.files) for source in reader.sources}
    sampled = _sampled(to_judge, extents) if to_judge else None
    if any(stage.manifest() is None for stage in ordered if stage.fingerprint in finished):
        return plan(recipe, workers, memory, scores)  # a run beside us has ended meanwhile, and removed its scratch
    unneeded = {stage.fingerprint for stage in ordered} - missing - set(finished)
    estimator = Estimator(finished, unneeded, sampled, to_judge[0] if to_judge else None, extents)
    planned = tuple(one for one in map(estimator.plan, ordered) if one.tasks)
    counts = finished[reader.fingerprint].counts["sources"] if reader.fingerprint in finished else {}
    tasks = tasks_of(finished[reader.fingerprint]) if counts else reader.tasks_by_source()
    inputs = tuple(_input(name, one, sampled, counts.get(name), tasks.get(name, 0)) for name, one in extents.items())
    wanted = default_workers() if workers is None else max(workers, 1)
    return Plan(recipe.output, inputs, planned, found, wanted, _free(recipe.output), curves(recipe))


def _sampled(stages: Sequence[DocumentStage], extents: dict[str, Extent]) -> Sampled:
    probes = {name: one.probe if isinstance(stages[0], ReadDocuments) else "" for name, one in extents.items()}
    return take(stages, probes)


def _input(name: str, one: Extent, sampled: Sampled | None, counts: dict[str, Any] | None, tasks: int) -> Input:
    if counts is not None:
        text = int(counts["bytes"])
    elif sampled is None:
        text = 0
    else:
        sample = sampled.samples[name]
        problems = one.problems / max(sample.documents, 1) * sample.bytes
        text = round(problems or one.plain + one.compressed * sample.stretch)
    return Input(name, one.files, one.bytes, text, tasks)


def _free(folder: Location) -> int | None:
    """Bytes that are free where a folder is, or will be; None in a store."""
    if not isinstance(folder, Path):
        return None
    there = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    return shutil.disk_usage(there).free


def table(planned: Plan) -> Table:
    """The plan for people and machines."""
    sources = [["source", "files", "bytes", "records", "tasks"]]
    sources += [
        [one.source, f"{one.files:,}", spelled(one.bytes), spelled(one.text), f"{one.tasks:,}"]
        for one in planned.inputs
    ]
    rows = [["stage", "tasks", "done", "documents", "kept", "memory", "disk", "CPU time", "workers"]]
    rows += [_row(planned, one) for one in planned.stages]
    found = [one.text() for one in planned.curves]
    text = "\n\n".join([columns(sources), *found, columns(rows), "\n".join(_totals(planned))])
    return Table(text, _data(planned))


def _row(planned: Plan, one: StagePlan) -> list[str]:
    about = "~" if one.estimated else ""
    return [
        one.stage.name,
        f"{one.tasks:,}",
        f"{one.done:,}",
        about + f"{_rounded(one.documents) if about else one.documents:,}" if one.documents else "",
        about + f"{_rounded(one.kept) if about else one.kept:,}" if one.documents else "",
        about + spelled(one.memory) if about else "",
        about + spelled(one.disk) + (", scratch" if one.stage.scratch else ""),
        about + duration(one.seconds) if about else "",
        f"{planned.workers(one)}" if about else "",
    ]


def _totals(planned: Plan) -> list[str]:
    if not planned.to_do:
        return [f"{planned.output}: nothing to do: every stage is done"]
    most = max(map(planned.workers, planned.to_do))
    peak, after = spelled(planned.disk_peak), spelled(planned.disk_after)
    free = "" if planned.free is None else f"; {spelled(planned.free, up=False)} free"
    return [
        f"memory  about {spelled(planned.memory)} of {spelled(planned.budget.bytes, up=False)} "
        f"({planned.budget.origin}), with the driver",
        f"disk    about {peak} at the peak, {after} when it is complete{free}",
        f"time    about {duration(planned.seconds)} with {most} worker{'s' if most != 1 else ''}",
        f"{planned.output}: ~ is estimated from a sample; behind a barrier it is an upper bound",
    ]


def _rounded(count: int) -> int:
    """To three digits: an estimate has no more."""
    return round(count, 3 - len(str(count))) if count >= 1000 else count


def _data(planned: Plan) -> dict[str, Any]:
    stages = [
        {
            "stage": one.stage.name,
            "folder": one.stage.folder.name,
            "scratch": one.stage.scratch,
            "estimated": one.estimated,
            "tasks": one.tasks,
            "done": one.done,
            "documents": one.documents,
            "kept": one.kept,
            "memory": one.memory,
            "disk": one.disk,
            "cpu_seconds": round(one.seconds, 1),
            "workers": planned.workers(one) if one.estimated else 0,
        }
        for one in planned.stages
    ]
    inputs = [
        {"source": one.source, "files": one.files, "bytes": one.bytes, "records": one.text, "tasks": one.tasks}
        for one in planned.inputs
    ]
    return {
        "output": str(planned.output),
        "inputs": inputs,
        "recall": [one.data() for one in planned.curves],
        "stages": stages,
        "budget": {"bytes": planned.budget.bytes, "origin": planned.budget.origin},
        "memory": planned.memory,
        "disk": {
            "peak": planned.disk_peak,
            "after": planned.disk_after,
            "more": planned.disk_more,
            "free": planned.free,
        },
        "seconds": round(planned.seconds, 1),
    }
