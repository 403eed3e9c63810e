"""Where tasks run: in this process, in local processes, or (behind the same three calls) on a Ray cluster.

The runner decides what runs and how often; an executor only carries a job to a process and says what became of it, so
that a lost worker means the same everywhere. In process it costs nothing; local processes come from a fork server that
has imported the stages once (about 1 s, while the driver plans).
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Protocol

from ..errors import RunError
from .stage import Stage, TaskResult

IN_FLIGHT_PER_WORKER = 2  # one runs, one waits: the driver never holds more than this


@dataclass(frozen=True)
class Job:
    """A task of a stage; with `start` and `stop` a probe of these documents alone, which leaves nothing behind."""

    stage: Stage
    task: int
    start: int = 0
    stop: int = -1

    @property
    def probe(self) -> bool:
        """Whether only a range of the task's documents is tried."""
        return self.stop >= 0


@dataclass(frozen=True)
class Outcome:
    """What became of a job: its result, or why its process was lost.

    `alone` is False where several jobs were lost together and one of them may have killed the others.
    """

    job: Job
    result: TaskResult | None
    lost: str = ""
    alone: bool = True


class Executor(Protocol):
    """Carries jobs; `capacity` is how many it takes at a time."""

    @property
    def capacity(self) -> int:
        """How many jobs may be under way."""

    def submit(self, job: Job) -> None:
        """Takes a job."""

    def wait(self, seconds: float) -> list[Outcome]:
        """What has ended, after at most so many seconds where nothing has; errors of the job itself are raised."""

    def close(self, failed: bool) -> None:
        """Ends the workers; at once where the run has failed."""


class InProcess:
    """Runs each job when it is waited for."""

    capacity = 1

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()

    def submit(self, job: Job) -> None:
        """Keeps the job."""
        self._jobs.append(job)

    def wait(self, seconds: float) -> list[Outcome]:
        """Runs the oldest job."""
        job = self._jobs.popleft()
        return [Outcome(job, run_job(job))]

    def close(self, failed: bool) -> None:
        """Nothing to end."""


class LocalProcesses:
    """A pool of processes on this machine; when one dies the pool is made anew, and all its jobs count as lost."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None
        self._leash: tuple[Connection, Connection] | None = None
        self._running: dict[Future[TaskResult], Job] = {}
        self._lost: list[Outcome] = []
        start_fork_server()

    @property
    def capacity(self) -> int:
        """Two jobs a process."""
        return self.workers * IN_FLIGHT_PER_WORKER

    def submit(self, job: Job) -> None:
        """Hands the job to the pool."""
        try:
            self._running[self._processes().submit(run_job, job)] = job
        except BrokenProcessPool:
            self._break()
            self._running[self._processes().submit(run_job, job)] = job

    def wait(self, seconds: float) -> list[Outcome]:
        """Outcomes in the order in which the jobs ended."""
        if self._lost:
            lost, self._lost = self._lost, []
            return lost
        ended = []
        for future in wait(self._running, timeout=seconds, return_when=FIRST_COMPLETED).done:
            if isinstance(future.exception(), BrokenProcessPool):
                continue
            ended.append(Outcome(self._running.pop(future), future.result()))
        if any(future.done() for future in self._running):
            self._break()
        return ended + self._taken()

    def close(self, failed: bool) -> None:
        """Waits for the processes, or ends them at once."""
        if self._pool is None or self._leash is None:
            return
        held, let_go = self._leash
        if failed:
            let_go.close()  # what the workers are doing is of no use any more
        self._pool.shutdown(cancel_futures=True)
        held.close()
        let_go.close()
        self._pool = None

    def _taken(self) -> list[Outcome]:
        lost, self._lost = self._lost, []
        return lost

    def _break(self) -> None:
        """Notes all running jobs as lost with the pool, and forgets it."""
        why = "its process died (killed by the system, out of memory, or a crash in native code)"
        alone = len(self._running) == 1
        self._lost += [Outcome(job, None, why, alone) for job in self._running.values()]
        self._running = {}
        self.close(failed=True)

    def _processes(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("forkserver")
            self._leash = context.Pipe(duplex=False)
            self._pool = ProcessPoolExecutor(
                self.workers, mp_context=context, initializer=begin_worker, initargs=(self._leash[0],)
            )
        return self._pool


def default_workers() -> int:
    """The number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start_fork_server() -> None:
    """Starts the process that workers are forked from, early, so that its imports overlap with planning.

    It has no threads when it forks, which a fork of the driver (Arrow's pools, the live table) could not promise.
    """
    from multiprocessing import forkserver

    multiprocessing.get_context("forkserver").set_forkserver_preload(["midtrain.pipelines.preload"])
    forkserver.ensure_running()


def begin_worker(leash: Connection) -> None:
    """Ties a worker to its driver: it ends when the driver's end of the pipe is closed, by whatever death.

    Ctrl-C reaches the whole process group; the driver alone answers it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(leash,), daemon=True).start()


def _end_with(leash: Connection) -> None:
    leash.poll(None)  # nothing is ever sent: it returns when the other end is closed
    os._exit(1)


def run_job(job: Job) -> TaskResult:
    """Runs one job in whatever process it was carried to; a task leaves its marker, a probe leaves nothing.

    Raises:
        RunError: the system refused a file: the disk is full, or a folder must not be written.
    """
    try:
        if job.probe:
            return TaskResult((), {"documents": job.stage.probe(job.task, job.start, job.stop)})
        result = job.stage.run(job.task)
        job.stage.write_marker(job.task, result)
    except OSError as error:
        raise RunError(
            f"{job.stage.name}, task {job.task}: {error.strerror or error}",
            where=str(error.filename or job.stage.folder),
            fix="make room or give access, and run again: finished tasks are kept",
        ) from error
    return result
