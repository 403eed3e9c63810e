"""What a person sees while a run goes on, and the record of it that machines read.

On a terminal one live table; elsewhere at most one line a stage per 30 s, without control codes, so that logs stay
readable. `events.jsonl` gets every task's start and end and outlives the process. Costs one small append a task.
"""

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

LINE_EVERY = 30.0  # seconds between lines where there is no terminal


class Events:
    """Appends events to a JSON-lines file, each line in one piece.

    A process that is killed may leave half a line all the same: what writes next ends it first, and readers skip it.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._whole = False  # whether the file is known to end with a line's end

    def write(self, event: str, fields: Mapping[str, Any]) -> None:
        """Appends one event with the time in seconds since the epoch."""
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = orjson.dumps({"time": round(time.time(), 3), "event": event, **fields}) + b"\n"
        with open(self.path, "ab+") as stream:
            if stream.tell() and not self._whole:
                stream.seek(-1, os.SEEK_END)
                line = line if stream.read(1) == b"\n" else b"\n" + line
            stream.write(line)
        self._whole = True


@dataclass
class StageProgress:
    """The counters of one stage: tasks, and units of work (documents, bytes) that tasks report as they end."""

    name: str
    tasks: int
    done: int = 0
    documents: int = 0
    kept: int = 0
    quarantined: int = 0
    retries: int = 0
    bytes: int = 0
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    reused: int = 0

    def seconds(self) -> float:
        """Wall time since the stage began, or that it took."""
        return (self.ended or time.monotonic()) - self.started

    def remaining(self) -> float | None:
        """Seconds left at the pace of the tasks so far; None before any ended."""
        fresh = self.done - self.reused
        if fresh <= 0 or self.ended is not None:
            return None
        return self.seconds() / fresh * (self.tasks - self.done)

    def cells(self) -> tuple[str, ...]:
        """The stage as the columns of the table."""
        seconds = max(self.seconds(), 1e-9)
        rate = f"{self.documents / seconds:,.0f} docs/s" if self.documents else ""
        speed = f"{self.bytes / seconds / 1e6:,.1f} MB/s" if self.bytes else ""
        kept = f"{100 * self.kept / self.documents:.1f} % kept" if self.kept else ""
        aside = f"{self.quarantined:,} quarantined" if self.quarantined else ""
        retries = f"{self.retries:,} retries" if self.retries else ""
        left = self.remaining()
        state = f"{duration(left)} left" if left is not None else duration(seconds)
        return (self.name, f"{self.done:,}/{self.tasks:,} tasks", rate, speed, kept, aside, retries, state)


class Progress:
    """Shows stages; a quiet one (`shown=False`) shows nothing and still counts."""

    def __init__(self, shown: bool = True) -> None:
        self.shown = shown
        self.live = shown and sys.stderr.isatty()
        self.stages: list[StageProgress] = []
        self._display: Any = None
        self._said = 0.0

    @contextlib.contextmanager
    def running(self) -> Iterator["Progress"]:
        """Holds the live table on a terminal for the block."""
        if not self.live:
            yield self
            return
        from rich.console import Console
        from rich.live import Live

        with Live(
            console=Console(stderr=True), get_renderable=self._table, refresh_per_second=4, transient=False
        ) as display:
            self._display = display
            try:
                yield self
            finally:
                self._display = None

    def begin(self, name: str, tasks: int, reused: int = 0) -> StageProgress:
        """Adds a stage of so many tasks, of which `reused` were found done."""
        stage = StageProgress(name, tasks, done=reused, reused=reused)
        self.stages.append(stage)
        self._said = time.monotonic()
        return stage

    def advance(self, stage: StageProgress, counts: Mapping[str, int]) -> None:
        """Notes that a task ended, with what it worked on: documents, kept, quarantined, bytes."""
        stage.done += 1
        stage.documents += counts.get("documents", 0)
        stage.kept += counts.get("kept", 0)
        stage.quarantined += counts.get("quarantined", 0)
        stage.bytes += counts.get("bytes", 0)
        self.tick(stage)

    def tick(self, stage: StageProgress) -> None:
        """Called now and then while a stage goes on: prints its line where that is due."""
        if self.shown and not self.live and time.monotonic() - self._said >= LINE_EVERY:
            self._line(stage)

    def end(self, stage: StageProgress) -> None:
        """Notes that a stage is complete."""
        stage.ended = time.monotonic()
        if self.shown and not self.live:
            self._line(stage)

    def say(self, text: str) -> None:
        """Prints a line above the table."""
        if not self.shown:
            return
        if self._display is not None:
            self._display.console.print(text, highlight=False, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def _line(self, stage: StageProgress) -> None:
        self._said = time.monotonic()
        print("  ".join(cell for cell in stage.cells() if cell), file=sys.stderr, flush=True)

    def _table(self) -> Any:
        from rich.table import Table

        table = Table(box=None, show_header=False, pad_edge=False)
        for stage in self.stages:
            table.add_row(*stage.cells())
        return table


def duration(seconds: float) -> str:
    """`41 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
