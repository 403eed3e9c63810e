"""What a person is told while a run goes on: where it stands, how fast it is, how long it will take.

A time left that is wrong by the evaluations, or by the longer sequences of a later phase, is worse than none. Costs two
running means.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .batch import Batch
from .history import Position
from .run import PhasePlan

SMOOTHING = 0.1
"""Weight of the newest measurement in the running means: about the last twenty count."""


@dataclass(frozen=True)
class TrainProgress:
    """Told after every step, evaluation and alarm; `seconds_left` is that of the whole run, at the pace so far.

    `loss` in nats; `tokens_per_second` without padding, that of the last step. `checkpoint` was just written,
    `evaluation` just measured.
    """

    phase: str
    step: int
    steps: int
    loss: float
    tokens_per_second: float
    seconds_left: float
    checkpoint: Path | None = None
    evaluation: Mapping[str, float] | None = None
    alarm: str = ""


@dataclass
class Pace:
    """Running means: seconds per token of a batch (padding included), seconds per evaluation."""

    per_token: float = 0.0
    per_evaluation: float = 0.0

    def step(self, seconds: float, tokens: int) -> None:
        """Notes a step over so many tokens."""
        self.per_token = _smooth(self.per_token, seconds / tokens)

    def evaluation(self, seconds: float) -> None:
        """Notes an evaluation."""
        self.per_evaluation = _smooth(self.per_evaluation, seconds)

    def seconds_left(self, plans: tuple[PhasePlan, ...], position: Position, every: int | None, due: bool) -> float:
        """Seconds to the run's end.

        Args:
            plans: all phases.
            position: where the run stands.
            every: steps between evaluations, None where there are none; a phase's end is one too.
            due: whether the evaluation of this very step is still to come.
        """
        plan, later = plans[position.phase_index], plans[position.phase_index + 1 :]
        tokens = (plan.sequences - position.sequence) * plan.sequence_length
        tokens += sum(phase.sequences * phase.sequence_length for phase in later)
        evaluations = 0
        if every is not None:
            ends = {phase.last_step for phase in (plan, *later)} - {position.step}
            steps = range(position.step - position.step % every + every, plans[-1].last_step + 1, every)
            evaluations = len(ends.union(steps)) + due
        return tokens * self.per_token + evaluations * self.per_evaluation


def timed(read: Iterator[Batch]) -> Iterator[tuple[Batch, float]]:
    """Batches, each with the time at which it was asked for: a step's seconds count the wait for its batch."""
    while True:
        started = time.perf_counter()
        batch = next(read, None)
        if batch is None:
            return
        yield batch, started


def _smooth(old: float, new: float) -> float:
    return old + SMOOTHING * (new - old) if old else new
