"""Worker processes of this machine: each has a pipe of its own, so that a death costs the job that it ran and no other.

A pool of the standard library breaks whole when one process dies, and cannot end a single one; here a worker is ended
alone: one that is overtaken by a copy of its task, or that takes more memory than the run may use. Workers come from a
fork server that has imported the stages once (about 1 s, while the driver plans); a job costs about 0.1 ms.
"""

import contextlib
import multiprocessing
import tempfile
import time
from collections import deque
from multiprocessing.connection import Connection, wait
from pathlib import Path

from ..errors import ConfigError
from . import budget
from .executor import (
    IN_FLIGHT_PER_WORKER,
    WITH_THE_JOB,
    Done,
    Executor,
    InProcess,
    Job,
    Outcome,
    default_workers,
    pack,
)
from .stage import Stage
from .worker_process import Parcel, ToldByWorker, Worker

LOOK_EVERY = 0.25  # seconds, at the memory of the workers
LONGEST_FOLDER = 75  # characters of the temporary folder: a socket's address has 107, and Python adds 32


def local(workers: int | None = None, memory: int | None = None) -> Executor:
    """This machine: this process for 0 workers, else so many processes; one a core where no number is given.

    Args:
        workers: how many at most.
        memory: bytes that the whole run may hold; None for no limit.
    """
    wanted = default_workers() if workers is None else workers
    return LocalProcesses(wanted, memory) if wanted else InProcess(memory)


