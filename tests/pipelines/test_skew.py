"""Inputs of any shape: 200,000 small files, one of 4 GB, plain and compressed, one document of 50 MB; all slow.

Tasks take about equally long, parts are about equally large, and no process holds more than a task needs.
"""

import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import zstandard
from midtrain.pipelines import curate as curation
from midtrain.pipelines import recipe as recipes

pytestmark = pytest.mark.slow

FILES, FILE_BYTES = 200_000, 2_000
BLOCK, REPEATS = 64 << 20, 64  # bytes of JSON lines that are no more alike than text is, and how often they follow
DOCUMENT = 100_000  # bytes of text, in the file of 4 GB
GIANT = 50_000_000
LEAST_MEMORY = 350 << 20  # bytes of a worker that has imported everything and holds a row group of 32 MB

ONE_TASK = r"""
import dataclasses, re, sys
from midtrain.pipelines import curate, recipe
stage = curate.plan(recipe.load(sys.argv[1]))[0]
if stage.cutting is not None:
    stage, task = stage.cutting, 0
else:
    task = stage.tasks() // 2
stage = dataclasses.replace(stage, root=stage.root / "alone")
stage.run(task)
print(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1])  # ru_maxrss counts who started it
"""


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
    """A folder in memory where there is one, since a busy disk takes a minute to remove 200,000 files."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 4 * FILES * FILE_BYTES
    with tempfile.TemporaryDirectory(dir=memory if roomy else tmp_path) as name:
        yield Path(name)


@pytest.fixture
def curated(workshop, processes):
    """A function that curates one source on two processes; returns stage, seconds of its tasks, bytes of its parts."""

    def run(path, steps=()):
        sources = [{"name": "web", "path": str(path)}]
        content = {"name": "skew", "output": str(workshop.root / "out"), "sources": sources, "steps": list(steps)}
        recipe = workshop.yaml("recipe.yaml", content)
        said = processes.end(processes.start("-m", "midtrain", "curate", str(recipe), "--workers", "2"), 900)
        assert said.code == 0, said.err
        stage = curation.plan(recipes.load(recipe))[0]
        seconds = task_seconds(workshop.events("out"), stage.folder.name)
        sizes = {path.name: text_bytes(path) for path in sorted(stage.folder.glob("part-*.parquet"))}
        return recipe, stage, seconds, sizes

    return run


def task_seconds(events, folder):
    """How long each task of a stage took: as the events tell, or between the ends that followed on two processes."""
    finished = [event for event in events if event["event"] == "task_finished" and event["folder"] == folder]
    if all("seconds" in event for event in finished):
        return [event["seconds"] for event in finished]
    times = [event["time"] for event in finished]
    return [later - earlier for earlier, later in zip(times[:-2], times[2:], strict=True)]


def text_bytes(path: Path) -> int:
    with pq.ParquetFile(path) as file:
        return sum(
            int(pc.sum(pc.binary_length(batch.column(0))).as_py()) for batch in file.iter_batches(columns=["text"])
        )


def peak(processes, recipe: Path) -> int:
    """The most memory that one task of the recipe's first stage takes in a process of its own, in bytes."""
    said = processes.end(processes.start("-c", ONE_TASK, str(recipe)), 300)
    assert said.code == 0, said.err
    # The plan's own figure for the stage, `Stage.memory()`, is to be compared with this one here.
    return int(said.out.split()[-1]) << 10


def check_even(seconds, sizes, size):
    assert np.quantile(seconds, 0.99) < 3 * np.quantile(seconds, 0.5)
    assert size / 2 <= min(sizes.values()) <= max(sizes.values()) <= 2 * size


def test_many_small_files(quick_folder, curated, processes, capsys):
    text = words(FILE_BYTES * 100)
    for number in range(FILES):
        if number % 1000 == 0:
            below = quick_folder / f"{number // 1000:03d}"
            below.mkdir()
        start = random.Random(number).randrange(FILE_BYTES * 98)
        (below / f"{number:06d}.jsonl").write_bytes(
            orjson.dumps({"text": text[start : start + FILE_BYTES - 12]}) + b"\n"
        )
    recipe, stage, seconds, sizes = curated(quick_folder / "*/*.jsonl")
    check_even(seconds, sizes, stage.size)
    memory = peak(processes, recipe)
    with capsys.disabled():
        print(f"\n{FILES:,} files: {len(sizes)} tasks, {np.quantile(seconds, [0.5, 0.99])} s, {memory >> 20} MB")
    assert sum(sizes.values()) == FILES * (FILE_BYTES - 12)
    assert memory < LEAST_MEMORY + (100 << 20)  # the names of all files


@pytest.mark.parametrize("name", ["one.jsonl", "one.jsonl.zst"])
def test_one_large_file(folder, curated, processes, capsys, block, name):
    content = zstandard.ZstdCompressor(level=1).compress(block) if name.endswith(".zst") else block
    with open(folder / name, "wb") as stream:
        for _ in range(REPEATS):
            stream.write(content)
    recipe, stage, seconds, sizes = curated(folder / "one*")
    check_even(seconds, sizes, stage.size)
    assert sum(sizes.values()) == REPEATS * DOCUMENT * block.count(b"\n")
    memory = peak(processes, recipe)
    with capsys.disabled():
        print(f"\n{name}: {len(sizes)} tasks, {np.quantile(seconds, [0.5, 0.99])} s, {memory >> 20} MB")
    assert memory < LEAST_MEMORY


@pytest.mark.parametrize("kind", ["jsonl.gz", "txt", "parquet"])
def test_one_giant_document(folder, curated, processes, capsys, compress, kind):
    """It is judged, deduplicated and written whole; the process holds a few copies, and 16 bytes a word."""
    giant = words(GIANT - 1000) + "the of and to be that have with " * 32
    texts = (
        [giant] if kind == "txt" else [*(giant[number : number + 900] for number in range(50)), giant, giant[99:2000]]
    )
    path = folder / f"giant.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table({"text": texts}), path)
    elif kind == "txt":
        path.write_text(giant)
    else:
        path.write_bytes(compress(b"".join(orjson.dumps({"text": text}) + b"\n" for text in texts), kind))
    steps = [{"gopher_quality": {"max_words": 10**9, "min_words": 1}}, {"exact_dedup": {}}]
    recipe, _, _, sizes = curated(path, steps)
    assert max(sizes.values()) >= len(giant)
    rows = (
        pq.read_table(next((folder.parent / "out").rglob("part-00000.parquet")), columns=["text"])
        .column("text")
        .to_pylist()
    )
    assert max(rows, key=len) == giant
    memory = peak(processes, recipe)
    with capsys.disabled():
        print(f"\ngiant.{kind}: {memory >> 20} MB")
    assert memory < LEAST_MEMORY + 12 * GIANT
