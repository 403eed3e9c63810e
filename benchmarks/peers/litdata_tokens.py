"""litdata as a reader of packed tokens: writes its own format once, then iterates it shuffled in one process.

`litdata_tokens.py write TOKENS FOLDER LENGTH`: TOKENS is a file of uint16. `… read FOLDER LENGTH SEQUENCES`: goes
through the whole set and tells tokens and seconds (of the clock or of the processor, whichever are fewer) of each of
three rounds, after one that warms it up. Local files, shuffled, no compression, `TokensLoader` over blocks of LENGTH;
the samples of its own iterator are stacked into int64 [SEQUENCES, LENGTH], which is faster than its DataLoader without
workers.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from litdata import StreamingDataset, TokensLoader, optimize

SLICE = 1 << 20  # tokens a sample when written
CHUNK = 1 << 23  # tokens a file


def part(task: tuple[str, int]) -> torch.Tensor:
    file, first = task
    return torch.from_numpy(np.fromfile(file, np.uint16, SLICE, offset=2 * first))


def write(file: str, folder: str, length: int) -> None:
    starts = range(0, Path(file).stat().st_size // 2 // SLICE * SLICE, SLICE)
    optimize(
        part,
        [(file, first) for first in starts],
        folder,
        chunk_size=CHUNK,
        num_workers=1,
        item_loader=TokensLoader(length),
        verbose=False,
    )


def read(folder: str, length: int, sequences: int) -> list[tuple[int, float]]:
    data = StreamingDataset(folder, item_loader=TokensLoader(length), shuffle=True, drop_last=False)
    rounds = []
    for _ in range(4):
        started, tokens, rows = (time.perf_counter(), time.process_time()), 0, []
        for sample in data:
            rows.append(sample)
            if len(rows) == sequences:
                tokens += torch.stack(rows).long().numel()
                rows = []
        rounds.append((tokens, min(time.perf_counter() - started[0], time.process_time() - started[1])))
    return rounds[1:]


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        print(json.dumps(read(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
