"""What a reader is measured against: gathers of the same rows that know beforehand where every span lies.

No file is opened, no size is checked and no order is computed in them; what a reader costs beyond them is the price of
all that. Costs the flat file of the tokens, mapped.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from midtrain.mixtures.built import Built

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """The rows of a phase as spans of one flat array of tokens: row i is `starts`, `lengths`[ends[i]:ends[i + 1]]."""

    tokens: npt.NDArray[np.uint16]
    starts: Int64s
    lengths: npt.NDArray[np.int32]
    ends: Int64s
    length: int
    padding: int

    def __len__(self) -> int:
        return len(self.ends) - 1


def rows_of(built: Built, phase: str, flat: Path) -> Rows:
    """The rows of a phase of one source that is trained in full, and its tokens in a flat file, which is written."""
    (source,) = built.phases[phase].source_names
    shards = built.shards(source)
    with flat.open("wb") as stream:
        for part in range(len(shards.parts)):
            stream.write(shards.tokens(part).tobytes())
    offsets = np.concatenate([[0], np.cumsum(shards.part_tokens.astype(np.int64))])
    found = built.order.slice(phase, 0, built.phases[phase].sequences)
    spans = [
        built.order.index(phase, pack).sequence(sequence)
        for pack, sequence in zip(found.pack.tolist(), found.sequence.tolist(), strict=True)
    ]
    every = np.concatenate(spans)
    return Rows(
        np.memmap(flat, np.uint16, "r").view(np.ndarray),
        every["start"].astype(np.int64) + offsets[every["part"]],
        every["length"].astype(np.int32),
        np.concatenate([[0], np.cumsum([len(one) for one in spans])]),
        built.phases[phase].sequence_length,
        built.end_of_document,
    )


class Plain:
    """Tokens, positions and mask of a batch, in one call of a kernel, into the same arrays or into new ones."""

    def __init__(self, rows: Rows, sequences: int) -> None:
        self.rows = rows
        self.shape = sequences, rows.length
        self.arrays = self._arrays()

    def _arrays(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
        return np.empty(self.shape, np.int64), np.empty(self.shape, np.int32), np.empty(self.shape, np.bool_)

    def again(self, first: int) -> None:
        """Writes the batch from a row on over the last one."""
        rows = self.rows
        _plain(rows.tokens, first, rows.ends, rows.starts, rows.lengths, rows.padding, *self.arrays)

    def anew(self, first: int) -> object:
        """Makes the batch from a row on."""
        rows, made = self.rows, self._arrays()
        _plain(rows.tokens, first, rows.ends, rows.starts, rows.lengths, rows.padding, *made)
        return made


@numba.njit(cache=True, nogil=True)
def _plain(
    flat: Any,
    first: int,
    ends: Any,
    starts: Any,
    lengths: Any,
    padding: int,
    tokens: Any,
    positions: Any,
    loss_mask: Any,
) -> None:
    for row in range(tokens.shape[0]):
        at = 0
        for k in range(ends[first + row], ends[first + row + 1]):
            length = lengths[k]
            source, into = flat[starts[k] : starts[k] + length], tokens[row, at : at + length]
            counts, trained = positions[row, at : at + length], loss_mask[row, at : at + length]
            for j in range(length):
                into[j] = source[j]
            for j in range(length):
                counts[j] = j
            trained[:] = True
            at += length
        tokens[row, at:], positions[row, at:], loss_mask[row, at:] = padding, 0, False


class Bare:
    """Tokens alone, of rows that lie whole: what numpy makes of an array of row numbers."""

    def __init__(self, rows: Rows, sequences: int) -> None:
        whole = len(rows.tokens) // rows.length
        self.table = rows.tokens[: whole * rows.length].reshape(whole, rows.length)
        self.order = np.random.default_rng(1).permutation(whole)
        self.sequences = sequences

    def __call__(self, first: int) -> npt.NDArray[np.int64]:
        """The batch from a row on."""
        return self.table[self.order[first : first + self.sequences]].astype(np.int64)
