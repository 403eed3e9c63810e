"""Deduplication from file to file: MB of text a second of user time beside datatrove and rensa, and memory under a cap.

Whole programs are compared, as a person runs them: reading, finding, deciding, writing. All are timed in a process of
their own after their imports and kernels are loaded; `midtrain curate` with its start is told beside. datatrove is
slow, so it gets a fixed slice of about 12 MB: every k-th folder of documents, copies with what they copy.
Costs about twelve minutes, of which the index and the memory row take four each, and 20 GB of disk.
"""

import argparse
import os
import statistics
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import dedup_index
import dedup_memory
import dedup_programs as programs
import numpy as np
import orjson
import pyarrow as pa
from dedup_agreement import EXPLAINED, THRESHOLD, Agreement, compare, their_likeness
from isal import igzip
from midtrain.filters.minhash_dedup import MinhashDedup
from rows import Row, heading, show, write
from slices import SLICE_BYTES, batch_of, corpora, records_of

ROUNDS = 3
MINHASH = {"minhash_dedup": {"keep": ["source", "length"], "threshold": THRESHOLD, "max_loss": None}}
EXACT = {"exact_dedup": {"max_loss": None}}
LINES, PARAGRAPHS = {"line_dedup": {"max_loss": None}}, {"paragraph_dedup": {"max_loss": None}}
MEGABYTES = 60.0  # of text a second of user time
EXACT_MEGABYTES = 200.0
OF_DATATROVE, OF_RENSA = 50.0, 1.7  # times its speed
AGREEMENT = 0.95  # of documents decided alike; what differs is told by class
CAP = 512 << 20  # bytes above the baseline
CAP_TIMES = 10  # of the cap: bytes of the signatures


@dataclass(frozen=True)
class Corpora:
    """What is deduplicated: all of it as JSON lines in gzip and as Parquet, and the slice in a folder by itself."""

    packed: programs.Corpus
    parquet: programs.Corpus
    slice: programs.Corpus


def group(record: dict[str, Any]) -> str:
    """What stands with its copies: the last folder of its path, or of its address where it has no path."""
    place = PurePosixPath(record.get("path") or record.get("url") or str(record["id"]))
    return place.parent.name or place.name


def prepare(files: Sequence[Path], folder: Path) -> Corpora:
    """Reads the files once and writes what the programs read."""
    records = [record for path in files for record in records_of(path)]
    sizes = [len(record["text"].encode()) for record in records]
    every = max(round(sum(sizes) / SLICE_BYTES), 1)
    chosen = [zlib.crc32(group(record).encode()) % every == every // 2 for record in records]
    packed, cut = folder / "corpus.jsonl.gz", folder / "slice" / "slice.jsonl.gz"
    cut.parent.mkdir()
    with igzip.open(packed, "wb") as whole, igzip.open(cut, "wb") as some:
        for number, (record, taken) in enumerate(zip(records, chosen, strict=True)):
            whole.write(orjson.dumps(record | {"id": f"{number}"}) + b"\n")
            if taken:  # nothing but a text: datatrove's writer takes no records of different fields
                some.write(orjson.dumps({"id": f"{number}", "text": record["text"]}) + b"\n")
    megabytes = sum(sizes) / 1e6
    slice_megabytes = sum(size for size, taken in zip(sizes, chosen, strict=True) if taken) / 1e6
    return Corpora(
        programs.Corpus(packed, megabytes, len(records)),
        programs.Corpus(programs.as_parquet(packed, folder), megabytes, len(records)),
        programs.Corpus(cut, slice_megabytes, sum(chosen)),
    )


def in_turn(rounds: int, *runs: Callable[[], dict[str, Any]]) -> list[float]:
    """The median user seconds of each program, run by turns, after a run of the first that compiles what is missing."""
    runs[0]()
    taken = [[run()["user"] for run in runs] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*taken, strict=True)]


def at_least(name: str, ours: float, peer: float, ratio: float, target: float, unit: str) -> Row:
    return show(Row(name, ours, peer, unit, ratio, target, ratio >= target))


