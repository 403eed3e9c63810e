"""An index over time: what the tenth crawl costs beside the first, and whether ten crawls keep what one run keeps.

A crawl is all of the given text with a letter changed in every sixteen bytes, so that its documents are like none of
another crawl, but for every tenth document, which comes again as it was in the first. Each is curated by
`midtrain curate` against the index and added by `midtrain index add`, each in a process of its own.
Costs about three minutes for 112 MB of text, which is curated eleven times; with --at-once as long again.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash
from midtrain.manifest import Manifest
from midtrain.pipelines.read_parts import read_part
from rows import Row, heading, show, write
from slices import corpora, texts_of

CRAWLS = 10
TARGET = 1.5  # times the user time of the first crawl
EVERY = 16  # bytes: a letter of each so many differs between crawls, so that no five words are the same
COPIES = 10  # one of so many documents comes again


def crawl(texts: pa.Array, number: int, path: Path) -> None:
    """Writes a crawl as Parquet: the texts (large_string) with other letters, the copies as they are."""
    data = np.frombuffer(texts.buffers()[2], np.uint8).copy()
    offsets = np.frombuffer(texts.buffers()[1], np.int64)
    _change(data, number)
    rows = np.arange(len(texts))
    changed = pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(offsets), pa.py_buffer(data))
    mixed = pc.if_else(pa.array(rows % COPIES == 0), texts, changed)
    ids = pa.array([f"crawl{number}-{row}" for row in rows.tolist()])
    pq.write_table(pa.table({"id": ids, "text": mixed}), path, compression="zstd", row_group_size=2000)


def _change(data: npt.NDArray[np.uint8], number: int) -> None:
    """Turns the first letter in every few bytes into another one, in place."""
    whole = data[: len(data) // EVERY * EVERY].reshape(-1, EVERY)
    letter = (whole >= ord("a")) & (whole <= ord("z"))
    row = np.flatnonzero(letter.any(axis=1))
    place = letter[row].argmax(axis=1)
    whole[row, place] = (whole[row, place] - ord("a") + 1 + number) % 26 + ord("a")


def recipe(name: str, crawls: list[int], folder: Path, index: Path | None = None) -> Path:
    """The recipe of some crawls."""
    step = {"keep": ["source", "length"], "max_loss": None, **({"index": str(index)} if index else {})}
    sources = [{"name": f"crawl{one}", "path": str(folder / f"crawl{one}.parquet")} for one in crawls]
    content = {"name": name, "output": str(folder / name), "sources": sources, "steps": [{"minhash_dedup": step}]}
    path = folder / f"{name}.json"
    path.write_bytes(orjson.dumps(content))
    return path


def command(*arguments: object) -> float:
    """Seconds of user time of a command, which works in its own process: workers would not be waited for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    quiet = [*map(str, arguments), "--workers", "0", "--json"]
    subprocess.run([sys.executable, "-m", "midtrain", *quiet], check=True, stdout=subprocess.DEVNULL)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def kept(output: Path) -> list[str]:
    """The ids that an output keeps, in its order."""
    files = Manifest.read(output).files
    return [one for file in files for batch in read_part(output / file.path, ["id"]) for one in batch["id"].to_pylist()]


def measure(texts: pa.Array, folder: Path, at_once: bool = False) -> list[Row]:
    """The rows of the index over crawls of the texts; with `at_once` also of one run over all of them."""
    index = folder / "index"
    curated, added, ids = list[float](), list[float](), list[str]()
    for number in range(CRAWLS):
        crawl(texts, number, folder / f"crawl{number}.parquet")
    command("curate", recipe("compiled", [0], folder))
    for number in range(CRAWLS):
        out = folder / f"out{number}"
        curated.append(command("curate", recipe(out.name, [number], folder, index if number else None)))
        added.append(command("index", "add", index, out))
        ids += kept(out)
        print(f"crawl {number + 1}: curated in {curated[-1]:.2f} s, added in {added[-1]:.2f} s", flush=True)
    both = [one + other for one, other in zip(curated, added, strict=True)]
    rows = [
        _times("index: curate crawl 10 and add it, beside crawl 1", both),
        _times("index: curate crawl 10, beside crawl 1", curated),
    ]
    if at_once:
        command("curate", recipe("all", list(range(CRAWLS)), folder))
        rows.append(_same("index: documents kept by ten crawls, beside one run", ids, kept(folder / "all")))
    return rows


def _times(name: str, seconds: list[float]) -> Row:
    ratio = seconds[-1] / seconds[0]
    return show(Row(name, seconds[-1], seconds[0], "s of user time", ratio, TARGET, ratio <= TARGET))


def _same(name: str, one_by_one: list[str], at_once: list[str]) -> Row:
    holds = _hash(one_by_one) == _hash(at_once)
    return show(
        Row(name, len(one_by_one), len(at_once), "documents", len(one_by_one) / max(len(at_once), 1), 1.0, holds)
    )


def _hash(ids: list[str]) -> str:
    return xxhash.xxh3_128_hexdigest("\n".join(sorted(ids)).encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    data = os.environ.get("MIDTRAIN_DATA")
    parser.add_argument("--data", type=Path, default=data and Path(data) / "text", help="folder of .jsonl[.gz|.zst]")
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--only", default="web_small", help="files whose name begins so")
    parser.add_argument("--at-once", action="store_true", help="also curate all crawls in one run, and compare")
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("give --data DIR or set MIDTRAIN_DATA")
    files = [path for path in corpora(arguments.data) if path.name.startswith(arguments.only)]
    texts = pa.array([text for path in files for text in texts_of(path)], pa.large_string())
    print(f"{len(texts)} documents, {texts.nbytes / 1e6:.1f} MB a crawl, in one process")
    heading()
    with tempfile.TemporaryDirectory() as folder:
        write(measure(texts, Path(folder), arguments.at_once), arguments.json)


if __name__ == "__main__":
    main()
