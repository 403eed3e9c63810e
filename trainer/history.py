"""What a run trained on and will train on, as stretches: steps of one phase with one batch size.

A step's sequences follow from where its stretch began and how large its batches are, so these few numbers say of every
step what it saw, however often the run was resumed and its phases and batches changed. They stand in every checkpoint
up to its step, and in the run's `history.json` to the run's planned end. Costs one small file a phase; no torch.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from .. import storage
from ..errors import RunError

if TYPE_CHECKING:
    from .run import PhasePlan

NAME = "history.json"
FORMAT = 1


@dataclass(frozen=True)
class Position:
    """Where a run stands: `sequence` is the next one of the phase `phase` (its index in the run is `phase_index`).

    Steps count from the run's start; tokens without padding; seconds of training, evaluation apart.
    """

    phase: str
    phase_index: int = 0
    phase_step: int = 0
    sequence: int = 0
    step: int = 0
    tokens: int = 0
    supervised_tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Stretch:
    """Consecutive steps of one phase with one batch size; `shards` is the fingerprint of what they were read from.

    Its first step is `first_step` + 1, which begins at sequence `first_sequence` of the phase; its `sequences` are
    those of all its steps, of which the last may have fewer than `batch_sequences`.
    """

    phase: str
    shards: str
    sequence_length: int
    batch_sequences: int
    rope_theta: float
    first_step: int
    steps: int
    first_sequence: int
    sequences: int

    @property
    def last_step(self) -> int:
        """The step that it ends with."""
        return self.first_step + self.steps

    def batch(self, step: int) -> tuple[int, int]:
        """First sequence and number of sequences of one of its steps.

        Raises:
            IndexError: the step is not one of its.
        """
        if not self.first_step < step <= self.last_step:
            raise IndexError(f"step {step} of steps {self.first_step + 1} to {self.last_step}")
        before = (step - self.first_step - 1) * self.batch_sequences
        return self.first_sequence + before, min(self.batch_sequences, self.sequences - before)

    def up_to(self, sequence: int) -> "Stretch":
        """The same without the sequences of the phase from one on."""
        sequences = min(self.sequences, max(sequence - self.first_sequence, 0))
        return replace(self, sequences=sequences, steps=-(-sequences // self.batch_sequences))

    def step_of(self, sequence: int) -> int | None:
        """The step that a sequence of the phase is trained in, None where it is none of its."""
        inside = sequence - self.first_sequence
        return self.first_step + 1 + inside // self.batch_sequences if 0 <= inside < self.sequences else None


@dataclass(frozen=True)
class History:
    """A run's stretches from its first step to its planned end; `shards` is where the run file says they lie."""

    run: str
    shards: str
    stretches: tuple[Stretch, ...]


def stretch(plan: "PhasePlan", shards: str, began: tuple[int, int], step: int, sequence: int) -> Stretch:
    """The stretch of a planned phase that began behind a step and at a sequence, up to others."""
    return Stretch(
        phase=plan.name,
        shards=shards,
        sequence_length=plan.sequence_length,
        batch_sequences=plan.batch_sequences,
        rope_theta=plan.rope_theta,
        first_step=began[0],
        steps=step - began[0],
        first_sequence=began[1],
        sequences=sequence - began[1],
    )


def ahead(plans: "Sequence[PhasePlan]", shards: str, began: tuple[int, int]) -> tuple[Stretch, ...]:
    """The stretches of planned phases to their ends, of which the first began behind a step and at a sequence."""
    starts = [began, *((plan.first_step, 0) for plan in plans[1:])]
    found = (stretch(plan, shards, at, plan.last_step, plan.sequences) for plan, at in zip(plans, starts, strict=True))
    return tuple(one for one in found if one.steps)


def go_on(
    so_far: tuple[Stretch, ...], position: Position, shards: str, batch_sequences: int
) -> tuple[tuple[Stretch, ...], tuple[int, int]]:
    """The stretches that are over when a run goes on, and where the one that goes on began.

    It is the last one where shards and batch size are the same, else a new one that begins here.
    """
    last = so_far[-1]
    if (last.shards, last.batch_sequences) == (shards, batch_sequences):
        return so_far[:-1], (last.first_step, last.first_sequence)
    return so_far, (position.step, position.sequence)


def write(folder: Path, history: History) -> None:
    """Writes `history.json` into a run's folder, as a whole or not at all."""
    with storage.atomic_write(folder / NAME) as stream:
        body = {"format": FORMAT, **asdict(history)}
        stream.write(orjson.dumps(body, option=orjson.OPT_INDENT_2) + b"\n")


def read(folder: str | Path) -> History | None:
    """The history of a run's folder, None where it has none.

    Raises:
        RunError: the file is not a history.
    """
    path = Path(folder) / NAME
    data = storage.read_if_there(path)
    if data is None:
        return None
    try:
        body = orjson.loads(data)
        if body.pop("format") != FORMAT:
            raise ValueError
        return History(body["run"], body["shards"], stretches(body["stretches"]))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise RunError(
            "is not the history of a run",
            where=str(path),
            expected=f"format {FORMAT}",
            fix="name one of the run's checkpoints: each holds its own",
        ) from None


def stretches(records: Sequence[dict[str, object]]) -> tuple[Stretch, ...]:
    """Stretches from JSON. TypeError where a record is none."""
    return tuple(Stretch(**record) for record in records)  # type: ignore[arg-type]
