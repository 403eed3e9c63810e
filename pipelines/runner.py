"""Runs stages: what is done is left alone, the rest is carried to processes, a bounded number of tasks at a time.

The runner knows nothing of documents; it asks a stage for its tasks, and a task's marker on disk is the only proof
that it ran, so that a killed run goes on where it stopped. A task whose process is lost runs again, a bounded number of
times counted here; one that always kills its process is narrowed down to the document that does it.
"""

import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from statistics import median
from types import TracebackType

from .. import storage
from ..errors import RunError
from ..manifest import Manifest
from ..progress import Events, Progress, StageProgress, duration
from .executor import Done, Executor, Job, Outcome
from .stage import Counts, Stage, Tally

LOSSES = 3  # times that a task may lose its process before it is taken for the cause
COPY_AFTER = 30.0  # seconds that a task runs at least before a second copy of it is begun
COPY_TIMES = 3.0  # and times the median of its stage's tasks
PACE_OF = 101  # tasks that the median is taken of: the latest
MOST_LOSSES = 20  # of a task, whatever the cause: nodes that come and go
MOST_POISONED = 10  # documents of one task that are narrowed down before the task is given up
LOOK_EVERY = 1.0  # seconds
STALL = 1800.0  # seconds
TASKS_NAMED = 8  # of those that a stalled run waits for
FED = ("documents", "kept", "quarantined", "bytes")