class LocalProcesses:
    """Carries jobs to processes of this machine.

    Args:
        workers: how many run at the same time, where the memory is enough for them.
        memory: bytes that they, the driver and the fork server may hold; None for no limit.
    """

    def __init__(self, workers: int, memory: int | None = None) -> None:
        self.workers, self.memory = workers, memory
        self._fit = workers
        self._beside = budget.driver(0)  # bytes of the driver and the fork server
        self._context = multiprocessing.get_context("forkserver")
        self._leash: tuple[Connection, Connection] | None = None
        self._alive: list[Worker] = []
        self._queue: deque[Job] = deque()
        self._looked = 0.0
        self._ended: list[Outcome] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._packed: tuple[Stage, Parcel] | None = None

    @property
    def slots(self) -> int:
        """One job a process, and as many processes as fit."""
        return self._fit

    @property
    def capacity(self) -> int:
        """Two jobs a process, one of which waits here."""
        return self._fit * IN_FLIGHT_PER_WORKER

    def begin(self, stage: Stage) -> None:
        """Counts the workers that fit, and ends those of the stage before: what they hold is none of this one's."""
        start_fork_server()  # not before: where all is done already, there is nothing to import for
        self.check(stage, stage.tasks())
        for worker in list(self._alive):
            self._bury(worker)

    def check(self, stage: Stage, tasks: int) -> None:
        """Counts the workers that fit.

        Raises:
            ConfigError: not even one.
        """
        self._fit = self.workers
        if self.memory is not None:
            need = stage.memory()
            self._beside = budget.driver(tasks)
            self._fit = budget.workers(self.memory, need, self._beside, self.workers)
            if self._fit == 0:
                raise budget.refusal(stage.name, self.memory, budget.needed(need, self._beside))

    def submit(self, job: Job) -> None:
        """Hands the job to an idle process; where there is none it waits for the first."""
        self._queue.append(job)
        self._hand_out()

    def wait(self, seconds: float) -> list[Outcome]:
        """Outcomes in the order in which the jobs ended; whoever has ended one gets the next before this returns."""
        until = time.monotonic() + seconds
        while not self._ended:
            busy = {worker.pipe: (worker, worker.job) for worker in self._alive if worker.job is not None}
            left = until - time.monotonic()
            for pipe in wait(list(busy), max(min(left, LOOK_EVERY), 0.0)):
                self._hear(*busy[pipe])  # type: ignore[index]
            self._keep_within_memory()
            self._hand_out()
            if left <= 0:
                break
        ended, self._ended = self._ended, []
        return ended

    def cancel(self, job: Job) -> None:
        """Ends the process that runs the job, or forgets the job where none does."""
        for worker in self._alive:
            if worker.job == job:
                self._bury(worker)
                return
        with contextlib.suppress(ValueError):
            self._queue.remove(job)

    def close(self, failed: bool) -> None:
        """Waits for the processes, or ends them at once, whatever they are doing."""
        for worker in self._alive:
            worker.leave(at_once=failed or worker.job is not None)
        self._alive = []
        if self._leash is not None:
            for end in self._leash:
                end.close()
        if self._folder is not None:
            self._folder.cleanup()
        self._leash = self._folder = self._packed = None

    def _hand_out(self) -> None:
        while self._queue:
            idle = next((worker for worker in self._alive if worker.job is None), None)
            if idle is None and len(self._alive) >= self.slots:
                return
            worker = idle or self._begin_worker()
            job = self._queue.popleft()
            if not worker.take(job, self._parcel(job.stage)):  # it died while it was idle, which is nobody's fault
                self._bury(worker)
                self._queue.appendleft(job)

    def _begin_worker(self) -> Worker:
        if self._leash is None:
            self._leash = self._context.Pipe(duplex=False)
        worker = Worker(self._context, self._leash[0])
        self._alive.append(worker)
        return worker

    def _hear(self, worker: Worker, job: Job) -> None:
        """Takes what a worker says of its job, or that it has died.

        Raises:
            Exception: what the job itself raised.
        """
        said = worker.hear()
        if said is None:
            self._bury(worker)
            self._ended.append(Outcome(job, None, worker.death()))
        elif isinstance(said, Done):
            self._ended.append(Outcome(job, said))
        else:
            raise said.error from ToldByWorker(said.trace)

    def _keep_within_memory(self) -> None:
        """Ends the process that holds most, where all together hold more than they may: the system would end any."""
        if self.memory is None or self._looked > time.monotonic() - LOOK_EVERY:
            return
        self._looked = time.monotonic()
        held = {worker: budget.held(worker.process.pid) for worker in self._alive}
        total = sum(held.values()) + self._beside
        if total <= self.memory:
            return
        worker = max(held, key=lambda one: held[one])
        job = worker.job
        self._bury(worker)
        if job is not None:
            self._fit = max(self._fit - 1, 1)
            run = f"the run {budget.spelled(total)} of the {budget.spelled(self.memory)} that it may use"
            why = f"its process was ended: it held {budget.spelled(held[worker])} of memory, {run}"
            self._ended.append(Outcome(job, None, why))

    def _bury(self, worker: Worker) -> None:
        self._alive.remove(worker)
        worker.leave(at_once=True)

    def _parcel(self, stage: Stage) -> Parcel:
        if self._packed is None or self._packed[0] is not stage:
            key, data = pack(stage)
            parcel = Parcel(key, data, "")
            if len(data) > WITH_THE_JOB:
                self._folder = self._folder or tempfile.TemporaryDirectory(prefix="midtrain-")
                path = Path(self._folder.name) / key
                path.write_bytes(data)
                parcel = Parcel(key, b"", str(path))
            self._packed = (stage, parcel)
        return self._packed[1]


def start_fork_server() -> None:
    """Starts the process that workers are forked from, where it does not run yet.

    It has no threads when it forks, which a fork of the driver (Arrow's pools, the live table) could not promise.

    Raises:
        ConfigError: the temporary folder's path is too long to put a socket there.
    """
    from multiprocessing import forkserver

    multiprocessing.get_context("forkserver").set_forkserver_preload(["midtrain.pipelines.preload"])
    try:
        forkserver.ensure_running()
    except OSError as error:
        if error.errno is not None:
            raise
        folder = tempfile.gettempdir()  # Python's own check of the path, which has no number
        raise ConfigError(
            f"workers cannot be reached through the temporary folder: {error}",
            where=folder,
            seen=f"{len(folder)} characters",
            expected=f"at most {LONGEST_FOLDER}: the system's limit for a socket's address",
            fix="set TMPDIR to a shorter path, or work with --workers 0",
        ) from None
