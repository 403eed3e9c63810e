"""What minhash_dedup takes of a terabyte and of a petabyte: tasks, files, memory, bytes and reads, stage by stage.

Nobody can try a petabyte, but every stage says what it takes from counts alone, as `midtrain plan` asks it; this asks
with counts of corpora that are not there. What opening a slice of an exchange costs is measured here, since it is what
grows with the square of the corpus. Costs about a minute and 3 GB of disk.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
from midtrain.filters.minhash_dedup import MinhashDedup
from midtrain.pipelines import exchange, footprints
from midtrain.pipelines.duplicates import estimates, sizes
from midtrain.pipelines.duplicates.bands import KEYS
from midtrain.pipelines.duplicates.barriers import choice_of
from midtrain.pipelines.duplicates.components import Components
from midtrain.pipelines.estimates import in_order
from midtrain.pipelines.inputs import MAX_SPLIT
from midtrain.pipelines.recipe import Step
from rows import Row, heading, show, write

DOCUMENT = 4_000  # bytes of text: web pages have 3,000 to 5,000
IDENTITY = 32  # bytes of an id
LARGEST = 2 * MAX_SPLIT  # bytes of text of the largest part: a task has at most twice its size
CAP = 512 << 20  # bytes of a worker above its baseline
TERABYTE = 10**12
CRAWL = 10 * TERABYTE  # that is compared at once; what is more comes in crawls, each against the index of those before
VOLUMES = {"1 TB": TERABYTE, "10 TB": CRAWL, "1 PB at once": 1_000 * TERABYTE}
CRAWLS = 100  # of a petabyte
KEPT = 0.7  # of documents, in an index
PARTITIONS = (1_000, 10_000)  # of files whose slices are opened
FILES = 6  # of all stages, a part of the documents
COMPONENTS = (1_000_000, 4_000_000)  # documents of the components that are chosen among, to see how memory grows
PROGRAM = Path(__file__).parents[1] / "tests/pipelines/one_component.py"


@dataclass(frozen=True)
class Opening:
    """Seconds to open a slice of an exchange: what each costs, and what each partition of its file adds."""

    once: float
    partition: float

    def seconds(self, partitions: int) -> float:
        """Of a slice of a file with so many."""
        return self.once + self.partition * partitions


@dataclass(frozen=True)
class Taken:
    """What a stage takes; `reads` are the slices that its tasks open, `partitions` those of the files it writes."""

    name: str
    tasks: int
    partitions: int
    memory: int
    disk: float
    seconds: float
    reads: int
    opening: float


class Upstream:
    """Stands for documents that are not there: as many as make so much text, in parts of the largest size of a task."""

    name, fingerprint, parents, source_order = "read", "0", (), ("crawl",)

    def __init__(self, text: float) -> None:
        self.documents = int(text // DOCUMENT)
        self.count = max(1, int(text // MAX_SPLIT))
        largest = (LARGEST, LARGEST // DOCUMENT)
        self.compared = estimates.Compared(self.documents, int(text), self.count, largest, IDENTITY)


def opening(folder: Path) -> Opening:
    """Measures files of two numbers of partitions, one key in each."""
    taken = []
    for partitions in PARTITIONS:
        keys = pa.array(np.arange(partitions, dtype=np.uint64))
        rows = pa.record_batch([keys, keys], schema=KEYS)
        exchange.write(folder, f"{partitions}.arrow", rows, np.arange(partitions), partitions)
        path, best = folder / f"{partitions}.arrow", float("inf")
        for _ in range(20):
            started = time.process_time()
            for number in range(10):
                exchange.read([path], number, KEYS)
            best = min(best, (time.process_time() - started) / 10)
        taken.append(best)
    size = (folder / f"{PARTITIONS[1]}.arrow").stat().st_size / PARTITIONS[1] - estimates.KEY
    for partitions, seconds in zip(PARTITIONS, taken, strict=True):
        print(f"a slice of a file of {partitions:,} partitions is opened in {1e6 * seconds:.0f} µs")
    print(f"a record batch takes {size:.0f} bytes beside its rows (the plan counts {estimates.BATCH})")
    slope = max(taken[1] - taken[0], 0.0) / (PARTITIONS[1] - PARTITIONS[0])
    return Opening(max(taken[0] - slope * PARTITIONS[0], 0.0), slope)


def stages(text: float, cost: Opening) -> Iterator[Taken]:
    """What the stages of near-duplicates take of so much text."""
    upstream = Upstream(text)
    step = Step("minhash_dedup", MinhashDedup(), ("crawl",))
    last = choice_of(Path("/nowhere"), cast(Any, upstream), step)
    came = upstream.compared
    of_keys = sizes.key_partitions(came.documents, MinhashDedup().bands)
    of_nodes = sizes.node_partitions(came.documents)
    linked = int(came.documents * estimates.LINKED)
    of_members = sizes.member_partitions(linked, DOCUMENT, MinhashDedup().bands)
    writes = {"bands": of_keys, "buckets": of_nodes, "components": of_nodes, "labels": came.parts}
    writes |= {"members": of_members, "choice": came.parts}
    written = {"read": (came.parts, 1)}  # the files of each stage, and the partitions of one
    reads_of = {"buckets": "bands", "components": "buckets", "labels": "buckets"}
    reads_of |= {"members": "labels", "choice": "members"}
    for stage in in_order(last):
        if stage is upstream:
            continue
        kind = stage.name.split("-")[1]
        took = estimates.taken(stage, came)
        if took.tasks == 0:
            continue
        files, partitions = written.get(reads_of.get(kind, ""), (0, 1))
        written[kind] = (took.tasks, writes[kind])
        if isinstance(stage, Components):
            written["buckets"] = written[kind]  # the next round reads this one
        reads = took.tasks * files * (2 if kind == "choice" and files > sizes.HELD_BATCHES else 1)
        spent = reads * cost.seconds(partitions)
        yield Taken(stage.name, took.tasks, writes[kind], took.memory, took.disk, took.seconds, reads, spent)
    reads = came.parts * of_members  # who leaves the duplicates out
    yield Taken("minhash_dedup", came.parts, 1, 0, 0, 0, reads, reads * cost.seconds(came.parts))


def table(name: str, text: float, cost: Opening) -> list[Taken]:
    """Prints what the stages take of so much text; rounds of components as one line."""
    found = list(stages(text, cost))
    rounds = [one for one in found if "components" in one.name]
    print(f"\n{name}: {int(text // DOCUMENT):,} documents of {DOCUMENT:,} bytes, {found[0].tasks:,} parts")
    head = f"{'tasks, files':>14}{'partitions':>12}{'MiB':>7}{'GB on disk':>13}{'slices read':>18}{'core hours':>12}"
    print(f"{'':24}{head}")
    for one in (one for one in found if one not in rounds[1:]):
        same = rounds if one in rounds else [one]
        label = f"{len(rounds)} rounds, components" if one in rounds else one.name.removeprefix("minhash_dedup-")
        hours = sum(each.seconds + each.opening for each in same) / 3600
        numbers = f"{one.tasks:>14,}{one.partitions:>12,}{one.memory / (1 << 20):>7.0f}{one.disk / 1e9:>13,.0f}"
        print(f"{label:24}{numbers}{sum(each.reads for each in same):>18,}{hours:>12,.1f}")
    opened, worked = (sum(getattr(one, key) for one in found) / 3600 for key in ("opening", "seconds"))
    print(f"{'':24}opening slices {opened:,.1f} core hours, the rest {worked:,.1f}")
    return found


def crawls(crawl: Sequence[Taken], text: float) -> None:
    """Prints what a petabyte takes in crawls, each against an index that grows."""
    documents = text // DOCUMENT * CRAWLS
    files = sum(one.tasks for one in crawl)
    disk = max(one.disk for one in crawl) / 1e12
    hours = sum(one.seconds + one.opening for one in crawl) / 3600
    bands = MinhashDedup().bands
    key = estimates.KEY + 8  # sorted beside its document, and with its document's set
    keys = documents * KEPT * bands * key / 1e12
    sets = text * CRAWLS * KEPT * sizes.SET_BYTES / 1e12
    at_once = f"{files:,} files, {disk:,.1f} TB at a time"
    print(f"\n1 PB in {CRAWLS} crawls: {at_once}; {CRAWLS * hours:,.0f} core hours in all;")
    print(f"the index of them holds {keys:,.0f} TB of keys and {sets:,.0f} TB of sets")


@dataclass(frozen=True)
class Growth:
    """The memory of a choice: bytes where the component is small, and bytes a document more."""

    once: float
    document: float

    @classmethod
    def measured(cls) -> "Growth":
        """Of two components of short documents, each chosen among in a fresh process."""
        peaks = []
        for documents in COMPONENTS:
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, PROGRAM, folder, str(documents)]
                told = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            peaks.append(float(told["peak"]))
            print(f"a component of {documents:,} documents is chosen among in {peaks[-1] / (1 << 20):.0f} MiB")
        more = max(peaks[1] - peaks[0], 0.0) / (COMPONENTS[1] - COMPONENTS[0])
        return cls(peaks[0] - more * COMPONENTS[0], more)

    def memory(self, documents: int) -> float:
        """Bytes of a worker."""
        return self.once + self.document * documents


def limits(found: dict[str, Sequence[Taken]], growth: Growth) -> list[Row]:
    """What docs/scale.md states."""
    rows = []
    allowed = (footprints.WORKER + CAP) / (1 << 20)
    for name, stages in found.items():
        memory = max(one.memory for one in stages) / (1 << 20)
        rows.append(at_most(f"{name}: memory of a worker", memory, allowed, "MiB"))
        parts = stages[0].tasks
        rows.append(at_most(f"{name}: files", sum(one.tasks for one in stages), FILES * parts, "files"))
    for name in ("1 TB", "10 TB"):
        component = int(VOLUMES[name] // DOCUMENT * estimates.LARGEST)
        label = f"{name}: a component of {component:,} documents"
        rows.append(at_most(label, growth.memory(component) / (1 << 20), allowed, "MiB"))
        keys = component * MinhashDedup().bands
        rows.append(at_most(f"{name}: keys of that component", keys / 1e6, estimates.MOST_KEYS / 1e6, "million"))
    opened, worked = (sum(getattr(one, key) for one in found["10 TB"]) / 3600 for key in ("opening", "seconds"))
    return [*rows, at_most("10 TB: opening slices, beside all else", opened, worked, "core hours")]


def at_most(name: str, ours: float, limit: float, unit: str) -> Row:
    return show(Row(name, ours, limit, unit, ours / limit, 1.0, ours <= limit))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the rows there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cost = opening(Path(folder))
    growth = Growth.measured()
    found = {name: table(name, text, cost) for name, text in VOLUMES.items()}
    crawls(found["10 TB"], CRAWL)
    print()
    heading()
    write(limits(found, growth), arguments.json)


if __name__ == "__main__":
    main()
