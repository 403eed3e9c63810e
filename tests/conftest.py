"""A small corpus that is the same everywhere, a workshop that works on it, and the command line."""

import gc
import importlib.util
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, settings
from midtrain import cli, storage
from midtrain.manifest import Manifest
from midtrain.mixtures import schema, tasks
from midtrain.pipelines import build as builds
from midtrain.pipelines import curate as curation
from midtrain.pipelines import recipe as recipes
from midtrain.pipelines.processes import local
from midtrain.pipelines.read_parts import read_part
from midtrain.progress import Progress

WORDS = (
    *("the", "of", "and", "to", "be", "that", "have", "with", "river", "stone", "paper", "cloud", "engine", "winter"),
    *("garden", "letter", "market", "window", "number", "silver", "theory", "music", "Straße", "日本語", "naïve"),
    *("kitchen", "answer", "bridge", "forest"),
)
PATIENCE = 150.0  # seconds that other processes may take before a test gives up; this machine may be slow, and busy
TOO_SHORT = 30  # words: the corpus has documents on both sides

# By the clock no example is wrong: a kernel may be compiled in it, or the machine be busy.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


class Workshop:
    """A folder with corpora in `data/`, recipes and mixtures beside it, and what becomes of them in `out/`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def texts(self, count: int, seed: int = 0) -> list[str]:
        """Documents of 20 to 80 words on one to four lines; every seventh repeats the one six before it."""
        rng = random.Random(seed)
        found: list[str] = []
        for number in range(count):
            words = [rng.choice(WORDS) for _ in range(rng.randint(20, 80))]
            lines = [words[line::4] for line in range(4)] if number % 3 == 0 else [words]
            found.append("\n".join(" ".join(line) for line in lines) if number % 7 < 6 else found[number - 6])
        return found

    def records(self, prefix: str, texts: Sequence[str]) -> list[dict[str, Any]]:
        """The texts with ids `<prefix>0` and on, and an address where the number is even."""
        return [
            {"id": f"{prefix}{i}", "text": text, "url": None if i % 2 else f"https://example.org/{prefix}{i}"}
            for i, text in enumerate(texts)
        ]

    def problems(self, prefix: str, count: int, seed: int = 7) -> list[dict[str, Any]]:
        """Generated problems as reasoning records, the question with other white space than its twin's."""
        found = tasks.generate(("modular_chain",), "worked", (4, 5), 0, count, seed)
        return [
            {
                "id": f"{prefix}{i}",
                "question": "  " + str(turns[0]["content"]).replace(" ", "  "),
                "response": problem.answer,
            }
            for i, (_, problem, turns) in enumerate(found)
        ]

    def jsonl(self, name: str, records: Sequence[Any]) -> str:
        """Writes `data/<name>`, a record a line, bytes as they are; returns the path."""
        path = self.root / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = (record if isinstance(record, bytes) else orjson.dumps(record) for record in records)
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        return str(path)

    def yaml(self, name: str, content: Mapping[str, Any]) -> Path:
        """Writes a YAML file (JSON is YAML)."""
        path = self.root / name
        path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
        return path

    def recipe(self, **changed: Any) -> dict[str, Any]:
        """The standard recipe: two sources of text, one of reasoning, one generated; written by `corpus`."""
        data = self.root / "data"
        return {
            "name": "small",
            "output": str(self.root / "out"),
            "sources": [
                {"name": "a", "path": f"{data}/a.jsonl", "format": "jsonl"},
                {"name": "b", "path": f"{data}/b-*.jsonl", "format": "jsonl"},
                {
                    "name": "twins",
                    "path": f"{data}/twins.jsonl",
                    "format": "reasoning",
                    "fields": {"prompt": "question", "response": "response"},
                },
                {
                    "name": "worked",
                    "format": "generated",
                    "tasks": ["modular_chain"],
                    "steps": [4, 5],
                    "count": 120,
                    "seed": 7,
                },
            ],
            "steps": [{"gopher_quality": {"sources": ["a", "b"], "min_words": TOO_SHORT}}, {"exact_dedup": {}}],
            **changed,
        }

    def corpus(self) -> None:
        """Writes the files of the standard recipe: b repeats a part of a, and one of its lines is no JSON."""
        texts = self.texts(140)
        self.jsonl("a.jsonl", self.records("a", texts[:90]))
        b = self.records("b", texts[70:])
        self.jsonl("b-1.jsonl", b[:30])
        self.jsonl("b-2.jsonl", [*b[30:50], b"{not json", *b[50:]])
        self.jsonl("twins.jsonl", self.problems("twin", 120))

    def mixture(self, **changed: Any) -> dict[str, Any]:
        """The standard mixture over the standard recipe's output."""
        out = str(self.root / "out")
        return {
            "name": "small-mixture",
            "output": str(self.root / "shards"),
            "seed": 1,
            "tokenizer": {"train": {"vocab_size": 400, "sources": ["web", "worked"]}},
            "sources": [
                {"name": "web", "documents": out, "where": {"source": ["a", "b"]}, "held_out": 10},
                {
                    "name": "worked",
                    "documents": out,
                    "where": {"source": "worked"},
                    "template": "chatml",
                    "held_out": "10%",
                    "too_long": "drop",
                },
                {"name": "twins", "documents": out, "where": {"source": "twins"}, "template": "chatml"},
            ],
            "phases": [
                {
                    "name": "first",
                    "sequence_length": 128,
                    "tokens": "4K",
                    "weights": {"web": 0.7, "worked": {"share": 0.2, "loss": "all"}, "twins": 0.1},
                },
                {
                    "name": "second",
                    "sequence_length": 256,
                    "tokens": "5K",
                    "weights": {"web": 0.2, "worked": 0.6, "twins": {"share": 0.2, "max_epochs": 2}},
                },
            ],
            **changed,
        }

    def curate(
        self, workers: int = 0, overwrite: bool = False, scores: bool = False, **changed: Any
    ) -> curation.Curated:
        """Runs the standard recipe with some keys changed."""
        loaded = recipes.load(self.yaml("recipe.yaml", self.recipe(**changed)))
        return curation.curate(loaded, local(workers), Progress(shown=False), overwrite, scores=scores)

    def build(self, workers: int = 0, overwrite: bool = False, **changed: Any) -> builds.BuildResult:
        """Builds the standard mixture with some keys changed."""
        loaded = schema.load(self.yaml("mixture.yaml", self.mixture(**changed)))
        return builds.build(loaded, local(workers), Progress(shown=False), overwrite)

    def twin(self, name: str) -> "Workshop":
        """A workshop below this one, over a copy of its corpora."""
        found = Workshop(self.root / name)
        shutil.copytree(self.root / "data", found.root / "data")
        return found

    def files(self, output: str) -> list[str]:
        """All files below a folder but those that hold times, hosts or absolute paths."""
        beside = {"events.jsonl", "inputs.json", "recipe.yaml", "mixture.yaml", ".lock"}
        folder = self.root / output
        return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name not in beside)

    def hashes(self, output: str) -> dict[str, str]:
        """xxh3-128 of every manifest below a folder, and of every file that one of them names."""
        folder = self.root / output
        manifests = sorted(folder.rglob("manifest.json"))
        named = {
            (manifest.parent / entry["path"]).relative_to(folder)
            for manifest in manifests
            for entry in orjson.loads(manifest.read_bytes())["files"]
        }
        paths = named | {manifest.relative_to(folder) for manifest in manifests}
        return {str(path): storage.hash_file(folder / path) for path in sorted(paths)}

    def events(self, output: str) -> list[dict[str, Any]]:
        """The whole lines of `events.jsonl`, to which a run may be writing."""
        path = self.root / output / "events.jsonl"
        written = path.read_bytes().rpartition(b"\n")[0] if path.exists() else b""
        return [orjson.loads(line) for line in written.splitlines()]

    def finished(self, output: str) -> list[tuple[str, int]]:
        """Folder and number of every task that ended, in the order of `events.jsonl`."""
        return [(e["folder"], e["task"]) for e in self.events(output) if e["event"] == "task_finished"]

    def rows(self, output: str, below: str = "") -> list[dict[str, Any]]:
        """The documents of the newest result, as its manifest names them, or the rows of a folder of its last stage."""
        paths = [Path(file.path) for file in Manifest.read(self.root / output).files]
        if not below:
            batches = [batch for path in paths for batch in read_part(self.root / output / path)]
            return [row for batch in batches for row in batch.to_pylist()]
        folder = self.root / output / Path(*paths[0].parts[:2]) / below
        return [row for path in sorted(folder.glob("part-*.parquet")) for row in pq.read_table(path).to_pylist()]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Lets what `measures` be tried three times: a neighbour slows a machine, and nothing makes it fast."""
    for item in items:
        if item.get_closest_marker("measures"):
            item.add_marker(pytest.mark.flaky(reruns=2, reruns_delay=2))


def pytest_collection_finish() -> None:
    """Takes what was imported and collected, millions of objects, out of what is looked through for garbage."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Takes all that is left out of it: pytest looks five times more, which took minutes where memory is slow."""
    gc.freeze()


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """An empty workshop."""
    return Workshop(tmp_path)


@pytest.fixture(scope="session")
def curated_workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A workshop with the standard corpus, curated; not to be changed."""
    found = Workshop(tmp_path_factory.mktemp("curated"))
    found.corpus()
    found.curate()
    return found


@pytest.fixture(scope="session")
def built_workshop(curated_workshop: Workshop) -> Workshop:
    """The same workshop with the standard mixture built; not to be changed."""
    curated_workshop.build()
    return curated_workshop


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

    def end(self, process: "subprocess.Popen[str]", seconds: float = 4 * PATIENCE) -> Said:
        """Waits for a command."""
        out, err = process.communicate(timeout=seconds)
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


@pytest.fixture
def processes() -> Iterator[Processes]:
    """Starts and watches processes; kills what a failed test leaves behind."""
    found = Processes()
    yield found
    for process in found.started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


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


def pytest_configure(config: pytest.Config) -> None:  # the tests are no package that these could be imported from
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # of a shell's background job, and its children's
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("stores", "plain_pieces"):
        spec: Any = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
        config.pluginmanager.register(module)
