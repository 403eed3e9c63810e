"""A choice among the documents of one component, with nothing before it: `one_component.py FOLDER DOCUMENTS` tells.

A program, because its memory is to be that of a fresh process: it writes what the stage of members would, as many short
documents as are asked for, has them compared, and prints peaks and counts as JSON.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import orjson
import pyarrow as pa
from midtrain.filters.minhash_dedup import MinhashDedup
from midtrain.pipelines import budget, exchange, footprints
from midtrain.pipelines.duplicates.members import _MEMBERS, _lists
from midtrain.pipelines.duplicates.similar import ChooseSimilar
from midtrain.pipelines.recipe import Step

FAMILY = 3  # documents that are alike
BANDS, SHINGLES = 14, 6
AT_ONCE = 20_000


@dataclass(frozen=True)
class Choose(ChooseSimilar):
    """The stage in a folder of its own."""

    at: Path = Path()

    @property
    def folder(self):
        return self.at


def stage(files, at, folder, options, parts, sources, index=None):
    """A choice over files of members, which lie in a folder, that writes into another one."""
    upstream = SimpleNamespace(parts=range(parts), source_order=sources, fingerprint="read")
    finished = SimpleNamespace(files=files, counts={"documents": sum(file.rows for file in files)})
    members = SimpleNamespace(folder=at, finished=lambda: finished, partitions=lambda: 1)
    return Choose(at, upstream, Step("minhash_dedup", options, tuple(sources)), members, at=folder, index=index)


def rows(start, stop, documents):
    """Documents whose numbers stand in an order by chance; those of a family, which are far apart, share a key."""
    number = np.arange(start, stop, dtype=np.uint64)
    family = number % np.uint64(max(documents // FAMILY, 1))
    keys = number[:, None] * np.uint64(BANDS) + np.arange(BANDS, dtype=np.uint64) + np.uint64(1 << 40)
    keys[:, 0] = family
    shingles = family[:, None] * np.uint64(SHINGLES) + np.arange(SHINGLES, dtype=np.uint64)
    count, spread = len(number), number * np.uint64(0x9E3779B97F4A7C15)
    ends = np.arange(1, count + 1)
    given = {
        "component": pa.array(np.zeros(count, np.uint64)),
        "part": pa.array((number % np.uint64(8)).astype(np.int32)),
        "row": pa.array((number // np.uint64(8)).astype(np.int32)),
        "source": pa.array(np.zeros(count, np.int32)),
        "bytes": pa.array(np.full(count, 40)),
        "low": pa.array(spread),
        "high": pa.array(spread >> np.uint64(62)),
        "id": pa.array(number).cast(pa.string()),
        "keys": _lists(keys.reshape(-1), ends * BANDS),
        "shingles": _lists(shingles.reshape(-1), ends * SHINGLES),
    }
    columns = [given.get(field.name, pa.nulls(count, field.type)) for field in _MEMBERS]
    return pa.record_batch(columns, schema=_MEMBERS)


def main():
    folder, documents = Path(sys.argv[1]), int(sys.argv[2])
    with exchange.Writer(folder, "members.arrow", _MEMBERS, 1) as writer:
        for start in range(0, documents, AT_ONCE):
            block = rows(start, min(start + AT_ONCE, documents), documents)
            writer.write(block, np.zeros(block.num_rows, np.int64))
        file = writer.finish()
    choice = stage((file,), folder, folder / "choice", MinhashDedup(), 8, ("web",))
    budget.reset_peak()
    result = choice.run(0)
    peak = budget.peak()
    sys.stdout.write(orjson.dumps({**result.counts, "peak": peak, "planned": footprints.similar(documents)}).decode())


if __name__ == "__main__":
    main()