def speed(name: str, corpus: programs.Corpus, step: dict[str, Any], target: float, rounds: int) -> Row:
    """MB of text a second; the peer is a megabyte a second, so the ratio is the speed."""
    (seconds,) = in_turn(rounds, lambda: programs.ours(corpus.path, [step]))
    rate = corpus.megabytes / seconds
    return at_least(name, rate, 1.0, rate, target, "MB/s of user time")


def minhash(made: Corpora, rounds: int) -> list[Row]:
    """Speeds of the whole corpus, beside rensa."""
    rows = []
    for name, corpus in (("JSON lines in gzip", made.packed), ("Parquet", made.parquet)):
        mine, other = in_turn(
            rounds, lambda c=corpus: programs.ours(c.path, [MINHASH]), lambda c=corpus: programs.rensa(c.path, "ngrams")
        )
        rate, peer = corpus.megabytes / mine, corpus.megabytes / other
        rows.append(at_least(f"minhash, {name}", rate, 1.0, rate, MEGABYTES, "MB/s of user time"))
        rows.append(at_least(f"minhash, {name}, rensa", rate, peer, rate / peer, OF_RENSA, "MB/s of user time"))
    words = made.packed.megabytes / programs.rensa(made.packed.path, "words")["user"]
    command = made.packed.megabytes / programs.command_seconds(made.packed.path, [MINHASH])
    print(
        f"  rensa on single words, verified by sketch: {words:.1f} MB/s; our command with its start {command:.1f} MB/s"
    )
    return rows


def datatrove(made: Corpora, rounds: int) -> list[Row]:
    """Speed on the slice beside datatrove, and how far the duplicates are the same."""
    theirs = programs.datatrove(made.slice.path)
    ours = programs.ours(made.slice.path, [MINHASH], "--ids")
    (mine,) = in_turn(rounds, lambda: programs.ours(made.slice.path, [MINHASH]))
    rate, peer = made.slice.megabytes / mine, made.slice.megabytes / theirs["user"]
    rows = [at_least("minhash, slice, datatrove", rate, peer, rate / peer, OF_DATATROVE, "MB/s of user time")]
    texts = {record["id"]: record["text"] for record in records_of(made.slice.path)}
    found = compare(list(texts), ours["partners"], theirs["clusters"], likeness(texts), their_likeness(texts))
    tell(found)
    return [*rows, at_least("same duplicates as datatrove", found.share, 1.0, found.share, AGREEMENT, "of documents")]


def likeness(texts: dict[str, str]) -> Callable[[str, str], float]:
    """Jaccard of our shingles."""
    batch = batch_of(list(texts.values()))
    shingles, ends = MinhashDedup().shingled(batch.text_bytes, batch.text_offsets)
    sets = dict(zip(texts, np.split(shingles, ends[:-1]), strict=True))

    @cache
    def jaccard(one: str, other: str) -> float:
        common = len(np.intersect1d(sets[one], sets[other], assume_unique=True))
        return common / (len(sets[one]) + len(sets[other]) - common)

    return jaccard


def tell(found: Agreement) -> None:
    """Prints the differences by class."""
    counts = f"ours drops {found.ours:,}, theirs {found.theirs:,}"
    print(f"  {found.documents:,} documents: {counts}; {found.both:,} of ours are in a cluster of theirs")
    for why, (count, (one, other)) in found.classes.items():
        print(f"    {count:5,}  {why}: {EXPLAINED[why]} (documents {one} and {other})")


def exact(made: Corpora, rounds: int) -> list[Row]:
    """Copies of whole documents."""
    return [speed("exact, Parquet", made.parquet, EXACT, EXACT_MEGABYTES, rounds)]


def pieces(made: Corpora, rounds: int) -> list[Row]:
    """Lines and paragraphs that stand in several documents."""
    return [
        speed("lines, Parquet", made.parquet, LINES, MEGABYTES, rounds),
        speed("paragraphs, Parquet", made.parquet, PARAGRAPHS, MEGABYTES, rounds),
    ]


