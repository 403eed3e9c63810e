"""datatrove as a reader of packed tokens: `datatrove_tokens.py FOLDER LENGTH SEQUENCES`.

FOLDER holds `.ds` files of uint16 as its tokenizer writes them. Goes through the whole set and tells tokens and seconds
(of the clock or of the processor, whichever are fewer) of each of three rounds, after one that warms it up. Documents
were shuffled when they were written, which is its way, and windows are read in the order of the file, which it is made
for; they are of LENGTH + 1 tokens, of which LENGTH are counted, and stacked into int64 [SEQUENCES, LENGTH + 1].
"""

import json
import sys
import time

import torch
from datatrove.utils.dataset import DatatroveFolderDataset


def main(folder: str, length: int, sequences: int) -> list[tuple[int, float]]:
    data = DatatroveFolderDataset(folder, seq_len=length, filename_pattern="*.ds", token_size=2)
    rounds = []
    for _ in range(4):
        started, tokens = (time.perf_counter(), time.process_time()), 0
        for first in range(0, len(data) - sequences + 1, sequences):
            rows = [data[number]["input_ids"] for number in range(first, first + sequences)]
            tokens += torch.stack(rows).shape[0] * length
        rounds.append((tokens, min(time.perf_counter() - started[0], time.process_time() - started[1])))
    return rounds[1:]


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
