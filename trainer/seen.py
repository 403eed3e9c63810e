"""What a step of a run was trained on, and in which steps a document is: from the run's record and the shards alone.

When a loss jumps one wants the documents of that step, and of a document one wants to know whether the model has seen
it; neither may need a device or the corpus. Costs two small files of the run and what `mixtures/lineage.py` reads;
torch is never imported here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError
from ..mixtures import lineage
from ..mixtures.built import Built
from ..mixtures.lineage import Appearance, Piece, Whereabouts
from . import history, metrics
from .checkpoints import checkpoint_folder
from .history import Stretch


@dataclass(frozen=True)
class Record:
    """A run as it is recorded: its stretches to its planned end, the step that it stands at, its shards."""

    run: str
    stretches: tuple[Stretch, ...]
    step: int
    built: Built

    def stretch(self, step: int) -> Stretch:
        """The stretch that a step belongs to.

        Raises:
            ConfigError: the run has no such step.
        """
        for stretch in self.stretches:
            if stretch.first_step < step <= stretch.last_step:
                return stretch
        last = self.stretches[-1].last_step if self.stretches else 0
        raise ConfigError(f"{self.run} has no such step", seen=step, expected=f"from 1 to {last:,}")


@dataclass(frozen=True)
class Seen:
    """What a step, or one rank of it, is trained on; `trained` is whether the run has come to it."""

    run: str
    step: int
    phase: str
    first: int
    count: int
    trained: bool
    pieces: tuple[Piece, ...]


def is_run(path: str | Path) -> bool:
    """Whether a path is a run's folder, or one of its checkpoints."""
    folder = Path(path)
    return (
        checkpoint_folder.is_checkpoint(folder)
        or (folder / history.NAME).exists()
        or (folder / checkpoint_folder.FOLDER).is_dir()
    )


def open_run(path: str | Path, shards: str | None = None) -> Record:
    """Opens a run's folder, or one of its checkpoints.

    Args:
        path: the folder.
        shards: the built shards; by default where the run's record says they are.

    Raises:
        ConfigError: it is no run, or the shards are not there or are not those that the run is trained on.
        RunError: a record was cut or altered.
    """
    folder = Path(path)
    run_folder = folder.resolve().parent.parent if checkpoint_folder.is_checkpoint(folder) else folder
    recorded = history.read(run_folder)
    if recorded is None or run_folder is not folder:
        contents = checkpoint_folder.find(folder).contents
        run, stretches, step = contents.run, contents.history, contents.position.step
    else:
        run, stretches = recorded.run, recorded.stretches
        step = metrics.newest_step(folder / metrics.NAME)
    where = shards or (recorded.shards if recorded else None)
    if where is None:
        raise ConfigError(
            "nothing says where the shards of the run lie",
            where=str(path),
            seen=f"no {history.NAME} in {run_folder}",
            fix="name them: --shards FOLDER",
        )
    built = _trained_on(Built.open(where), stretches, step)
    return Record(run, tuple(_checked(built, stretches, step)), step, built)


def seen(record: Record, step: int, rank: int = 0, world_size: int = 1) -> Seen:
    """The documents of a step.

    Args:
        record: the run.
        step: from 1, as metrics.jsonl counts.
        rank: one of the data-parallel ranks alone.
        world_size: how many there are.

    Raises:
        ConfigError: the run has no such step, there is no such rank, or the shards were cut short before it.
        RunError: indexes, ends and documents contradict one another.
    """
    stretch = record.stretch(step)
    first, count = lineage.rank_places(*stretch.batch(step), rank, world_size)
    found = lineage.pieces(record.built, stretch.phase, first, count) if count else []
    return Seen(record.run, step, stretch.phase, first, count, step <= record.step, tuple(found))


def steps_of(record: Record, found: Sequence[Whereabouts]) -> dict[Appearance, tuple[int | None, str]]:
    """The step of each place at which documents stand, and whether it was taken, is planned, or is none of the run."""
    return {place: _step_of(record, place) for one in found for place in one.appearances}


def _step_of(record: Record, place: Appearance) -> tuple[int | None, str]:
    for stretch in record.stretches:
        step = stretch.step_of(place.sequence) if stretch.phase == place.phase else None
        if step is not None:
            return step, "seen" if step <= record.step else "planned"
    return None, "not in this run"


def _trained_on(built: Built, stretches: Sequence[Stretch], step: int) -> Built:
    """The shards, or what they extend where they were cut before the place at which the run stands."""
    if all(_holds(built, stretch, step) for stretch in stretches):
        return built
    for fingerprint in reversed(built.history):
        before = built.before(fingerprint)
        if before is not None and all(_holds(before, stretch, step) for stretch in stretches):
            return before
    return built


def _taken(stretch: Stretch, step: int) -> tuple[int, int]:
    """Steps of a stretch that a run at a step has taken, and the sequence of the phase behind the last of them."""
    taken = min(max(step - stretch.first_step, 0), stretch.steps)
    return taken, stretch.first_sequence + min(taken * stretch.batch_sequences, stretch.sequences)


def _holds(built: Built, stretch: Stretch, step: int) -> bool:
    """Whether what was taken of a stretch is there with these shards as it was."""
    taken, stop = _taken(stretch, step)
    known = stretch.shards == built.fingerprint or stretch.shards in built.history
    extended = stretch.shards != built.fingerprint and taken > 0
    return known and not (extended and not built.extends(stretch.shards, stretch.phase, stop))


def _checked(built: Built, stretches: Sequence[Stretch], step: int) -> Iterator[Stretch]:
    """The stretches that hold with these shards, which may extend those that a stretch was planned on.

    What was trained on has to be there as it was; what an extension has cut off of the plan is left out.
    """
    for stretch in stretches:
        if stretch.shards == built.fingerprint:
            yield stretch
            continue
        if not _holds(built, stretch, step):
            known, stop = stretch.shards in built.history, _taken(stretch, step)[1]
            raise ConfigError(
                "the shards were cut before the place at which the run stands"
                if known
                else "the shards are not those that the run is trained on",
                where=str(built.root),
                seen=f"shards {built.fingerprint}",
                expected=f"shards {stretch.shards}, or what extends them behind {stop:,} sequences of {stretch.phase}",
                fix="name the right ones: --shards FOLDER",
            )
        if built.extends(stretch.shards, stretch.phase, 0):
            yield stretch.up_to(built.phases[stretch.phase].sequences)
