"""A worker process: our end of it, and what it does until its driver closes the pipe or is gone.

A worker hears one job at a time and says what came of it, so its death is known to be that job's. Costs about 0.1 ms a
job; a stage is sent with each job where it is small, else as the file that holds it.
"""

import contextlib
import os
import pickle
import signal
import threading
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Final

from ..errors import RunError
from .executor import Done, Job, run_job, unpack

LEAVES_WITHIN: Final = 10.0  # seconds that an idle worker gets to end by itself


@dataclass(frozen=True)
class Parcel:
    """A pickled stage, or the file that holds it."""

    key: str
    data: bytes
    path: str


@dataclass(frozen=True)
class Failed:
    """What a job raised, with the place in the worker."""

    error: Exception
    trace: str


class ToldByWorker(Exception):
    """Shows where in a worker an error was raised."""


class Worker:
    """A process, our end of its pipe, and the job that it has."""

    def __init__(self, context: ForkServerContext, leash: Connection) -> None:
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, leash), daemon=True)
        self.process.start()
        theirs.close()
        self.job: Job | None = None

    def take(self, job: Job, parcel: Parcel) -> bool:
        """Sends a job; False where the process has died."""
        try:
            self.pipe.send((parcel, job.task, job.start, job.stop))
        except OSError:
            return False
        self.job = job
        return True

    def hear(self) -> "Done | Failed | None":
        """What came of its job; None where the process died."""
        try:
            said: Done | Failed = self.pipe.recv()
        except (EOFError, OSError):
            return None
        self.job = None
        return said

    def leave(self, at_once: bool) -> None:
        """Ends the process: by closing its pipe, or by signal, since code that holds the interpreter's lock is deaf."""
        self.pipe.close()
        if not at_once:
            self.process.join(LEAVES_WITHIN)
        if self.process.is_alive():
            self.process.kill()
        self.process.join()

    def death(self) -> str:
        """How the process ended."""
        code = self.process.exitcode or 0
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"its process died ({how}: killed by the system, out of memory, or a crash in native code)"


def _work(pipe: Connection, leash: Connection) -> None:
    """What a worker does: jobs, until its driver closes the pipe or is gone.

    Ctrl-C reaches the whole process group; the driver alone answers it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(leash,), daemon=True).start()
    while True:
        try:
            parcel, task, start, stop = pipe.recv()
        except (EOFError, OSError):
            return
        with contextlib.suppress(BrokenPipeError):
            pipe.send(_did(parcel, task, start, stop))


def _did(parcel: Parcel, task: int, start: int, stop: int) -> Done | Failed:
    try:
        stage = unpack(parcel.key, lambda: parcel.data or Path(parcel.path).read_bytes())
        return run_job(Job(stage, task, start, stop))
    except Exception as error:  # noqa: BLE001 - it is raised again, by the driver
        return Failed(_portable(error), traceback.format_exc())


def _portable(error: Exception) -> Exception:
    """The error, or its text where it cannot travel between processes."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - of our own making
    except Exception:  # noqa: BLE001 - errors of libraries fail to pickle in any way
        return RunError(f"{type(error).__name__}: {error}")
    return error


def _end_with(leash: Connection) -> None:
    """Ends this process when the driver's end of the leash is closed, by whatever death."""
    leash.poll(None)  # nothing is ever sent
    os._exit(1)
