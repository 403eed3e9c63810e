"""The demo's commands as processes of their own, and the time that is left, shown all along.

Each step is the command that a person would type, printed before it runs. The time left comes from how long the steps
take on the machine that the demo was measured on, scaled by how fast this one has been so far.
"""

import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from ..errors import RunError
from ..progress import duration

EXPECTED = {
    "corpus": 5.0,
    "curate": 15.0,
    "build": 15.0,
    "pretrain": 60.0,
    "before": 10.0,
    "midtrain": 190.0,
    "after": 15.0,
}
"""Seconds of each step on two cores of a server of 2023, the kernels' first compilation included."""
LEARNING = ("pretrain", "before", "midtrain", "after")  # steps that take as long as there is to learn
LOOK_EVERY = 0.5  # seconds between looks at a running command
LINE_EVERY = 15.0  # seconds between lines where there is no terminal


@dataclass(frozen=True)
class Command:
    """A verb with its file and options; `watch` is the metrics file whose tokens show how far it is, of `total`."""

    verb: str
    subject: Path
    options: Sequence[str]
    watch: Path | None = None
    total: int = 1

    @property
    def text(self) -> str:
        """As it would be typed."""
        return shlex.join(["midtrain", self.verb, str(self.subject), *self.options])

    def start(self, output: Any, errors: Any) -> "subprocess.Popen[bytes]":
        """Starts it; each command computes with one thread, and two of them share the machine."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        line = [sys.executable, "-m", "midtrain", self.verb, str(self.subject), *self.options, "--json"]
        return subprocess.Popen(line, stdout=output, stderr=errors, env=environment)


class Timetable:
    """Runs the steps in turn and tells how long the rest will take."""

    def __init__(self, share: float = 1.0) -> None:
        """Starts the clock of a demo that learns a share of the whole one."""
        self.started = time.monotonic()
        self.expected = {step: cost * share if step in LEARNING else cost for step, cost in EXPECTED.items()}
        self.todo = dict(self.expected)
        self.live = sys.stderr.isatty()
        self._said = 0.0
        self._open = False

    def elapsed(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self.started

    def say(self, text: str) -> None:
        """Prints a line with the time left."""
        self._break()
        print(f"{text}  [{duration(self.left())} left]", file=sys.stderr, flush=True)
        self._said = time.monotonic()

    def done(self, step: str) -> None:
        """Notes that a step is over."""
        self.todo.pop(step)

    def left(self, step: str = "", share: float = 0.0) -> float:
        """Seconds to the end, when `share` of a step is done."""
        rest = sum(self.todo.values()) - self.todo.get(step, 0.0) * share
        past = sum(self.expected.values()) - rest
        pace = self.elapsed() / past if past > 10 else 1.0
        return rest * pace

    def run(self, step: str, command: Command) -> dict[str, Any]:
        """Runs one command and returns what it printed as JSON.

        Raises:
            RunError: it failed; with what it said.
        """
        return self.run_beside(step, [command])[0]

    def run_beside(self, step: str, commands: Sequence[Command]) -> list[dict[str, Any]]:
        """Runs commands beside each other.

        Raises:
            RunError: one failed; the others are ended.
        """
        for command in commands:
            self.say(command.text)
        with tempfile.TemporaryDirectory() as folder:
            files = [(Path(folder) / f"{i}.json", Path(folder) / f"{i}.txt") for i in range(len(commands))]
            running: list[subprocess.Popen[bytes]] = []
            try:
                for command, (output, errors) in zip(commands, files, strict=True):
                    with open(output, "wb") as out, open(errors, "wb") as err:
                        running.append(command.start(out, err))
                failed = self._wait(step, commands, running)
            finally:
                for process in running:
                    if process.poll() is None:
                        process.terminate()
                        process.wait()
            if failed is not None:
                raise _failed(commands[failed], running[failed].returncode, files[failed][1])
            results = [orjson.loads(output.read_bytes()) for output, _ in files]
        self.done(step)
        return results

    def close(self) -> None:
        """Ends the line that is written over."""
        self._break()

    def _wait(self, step: str, commands: Sequence[Command], running: Sequence["subprocess.Popen[bytes]"]) -> int | None:
        """Waits until all have ended well, or one has failed: its place."""
        began = time.monotonic()
        while True:
            codes = [process.poll() for process in running]
            failed = next((place for place, code in enumerate(codes) if code), None)
            if failed is not None or None not in codes:
                return failed
            time.sleep(LOOK_EVERY)
            waited = min((time.monotonic() - began) / self.expected[step], 0.95)
            shares = [_share(command) for command in commands]
            self._show(step, min(waited if share is None else share for share in shares))

    def _show(self, step: str, share: float) -> None:
        text = f"{step}  {100 * share:.0f} %  {duration(self.left(step, share))} left"
        if self.live:
            print(f"\r{text:<60}", end="", file=sys.stderr, flush=True)
            self._open = True
        elif time.monotonic() - self._said >= LINE_EVERY:
            print(text, file=sys.stderr, flush=True)
            self._said = time.monotonic()

    def _break(self) -> None:
        if self._open:
            print(file=sys.stderr)
            self._open = False


def _share(command: Command) -> float | None:
    """How much of a training run is done, by its metrics; None where nothing tells."""
    if command.watch is None:
        return None
    if not command.watch.exists():
        return 0.0
    written, _, _ = command.watch.read_bytes().rpartition(b"\n")  # the last line may be half of one
    rows = (orjson.loads(line) for line in reversed(written.splitlines()))
    return float(next((row["tokens"] for row in rows if "tokens" in row), 0) / command.total)


def _failed(command: Command, code: int, errors: Path) -> RunError:
    said = errors.read_text(encoding="utf-8", errors="replace").strip()
    return RunError(f"a command of the demo failed with exit code {code}", where=command.text, seen=said[-2000:])
