"""Toy stages, the command line in this process and in others, and what is left running of a process tree."""

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import pytest
from midtrain import cli, storage

PATIENCE = 60.0  # seconds that other processes may take before a test gives up; this machine may be busy


@dataclass(frozen=True)
class Said:
    """What a command came to."""

    code: int
    out: str
    err: str


class Processes:
    """Starts commands in a process group of their own, and looks at what is below them."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[str]] = []
        self.seen: set[int] = set()

    def start(self, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        """Starts this Python with these arguments."""
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )
        self.started.append(process)
        return process

    def end(self, process: "subprocess.Popen[str]") -> Said:
        """Waits for a command."""
        out, err = process.communicate(timeout=4 * PATIENCE)
        return Said(process.returncode, out, err)

    def workers(self, process: "subprocess.Popen[str]") -> list[int]:
        """The worker processes of a driver: the children of its fork server."""
        found = [pid for child in _children(process.pid) for pid in _children(child)]
        self.seen.update(_children(process.pid), found)
        return found

    def kill(self, process: "subprocess.Popen[str]", whole_group: bool) -> None:
        """SIGKILL, to the driver alone or to its whole process group."""
        self.workers(process)
        if whole_group:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait(PATIENCE)

    def left(self) -> list[int]:
        """Which of the processes that were seen below a driver still run, after waiting for them to end."""
        deadline = time.monotonic() + PATIENCE
        while (alive := [pid for pid in self.seen if _runs(pid)]) and time.monotonic() < deadline:
            time.sleep(0.05)
        return alive


@pytest.fixture(autouse=True)
def _impatient_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test can see whether bytes reached the platter, and hundreds of small files would wait for it."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def corpus(workshop: Any) -> Any:
    """A workshop with the standard corpus, not yet curated."""
    workshop.corpus()
    return workshop


@pytest.fixture
def shop(curated_workshop: Any, tmp_path: Path) -> Any:
    """The curated workshop, building into a folder of its own."""
    found = type(curated_workshop)(tmp_path)
    found.mixture = lambda **changed: curated_workshop.mixture(**{"output": str(tmp_path / "shards"), **changed})
    return found


@pytest.fixture
def processes() -> Iterator[Processes]:
    """Starts and watches processes; kills what a failed test leaves behind."""
    found = Processes()
    yield found
    for process in found.started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Died(BaseException):
    """Stands for SIGKILL where a process of its own would take too long: nothing may catch it."""


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Callable[[], int]]:
    """Makes this process die at its n-th atomic write, half way or just behind the rename, and not clean up.

    Returns what counts the writes so far.
    """
    original = storage.atomic_write

    def die(at: int | None, behind: bool = False) -> Callable[[], int]:
        writes = 0

        @contextlib.contextmanager
        def write(path: str | Path) -> Iterator[BinaryIO]:
            nonlocal writes
            writes += 1
            mine = writes == at
            if mine and not behind:
                final = Path(path)
                final.parent.mkdir(parents=True, exist_ok=True)
                (final.parent / f".{final.name}.0123456789ab.tmp").write_bytes(b"half")
                raise Died
            with original(path) as stream:
                yield stream
            if mine:
                raise Died

        monkeypatch.setattr(storage, "atomic_write", write)
        return lambda: writes

    return die


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of toy stages, importable in workers too."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return importlib.import_module("toy_stages")


@pytest.fixture
def midtrain(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """The command line in this process."""

    def run(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["midtrain", *map(str, arguments)])
        capfd.readouterr()
        code: object = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        captured = capfd.readouterr()
        assert isinstance(code, int)
        return Said(code, captured.out, captured.err)

    return run


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Waits for something to become true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


@pytest.fixture(name="wait_until")
def _wait_until() -> Callable[..., None]:
    return wait_until


def _children(pid: int) -> Sequence[int]:
    try:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(child) for child in listed]


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")