class Runner:
    """Brings stages to completion.

    Args:
        executor: carries the tasks; it is closed with the runner.
        events: where every task's start and end is recorded.
        progress: what the person sees.
        stall: seconds without any task ending after which the run is given up; not in this process, where nobody looks.
    """

    def __init__(self, executor: Executor, events: Events, progress: Progress, stall: float = STALL) -> None:
        self.executor = executor
        self.events = events
        self.progress = progress
        self.tasks_run = 0
        self.stall = stall
        self._under_way: dict[Job, float] = {}  # since when
        self._shown: StageProgress | None = None
        self._lost = 0  # processes since a stage was last complete
        self._ended_at = time.monotonic()

    def __enter__(self) -> "Runner":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.executor.close(failed=kind is not None)

    def ensure(self, stage: Stage) -> Manifest:
        """The manifest of a stage, after running whatever of it and of its parents is not done yet.

        Raises:
            RunError: a task failed, or lost its process again and again; nothing ended for too long; the counts do not
                add up.
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
        total = stage.tasks()
        if total == 0 and stage.scratch:  # nothing to do, and nothing that anyone would look for
            return Manifest(stage.name, stage.version, stage.fingerprint)
        storage.make_folder(stage.folder)
        storage.sweep_temporary(stage.folder)
        found = stage.read_markers(total)
        name, tally, reused = stage.name, Tally(found.values()), len(found)
        todo = [task for task in range(total) if task not in found]
        del found
        started = {"stage": name, "folder": stage.folder.name, "tasks": total, "reused": reused}
        self.events.write("stage_started", {**started, "memory": stage.memory()})
        self._shown = shown = self.progress.begin(name, total, reused=reused)
        if todo:
            self.executor.begin(stage)
        for task, done in self._execute(stage, todo):
            tally.add(done.result)
            self.tasks_run += 1
            fed = _feed(done.result.counts)
            self._note("task_finished", stage, task, **fed, **_measured(done))
            self.progress.advance(shown, fed)
        if self._lost:  # dead processes leave what they were writing
            storage.sweep_temporary(stage.folder)
            self._lost = 0
        manifest = stage.complete(tally)
        self.progress.end(shown)
        self.events.write("stage_finished", {"stage": name, "folder": stage.folder.name})
        return manifest

    def _execute(self, stage: Stage, todo: Sequence[int]) -> Iterator[tuple[int, Done]]:
        """Runs tasks; one whose process was lost runs again, and is narrowed down when it was lost too often.

        What is accused of killing its process waits until all else is done, so that nothing waits for it.
        """
        waiting, accused = deque(todo), deque[int]()
        losses, pace = _Losses(), _Pace()
        while waiting or accused or self._under_way:
            while waiting and len(self._under_way) < self.executor.capacity:
                self._submit(Job(stage, waiting.popleft()))
            if not self._under_way:
                task = accused.popleft()
                self._judge(stage, task, losses)
                self._submit(Job(stage, task))
            if not waiting:
                self._copy_stragglers(pace)
            ended = set[int]()
            for outcome in sorted(self._wait(), key=lambda outcome: outcome.done is None):
                task = outcome.job.task
                self._lost += outcome.done is None
                if task in ended:  # with its copy, in the same look
                    continue
                done = outcome.done or _done_behind(stage, task)
                if done is not None:
                    ended.add(task)
                    self._end_copies(task)
                    if outcome.done is not None:
                        pace.add(done.seconds)
                    yield task, done
                elif not any(job.task == task for job in self._under_way):  # no copy that may still come through
                    self._count_loss(stage, outcome, losses)
                    (waiting if losses.blamed[task] < LOSSES else accused).append(task)
                else:
                    self._note("copy_lost", stage, task, why=outcome.lost)

    def _count_loss(self, stage: Stage, outcome: Outcome, losses: "_Losses") -> None:
        task = outcome.job.task
        losses.add(task, outcome)
        self._note("task_lost", stage, task, why=outcome.lost, times=losses.total[task])
        self.progress.say(f"{stage.name}, task {task}: {outcome.lost}; it runs again")
        if self._shown is not None:
            self._shown.retries += 1
        if losses.total[task] >= MOST_LOSSES:
            raise _given_up(stage, task, losses, "whatever the cause")

    def _copy_stragglers(self, pace: "_Pace") -> None:
        """Begins a second copy of the task that runs far longer than others did, where there is room for it.

        What one task writes is the same bytes whoever writes them: the first copy that ends wins.
        """
        room = self.executor.slots - len(self._under_way)
        if room <= 0 or pace.typical() is None:
            pace.settled = None
            return
        pace.settled = pace.settled or time.monotonic()  # from here on all that is under way runs
        after = max(COPY_AFTER, COPY_TIMES * (pace.typical() or 0.0))
        for job, since in list(self._under_way.items()):
            late = time.monotonic() - max(since, pace.settled) > after
            if late and room > 0 and job.task not in pace.copied and not job.probe:
                pace.copied.add(job.task)
                self._note("task_copied", job.stage, job.task)
                self.progress.say(f"{job.stage.name}, task {job.task}: runs for long; a second copy is begun")
                self._submit(Job(job.stage, job.task, copy=1))
                room -= 1

    def _end_copies(self, task: int) -> None:
        for job in [job for job in self._under_way if job.task == task]:
            self.executor.cancel(job)
            self._lost += 1
            del self._under_way[job]

    def _submit(self, job: Job) -> None:
        if not job.probe and not job.copy:
            self._note("task_started", job.stage, job.task)
        now = time.monotonic()
        if not self._under_way:
            self._ended_at = now
        self.executor.submit(job)
        self._under_way[job] = now

    def _wait(self) -> list[Outcome]:
        """What has ended by now.

        Raises:
            RunError: nothing has for too long.
        """
        outcomes = [outcome for outcome in self.executor.wait(LOOK_EVERY) if outcome.job in self._under_way]
        for outcome in outcomes:
            del self._under_way[outcome.job]
        if self._shown is not None:
            self.progress.tick(self._shown)
        if any(outcome.done is not None or outcome.job.probe for outcome in outcomes):
            self._ended_at = time.monotonic()
        elif time.monotonic() - self._ended_at > self.stall:
            raise self._stalled()
        return outcomes

    def _stalled(self) -> RunError:
        stage, tasks = next(iter(self._under_way)).stage, sorted({job.task for job in self._under_way})
        more = f" and {len(tasks) - TASKS_NAMED:,} more" if len(tasks) > TASKS_NAMED else ""
        return RunError(
            f"{stage.name}: no task ended for {duration(self.stall)}; it waits for "
            f"task {', '.join(map(str, tasks[:TASKS_NAMED]))}{more}",
            where=str(stage.folder),
            fix="see what its workers do, and run again (finished tasks are kept), with a longer --stall if they work",
        )

    def _note(self, event: str, stage: Stage, task: int, **more: object) -> None:
        self.events.write(event, {"stage": stage.name, "folder": stage.folder.name, "task": task, **more})

    def _judge(self, stage: Stage, task: int, losses: "_Losses") -> None:
        """Has the stage set aside what kills a task's process; it is alone, so nothing else can be the cause.

        A task none of whose documents does so gets one more chance.

        Raises:
            RunError: the task cannot be divided, too many of its documents kill their process, or it had its chance.
        """
        if not stage.divisible:
            raise _given_up(stage, task, losses, "and its work cannot be divided")
        if losses.cleared[task]:
            raise _given_up(stage, task, losses, "and no single document is the cause")
        self.progress.say(f"{stage.name}, task {task}: looking for the document that does it")
        count = self._probe(stage, task, 0, 0)
        if count is None:
            raise _given_up(stage, task, losses, "and reading its input alone does it")
        found = 0
        while self._probe(stage, task, 0, count) is None:
            document = self._narrow(stage, task, count)
            if document is None or not self._kills(stage, task, document):
                raise _given_up(stage, task, losses, "and no single document is the cause")
            if (known := len(stage.poisoned(task))) >= MOST_POISONED:
                raise _given_up(stage, task, losses, f"also after {known} of its documents were set aside")
            why = losses.why[task]
            stage.poison(task, document, why)
            self._note("document_poisoned", stage, task, document=document, why=why)
            self.progress.say(f"{stage.name}, task {task}: document {document} is set aside")
            found += 1
        losses.cleared[task] += found == 0
        losses.blamed[task] = LOSSES - 1

    def _narrow(self, stage: Stage, task: int, count: int) -> int | None:
        """The first document that kills its process by itself; None where only several together do."""
        low, high = 0, count
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._probe(stage, task, low, middle) is None else (middle, high)
        return low if self._probe(stage, task, low, high) is None else None

    def _kills(self, stage: Stage, task: int, document: int) -> bool:
        """Whether a document does it again, and the same reading without it does not: memory may be short for both."""
        survived = self._probe(stage, task, document, document) is not None
        return survived and self._probe(stage, task, document, document + 1) is None

    def _probe(self, stage: Stage, task: int, start: int, stop: int) -> int | None:
        """The documents of the task where the probe survived, None where its process was lost."""
        for _ in range(MOST_LOSSES):
            self._submit(Job(stage, task, start, stop))
            outcomes: list[Outcome] = []
            while not outcomes:
                outcomes = self._wait()
            if outcomes[0].done is not None:
                return int(outcomes[0].done.result.counts["documents"])
            if outcomes[0].blamed:
                return None
        return None


class _Pace:
    """How long the latest tasks of a stage took, and since when all that is under way runs."""

    def __init__(self) -> None:
        self.latest = deque[float](maxlen=PACE_OF)
        self.settled: float | None = None
        self.copied: set[int] = set()

    def add(self, seconds: float) -> None:
        """Notes a task's time."""
        self.latest.append(seconds)

    def typical(self) -> float | None:
        """The median in seconds; None before any task ended."""
        return median(self.latest) if self.latest else None