def memory(made: Corpora, rounds: int) -> list[Row]:
    """MiB above the baseline, of a corpus with ten times as much of signatures; in a control group where one can be."""
    texts = (record["text"] for record in records_of(made.packed.path))
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        written = dedup_memory.write(texts, corpus, -(-CAP_TIMES * CAP // dedup_memory.SIGNATURE))
        baseline = programs.ours(made.slice.path, [MINHASH])["baseline"]
        with capped(baseline + CAP) as prefix:
            told = programs.ours(corpus / "*.jsonl", [MINHASH], prefix=prefix)
    where = "in a control group with that limit" if prefix else "as measured; no control group can be made here"
    counts = f"{written.documents:,} documents, {written.duplicates:,} near-duplicates, {told['stages'][-1][2]:,} kept"
    print(f"  {written.text / 1e9:.2f} GB, {counts}, {written.text / 1e6 / told['user']:.1f} MB/s; {where}")
    above, cap = (told["peak"] - told["baseline"]) / (1 << 20), CAP / (1 << 20)
    times = written.signatures / CAP
    name = f"memory above {told['baseline'] >> 20} MiB, signatures of {times:.1f} caps"
    return [show(Row(name, above, cap, "MiB", above / cap, 1.0, above <= cap))]


@contextmanager
def capped(limit: int) -> Iterator[list[str]]:
    """What starts a program in a control group with that limit of memory; nothing where none can be made."""
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    first = [Path("/sys/fs/cgroup/memory", path[1:]) for _, names, path in lines if "memory" in names.split(",")]
    unified = [Path("/sys/fs/cgroup", path[1:]) for number, _, path in lines if number == "0"]
    for parent, name in [*((one, "memory.limit_in_bytes") for one in first), *((one, "memory.max") for one in unified)]:
        folder = parent / f"midtrain-dedup-{os.getpid()}"
        try:
            folder.mkdir()
            (folder / name).write_text(str(limit))
        except OSError:
            if folder.is_dir():
                folder.rmdir()
            continue
        try:
            yield ["sh", "-c", f'echo $$ > {folder}/cgroup.procs && exec "$@"', "sh"]
        finally:
            folder.rmdir()
        return
    yield []


def index(made: Corpora, rounds: int) -> list[Row]:
    """Ten crawls, each against an index of those before it."""
    texts = pa.array([record["text"] for record in records_of(made.packed.path)], pa.large_string())
    with tempfile.TemporaryDirectory() as folder:
        return dedup_index.measure(texts, Path(folder))


PARTS = (minhash, datatrove, exact, pieces, index, memory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    data = os.environ.get("MIDTRAIN_DATA")
    default = data and Path(data) / "text/web_small.jsonl.gz"
    parser.add_argument("--data", type=Path, default=default, help="a .jsonl[.gz|.zst], or a folder of them")
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument(
        "--only", default="", help=f"parts whose name begins so: {', '.join(p.__name__ for p in PARTS)}"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each; fewer only to try the script")
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("give --data FILE or DIR, or set MIDTRAIN_DATA")
    chosen = [part for part in PARTS if part.__name__.startswith(arguments.only)]
    if not chosen:
        parser.error(f"no part begins with {arguments.only}")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        files = corpora(arguments.data) if arguments.data.is_dir() else [arguments.data]
        made = prepare(files, Path(folder))
        shown = f"{made.packed.documents:,} documents, {made.packed.megabytes:.1f} MB of {arguments.data}"
        slice_shown = f"a slice of {made.slice.documents:,}, {made.slice.megabytes:.1f} MB"
        print(f"{shown}; {slice_shown}; load {os.getloadavg()[0]:.1f}")
        heading()
        for part in chosen:
            rows += part(made, arguments.rounds)
            sys.stdout.flush()
    write(rows, arguments.json)


if __name__ == "__main__":
    main()
