"""Toy stages, corpora that are ready, and deaths at any moment."""

import contextlib
import gzip
import importlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pytest
import zstandard
from midtrain import storage
from midtrain.filters.document import SCHEMA
from midtrain.manifest import Manifest
from midtrain.pipelines.executor import InProcess, Job, run_job
from midtrain.pipelines.executor import Outcome as JobOutcome
from midtrain.pipelines.read_parts import kept_parts, read_part


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


class Losing(InProcess):
    """Loses the jobs of which the given function says why, and runs the others; several may be under way."""

    slots = capacity = 3

    def __init__(self, why: Callable[[Job], str], blamed: bool = True) -> None:
        super().__init__()
        self._why, self._blamed = why, blamed

    def wait(self, seconds: float) -> list[JobOutcome]:
        """What became of the oldest job."""
        job = self._jobs.popleft()
        why = self._why(job)
        return [JobOutcome(job, None, why, self._blamed) if why else JobOutcome(job, run_job(job))]


@pytest.fixture(scope="session")
def losing() -> type[Losing]:
    """The executor that loses jobs."""
    return Losing


def compress(content: bytes, ending: str) -> bytes:
    """The content as a file with that ending holds it; streams of two members where there is enough of it."""
    half = len(content) // 2
    if ending.endswith(".gz"):
        return gzip.compress(content[:half], 1) + gzip.compress(content[half:], 1)
    if ending.endswith(".zst"):
        return b"".join(zstandard.ZstdCompressor(level=1).compress(part) for part in (content[:half], content[half:]))
    return content


@pytest.fixture(scope="session", name="compress")
def _compress() -> Callable[[bytes, str], bytes]:
    return compress


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of toy stages, importable in workers too."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return importlib.import_module("toy_stages")


@pytest.fixture
def no_temporary(tmp_path: Path) -> Iterator[None]:
    """Fails the test if a half-written file is left below its folder when it ends."""
    yield
    with contextlib.suppress(FileNotFoundError):
        assert [str(path) for path in tmp_path.rglob(".*.tmp")] == []


@pytest.fixture
def control_group() -> Iterator[Callable[[int], Path]]:
    """Makes control groups below this process' own, with a limit of memory; skips where that is not permitted."""
    made: list[Path] = []

    def make(limit: int) -> Path:
        top, version = _own_group()
        folder = top / f"midtrain-test-{os.getpid()}-{len(made)}"
        try:
            folder.mkdir()
            made.append(folder)
            (folder / ("memory.max" if version == 2 else "memory.limit_in_bytes")).write_text(str(limit))
        except OSError as error:
            pytest.skip(f"no control group can be made here: {error}")
        return folder

    yield make
    for folder in made:
        for _ in range(100):
            try:
                folder.rmdir()
                break
            except OSError:  # its processes are ending
                time.sleep(0.05)


def _own_group() -> tuple[Path, int]:
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    for _, controllers, path in lines:
        if "memory" in controllers.split(","):
            return Path("/sys/fs/cgroup/memory") / path.lstrip("/"), 1
    for number, _, path in lines:
        if number == "0":
            return Path("/sys/fs/cgroup") / path.lstrip("/"), 2
    pytest.skip("no control groups")


@dataclass(frozen=True)
class Outcome:
    """Kept documents in order; dropped ones with their reasons, and quarantined ones, sorted."""

    kept: list[dict[str, Any]]
    dropped: list[tuple[Any, ...]]
    quarantined: list[tuple[Any, ...]]


def _outcome(output: Path) -> Outcome:
    """Reads an output by its manifest."""
    manifest = Manifest.read(output)
    kept = [
        row
        for file in manifest.files
        for batch in read_part(output / file.path, SCHEMA.names)
        for row in batch.to_pylist()
    ]
    dropped, aside = [], []
    for entry in manifest.counts["funnel"]:
        folder = output / "stages" / entry["stage"]
        stage = Manifest.read(folder)
        assert sum(file.rows for file in kept_parts(stage)) == entry["kept"]
        for file in stage.files:
            if file.path.startswith("dropped/"):
                rows = [row for batch in read_part(folder / file.path) for row in batch.to_pylist()]
                names = ("id", "source", "step", "rule", "value", "threshold", "partner")
                dropped += [tuple(row[name] for name in names) for row in rows]
            elif file.path.startswith("quarantine/"):
                aside += [tuple(orjson.loads(line).values()) for line in (folder / file.path).read_bytes().splitlines()]
    return Outcome(kept, sorted(dropped, key=repr), sorted(aside, key=repr))


def _scored_columns(output: Path) -> dict[str, pa.Table]:
    """The scores of every stage that scores, by its folder, without any text."""
    found = {}
    for entry in Manifest.read(output).counts["funnel"]:
        folder = output / "stages" / entry["stage"]
        stage = Manifest.read(folder)
        if stage.options.get("scored"):
            columns = ["id", *(name for name in stage.options["scores"])]
            parts = [list(read_part(folder / file.path, columns)) for file in kept_parts(stage)]
            found[entry["stage"]] = pa.Table.from_batches([batch for part in parts for batch in part])
    return found


@pytest.fixture(scope="session")
def outcome() -> Callable[[Path], Outcome]:
    """Reads what a curation made of its documents, whatever files it made."""
    return _outcome


@pytest.fixture(scope="session")
def scored_columns() -> Callable[[Path], dict[str, pa.Table]]:
    """Reads the scores of an output."""
    return _scored_columns