class _Losses:
    """How often each task of a stage lost its process."""

    def __init__(self) -> None:
        self.total: Counter[int] = Counter()
        self.blamed: Counter[int] = Counter()  # of those, by nothing else
        self.cleared: Counter[int] = Counter()  # found without a document to blame
        self.why: dict[int, str] = {}

    def add(self, task: int, outcome: Outcome) -> None:
        """Counts a loss."""
        self.total[task] += 1
        self.blamed[task] += outcome.blamed
        self.why[task] = outcome.lost


def _given_up(stage: Stage, task: int, losses: _Losses, cause: str) -> RunError:
    return RunError(
        f"{stage.name}, task {task}: {losses.why[task]}, {losses.total[task]} times over, {cause}",
        where=str(stage.folder),
        fix="if memory is short, run again with more of it or with fewer workers: finished tasks are kept",
    )


def _done_behind(stage: Stage, task: int) -> Done | None:
    """The result of a task whose process died behind its last step."""
    marker = stage.read_marker(task)
    return None if marker is None else Done(marker, 0.0, 0.0, 0)


def _feed(counts: Counts) -> dict[str, int]:
    """What the events and the progress display tell of a task's counts."""
    return {name: int(counts[name]) for name in FED if name in counts}


def _measured(done: Done) -> dict[str, object]:
    """What the events tell of how a task went."""
    return {"seconds": round(done.seconds, 3), "cpu": round(done.cpu, 3), "memory": done.memory}
