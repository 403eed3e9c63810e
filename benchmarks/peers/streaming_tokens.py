"""mosaicml-streaming (MDS) as a reader of packed tokens: writes its own format once, then iterates it shuffled.

`streaming_tokens.py write TOKENS FOLDER LENGTH`: TOKENS is a file of uint16. `… read FOLDER LENGTH SEQUENCES`: goes
through the whole set and tells tokens and seconds (of the clock or of the processor, whichever are fewer) of each of
three rounds, after one that warms it up. Local files, shuffled, no compression, no hashes, arrays of a fixed size (its
leanest encoding); the samples of its own iterator are stacked into int64 [SEQUENCES, LENGTH], which is faster than its
DataLoader without workers.
"""

import json
import sys
import time
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec

import numpy as np

# Its datasets of pictures import torchvision, whose wheels are for CUDA and do not load beside a torch without it.
for name in ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional"):
    sys.modules[name] = module_from_spec(ModuleSpec(name, None))
sys.modules["torchvision.datasets"].VisionDataset = type("VisionDataset", (), {})
sys.modules["torchvision.transforms.functional"].to_tensor = None

from streaming import MDSWriter, StreamingDataset  # noqa: E402


def write(file: str, folder: str, length: int) -> None:
    tokens = np.fromfile(file, np.uint16)
    with MDSWriter(out=folder, columns={"tokens": f"ndarray:uint16:{length}"}, compression=None, hashes=[]) as out:
        for row in tokens[: tokens.size // length * length].reshape(-1, length):
            out.write({"tokens": row})


def read(folder: str, length: int, sequences: int) -> list[tuple[int, float]]:
    data = StreamingDataset(local=folder, shuffle=True, batch_size=sequences, num_canonical_nodes=1)
    rounds = []
    for _ in range(4):
        started, tokens, rows = (time.perf_counter(), time.process_time()), 0, []
        for sample in data:
            rows.append(sample["tokens"])
            if len(rows) == sequences:
                tokens += np.stack(rows).astype(np.int64).size
                rows = []
        rounds.append((tokens, min(time.perf_counter() - started[0], time.process_time() - started[1])))
    return rounds[1:]


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        print(json.dumps(read(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
