"""What train and eval print: the run's progress while it goes on, and its result as a table.

On a terminal one line that is written over; elsewhere a line per 30 s, and one for every evaluation and checkpoint that
ends a phase. Costs nothing beside the steps.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

from ..progress import LINE_EVERY, duration
from ..tables import Table, columns
from .evaluation.benchmark_score import BenchmarkScore
from .evaluation.evaluate import HeldOutLoss, TaskScore
from .pace import TrainProgress
from .train import TrainResult


class Reporter:
    """Told of every step; prints what a person needs. Use it as a context, so that the line is ended."""

    def __init__(self, shown: bool = True) -> None:
        self.shown = shown
        self.live = shown and sys.stderr.isatty()
        self._said = time.monotonic()
        self._open = False

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            print(file=sys.stderr, flush=True)

    def __call__(self, progress: TrainProgress) -> None:
        """Takes one report of the run."""
        if not self.shown:
            return
        if progress.alarm:
            self._line(f"step {progress.step}: {progress.alarm}")
        elif progress.evaluation is not None:
            values = "  ".join(f"{name} {value:.4g}" for name, value in progress.evaluation.items())
            self._line(f"step {progress.step}: {values}")
        elif self.live:
            print(f"\r{_step(progress):<110}", end="", file=sys.stderr, flush=True)
            self._open = True
        elif time.monotonic() - self._said >= LINE_EVERY or progress.step in (1, progress.steps):
            self._line(_step(progress))

    def _line(self, text: str) -> None:
        if self._open:
            print(file=sys.stderr)
            self._open = False
        print(text, file=sys.stderr, flush=True)
        self._said = time.monotonic()


def _step(progress: TrainProgress) -> str:
    return (
        f"{progress.phase}  step {progress.step:,}/{progress.steps:,}  loss {progress.loss:.4f}  "
        f"{progress.tokens_per_second:,.0f} tokens/s  {duration(progress.seconds_left)} left"
    )


def trained(result: TrainResult) -> Table:
    """How a run ended."""
    loss = "" if result.loss is None else f", loss {result.loss:.4f}"
    how = f"stopped by signal {result.stopped_by}; --resume goes on" if result.stopped_by else "done"
    text = (
        f"{result.folder}: {how} at step {result.step:,} of {result.steps:,}{loss}, {result.tokens:,} tokens "
        f"in {duration(result.seconds)}; checkpoint {result.checkpoint.name if result.checkpoint else 'none'}"
    )
    data = {
        "folder": str(result.folder),
        "step": result.step,
        "steps": result.steps,
        "tokens": result.tokens,
        "seconds": result.seconds,
        "loss": result.loss,
        "checkpoint": str(result.checkpoint) if result.checkpoint else None,
        "stopped_by": result.stopped_by,
    }
    return Table(text, data)


def evaluated(
    losses: Sequence[HeldOutLoss], scores: Sequence[TaskScore], benchmarks: Sequence[BenchmarkScore] = ()
) -> Table:
    """Held-out losses by source, task scores, and benchmarks with how their replies ended."""
    blocks = []
    if losses:
        rows = [["held out", "documents", "tokens", "nats/token", "bits/byte"]]
        for one in losses:
            rows.append(
                [one.source, f"{one.documents:,}", f"{one.tokens:,}", f"{one.loss:.4f}", f"{one.bits_per_byte:.4f}"]
            )
        blocks.append(columns(rows))
    if scores:
        rows = [["task", "prompt", "problems", "replies", "correct", "pass@k", "parsed", "twin nats/token"]]
        for score in scores:
            share = f"{100 * score.parsed / score.replies:.1f} %"
            estimates = _percent({f"@{k}": value for k, value in score.pass_at.items()})
            counts = [f"{score.problems:,}", f"{score.replies:,}", f"{score.correct:,}", estimates, share]
            rows.append([score.task, score.prompt, *counts, f"{score.twin_loss:.4f}"])
        blocks.append(columns(rows))
    if benchmarks:
        rows = [["benchmark", "form", "problems", "score", "replies"]]
        for found in benchmarks:
            ended = ", ".join(f"{count:,} {kind}" for kind, count in found.verdicts.items())
            rows.append([found.benchmark, found.form, f"{found.problems:,}", _percent(found.scores), ended])
        blocks.append(columns(rows))
    data = {
        "held_out": [
            {
                "source": one.source,
                "documents": one.documents,
                "tokens": one.tokens,
                "loss": one.loss,
                "bits_per_byte": one.bits_per_byte,
            }
            for one in losses
        ],
        "tasks": [
            {
                "task": score.task,
                "prompt": score.prompt,
                "problems": score.problems,
                "replies": score.replies,
                "correct": score.correct,
                "accuracy": score.accuracy,
                "pass_at": {str(k): value for k, value in score.pass_at.items()},
                "parsed": score.parsed,
                "twin_loss": score.twin_loss,
                "examples": [
                    {"statement": one.statement, "reply": one.reply, "answer": one.answer, "correct": one.correct}
                    for one in score.examples
                ],
            }
            for score in scores
        ],
        "benchmarks": [
            {
                "benchmark": found.benchmark,
                "form": found.form,
                "problems": found.problems,
                "scores": dict(found.scores),
                "verdicts": dict(found.verdicts),
            }
            for found in benchmarks
        ],
    }
    return Table("\n\n".join(blocks) or "nothing was held out, and no task or benchmark named", data)


def _percent(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items())
