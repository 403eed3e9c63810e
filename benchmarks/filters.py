"""Filters against their peers: MB of text per second of one core's user time, in one process, in turn.

A claim of speed counts for what it was measured beside, on text that others can name.
Costs about a minute: three rounds over a slice of 12 MB, of which the peers take most.
"""

import argparse
import gzip
import io
import json
import os
import resource
import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
import pyarrow as pa
import zstandard
from datatrove.data import Document
from datatrove.pipeline.filters import gopher_quality_filter as published
from midtrain.filters.document import SCHEMA, DocumentBatch
from midtrain.filters.gopher_quality import GopherQuality
from midtrain.filters.language import Language, installed_model, load_model

SLICE_BYTES = 12_000_000
ROUNDS = 3
SPLIT = "datatrove 0.10.1, its words from str.split() in place of spaCy"


@dataclass(frozen=True)
class Row:
    name: str
    ours: float
    peer: float
    unit: str
    ratio: float
    target: float
    holds: bool


@dataclass(frozen=True)
class Contest:
    name: str
    peer_name: str
    ours: Callable[[], object]
    peer: Callable[[], object]
    target: float  # ratio


def texts_of(path: Path) -> Iterator[str]:
    """The texts of a .jsonl, .jsonl.gz or .jsonl.zst file."""
    opener = {".gz": gzip.open, ".zst": zstandard.open}.get(path.suffix, Path.open)
    with opener(path, "rb") as stream:
        for line in io.BufferedReader(stream):
            yield orjson.loads(line)["text"]


def stratified(folder: Path) -> list[str]:
    """About SLICE_BYTES of text: every k-th document of every file, so that each file has its share."""
    files = sorted(path for path in folder.iterdir() if ".jsonl" in path.suffixes)
    texts = [text for path in files for text in texts_of(path)]
    every = max(sum(map(len, texts)) // SLICE_BYTES, 1)
    return texts[every // 2 :: every]


def batch_of(texts: list[str]) -> DocumentBatch:
    columns = {"id": list(map(str, range(len(texts)))), "text": texts, "source": ["benchmark"] * len(texts)}
    arrays = [pa.array(columns.get(field.name, [None] * len(texts)), field.type) for field in SCHEMA]
    return DocumentBatch(pa.RecordBatch.from_arrays(arrays, schema=SCHEMA))


def contests(texts: list[str]) -> list[Contest]:
    """What runs against what; each of ours begins with a new batch, so that nothing computed before is left."""
    record_batch = batch_of(texts).record_batch
    documents = [Document(text=text, id=str(i)) for i, text in enumerate(texts)]
    published.split_into_words = lambda text, language: text.split()
    theirs, ours = published.GopherQualityFilter(), GopherQuality()
    language, model = Language(keep=("en",)), load_model(installed_model())

    def filter_each() -> object:
        return [theirs.filter(document) for document in documents]

    def predict_each() -> object:
        return [model.predict(text.replace("\n", " "), k=-1) for text in texts]

    def identify() -> object:
        return language.decide(language.annotate(batch()))

    def batch() -> DocumentBatch:
        return DocumentBatch(record_batch)

    return [
        Contest("gopher_quality, decisions", SPLIT, lambda: ours.decide(batch()), filter_each, 12),
        Contest("gopher_quality, all scores", SPLIT + " (decisions)", lambda: ours.scores(batch()), filter_each, 12),
        Contest("language", "fasttext, whole text", identify, predict_each, 1),
    ]


def user_seconds(run: Callable[[], object]) -> float:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    run()
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime - before


def measure(contest: Contest, megabytes: float) -> Row:
    """Medians of ROUNDS rounds of peer and ours in turn, after one of ours that compiles kernels or loads them."""
    contest.ours()
    rounds = [(user_seconds(contest.ours), user_seconds(contest.peer)) for _ in range(ROUNDS)]
    ours, peer = (megabytes / statistics.median(seconds) for seconds in zip(*rounds, strict=True))
    ratio = ours / peer
    return Row(contest.name, ours, peer, "MB/s of user time", ratio, contest.target, ratio >= contest.target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    data = os.environ.get("MIDTRAIN_DATA")
    parser.add_argument("--data", type=Path, default=data and Path(data) / "text", help="folder of .jsonl[.gz|.zst]")
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--only", default="", help="contests whose name begins so")
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("give --data DIR or set MIDTRAIN_DATA")
    texts = stratified(arguments.data)
    chosen = [contest for contest in contests(texts) if contest.name.startswith(arguments.only)]
    if not chosen:
        parser.error(f"no contest begins with {arguments.only}")
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    print(f"{len(texts)} documents, {megabytes:.1f} MB, every file of {arguments.data}; medians of {ROUNDS}")
    print(f"{'':28}{'ours':>8}{'peer':>8}{'ratio':>8}{'target':>8}   peer (MB/s of user time)")
    rows = []
    for contest in chosen:
        row = measure(contest, megabytes)
        rows.append(asdict(row))
        numbers = "".join(f"{number:8.1f}" for number in (row.ours, row.peer, row.ratio, row.target))
        print(f"{row.name:28}{numbers}   {contest.peer_name}{'' if row.holds else '  MISSED'}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
