"""Stages that compute nothing of use and can be told to fail, die or wait; a module, so that workers can import it.

As a program it runs one of them and writes what it came to, for tests that kill it from outside.
"""

import os
import re
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from midtrain import storage
from midtrain.errors import MidtrainError, RunError
from midtrain.manifest import OutputFile
from midtrain.pipelines.output import Output
from midtrain.pipelines.processes import local
from midtrain.pipelines.runner import Runner
from midtrain.pipelines.stage import Stage, TaskResult
from midtrain.progress import Events, Progress


class Unpicklable(Exception):
    """An error that cannot be sent."""

    def __init__(self):
        super().__init__("stays here")
        self.lock = threading.Lock()


LONG = 600  # seconds that a task waits which nobody is to wait for


def wait_for(path, words, times=1):
    """Waits until words stand in a file so often, while somebody else goes on."""
    deadline = time.monotonic() + LONG
    while not (path.exists() and path.read_bytes().count(words) >= times) and time.monotonic() < deadline:
        time.sleep(0.02)


@dataclass(frozen=True)
class Squares(Stage):
    """Task i writes `i.txt`; `faults` maps a task to what it does instead, once for those that end with `once`."""

    count: int = 6
    faults: tuple[tuple[int, str], ...] = ()
    before: tuple[Stage, ...] = ()
    label: str = "squares"
    scratch_too: bool = False

    @property
    def name(self):
        return self.label

    @property
    def parents(self):
        return self.before

    def options(self):
        return {"count": self.count}

    def tasks(self):
        return self.count

    def run(self, task):
        with open(self.root / "runs.log", "ab") as log:
            log.write(f"{self.label} {task}\n".encode())
        self.fail(task, dict(self.faults).get(task, ""))
        name = f"{task:03d}.txt"
        with storage.atomic_write(self.folder / name) as stream:
            stream.write(str(task * task).encode())
        counts = {"documents": 1, "by": {"even" if task % 2 == 0 else "odd": task}}
        return TaskResult((OutputFile.of(self.folder, name, 1),), counts)

    def write_marker(self, task, result):
        super().write_marker(task, result)
        if dict(self.faults).get(task) == "die behind":
            os.kill(os.getpid(), signal.SIGKILL)

    def fail(self, task, fault):
        if fault.endswith("once"):
            done = self.root / f"failed-{task}"
            if done.exists():
                return
            done.touch()
        match fault.removesuffix(" once"):
            case "error":
                raise RunError("no square", where=f"task {task}", seen=task, expected="another", fix="another task")
            case "bug":
                raise ZeroDivisionError("a bug")
            case "unpicklable":
                raise Unpicklable
            case "disk":
                raise OSError(28, "No space left on device")
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "wait":
                time.sleep(LONG)
            case "half":  # of its file, for others to find
                (self.folder / f".{task}.txt.0123456789ab.tmp").write_bytes(b"half")
                time.sleep(LONG)
            case "grab":  # for ever more, 64 MB each tenth of a second, until somebody ends it
                held = []
                while True:
                    held.append(b"x" * (64 << 20))
                    time.sleep(0.1)
            case "hold 100 MB":
                held = b"x" * 100_000_000
                time.sleep(0.2)
                del held
            case "slow":
                time.sleep(3)
            case "until copied":  # both, the copy too
                wait_for(self.root / "runs.log", f"{self.label} {task}\n".encode(), 2)
            case "until lost":
                wait_for(self.root / "events.jsonl", b'"task_lost"')
            case "wait for a copy that dies":  # which any run but the first does, at once
                if (self.root / f"begun-{task}").exists():
                    os.kill(os.getpid(), signal.SIGKILL)
                (self.root / f"begun-{task}").touch()
                wait_for(self.root / "events.jsonl", b'"copy_lost"')
            case "hold":
                re.match("(a*)*$", "a" * 40 + "b")  # for years, and with the interpreter's lock


@dataclass(frozen=True)
class Scratch(Squares):
    """Squares that only later stages read."""

    scratch = True


def run(stage, workers):
    """The manifest of a stage and the tasks that it took."""
    with Runner(local(workers), Events(stage.root / "events.jsonl"), Progress(shown=False)) as runner:
        return runner.ensure(stage), runner.tasks_run


if __name__ == "__main__":
    folder, workers, *faults = sys.argv[1:]
    told = tuple((int(task), fault) for task, _, fault in (entry.partition("=") for entry in faults))
    from toy_stages import Squares as Importable  # __main__ has another name in a worker
    from toy_stages import run as run_importable

    try:
        with Output(Path(folder), "curate").opened():
            run_importable(Importable(Path(folder), faults=told), int(workers))
    except KeyboardInterrupt:
        sys.exit(130)
    except MidtrainError as error:
        print(error.render(), file=sys.stderr)
        sys.exit(error.exit_code)
