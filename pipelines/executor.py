"""Where tasks run: in this process, in local processes (`processes.py`), or on a Ray cluster (`cluster.py`).

The runner decides what runs and how often; an executor only carries a job to a process and says what became of it, so
that a lost worker means the same everywhere. A stage travels to each process once, not once a task.
"""

import os
import pickle
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import xxhash

from ..errors import RunError
from . import budget
from .stage import Stage, TaskResult

IN_FLIGHT_PER_WORKER = 2  # one runs, one waits: the driver never holds more than this
WITH_THE_JOB = 32 << 10  # bytes of a pickled stage: a larger one is fetched once by each process
STAGES_KEPT = 4  # unpickled ones that a worker process holds


@dataclass(frozen=True, eq=False)
class Job:
    """A task of a stage; with `start` and `stop` a probe of these documents alone, which leaves nothing behind.

    `copy` is above 0 for a second try at a task whose first still runs. A job equals itself alone.
    """

    stage: Stage
    task: int
    start: int = 0
    stop: int = -1
    copy: int = 0

    @property
    def probe(self) -> bool:
        """Whether only a range of the task's documents is tried."""
        return self.stop >= 0


@dataclass(frozen=True)
class Done:
    """What a process says of a job that it did: the result, wall and CPU seconds, and bytes held at the peak."""

    result: TaskResult
    seconds: float
    cpu: float
    memory: int


@dataclass(frozen=True)
class Outcome:
    """What became of a job: what its process says, or why the process was lost.

    `blamed` is False where something else is the cause: a node that went away.
    """

    job: Job
    done: Done | None
    lost: str = ""
    blamed: bool = True


class Executor(Protocol):
    """Carries jobs, each of which takes no other job with it when it kills its process."""

    @property
    def slots(self) -> int:
        """How many jobs run at the same time."""

    @property
    def capacity(self) -> int:
        """How many jobs may be under way: those that run, and some that wait."""

    def check(self, stage: Stage, tasks: int) -> None:
        """Looks whether a task of a stage fits, long before it begins; `tasks` is about how many it has.

        Raises:
            ConfigError: it does not, with what would do.
        """

    def begin(self, stage: Stage) -> None:
        """Gets ready for the jobs of a stage; nothing is under way.

        Raises:
            ConfigError: not one of its tasks fits into the memory that there is, or no cluster answers.
        """

    def submit(self, job: Job) -> None:
        """Takes a job."""

    def wait(self, seconds: float) -> list[Outcome]:
        """What has ended, after at most so many seconds where nothing has; errors of the job itself are raised."""

    def cancel(self, job: Job) -> None:
        """Ends a job, of which nothing more is heard."""

    def close(self, failed: bool) -> None:
        """Ends the workers; at once where the run has failed."""


class InProcess:
    """Runs each job when it is waited for.

    Args:
        memory: bytes that the run may hold; None for no limit.
    """

    slots = capacity = 1

    def __init__(self, memory: int | None = None) -> None:
        self._memory = memory
        self._jobs: deque[Job] = deque()

    def begin(self, stage: Stage) -> None:
        """Looks whether a task fits."""
        self.check(stage, 0)

    def check(self, stage: Stage, tasks: int) -> None:
        """Raises ConfigError where a task does not fit."""
        if self._memory is not None and stage.memory() > self._memory:
            raise budget.refusal(stage.name, self._memory, stage.memory())

    def submit(self, job: Job) -> None:
        """Keeps the job."""
        self._jobs.append(job)

    def wait(self, seconds: float) -> list[Outcome]:
        """Runs the oldest job."""
        job = self._jobs.popleft()
        return [Outcome(job, run_job(job))]

    def cancel(self, job: Job) -> None:
        """Forgets a job that has not begun."""
        self._jobs.remove(job)

    def close(self, failed: bool) -> None:
        """Nothing to end."""


def pack(stage: Stage) -> tuple[str, bytes]:
    """A stage as it travels to workers, and a key that no other stage has.

    A stage of 100,000 splits is about 10 MB: sent with every task it would cost the driver far more than the task.
    """
    data = pickle.dumps(stage, pickle.HIGHEST_PROTOCOL)
    return xxhash.xxh3_128_hexdigest(data), data


_unpacked: dict[str, Stage] = {}


def unpack(key: str, fetch: Callable[[], bytes]) -> Stage:
    """The stage that was packed under the key; a process fetches and unpickles it once."""
    if key not in _unpacked:
        while len(_unpacked) >= STAGES_KEPT:
            _unpacked.pop(next(iter(_unpacked)))
        _unpacked[key] = pickle.loads(fetch())  # noqa: S301 - what our own driver sent a moment ago
    return _unpacked[key]


def default_workers() -> int:
    """The number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_job(job: Job) -> Done:
    """Runs one job in whatever process it was carried to; a task leaves its marker, a probe leaves nothing.

    Raises:
        RunError: the system refused a file: the disk is full, or a folder must not be written.
    """
    started, cpu = time.monotonic(), time.process_time()
    budget.reset_peak()
    try:
        if job.probe:
            result = TaskResult((), {"documents": job.stage.probe(job.task, job.start, job.stop)})
        else:
            result = job.stage.run(job.task)
            job.stage.write_marker(job.task, result)
    except OSError as error:
        raise RunError(
            f"{job.stage.name}, task {job.task}: {error.strerror or error}",
            where=str(error.filename or job.stage.folder),
            fix="make room or give access, and run again: finished tasks are kept",
        ) from error
    finally:
        peak = budget.peak()
        budget.release()
    return Done(result, time.monotonic() - started, time.process_time() - cpu, peak)
