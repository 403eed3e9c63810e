"""Tokenizing to shards against the bare library: MB of text per second of user time, in one process, in turn.

A build should cost no more than its tokenizer. Bare is the tokenizers library's `encode_batch` over the same texts, one
thread, ids thrown away; ours is the whole way, from curated Parquet to written shards, and beside it the encoder alone.
Not called tokenize.py, which would hide a module of Python from every script here. Costs about 4 minutes.
"""

import argparse
import json
import os
import resource
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
from midtrain.mixtures import schema
from midtrain.mixtures.tokenizer_training import train
from midtrain.mixtures.tokenizers import Tokenizer
from midtrain.pipelines import build_stages, curate, recipe
from midtrain.pipelines.processes import local
from midtrain.pipelines.runner import Runner
from midtrain.progress import Events, Progress
from rows import Row, heading, show, write
from slices import texts_of

os.environ["TOKENIZERS_PARALLELISM"] = "false"
QUIET = Progress(shown=False)
TARGET = 0.95
ROUNDS = 3
SLICE = 4_000_000  # characters that the library is given at once
TRAINED = "trained, 8,192 words"
REAL = ("gpt2.tokenizer.json", "qwen1_2.5.tokenizer.json")


def user_seconds(run: Callable[[], object]) -> float:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    run()
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime - before


def curated(folder: Path, texts: list[str]) -> Path:
    """A curated output that holds the texts, each once."""
    lines = (json.dumps({"id": str(number), "text": text}) for number, text in enumerate(texts))
    (folder / "texts.jsonl").write_text("\n".join(lines))
    source = {"name": "web", "path": str(folder / "texts.jsonl"), "format": "jsonl"}
    page = {"name": "web", "output": str(folder / "out"), "sources": [source], "steps": []}
    (folder / "recipe.yaml").write_text(json.dumps(page))
    curate.curate(recipe.load(folder / "recipe.yaml"), local(0), QUIET)
    return folder / "out"


def to_shards(folder: Path, documents: Path, tokenizer: Path) -> float:
    """User seconds from the curated output to shards; opening the tokenizer is part of it."""
    page = {
        "name": "web",
        "output": str(folder),
        "tokenizer": str(tokenizer),
        "sources": [{"name": "web", "documents": str(documents)}],
        "phases": [{"name": "all", "sequence_length": 2048, "tokens": "1M", "weights": {"web": 1}}],
    }
    path = folder.with_suffix(".yaml")
    path.write_text(json.dumps(page))
    stages = build_stages.stages_of(schema.load(path))
    folder.mkdir()
    with Runner(local(0), Events(folder / "events.jsonl"), QUIET) as runner:
        runner.ensure(stages.tokenizer)
        return user_seconds(lambda: [runner.ensure(stage) for stage in stages.shards])


def slices(texts: list[str]) -> Iterator[list[str]]:
    group: list[str] = []
    size = 0
    for text in texts:
        group.append(text)
        size += len(text)
        if size > SLICE:
            yield group
            group, size = [], 0
    yield group


def bare(path: Path, texts: list[str]) -> float:
    """User seconds of the library alone."""
    from tokenizers import Tokenizer as Library

    library = Library.from_file(str(path))
    groups = list(slices(texts))
    return user_seconds(lambda: [library.encode_batch(group, add_special_tokens=False) and None for group in groups])


def encoder(path: Path, texts: list[str]) -> float:
    """User seconds of our encoder alone, on an Arrow column, remembering nothing when it begins."""
    tokenizer = Tokenizer.open(path)
    columns = [(pa.array(group, pa.large_string()), [""] * len(group)) for group in slices(texts)]
    return user_seconds(lambda: [tokenizer.encode_column(column, names) and None for column, names in columns])


def measure(name: str, path: Path, texts: list[str], documents: Path, folder: Path) -> list[Row]:
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    encoder(path, texts[:50])  # the kernels are compiled or loaded
    theirs, ours, alone = [], [], []
    for number in range(ROUNDS):
        ours.append(megabytes / to_shards(folder / f"{path.parent.name}-{path.stem}-{number}", documents, path))
        alone.append(megabytes / encoder(path, texts))
        theirs.append(megabytes / bare(path, texts))
    peer = statistics.median(theirs)
    made = [(f"{name}, to shards", statistics.median(ours)), (f"{name}, encoder alone", statistics.median(alone))]
    return [
        show(Row(what, rate, peer, "MB/s of user time; peer: encode_batch", rate / peer, TARGET, rate / peer >= TARGET))
        for what, rate in made
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    data = os.environ.get("MIDTRAIN_DATA")
    parser.add_argument(
        "--data", type=Path, default=data and Path(data), help="folder that holds text/ and tokenizers/"
    )
    parser.add_argument("--megabytes", type=int, default=24, help="of web_small, every so many-th document")
    parser.add_argument("--json", type=Path, help="write the rows there")
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("give --data DIR or set MIDTRAIN_DATA")
    texts = list(texts_of(arguments.data / "text" / "web_small.jsonl.gz"))
    every = max(round(sum(len(text.encode()) for text in texts) / 1e6 / arguments.megabytes), 1)
    texts = texts[::every]
    print(f"{len(texts):,} documents, {sum(len(text.encode()) for text in texts) / 1e6:.0f} MB")
    heading()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        documents = curated(folder, texts)
        train(iter(texts), 8192, "<|endoftext|>", folder / "tokenizer.json", 20_000_000)
        paths = {TRAINED: folder / "tokenizer.json", **{one: arguments.data / "tokenizers" / one for one in REAL}}
        for what, path in paths.items():
            rows += measure(what, path, texts, documents, folder)
    write(rows, arguments.json)


if __name__ == "__main__":
    main()
