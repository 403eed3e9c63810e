"""A stage: a named piece of work cut into tasks that read files and write files.

Everything that curates or builds is a stage, so that resuming, counting and spreading over processes is written once.
A task leaves a marker beside its files when it is done; a stage leaves its manifest when all tasks are. Costs two
small JSON files a task, of which one remains.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar

import orjson

from .. import manifest as manifests
from .. import storage
from ..errors import RunError
from ..manifest import Manifest, OutputFile
from ..remote import RemotePath
from ..storage import Location

UNKNOWN_MEMORY = 256 << 20  # bytes of a worker, of a stage that does not say
MARKERS = "tasks"  # the folder below a stage's that holds its tasks' markers

Counts = dict[str, Any]  # whole numbers at the leaves, names above


@dataclass(frozen=True)
class TaskResult:
    """What a task produced: its files, and its counts (nested, whole numbers at the leaves).

    `documents`, `kept` and `bytes` at the top of the counts feed the progress display.
    """

    files: tuple[OutputFile, ...]
    counts: Counts


class Tally:
    """What the tasks of a stage came to so far: their files, and the sums of their counts.

    A driver of a million tasks holds a name and a few numbers of each, and no more.
    """

    def __init__(self, results: Iterable[TaskResult] = ()) -> None:
        self.files: list[OutputFile] = []
        self.counts: Counts = {}
        for result in results:
            self.add(result)

    def add(self, result: TaskResult) -> None:
        """Takes a task's result, in whatever order they come."""
        self.files += result.files
        add_counts(self.counts, result.counts)


