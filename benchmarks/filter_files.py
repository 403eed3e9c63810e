"""The rule sets from file to file: a task of `midtrain curate` beside datatrove's pipeline, and beside its own parts.

What is fast in memory can be slow behind a reader and before a writer. The chain of FineWeb's rule sets is held to
datatrove's; each rule set to what reading, deciding and writing take when they are measured apart.
Costs about 6 minutes: three rounds over a slice of 12 MB in two formats, of which datatrove takes most.
"""

import argparse
import os
import statistics
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from datatrove.pipeline.readers import JsonlReader, ParquetReader
from datatrove.pipeline.writers import JsonlWriter, ParquetWriter
from midtrain.filters import chunk_cache
from midtrain.filters.document import DocumentBatch
from midtrain.filters.rules import Filter
from midtrain.pipelines import inputs
from midtrain.pipelines import recipe as recipes
from midtrain.pipelines.curate import plan
from midtrain.pipelines.documents import DocumentStage
from midtrain.pipelines.parts import PartWriter
from midtrain.pipelines.reading import read
from midtrain.pipelines.scoring import with_text_columns
from published_filters import Pair, decide, pairs
from rows import Row, heading, show, write
from slices import SLICE_BYTES, Slice, stratified, user_seconds

ROUNDS = 3
CHAIN_TARGETS = (90.0, 110.0)  # of datatrove's speed, from an empty cache and in steady state
LEAST_SHARE = 0.8  # of the speed that the parts predict
FORMATS = ("parquet", "jsonl.zst")


def write_slice(texts: Sequence[str], folder: Path) -> dict[str, Path]:
    """The documents as a Parquet file and as JSON lines, each in a folder of its own."""
    rows = [{"id": str(number), "text": text} for number, text in enumerate(texts)]
    paths = {name: folder / name.replace(".", "_") / f"slice.{name}" for name in FORMATS}
    for path in paths.values():
        path.parent.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), paths["parquet"], compression="zstd", row_group_size=1000)
    lines = b"".join(orjson.dumps(row) + b"\n" for row in rows)
    paths["jsonl.zst"].write_bytes(zstandard.ZstdCompressor().compress(lines))
    return paths


inputs.MIN_SPLIT = 64 << 20  # the file is one task, as one of a large corpus


def stage_of(steps: Sequence[Filter], path: Path, folder: Path) -> DocumentStage:
    """The stage by which `midtrain curate` reads, judges and writes the file, all of it in one task."""
    named = [{type(step).__module__.rpartition(".")[2]: step.model_dump(exclude_defaults=True)} for step in steps]
    recipe = folder / "recipe.json"
    source = {"name": "slice", "path": str(path)}
    content = {"name": "slice", "output": str(folder / "out"), "sources": [source], "steps": named}
    recipe.write_bytes(orjson.dumps(content))
    (stage,) = plan(recipes.load(recipe))
    return stage


def ours(stage: DocumentStage) -> Callable[[], object]:
    return lambda: [stage.run(task) for task in range(stage.tasks())]


def parts(stage: DocumentStage, steps: Sequence[Filter], folder: Path) -> list[Callable[[], object]]:
    """Reading, deciding and writing, each by itself."""
    (spec,) = stage.sources

    def batches() -> list[DocumentBatch]:
        return [
            DocumentBatch(chunk.batch)
            for task in range(stage.tasks())
            for chunk in read(stage.splits(task), spec, None)
        ]

    came = [batch.record_batch for batch in batches()]
    kept = [decide(steps, DocumentBatch(batch))[1].record_batch for batch in came]

    def write() -> None:
        with PartWriter(folder, 0, spec.name, stage.schema()) as writer:
            for batch, left in zip(came, kept, strict=True):
                writer.read(left.num_rows, batch.nbytes, 0)
                writer.keep(with_text_columns(left))
            writer.finish()

    return [batches, lambda: [decide(steps, DocumentBatch(batch)) for batch in came], write]


def theirs(pair: Pair, path: Path, name: str, folder: Path) -> Callable[[], object]:
    """datatrove's reader, filters and writer, one after another as its executor runs them."""

    def run() -> None:
        output = tempfile.mkdtemp(dir=folder)
        if name == "parquet":
            reader, writer = ParquetReader(str(path.parent)), ParquetWriter(output, compression="zstd")
        else:
            reader, writer = JsonlReader(str(path.parent)), JsonlWriter(output, compression="zstd")
        data = None
        for block in (reader, *pair.theirs, writer):
            data = block.run(data, 0, 1)
        deque(data, maxlen=0)

    return run


def measure(pair: Pair, path: Path, name: str, text: Slice, folder: Path, peer: bool) -> list[Row]:
    """The rows of one rule set in one format."""
    stage = stage_of(pair.ours, path, Path(tempfile.mkdtemp(dir=folder)))
    apart = parts(stage, pair.ours, Path(tempfile.mkdtemp(dir=folder)))
    run, other = ours(stage), theirs(pair, path, name, folder)
    run()  # compiles
    empty, steady, predicted, peers = [], [], [], []
    for _ in range(ROUNDS):
        chunk_cache.clear()
        empty.append(user_seconds(run))
        chunk_cache.clear()
        predicted.append(sum(user_seconds(part) for part in apart))
        if peer:
            text.warm()
            steady.append(user_seconds(run))
            peers.append(user_seconds(other))
    speed = [text.megabytes / statistics.median(seconds) for seconds in (empty, predicted)]
    rows = [_row(f"{pair.name}, {name}, of its parts", *speed, LEAST_SHARE)]
    if peer:
        peer_speed = text.megabytes / statistics.median(peers)
        rows.append(_row(f"{pair.name}, {name}, empty cache", speed[0], peer_speed, CHAIN_TARGETS[0]))
        steady_speed = text.megabytes / statistics.median(steady)
        rows.append(_row(f"{pair.name}, {name}, steady", steady_speed, peer_speed, CHAIN_TARGETS[1]))
    return rows


def copy(path: Path, name: str, text: Slice, folder: Path) -> str:
    """The speed of a recipe without steps."""
    run = ours(stage_of((), path, Path(tempfile.mkdtemp(dir=folder))))
    seconds = statistics.median(user_seconds(run) for _ in range(ROUNDS))
    return f"a copy without a filter, {name}: {text.megabytes / seconds:.0f} MB/s"


def _row(name: str, ours: float, peer: float, target: float) -> Row:
    return show(Row(name, ours, peer, "MB/s of user time", ours / peer, target, ours / peer >= target))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    data = os.environ.get("MIDTRAIN_DATA")
    parser.add_argument("--data", type=Path, default=data and Path(data) / "text", help="folder of .jsonl[.gz|.zst]")
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--only", default="", help="rule sets whose name begins so")
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("give --data DIR or set MIDTRAIN_DATA")
    text = Slice(*stratified(arguments.data, SLICE_BYTES))
    print(f"{len(text.texts)} documents, {text.megabytes:.1f} MB, one worker; medians of {ROUNDS}")
    print("peer: the three parts measured apart, or datatrove 0.10.1")
    heading()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, path in write_slice(text.texts, Path(folder)).items():
            print(copy(path, name, text, Path(folder)), flush=True)
            for pair in pairs():
                if pair.name.startswith(arguments.only):
                    rows += measure(pair, path, name, text, Path(folder), len(pair.ours) > 1)
    write(rows, arguments.json)


if __name__ == "__main__":
    main()
