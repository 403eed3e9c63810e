"""What is curated while things break: some megabytes of web text, once as it is and once for each kind of poison.

Each corpus is curated in one undisturbed process, and what that wrote is what every disturbed run is held to. Costs 3 s
a corpus, when it is first asked for.
"""

import gzip
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import orjson
from midtrain import storage
from midtrain.pipelines.read_parts import read_part

CORPUS = 2_500_000  # bytes
EVENTS_EVERY = 0.5  # seconds after which events are in a bucket, from which a test learns how far a run is
SMALL_SPLIT = 100_000  # bytes: tasks enough to be killed among them
LEAST_TASKS = 40
ENGLISH = "en-us"  # as the pages of MIDTRAIN_DATA call it
REPEATED = 9  # every so manieth document stands twice
BESIDE = {"events.jsonl", "events", "inputs.json", "recipe.yaml", ".lock"}  # these hold times, hosts or absolute paths
MAIN = f"""
import sys
sys.path.append({str(Path(__file__).parent)!r})
import poison
if sys.argv[1] == "--harmless":
    del sys.argv[1]
    poison.install(harmless=True, pause=0)
from midtrain import cli, remote_events
from midtrain.pipelines import inputs
remote_events.EVERY = {EVENTS_EVERY}
inputs.MIN_SPLIT = {SMALL_SPLIT}
sys.argv[0] = "midtrain"
cli.main()
"""


@dataclass(frozen=True)
class Corpus:
    """A corpus in a folder: its recipe, and what becomes of it in an undisturbed process.

    Args:
        folder: where it lies; below it the undisturbed output.
        marked: the id of the document that is poisoned, empty where none is.
    """

    folder: Path
    marked: str = ""

    def at(self, place: str) -> str:
        """The id of the document at a place that a quarantine names, such as `web-0.jsonl, byte 17`."""
        name, _, byte = place.partition(", byte ")
        return str(orjson.loads((self.folder / name).read_bytes()[int(byte) :].partition(b"\n")[0])["id"])

    @property
    def files(self) -> list[Path]:
        """The corpus itself."""
        return sorted(self.folder.glob("web-*.jsonl"))

    def recipe(self, output: Path | str, inputs: Path | str = "") -> dict[str, object]:
        """Web text through the language, the rules and the exchange that exact deduplication needs.

        Args:
            output: a folder or an address.
            inputs: another place that the files of the corpus lie in.
        """
        source = {"name": "web", "path": f"{inputs or self.folder}/web-*.jsonl", "format": "jsonl"}
        steps: list[dict[str, object]] = [{"language": {"keep": ["en"]}}, {"gopher_quality": {}}, {"exact_dedup": {}}]
        return {"name": "web", "output": str(output), "sources": [source], "steps": steps}

    @cached_property
    def undisturbed(self) -> Path:
        """The output of one process in which the poisoned document raises, as a step does that cannot judge it."""
        output, path = self.folder / "undisturbed", self.folder / "recipe.json"
        path.write_text(json.dumps(self.recipe(output)))
        command = [sys.executable, "-c", MAIN, "--harmless", "curate", str(path), "--workers", "0"]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True)
        assert len(finished(output)) >= LEAST_TASKS, "the corpus is cut into too few tasks to be broken among"
        assert [row["id"] for row in quarantined(output)] == [self.marked] * bool(self.marked)
        return output


class Corpora:
    """The corpora of a folder, made when they are asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: dict[str, Corpus] = {}

    def get(self, mark: str = "") -> Corpus:
        """The corpus; where there is a mark, on one document in the middle of the first file that would be kept."""
        if mark not in self._made:
            self._made[mark] = self._make(mark)
        return self._made[mark]

    def _make(self, mark: str) -> Corpus:
        folder = self.folder / (mark or "plain")
        folder.mkdir(parents=True)
        records = list(_records())
        kept = _ids(self.get().undisturbed) if mark else {record["id"] for record in records}
        victim = next(record for record in records[len(records) // 3 :] if record["id"] in kept)
        for record in records:  # its twins too would be marked: an id stands for one document
            if mark and record is victim:
                record["text"] += f"\n{mark}"
        repeated = [{**record, "id": f"{record['id']}-again"} for record in records[::REPEATED] if record is not victim]
        half = len(records) * 2 // 3
        for number, part in enumerate((records[:half], records[half:] + repeated)):
            (folder / f"web-{number}.jsonl").write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in part))
        return Corpus(folder, str(victim["id"]) if mark else "")


def _records() -> Iterator[dict[str, str]]:
    """The first documents of real web text where it lies, else made ones."""
    held, data = 0, os.environ.get("MIDTRAIN_DATA")
    for record in _real(Path(data)) if data else _made():
        yield record
        held += len(record["text"].encode())
        if held >= CORPUS:
            return


def _real(data: Path) -> Iterator[dict[str, str]]:
    with gzip.open(data / "text" / "web_small.jsonl.gz") as stream:
        for line in stream:
            record = orjson.loads(line)
            if record.get("lang") in (ENGLISH, "de", "fr"):
                yield {key: record[key] for key in ("id", "text", "lang")}


def _made() -> Iterator[dict[str, str]]:
    words = ["the", "of", "and", "to", "that", "have", "with", "river", "stone", "paper", "engine", "winter", "garden"]
    words += ["letter", "market", "window", "number", "silver", "theory", "music", "kitchen", "answer", "bridge", "##"]
    rng = random.Random(0)
    for number in range(CORPUS):
        text = " ".join(rng.choice(words) for _ in range(rng.randint(20, 700)))
        yield {"id": f"made-{number}", "text": text, "lang": ENGLISH}


def _ids(output: Path) -> set[str]:
    """The documents that were kept."""
    files = orjson.loads((output / "manifest.json").read_bytes())["files"]
    batches = (batch for file in files for batch in read_part(output / file["path"], ["id"]))
    return {str(one) for batch in batches for one in batch.column("id").to_pylist()}


def hashes(output: Path, tables_alone: bool = False) -> dict[str, str]:
    """xxh3-128 of all files below a folder but those that tell of the run; or of its tables of documents alone.

    A quarantine tells what was seen, and manifests hash it: that a process died is not that a document raised.
    """
    paths = sorted(path for path in output.rglob("*.parquet" if tables_alone else "*") if path.is_file())
    named = {path.relative_to(output): path for path in paths}
    return {str(name): storage.hash_file(path) for name, path in named.items() if BESIDE.isdisjoint(name.parts)}


def quarantined(output: Path) -> list[dict[str, str]]:
    """The rows of all quarantines below a folder."""
    return [orjson.loads(line) for path in output.rglob("quarantine/*") for line in path.read_bytes().splitlines()]


def events(output: Path) -> list[dict[str, object]]:
    """The whole lines of `events.jsonl`, or of the segments that a bucket has in its place."""
    paths = [path for path in (output / "events.jsonl", *sorted((output / "events").glob("*"))) if path.exists()]
    return [orjson.loads(line) for path in paths for line in path.read_bytes().split(b"\n")[:-1]]


def finished(output: Path) -> list[tuple[object, object]]:
    """Folder and number of every task that ended, in the order in which they did."""
    return [(event["folder"], event["task"]) for event in events(output) if event["event"] == "task_finished"]
