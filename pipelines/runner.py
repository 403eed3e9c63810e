"""Runs stages: what is done is left alone, the rest is spread over processes, a bounded number of tasks at a time.

The runner knows nothing of documents; it asks a stage for its tasks, and a task's marker on disk is the only proof
that it ran, so that a killed run goes on where it stopped. In process it costs nothing; local processes come from a
fork server that has imported the stages once (about 1 s, while the driver plans).
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from types import TracebackType

from .. import storage
from ..errors import RunError
from ..manifest import Manifest
from ..progress import Events, Progress
from .stage import Stage, TaskResult

IN_FLIGHT_PER_WORKER = 2  # one runs, one waits: the driver never holds more than this


def default_workers() -> int:
    """The number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Runner:
    """Brings stages to completion.

    Args:
        workers: 0 runs tasks in this process; N runs them in N local processes.
        events: where every task's start and end is recorded.
        progress: what the person sees.
    """

    def __init__(self, workers: int, events: Events, progress: Progress) -> None:
        self.workers = workers
        self.events = events
        self.progress = progress
        self.tasks_run = 0
        self._pool: ProcessPoolExecutor | None = None
        self._leash: tuple[Connection, Connection] | None = None

    def __enter__(self) -> "Runner":
        if self.workers > 0:
            start_fork_server()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is None or self._leash is None:
            return
        held, let_go = self._leash
        if kind is not None:
            let_go.close()  # what the workers are doing is of no use any more
        self._pool.shutdown(cancel_futures=True)
        held.close()
        let_go.close()

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
        if self.workers == 0 or not todo:
            for task in todo:
                self._started(stage, task)
                yield task, run_task(stage, task)
            return
        pool = self._pool or self._new_pool()
        waiting = list(reversed(todo))
        running: dict[Future[TaskResult], int] = {}
        while waiting or running:
            while waiting and len(running) < self.workers * IN_FLIGHT_PER_WORKER:
                task = waiting.pop()
                self._started(stage, task)
                running[_submit(pool, stage, task)] = task
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                task = running.pop(future)
                yield task, _result(future, stage, task)

    def _started(self, stage: Stage, task: int) -> None:
        self.events.write("task_started", {"stage": stage.name, "folder": stage.folder.name, "task": task})

    def _new_pool(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("forkserver")
        self._leash = context.Pipe(duplex=False)
        self._pool = ProcessPoolExecutor(
            self.workers, mp_context=context, initializer=begin_worker, initargs=(self._leash[0],)
        )
        return self._pool


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


def run_task(stage: Stage, task: int) -> TaskResult:
    """Runs one task and leaves its marker; in whatever process the runner chose.

    Raises:
        RunError: the system refused a file: the disk is full, or a folder must not be written.
    """
    try:
        result = stage.run(task)
        stage.write_marker(task, result)
    except OSError as error:
        raise RunError(
            f"{stage.name}, task {task}: {error.strerror or error}",
            where=str(error.filename or stage.folder),
            fix="make room or give access, and run again: finished tasks are kept",
        ) from error
    return result


def _submit(pool: ProcessPoolExecutor, stage: Stage, task: int) -> "Future[TaskResult]":
    try:
        return pool.submit(run_task, stage, task)
    except BrokenProcessPool:
        raise _died(stage, task) from None


def _result(future: "Future[TaskResult]", stage: Stage, task: int) -> TaskResult:
    try:
        return future.result()
    except BrokenProcessPool:
        raise _died(stage, task) from None


def _died(stage: Stage, task: int) -> RunError:
    return RunError(
        "a worker process died (killed by the system, out of memory, or a crash in native code)",
        where=f"{stage.name}, task {task} or one beside it",
        fix="run again: finished tasks are kept; --workers 1 needs the least memory",
    )
