"""Curation with two workers against one: seconds of the whole command on about 100 MB of real text.

Workers are worth their start only if two of them halve the work, and what stands in the way (decompression from a
stream's start for each split, the exchange before deduplication, start-up) shows on a whole run alone.
Costs about three minutes of two cores that do nothing else: three rounds of both, on plain and on compressed JSONL.
"""

import argparse
import gzip
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import zstandard
from midtrain.yaml_document import parse

RECIPE = Path(__file__).parents[1] / "examples/web_gsm8k/recipe.yaml"
CORPUS_BYTES = 100_000_000
ROUNDS = 3
TARGET = 0.65  # of one worker's time


@dataclass(frozen=True)
class Row:
    name: str
    ours: float  # two workers
    peer: float  # one worker
    unit: str
    ratio: float
    target: float
    holds: bool


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines of a .jsonl, .jsonl.gz or .jsonl.zst file."""
    opener = {".gz": gzip.open, ".zst": zstandard.open}.get(path.suffix, Path.open)
    with opener(path, "rb") as stream:
        yield from io.BufferedReader(stream)


def write_corpus(data: Path, path: Path, size: int = CORPUS_BYTES) -> int:
    """Writes the first documents of every file, each its share of the size in bytes; returns the bytes written."""
    files = sorted(file for file in data.iterdir() if ".jsonl" in file.suffixes)
    total = sum(file.stat().st_size for file in files)
    written = 0
    with open(path, "wb") as stream:
        for file in files:
            share = size * file.stat().st_size / total
            held = 0
            for line in lines_of(file):
                if held >= share:
                    break
                held += stream.write(line)
            written += held
    return written


def recipe(folder: Path, corpus: Path) -> Path:
    """A recipe of the example's steps over one corpus."""
    steps = parse(RECIPE.read_text(), str(RECIPE)).data["steps"]
    source = {"name": "web", "path": str(corpus), "format": "jsonl"}
    path = folder / f"{corpus.name}.yaml"
    path.write_text(json.dumps({"name": "web", "output": "unset", "sources": [source], "steps": steps}))
    return path


def seconds(recipe: Path, workers: int) -> float:
    """The wall time of the command, from its start to its end, into a new folder."""
    with tempfile.TemporaryDirectory(dir=recipe.parent) as output:
        command = [sys.executable, "-m", "midtrain", "curate", str(recipe), "--workers", str(workers)]
        started = time.perf_counter()
        subprocess.run([*command, "--set", f"output={output}"], check=True, capture_output=True)
        return time.perf_counter() - started


def measure(name: str, recipe: Path, rounds: int) -> Row:
    """Medians of rounds of one worker and two in turn, after one run that compiles kernels or loads them."""
    seconds(recipe, 2)
    taken = [(seconds(recipe, 2), seconds(recipe, 1)) for _ in range(rounds)]
    two, one = (statistics.median(column) for column in zip(*taken, strict=True))
    return Row(name, two, one, "s", two / one, TARGET, two / one <= TARGET)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    data = os.environ.get("MIDTRAIN_DATA")
    parser.add_argument("--data", type=Path, default=data and Path(data) / "text", help="folder of .jsonl[.gz|.zst]")
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--only", default="", help="contests whose name begins so")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each; fewer only to try the script")
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("give --data DIR or set MIDTRAIN_DATA")
    if (cores := len(os.sched_getaffinity(0))) < 2:
        parser.error(f"two workers need two cores, and this process may use {cores}")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        plain, packed = Path(folder) / "web.jsonl", Path(folder) / "web.jsonl.gz"
        megabytes = write_corpus(arguments.data, plain) / 1e6
        with gzip.open(packed, "wb", compresslevel=6) as stream:
            stream.write(plain.read_bytes())
        contests = {"curate, JSONL": plain, "curate, JSONL in gzip": packed}
        chosen = {name: path for name, path in contests.items() if name.startswith(arguments.only)}
        if not chosen:
            parser.error(f"no contest begins with {arguments.only}")
        print(f"{megabytes:.1f} MB of {arguments.data}; medians of {arguments.rounds}; load {os.getloadavg()[0]:.1f}")
        print(f"{'':28}{'2 workers':>10}{'1 worker':>10}{'ratio':>8}{'target':>8}   (s of wall time)")
        for name, path in chosen.items():
            row = measure(name, recipe(Path(folder), path), arguments.rounds)
            rows.append(asdict(row))
            numbers = f"{row.ours:10.2f}{row.peer:10.2f}{row.ratio:8.2f}{row.target:8.2f}"
            print(f"{row.name:28}{numbers}{'' if row.holds else '   MISSED'}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
