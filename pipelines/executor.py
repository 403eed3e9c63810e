"""Where tasks run: in this process, in local processes, or (behind the same three calls) on a Ray cluster.

The runner decides what runs and how often; an executor only carries a job to a process and says what became of it, so
that a lost worker means the same everywhere. In process it costs nothing; local processes come from a fork server that
has imported the stages once (about 1 s, while the driver plans), and get a stage once each, not once a task.
"""

import multiprocessing
import os
import pickle
import signal
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

import xxhash

from ..errors import RunError
from .stage import Stage, TaskResult

IN_FLIGHT_PER_WORKER = 2  # one runs, one waits: the driver never holds more than this
WITH_THE_JOB = 32 << 10  # bytes of a pickled stage: a larger one is fetched once by each process
STAGES_KEPT = 4  # unpickled ones that a worker process holds
DIED = "its process died (killed by the system, out of memory, or a crash in native code)"


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

    `blamed` is False where something else may well be the cause: jobs that were lost together, a node that went away.
    """

    job: Job
    result: TaskResult | None
    lost: str = ""
    blamed: bool = True


class Executor(Protocol):
    """Carries jobs; `capacity` is how many it takes at a time.

    `apart` says that a job which kills its process takes no other job with it.
    """

    @property
    def apart(self) -> bool:
        """Whether jobs are lost one at a time."""

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
    apart = True

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
    """A pool of processes on this machine; when one dies the pool is made anew, and its unfinished jobs are lost."""

    apart = False

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None
        self._leash: tuple[Connection, Connection] | None = None
        self._running: dict[Future[TaskResult], Job] = {}
        self._ended: list[Outcome] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._packed: tuple[Stage, _Parcel] | None = None
        start_fork_server()

    @property
    def capacity(self) -> int:
        """Two jobs a process."""
        return self.workers * IN_FLIGHT_PER_WORKER

    def submit(self, job: Job) -> None:
        """Hands the job to the pool; one that is found dead is made anew."""
        parcel = self._parcel(job.stage)
        try:
            future = self._processes().submit(_run_parcel, parcel, job.task, job.start, job.stop)
        except BrokenProcessPool:
            self._break()
            future = self._processes().submit(_run_parcel, parcel, job.task, job.start, job.stop)
        self._running[future] = job

    def wait(self, seconds: float) -> list[Outcome]:
        """Outcomes in the order in which the jobs ended."""
        if not self._ended:
            for future in wait(self._running, timeout=seconds, return_when=FIRST_COMPLETED).done:
                if _broken(future):
                    self._break()
                    break
                self._ended.append(Outcome(self._running.pop(future), future.result()))
        ended, self._ended = self._ended, []
        return ended

    def close(self, failed: bool) -> None:
        """Waits for the processes, or ends them at once, whatever they are doing."""
        self._end_pool(failed)
        if self._folder is not None:
            self._folder.cleanup()
        self._folder = self._packed = None

    def _end_pool(self, failed: bool) -> None:
        if self._pool is None or self._leash is None:
            return
        if failed:  # by signal: code that holds the interpreter lock would not see the leash
            for process in list((self._pool._processes or {}).values()):
                process.kill()
        self._pool.shutdown(cancel_futures=True)
        for end in self._leash:
            end.close()
        self._pool = None

    def _break(self) -> None:
        """Gives up the pool: what has ended is kept, the rest is lost with it."""
        lost = []
        for future, job in self._running.items():
            if future.done() and not _broken(future):
                self._ended.append(Outcome(job, future.result()))
            else:
                lost.append(job)
        self._running = {}
        self._ended += [Outcome(job, None, DIED, blamed=len(lost) == 1) for job in lost]
        self._end_pool(failed=True)

    def _processes(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("forkserver")
            self._leash = context.Pipe(duplex=False)
            self._pool = ProcessPoolExecutor(
                self.workers, mp_context=context, initializer=begin_worker, initargs=(self._leash[0],)
            )
        return self._pool

    def _parcel(self, stage: Stage) -> "_Parcel":
        if self._packed is None or self._packed[0] is not stage:
            key, data = pack(stage)
            parcel = _Parcel(key, data, "")
            if len(data) > WITH_THE_JOB:
                self._folder = self._folder or tempfile.TemporaryDirectory(prefix="midtrain-")
                path = Path(self._folder.name) / key
                path.write_bytes(data)
                parcel = _Parcel(key, b"", str(path))
            self._packed = (stage, parcel)
        return self._packed[1]


@dataclass(frozen=True)
class _Parcel:
    """A pickled stage, or the file that holds it."""

    key: str
    data: bytes
    path: str


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


def _run_parcel(parcel: _Parcel, task: int, start: int, stop: int) -> TaskResult:
    stage = unpack(parcel.key, lambda: parcel.data or Path(parcel.path).read_bytes())
    return run_job(Job(stage, task, start, stop))


def _broken(future: Future[TaskResult]) -> bool:
    return future.done() and isinstance(future.exception(), BrokenProcessPool)


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
