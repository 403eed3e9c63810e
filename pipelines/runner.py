"""Runs stages: what is done is left alone, the rest is carried to processes, a bounded number of tasks at a time.

The runner knows nothing of documents; it asks a stage for its tasks, and a task's marker on disk is the only proof
that it ran, so that a killed run goes on where it stopped. A task whose process is lost runs again, a bounded number of
times counted here; one that always kills its process is narrowed down to the document that does it.
"""

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from types import TracebackType

from .. import storage
from ..errors import RunError
from ..manifest import Manifest
from ..progress import Events, Progress
from .executor import Executor, InProcess, Job, LocalProcesses, Outcome, default_workers
from .stage import Stage, TaskResult

__all__ = ["Runner", "default_workers"]

LOSSES = 3  # times that a task's process may be lost before the task is taken for its cause
MOST_POISONED = 10  # documents of one task that are narrowed down before the task is given up
LOOK_EVERY = 1.0  # seconds


class Runner:
    """Brings stages to completion.

    Args:
        workers: 0 runs tasks in this process; N runs them in N local processes.
        events: where every task's start and end is recorded.
        progress: what the person sees.
        executor: carries the tasks elsewhere than `workers` says.
    """

    def __init__(self, workers: int, events: Events, progress: Progress, executor: Executor | None = None) -> None:
        self.executor: Executor = executor or (LocalProcesses(workers) if workers > 0 else InProcess())
        self.events = events
        self.progress = progress
        self.tasks_run = 0

    def __enter__(self) -> "Runner":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.executor.close(failed=kind is not None)

    def ensure(self, stage: Stage) -> Manifest:
        """The manifest of a stage, after running whatever of it and of its parents is not done yet.

        Raises:
            RunError: a task failed, a worker process died, or the counts do not add up.
        """
        found = stage.manifest()
        if found is not None:
            stage.remove_markers()  # where the run was killed just behind the manifest
            stage.check(found.counts, found.files)  # a limit may be lower than when the stage was made
            return found
        for parent in stage.parents:
            self.ensure(parent)
        return self._run(stage)

    def _run(self, stage: Stage) -> Manifest:
        stage.folder.mkdir(parents=True, exist_ok=True)
        storage.sweep_temporary(stage.folder)
        total = stage.tasks()
        results: dict[int, TaskResult] = {}
        for task in range(total):
            marker = stage.read_marker(task)
            if marker is not None:
                results[task] = marker
        name = stage.name
        started = {"stage": name, "folder": stage.folder.name, "tasks": total, "reused": len(results)}
        self.events.write("stage_started", started)
        shown = self.progress.begin(name, total, reused=len(results))
        todo = [task for task in range(total) if task not in results]
        for task, result in self._execute(stage, todo):
            results[task] = result
            self.tasks_run += 1
            counts = result.counts
            self.events.write("task_finished", {"stage": name, "folder": stage.folder.name, "task": task})
            self.progress.advance(shown, counts.get("documents", 0), counts.get("kept", 0), counts.get("bytes", 0))
        manifest = stage.complete([results[task] for task in range(total)])
        self.progress.end(shown)
        self.events.write("stage_finished", {"stage": name, "folder": stage.folder.name})
        return manifest

    def _execute(self, stage: Stage, todo: Sequence[int]) -> Iterator[tuple[int, TaskResult]]:
        """Runs tasks; those lost together with others run again alone, so that the one to blame is known."""
        waiting, suspects = deque(todo), deque[int]()
        losses: Counter[int] = Counter()
        poisoned: Counter[int] = Counter()
        running = 0
        while waiting or suspects or running:
            if suspects and not running:
                running += self._submit(stage, suspects.popleft())
            while waiting and not suspects and running < self.executor.capacity:
                running += self._submit(stage, waiting.popleft())
            for outcome in self.executor.wait(LOOK_EVERY):
                running -= 1
                task = outcome.job.task
                if outcome.result is not None:
                    yield task, outcome.result
                    continue
                self._say(stage, outcome)
                losses[task] += outcome.alone
                suspects.append(task)
                if losses[task] >= LOSSES and not running:
                    poisoned[task] += 1
                    self._narrow(stage, task, outcome.lost, poisoned[task])
                    losses[task] = 0

    def _submit(self, stage: Stage, task: int) -> int:
        self.events.write("task_started", {"stage": stage.name, "folder": stage.folder.name, "task": task})
        self.executor.submit(Job(stage, task))
        return 1

    def _say(self, stage: Stage, outcome: Outcome) -> None:
        fields = {"stage": stage.name, "folder": stage.folder.name, "task": outcome.job.task, "why": outcome.lost}
        self.events.write("task_lost", fields)
        self.progress.say(f"{stage.name}, task {outcome.job.task}: {outcome.lost}; it runs again")

    def _narrow(self, stage: Stage, task: int, why: str, turn: int) -> None:
        """Finds the document that kills its process, and has the stage set it aside.

        Raises:
            RunError: no single document does it, or too many do.
        """
        count = self._probe(stage, task, 0, 0)
        if turn > MOST_POISONED or count is None or self._probe(stage, task, 0, count) is not None:
            raise RunError(
                f"{stage.name}, task {task}: {why}, {LOSSES} times over, and no single document is the cause",
                where=str(stage.folder),
                fix="run again with fewer workers if memory is short: finished tasks are kept",
            )
        low, high = 0, count
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._probe(stage, task, low, middle) is None else (middle, high)
        self.events.write("document_poisoned", {"stage": stage.name, "task": task, "document": low, "why": why})
        stage.poison(task, low, why)

    def _probe(self, stage: Stage, task: int, start: int, stop: int) -> int | None:
        """The documents of the task where the probe survived, None where its process was lost."""
        self.executor.submit(Job(stage, task, start, stop))
        while True:
            for outcome in self.executor.wait(LOOK_EVERY):
                return None if outcome.result is None else int(outcome.result.counts["documents"])
