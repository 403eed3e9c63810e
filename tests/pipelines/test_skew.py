"""Inputs of any shape: many small files, one of gigabytes, compressed and plain, one document of 50 MB; all slow.

Tasks take about equally long, parts are about equally large, and no process holds more than a task needs.
"""

import random
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import zstandard
from midtrain.manifest import Manifest
from midtrain.pipelines import curate as curation
from midtrain.pipelines import recipe as recipes
from midtrain.pipelines.read_documents import ReadDocuments
from midtrain.pipelines.read_parts import read_part

from tests.sizes import sized

pytestmark = [pytest.mark.slow, pytest.mark.measures]

FILES, FILE_BYTES = sized(200_000, 60_000), 2_000
BLOCK = 64 << 20  # bytes of JSON lines that are no more alike than text is
DOCUMENT = 100_000  # bytes of text, in the large file
GIANT = 50_000_000


def words(size: int) -> str:
    """Text of about so many bytes, from 5,000 words as unequally frequent as those of a language."""
    rng = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlu"))
    known = np.array(["".join(rng.choice(letters, n)) for n in rng.integers(2, 9, 5000)])
    return " ".join(known[(5000 * rng.random(size // 6) ** 3).astype(int)])[:size]


@pytest.fixture(scope="module")
def block() -> bytes:
    """JSON lines of `BLOCK` bytes or a little less."""
    text = words(BLOCK)
    texts = [text[start : start + DOCUMENT] for start in range(0, len(text) - DOCUMENT, DOCUMENT + 50)]
    return b"".join(orjson.dumps({"text": one}) + b"\n" for one in texts)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for large files, removed when the test ends."""
    found = tmp_path / "data"
    found.mkdir()
    yield found
    shutil.rmtree(tmp_path)


@pytest.fixture
def quick_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one, since a busy disk takes a minute to remove so many files."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 4 * FILES * FILE_BYTES
    with tempfile.TemporaryDirectory(dir=memory if roomy else tmp_path) as name:
        yield Path(name)


@dataclass(frozen=True)
class Curated:
    """What became of one source: the reading stage, CPU seconds of its tasks, bytes of its parts, memory of stages."""

    stage: ReadDocuments
    seconds: list[float]
    sizes: dict[str, int]
    memory: dict[str, tuple[int, int]]  # bytes that the plan foresaw, and that a task held at most


@pytest.fixture
def curated(workshop, processes, capsys):
    """A function that plans one source and curates it on two processes."""

    def run(path, steps=()):
        sources = [{"name": "web", "path": str(path)}]
        content = {"name": "skew", "output": str(workshop.root / "out"), "sources": sources, "steps": list(steps)}
        recipe = str(workshop.yaml("recipe.yaml", content))
        planned = processes.end(processes.start("-m", "midtrain", "plan", recipe, "--json"), 600)
        assert planned.code == 0, planned.err
        said = processes.end(processes.start("-m", "midtrain", "curate", recipe, "--workers", "2"), 900)
        assert said.code == 0, said.err
        stage = curation.plan(recipes.load(recipe))[0]
        events = [one for one in workshop.events("out") if one["event"] == "task_finished"]
        # Tasks 0 and 1 are the first of their processes, which load libraries: of a few dozen they would be the 99th
        # percentile.
        own = [event for event in events if event["folder"] == stage.folder.name]
        seconds = [event["cpu"] for event in own if event["task"] > 1 or len(own) < 10]
        sizes = {path.name: text_bytes(path) for path in sorted(stage.folder.glob("part-*.parquet"))}
        foreseen = {one["stage"]: one["memory"] for one in orjson.loads(planned.out)["stages"]}
        held = {one["stage"]: max(e["memory"] for e in events if e["stage"] == one["stage"]) for one in events}
        memory = {name: (foreseen[name], most) for name, most in held.items()}
        with capsys.disabled():
            told = ", ".join(f"{name} {most >> 20} of {planned >> 20} MiB" for name, (planned, most) in memory.items())
            middle, last = np.quantile(seconds, [0.5, 0.99])
            print(f"\n{path}: {len(sizes)} parts, p50 {middle:.2f} s, p99 {last:.2f} s of CPU; {told}")
        return Curated(stage, seconds, sizes, memory)

    return run


def text_bytes(path: Path) -> int:
    with pq.ParquetFile(path) as file:
        return sum(
            int(pc.sum(pc.binary_length(batch.column(0))).as_py()) for batch in file.iter_batches(columns=["text"])
        )


def check_even(found: Curated) -> None:
    """Tasks take about equally long, parts are about as large as wanted, no task holds more than was foreseen.

    The slowest of some dozens of tasks may have had a bad moment; one that had too much would have too large a part.
    """
    assert np.quantile(found.seconds, 0.9) < 3 * np.quantile(found.seconds, 0.5)
    assert found.stage.size / 2 <= min(found.sizes.values()) <= max(found.sizes.values()) <= 2 * found.stage.size
    check_memory(found)


def check_memory(found: Curated) -> None:
    """The run stays under what was planned for it; a worker brings libraries of an earlier stage into the next."""
    assert max(held for _, held in found.memory.values()) <= max(foreseen for foreseen, _ in found.memory.values())
    for stage, (foreseen, held) in found.memory.items():
        assert held <= 1.3 * foreseen, stage


def test_many_small_files(quick_folder, curated):
    text = words(FILE_BYTES * 100)
    for number in range(FILES):
        if number % 1000 == 0:
            below = quick_folder / f"{number // 1000:03d}"
            below.mkdir()
        start = random.Random(number).randrange(FILE_BYTES * 98)
        (below / f"{number:06d}.jsonl").write_bytes(
            orjson.dumps({"text": text[start : start + FILE_BYTES - 12]}) + b"\n"
        )
    found = curated(quick_folder / "*/*.jsonl")
    check_even(found)
    assert sum(found.sizes.values()) == FILES * (FILE_BYTES - 12)


@pytest.mark.parametrize(("name", "blocks"), [("one.jsonl", sized(64, 10)), ("one.jsonl.zst", sized(64, 16))])
def test_one_large_file(folder, curated, block, name, blocks):
    content = zstandard.ZstdCompressor(level=1).compress(block) if name.endswith(".zst") else block
    with open(folder / name, "wb") as stream:
        for _ in range(blocks):
            stream.write(content)
    found = curated(folder / "one*")
    check_even(found)
    assert sum(found.sizes.values()) == blocks * DOCUMENT * block.count(b"\n")


@pytest.mark.parametrize("kind", ["jsonl.gz", "txt", "parquet"])
def test_one_giant_document(folder, curated, compress, kind):
    """It is judged, deduplicated and written whole; the process holds a few copies, and 16 bytes a word."""
    giant = words(GIANT - 1000) + "the of and to be that have with " * 32
    shorter = [giant[number : number + 900] for number in range(50)]
    path = folder / f"giant.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table({"text": [*shorter, giant, giant[99:2000]]}), path)
    elif kind == "txt":
        path.write_text(giant)
    else:
        lines = [orjson.dumps({"text": text}) + b"\n" for text in (*shorter, giant, giant[99:2000])]
        path.write_bytes(compress(b"".join(lines), kind))
    found = curated(path, [{"gopher_quality": {"max_words": 10**9, "min_words": 1}}, {"exact_dedup": {}}])
    assert max(found.sizes.values()) >= len(giant)
    output = folder.parent / "out"
    parts = [output / file.path for file in Manifest.read(output).files]
    texts = [text for part in parts for batch in read_part(part, ["text"]) for text in batch.column("text").to_pylist()]
    assert giant in texts
    check_memory(found)
