"""What has become of an output: read from its files alone, so that it answers while a run works and when it is dead.

The events tell what was begun and how fast it went, markers and manifests what is done, the lock whether anybody is at
work. Costs one pass over the events and a listing of each stage that is not complete.
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from .. import locks, storage
from ..errors import ConfigError
from ..manifest import EMPTY, NAME, Manifest
from ..progress import duration
from ..remote import RemotePath
from ..storage import Location
from ..tables import Table, columns
from .output import EVENTS, FOLDERS
from .stage import MARKERS


@dataclass
class StageStatus:
    """One stage: tasks done of all, what they worked on, and how it went."""

    stage: str
    folder: str
    tasks: int = 0
    done: int = 0
    documents: int = 0
    kept: int = 0
    quarantined: int = 0
    retries: int = 0
    poisoned: int = 0
    documents_per_second: float | None = None  # over the latest run that worked on it
    complete: bool = False
    _ended: dict[int, dict[str, int]] = field(default_factory=dict, repr=False)
    _run: list[float] = field(default_factory=list, repr=False)  # time of its start, of the last task, documents since

    def note(self, event: dict[str, Any]) -> None:
        """Takes an event of the stage, in their order."""
        match event["event"]:
            case "stage_started":
                self.tasks = event["tasks"]
                self._run = [event["time"], event["time"], 0]
                if event["reused"] == 0:  # begun anew
                    self._ended, self.retries, self.poisoned = {}, 0, 0
            case "task_finished":
                self._ended[event["task"]] = {name: event.get(name, 0) for name in ("documents", "kept", "quarantined")}
                if self._run:
                    self._run[1:] = [event["time"], self._run[2] + event.get("documents", 0)]
            case "task_lost":
                self.retries += 1
            case "document_poisoned":
                self.poisoned += 1

    def settle(self, folder: Location | None) -> None:
        """Compares with what lies in the stage's folder; None where it was removed, as scratch is in the end."""
        self.documents = sum(counts["documents"] for counts in self._ended.values())
        self.kept = sum(counts["kept"] for counts in self._ended.values())
        self.quarantined = sum(counts["quarantined"] for counts in self._ended.values())
        if self._run and self._run[1] > self._run[0]:
            self.documents_per_second = round(self._run[2] / (self._run[1] - self._run[0]), 1)
        found = None if folder is None else Manifest.find(folder)
        if found is not None:
            self.documents, self.kept, self.quarantined = (
                int(found.counts.get(name, 0)) for name in ("documents", "kept", "quarantined")
            )
        self.complete = found is not None or folder is None
        self.done = self.tasks
        if folder is None or self.complete:
            return
        marked = sum(name[:1].isdigit() and name.endswith(".json") for name in storage.names(folder / MARKERS))
        if marked == 0 and len(self._ended) >= self.tasks:
            self.complete = True  # removed: there are stores that go on to list a folder whose last object is gone
        else:
            self.done = marked


def status(output: str | Location) -> Table:
    """The stages of an output and whether a run works on it.

    Raises:
        ConfigError: no run was ever begun there.
    """
    root = storage.location(output)
    held = locks.held(root)
    if held is None:
        raise ConfigError("no run of curate or build was begun here", where=str(root), fix="name the recipe's output")
    stages, last = _read(root)
    state = "running" if held else _state(root)
    rows = [["stage", "tasks", "documents", "documents/s", "kept", "retries", "quarantined", "state"]]
    rows += [_row(stage, state) for stage in stages]
    fix = {
        "running": "a run is at work",
        "complete": "complete",
        "empty": f"complete, and no document is left: midtrain report {root} shows what dropped them",
        "stopped": "no run is at work: the same command goes on where it stopped",
    }
    ago = f"; the last event was {duration(max(time.time() - last, 0.0))} ago" if last else ""
    data = [{key: value for key, value in asdict(stage).items() if not key.startswith("_")} for stage in stages]
    table = [columns(rows)] if stages else []
    text = "\n\n".join([*table, f"{root}: {fix[state]}{ago}"])
    return Table(text, {"output": str(root), "state": state, "last_event": last, "stages": data})


def _state(root: Location) -> str:
    """Of an output that no run is at work in."""
    names = {NAME: "complete", EMPTY: "empty"}
    return next((state for name, state in names.items() if storage.exists(root / name)), "stopped")


def _row(stage: StageStatus, state: str) -> list[str]:
    begun = "running" if state == "running" else "stopped"
    return [
        stage.stage,
        f"{stage.done:,}/{stage.tasks:,}",
        f"{stage.documents:,}" if stage.documents else "",
        f"{stage.documents_per_second:,.0f}" if stage.documents_per_second else "",
        f"{100 * stage.kept / stage.documents:.1f} %" if stage.kept and stage.documents else "",
        f"{stage.retries:,}",
        f"{stage.quarantined:,}",
        "done" if stage.complete else begun,
    ]


def _read(root: Location) -> tuple[list[StageStatus], float | None]:
    """The stages in the order in which they were first begun, and the time of the last event."""
    stages: dict[str, StageStatus] = {}
    last = None
    for event in _events(root):
        last = float(event["time"])
        if "folder" in event:
            stages.setdefault(event["folder"], StageStatus(event["stage"], event["folder"])).note(event)
    ended = {stage.folder for stage in stages.values() if stage.tasks and len(stage._ended) >= stage.tasks}
    folders = {name: root / group / name for group in FOLDERS for name in storage.names(root / group)} if stages else {}
    found = []
    for name, stage in stages.items():
        folder = folders.get(name)
        if folder is None and name not in ended:
            continue  # removed by hand, or with another result
        stage.settle(folder)
        found.append(stage)
    return found, last


def _events(root: Location) -> Iterator[dict[str, Any]]:
    if isinstance(root, RemotePath):
        from .. import remote_events

        yield from remote_events.read(root)
        return
    if not (root / EVENTS).exists():
        return
    with open(root / EVENTS, "rb") as stream:
        for line in stream:
            with contextlib.suppress(orjson.JSONDecodeError):  # the last one may be on its way, or of a killed run
                yield orjson.loads(line)