@dataclass(frozen=True)
class Stage(ABC):
    """A stage is a frozen record that travels to workers; its fingerprint names its folder.

    Subclasses add what they need as fields. `version` is raised when the code's output changes for equal options.
    """

    root: Location
    version: ClassVar[int] = 1
    num_cpus: ClassVar[float] = 1.0  # that one task keeps busy
    num_gpus: ClassVar[float] = 0.0  # and GPUs, on a cluster that has them
    divisible: ClassVar[bool] = False  # whether `probe` can try some documents of a task alone
    scratch: ClassVar[bool] = False  # nothing but later stages reads it: removed when the whole run is complete

    @property
    @abstractmethod
    def name(self) -> str:
        """The stage's name: letters, digits, `_` and `-`."""

    @property
    def parents(self) -> "tuple[Stage, ...]":
        """The stages whose output this one reads; they are complete before `tasks` and `run` are called."""
        return ()

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """All that the output depends on beside the parents, as plain JSON values."""

    @abstractmethod
    def tasks(self) -> int:
        """The number of tasks; a function of options and parents alone."""

    @abstractmethod
    def run(self, task: int) -> TaskResult:
        """Does one task: writes its files below `folder` (atomically) and returns them with its counts."""

    def memory(self) -> int:
        """The most bytes that a worker holds while it does a task, page cache left out; from options and finished
        parents alone."""
        return UNKNOWN_MEMORY

    def probe(self, task: int, start: int, stop: int) -> int:
        """Does to a task's records from `start` to `stop` what `run` would, and leaves nothing behind.

        Returns:
            The number of the task's records.

        Raises:
            NotImplementedError: tasks of this stage cannot be divided.
        """
        raise NotImplementedError(f"{self.name} is not divisible")

    def poison(self, task: int, document: int, why: str) -> None:
        """Notes that a record of a task kills its process: `run` sets it aside from now on."""
        known = self.poisoned(task)
        with storage.atomic_write(self.folder / MARKERS / f"{task:05d}.poison") as stream:
            stream.write(orjson.dumps({**{str(key): value for key, value in known.items()}, str(document): why}))

    def poisoned(self, task: int) -> dict[int, str]:
        """The documents of a task that kill their process, each with what was seen."""
        data = storage.read_if_there(self.folder / MARKERS / f"{task:05d}.poison")
        return {} if data is None else {int(key): why for key, why in orjson.loads(data).items()}

    def check(self, counts: Counts, files: Sequence[OutputFile]) -> None:
        """Called with the summed counts and all files before the manifest is written, and when a later run finds it.

        Raises:
            RunError: to fail the stage.
        """

    @cached_property
    def fingerprint(self) -> str:
        """xxh3-128 of name, version, options and the parents' fingerprints."""
        return manifests.fingerprint(
            [self.name, self.version, self.options(), [parent.fingerprint for parent in self.parents]]
        )

    @property
    def group(self) -> str:
        """The folder below the root that holds stages of this kind."""
        return "stages"

    @cached_property
    def folder(self) -> Location:
        """`ROOT/stages/<name>-<first 16 digits of the fingerprint>`."""
        return self.root / self.group / f"{self.name}-{self.fingerprint[:16]}"

    def manifest(self) -> Manifest | None:
        """The manifest of the finished stage, None if it is not finished.

        Raises:
            RunError: the folder holds a stage of another fingerprint, or one of its files was changed.
        """
        found = Manifest.find(self.folder)
        _remember(self.folder, found)
        if found is None:
            return None
        if found.fingerprint != self.fingerprint:
            raise RunError(
                "the folder holds another stage's output",
                where=str(self.folder),
                seen=found.fingerprint,
                expected=self.fingerprint,
                fix="remove the folder",
            )
        try:
            found.check_sizes(self.folder)
        except (FileNotFoundError, RunError):
            if Manifest.find(self.folder) == found:
                raise
            return None  # scratch, which a run beside us has just removed
        return found

    def finished(self) -> Manifest:
        """The manifest of a stage that must be finished, read once by each process.

        The runner has compared its files with it before any task asks: a task that did so again would stat all of its
        parents' files, which is quadratic in the tasks.

        Raises:
            RunError: the stage is not complete.
        """
        if isinstance(self.folder, RemotePath):
            return _in_store.get(self.folder) or self._finished_in_store()
        try:
            status = (self.folder / manifests.NAME).stat()
        except FileNotFoundError:
            raise self._incomplete() from None
        return _read_once(self.folder, status.st_ino, status.st_mtime_ns, status.st_size)

    def _finished_in_store(self) -> Manifest:
        found = Manifest.find(self.folder)
        if found is None:
            raise self._incomplete()
        _remember(self.folder, found)
        return found

    def _incomplete(self) -> RunError:
        return RunError("the stage is not complete", where=str(self.folder), fix="run the same command again")

    def write_marker(self, task: int, result: TaskResult) -> None:
        """Notes on disk that a task is done, with its files and counts."""
        with storage.atomic_write(self._marker(task)) as stream:
            stream.write(orjson.dumps(result, option=orjson.OPT_SORT_KEYS))

    def read_marker(self, task: int) -> TaskResult | None:
        """The result of a task that an earlier run finished, None if there is none or a file of it is not whole."""
        data = storage.read_if_there(self._marker(task))
        return None if data is None else self._parse_marker(data)

    def read_markers(self, tasks: int) -> dict[int, TaskResult]:
        """The results of the tasks that an earlier run finished: by one listing, and a read of those that are there."""
        there = set(storage.names(self.folder / MARKERS))
        done = [task for task in range(tasks) if self._marker(task).name in there]
        data = storage.read_all([self._marker(task) for task in done])
        results = {task: self._parse_marker(one) for task, one in zip(done, data, strict=True)}
        return {task: result for task, result in results.items() if result is not None}

    def _parse_marker(self, data: bytes) -> TaskResult | None:
        """None where the marker is damaged or a file of it is not whole; in a store files are."""
        try:
            content = orjson.loads(data)
            files = tuple(OutputFile(**entry) for entry in content["files"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return None  # damaged: the task runs again
        folder = self.folder
        whole = isinstance(folder, RemotePath) or all(
            (folder / entry.path).exists() and (folder / entry.path).stat().st_size == entry.bytes for entry in files
        )
        return TaskResult(files, content["counts"]) if whole else None

    def complete(self, total: "Tally") -> Manifest:
        """Checks what all tasks came to, and writes the manifest, last; the markers are then redundant."""
        files, counts = tuple(sorted(total.files, key=lambda file: file.path)), total.counts
        self.check(counts, files)
        found = Manifest(
            stage=self.name,
            version=self.version,
            fingerprint=self.fingerprint,
            options=self.options(),
            parents=tuple(parent.fingerprint for parent in self.parents),
            files=files,
            counts=counts,
        )
        found.write(self.folder)
        _remember(self.folder, found)
        self.remove_markers()
        return found

    def remove_markers(self) -> None:
        """Removes what the manifest has made redundant."""
        storage.remove_tree(self.folder / MARKERS)

    def _marker(self, task: int) -> Location:
        return self.folder / MARKERS / f"{task:05d}.json"


@dataclass(frozen=True)
class LocalStage(Stage):
    """A stage whose output stays on this machine, as what is mapped into memory does."""

    root: Path

    @cached_property
    def folder(self) -> Path:
        """As every stage's."""
        return self.root / self.group / f"{self.name}-{self.fingerprint[:16]}"


_in_store: dict[RemotePath, Manifest] = {}


def _remember(folder: Location, found: Manifest | None) -> None:
    """Keeps the manifest of a folder in a store, which shows no stamps: what was last seen or written counts."""
    if not isinstance(folder, RemotePath):
        return
    if found is None:
        _in_store.pop(folder, None)
    else:
        _in_store[folder] = found


@lru_cache(maxsize=16)
def _read_once(folder: Path, inode: int, modified: int, size: int) -> Manifest:
    """The manifest of a folder; the stamps make one that was written anew another entry."""
    return Manifest.read(folder)


def remove_scratch(stages: Iterable[Stage]) -> None:
    """Removes the scratch stages among the ancestors of stages that are complete."""
    seen: dict[Location, Stage] = {}
    waiting = list(stages)
    while waiting:
        stage = waiting.pop()
        if stage.folder not in seen:
            seen[stage.folder] = stage
            waiting.extend(stage.parents)
    for stage in seen.values():
        if stage.scratch:
            storage.remove(stage.folder / manifests.NAME)  # first: what a kill leaves of it counts as not done
            storage.remove_tree(stage.folder)


def add_counts(total: Counts, more: Mapping[str, Any]) -> None:
    """Adds nested counts into `total`, key by key."""
    for key, value in more.items():
        if isinstance(value, Mapping):
            add_counts(total.setdefault(key, {}), value)
        else:
            total[key] = total.get(key, 0) + value
