"""The programs that deduplicate, ours and its peers, each run whole in a process of its own: read, find, write.

A library's kernel says little of what a person waits for, and a peer's dependencies must not be ours: peers have
environments of their own, made on demand below `peers/.venv` from the lists beside them. Costs the installation of a
peer once, seconds for rensa.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from slices import records_of

PEERS = Path(__file__).parent / "peers"
COLUMNS = ("id", "text", "source", "url", "date", "language")
SMALL = 200  # documents of the curation that loads kernels before ours is timed
ONE_THREAD = {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Corpus:
    """Files of one corpus: JSON lines (plain, .gz, .zst) or Parquet, with their megabytes of text and documents."""

    path: Path
    megabytes: float
    documents: int


def environment(name: str) -> Path:
    """The Python of a peer's environment, which is made if it is not there or its list has changed."""
    listed = PEERS / f"{name}.txt"
    folder = PEERS / ".venv" / name
    stamp = folder / "installed.txt"
    if not stamp.exists() or stamp.read_text() != listed.read_text():
        print(f"  installing {listed}", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        install = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "-r", str(listed)]
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        stamp.write_text(listed.read_text())
    return folder / "bin/python"


def run(command: Sequence[str | Path], prefix: Sequence[str] = ()) -> dict[str, Any]:
    """What a program tells as JSON in its last line.

    Args:
        command: the program with its arguments.
        prefix: what starts it, such as a shell that joins a control group first.
    """
    ended = subprocess.run(
        [*prefix, *map(str, command)], capture_output=True, text=True, check=False, env={**os.environ, **ONE_THREAD}
    )
    if ended.returncode != 0:
        raise RuntimeError(f"{command[1]} ended with {ended.returncode}: {ended.stderr[-3000:]}")
    told: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return told


def recipes(corpus: Path, steps: Sequence[Mapping[str, Any]], folder: Path) -> tuple[Path, Path]:
    """A recipe over a corpus, and one over the documents of `small_corpus`, both with the same steps."""
    made = []
    for name, path in (("measured", corpus), ("small", small_corpus(folder))):
        kind = "parquet" if path.suffix == ".parquet" else "jsonl"
        source = {"name": "corpus", "path": str(path), "format": kind}
        content = {"name": name, "output": str(folder / f"out-{name}"), "sources": [source], "steps": list(steps)}
        (folder / f"{name}.yaml").write_bytes(orjson.dumps(content))
        made.append(folder / f"{name}.yaml")
    return made[0], made[1]


def small_corpus(folder: Path) -> Path:
    """A few documents of which every other one is a near-duplicate, so that all stages have something to do."""
    path = folder / "small.jsonl"
    if not path.exists():
        words = [f"word{number * number % 977}" for number in range(SMALL * 40)]
        texts = [" ".join(words[number // 2 * 40 :][: 80 + number % 2]) + "\n" * 2 for number in range(SMALL)]
        path.write_bytes(b"".join(orjson.dumps({"id": str(n), "text": t}) + b"\n" for n, t in enumerate(texts)))
    return path


def ours(corpus: Path, steps: Sequence[Mapping[str, Any]], *options: str, prefix: Sequence[str] = ()) -> dict[str, Any]:
    """`midtrain curate` of the corpus into a folder that is removed."""
    with tempfile.TemporaryDirectory() as folder:
        measured, small = recipes(corpus, steps, Path(folder))
        return run([sys.executable, PEERS / "midtrain_curate.py", measured, small, *options], prefix)


def rensa(corpus: Path, shingles: str) -> dict[str, Any]:
    """rensa over the corpus, on `ngrams` or on single `words`."""
    with tempfile.TemporaryDirectory() as folder:
        program = [environment("rensa"), PEERS / "rensa_minhash.py"]
        return run([*program, corpus, Path(folder) / "kept.parquet", shingles])


def datatrove(corpus: Path) -> dict[str, Any]:
    """datatrove's four blocks over the folder that the corpus lies in by itself."""
    with tempfile.TemporaryDirectory() as folder:
        return run([sys.executable, PEERS / "datatrove_minhash.py", corpus.parent, folder])


def command_seconds(corpus: Path, steps: Sequence[Mapping[str, Any]]) -> float:
    """User seconds of the whole command as a person types it, its start included."""
    with tempfile.TemporaryDirectory() as folder:
        measured, _ = recipes(corpus, steps, Path(folder))
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        command = [sys.executable, "-m", "midtrain", "curate", str(measured), "--workers", "0"]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, **ONE_THREAD})
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def as_parquet(path: Path, folder: Path) -> Path:
    """The same records as a Parquet file in zstandard, fields that are no column as JSON in `metadata`."""
    rows = []
    for record in records_of(path):
        rest = {key: value for key, value in record.items() if key not in COLUMNS}
        row = {name: record.get(name) for name in COLUMNS} | {"metadata": orjson.dumps(rest).decode()}
        rows.append(row)
    schema = pa.schema([pa.field(name, pa.string()) for name in (*COLUMNS, "metadata")])
    found = folder / "corpus.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), found, compression="zstd", row_group_size=5_000)
    return found
