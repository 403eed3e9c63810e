"""Two stages that exchange a payload by partition, run by a process that may be confined; a program.

`exchange_stages.py FOLDER TASKS ROWS` writes TASKS files of ROWS rows of 4 KiB and reads them back by partition; it
prints the peak of memory without page cache, and the sums of what was written and read.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import xxhash
from midtrain.manifest import OutputFile
from midtrain.pipelines import exchange
from midtrain.pipelines.executor import Job, run_job
from midtrain.pipelines.stage import Stage, Tally, TaskResult

WIDTH = 4096  # bytes of payload a row
SCHEMA = pa.schema([("number", pa.int64()), ("payload", pa.large_binary())])


@dataclass(frozen=True)
class Scatter(Stage):
    """Writes rows of noise, each to the partition of its number."""

    count: int
    rows: int

    name = "scatter"

    def options(self):
        return {"count": self.count, "rows": self.rows}

    def tasks(self):
        return self.count

    def run(self, task):
        noise = np.random.default_rng(task).integers(0, 256, self.rows * WIDTH, np.uint8)
        ends = pa.py_buffer(np.arange(0, (self.rows + 1) * WIDTH, WIDTH, dtype=np.int64))
        payload = pa.Array.from_buffers(pa.large_binary(), self.rows, [None, ends, pa.py_buffer(noise)])
        numbers = np.arange(task * self.rows, (task + 1) * self.rows)
        rows = pa.record_batch([pa.array(numbers), payload], schema=SCHEMA)
        digest = sums(rows)
        file = exchange.write(self.folder, f"{task:05d}.arrow", rows, numbers % self.count, self.count)
        return TaskResult((file,), {"documents": self.rows, "sum": digest})


@dataclass(frozen=True)
class Gather(Stage):
    """Reads a partition of every file."""

    scatter: Scatter

    name = "gather"

    @property
    def parents(self):
        return (self.scatter,)

    def options(self):
        return {}

    def tasks(self):
        return self.scatter.count

    def run(self, task):
        paths = [self.scatter.folder / file.path for file in self.scatter.finished().files]
        rows = exchange.read(paths, task, SCHEMA)
        assert set((rows.column("number").to_numpy() % self.scatter.count).tolist()) == {task}
        digest = sum(sums(batch) for batch in rows.to_batches())
        (self.folder / f"{task:05d}.sum").write_text(str(digest))
        return TaskResult(
            (OutputFile.of(self.folder, f"{task:05d}.sum", rows.num_rows),), {"documents": rows.num_rows, "sum": digest}
        )


def sums(rows):
    """The sum of the rows' hashes (64 bits), whatever their order."""
    view = rows.column("payload")
    data = memoryview(view.buffers()[2])[view.offset * WIDTH : (view.offset + len(view)) * WIDTH]
    digests = (xxhash.xxh3_64_intdigest(data[at : at + WIDTH]) >> 24 for at in range(0, len(data), WIDTH))
    return sum(digests) + int(np.sum(rows.column("number").to_numpy()))


def complete(stage):
    """The manifest of a stage and the most memory that one of its tasks took."""
    stage.folder.mkdir(parents=True)
    done = [run_job(Job(stage, task)) for task in range(stage.tasks())]
    return stage.complete(Tally(one.result for one in done)), max(one.memory for one in done)


def main():
    from exchange_stages import Gather, Scatter  # __main__ has another name elsewhere

    root, count, rows = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    stage = Gather(root, Scatter(root, count, rows))
    (written, one), (read, two) = complete(stage.scatter), complete(stage)
    told = {"peak": max(one, two), "written": written.counts, "read": read.counts}
    sys.stdout.write(orjson.dumps(told | {"bytes": sum(file.bytes for file in written.files)}).decode())


if __name__ == "__main__":
    main()
