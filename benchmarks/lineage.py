"""Lineage: the seconds of `midtrain seen` and `midtrain where` over ten trillion tokens in a million parts.

Whole commands in processes of their own, started anew each time, as a person would; the tables, the order and the run's
record are whole, and of the parts only those that are looked into lie there, with the rows of their documents. The peer
is Python that imports numba and pyarrow and ends. Beside them what the digest of each step's batch costs the trainer.
Wall and processor time are told apart, for a machine may be busy.
Costs a minute for the order, and 40 MB of disk.
"""

import argparse
import itertools
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import many_parts
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from midtrain.mixtures.built import Built
from midtrain.mixtures.digest import batch_digest
from midtrain.mixtures.parts_table import PART, stem_of
from midtrain.mixtures.shards import DOCUMENTS
from midtrain.trainer import history
from midtrain.trainer.history import History, Stretch
from rows import Row, heading, show, write

PARTS, TOKENS, LENGTH, BATCH = 10**6, 10**13, 4096, 64
PHASE = "only"
ROUNDS = 7
MOST_SECONDS = 1.0  # of a command
MOST_SHARE = 0.02  # of a step that takes a second for 2^20 tokens


def prepare(root: Path) -> int:
    """Writes the mixture and a run in the middle of it; returns the step that it stands at."""
    many_parts.parts_on_paper(root, PARTS, TOKENS, LENGTH)
    for path in root.glob("tokens/*/parts"):
        table = np.memmap(path, PART, mode="r+")
        table["first_high"] = np.arange(len(table), dtype=np.uint64) * np.uint64(2**64 // len(table))
        table.flush()
    built = Built.open(root)
    steps = built.phases[PHASE].sequences // BATCH
    step = steps // 2
    sought = None
    places = built.order.slice(PHASE, (step - 1) * BATCH, BATCH)
    for source, pack, sequence in zip(*(column.tolist() for column in places), strict=True):
        index = built.order.index(PHASE, pack)
        part = int(np.searchsorted(index.part_sequences, np.uint64(sequence), side="right")) - 1
        name = built.phases[PHASE].source_names[source]
        make_documents(built, name, part, [] if sought else [name_within(built, name, part)])
        sought = sought or (name, part)
    hashed = xxhash.xxh3_128_intdigest(name_within(built, *sought).encode()) >> 64
    for name in built.sources:  # the part of the others in which it would stand
        if name != sought[0]:
            first_high = built.shards(name).table["first_high"]
            make_documents(built, name, int(np.searchsorted(first_high, np.uint64(hashed), side="right")) - 1, [])
    run = root / "run"
    run.mkdir()
    stretch = Stretch(PHASE, built.fingerprint, LENGTH, BATCH, 1e4, 0, steps, 0, steps * BATCH)
    history.write(run, History("paper", str(root), (stretch,)))
    (run / "metrics.jsonl").write_bytes(orjson.dumps({"kind": "step", "step": step}) + b"\n")
    return step


def make_documents(built: Built, source: str, part: int, among: list[str]) -> None:
    """Makes a part's files with rows of documents, some ids among them; the table then has their size."""
    folder = built.root / built.sources[source].tokens
    record = built.shards(source).table[part]
    many_parts.make_part(folder, part, record)
    stem = str(folder / stem_of("part", part))
    ends = np.fromfile(f"{stem}.ends", "<u8").astype(np.int64)
    names = [f"<urn:uuid:{source}-{part}-{number}>" for number in range(len(ends) - len(among))] + among
    names.sort(key=lambda name: xxhash.xxh3_128_intdigest(name.encode()))
    columns = {
        "id": names,
        "mixture_source": [source] * len(names),
        "source": [source] * len(names),
        "url": [f"https://example.org/{name}" for name in names],
        "start": np.concatenate([[0], ends[:-1]]),
        "tokens": np.diff(ends, prepend=0),
        "bytes": ends,
        "spans": [[]] * len(names),
    }
    documents = Path(f"{stem}.documents.parquet")
    pq.write_table(pa.table(columns, schema=DOCUMENTS), documents, compression="zstd")
    table = np.memmap(folder / "parts", PART, mode="r+")
    table["documents_bytes"][part] = documents.stat().st_size
    table.flush()


def name_within(built: Built, source: str, part: int) -> str:
    """An id that belongs into a part: the one of its rows that is looked for."""
    first_high = built.shards(source).table["first_high"]
    low = int(first_high[part])
    high = int(first_high[part + 1]) if part + 1 < len(first_high) else 2**64
    names = (f"<urn:uuid:{part}/{number}>" for number in itertools.count())
    return next(name for name in names if low <= xxhash.xxh3_128_intdigest(name.encode()) >> 64 < high)


Times = tuple[float, float]  # wall and processor seconds


def command(*arguments: object) -> tuple[Times, Times, bytes]:
    """Median times of a command, and of bare imports run by turns with it, and what the command said."""
    called = [sys.executable, "-m", "midtrain", *map(str, arguments)]
    said = subprocess.run(called, check=True, capture_output=True).stdout  # numba's caches, and the disk's
    ours, imports = [], []
    for _ in range(ROUNDS):
        ours.append(once(called))
        imports.append(once([sys.executable, "-c", "import numba, pyarrow.parquet"]))
    median = [tuple(statistics.median(column) for column in zip(*taken, strict=True)) for taken in (ours, imports)]
    return median[0], median[1], said


def once(called: list[str]) -> Times:
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(called, check=True, capture_output=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def looking_up(root: Path, step: int) -> Iterator[Row]:
    """The two commands."""
    ours, imports, said = command("seen", root / "run", "--step", step, "--json")
    pieces = orjson.loads(said)["pieces"]
    if len({piece["sequence"] for piece in pieces}) != BATCH:
        raise SystemExit(f"seen told of {len(pieces)} pieces, not of all {BATCH} sequences")
    yield from _rows(f"seen, {BATCH} sequences of 10^13 tokens", ours, imports)
    sought = name_within(Built.open(root), pieces[0]["source"], int(pieces[0]["part"].partition("-")[2]))
    ours, imports, said = command("where", root / "run", sought, "--json")
    [document] = orjson.loads(said)["documents"]
    found = sum(place["stop"] - place["start"] for place in document["appearances"])
    if (document["part"], found) != (pieces[0]["part"], document["tokens"]):
        raise SystemExit(f"where finds {found:,} of {document['tokens']:,} tokens in {document['part']}")
    yield from _rows("where, a document in one of 10^6 parts", ours, imports)


def _rows(name: str, ours: Times, imports: Times) -> Iterator[Row]:
    for what, seconds, peer in zip(("wall", "processor"), ours, imports, strict=True):
        yield Row(f"{name}: {what}", seconds, peer, "s", seconds / peer, MOST_SECONDS, seconds <= MOST_SECONDS)


def digest() -> Row:
    """The digest of a batch of 2^20 tokens."""
    tokens = np.random.default_rng(0).integers(0, 50_000, (256, LENGTH))
    positions, mask = np.tile(np.arange(LENGTH, dtype=np.int32), (256, 1)), tokens % 3 > 0
    taken = []
    for _ in range(4 * ROUNDS):
        started = time.process_time()
        batch_digest(tokens, positions, mask)
        taken.append(time.process_time() - started)
    seconds = statistics.median(taken)
    return Row("the digest of 2^20 tokens", seconds, 1.0, "s", seconds, MOST_SHARE, seconds <= MOST_SHARE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, help="where the rows are written")
    options = parser.parse_args()
    heading()
    found = [show(digest())]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        found += [show(row) for row in looking_up(root, prepare(root))]
    write(found, options.json)


if __name__ == "__main__":
    main()
