"""A batch: sequences of the shards as tensors, with the targets that follow from them.

What the model is trained on is decided in one place, whoever reads the shards. Costs one pass over the batch in Numba
for the targets and the counts; tokens, positions, segments and mask are the reader's arrays, not copied.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import RunError
from ..mixtures.digest import batch_digest
from .models.model import UNSUPERVISED


class Sequences(Protocol):
    """What the shards give for a run of sequences; [B, T] arrays, segment -1 is padding."""

    @property
    def tokens(self) -> NDArray[np.int64]: ...
    @property
    def positions(self) -> NDArray[np.int32]: ...
    @property
    def segments(self) -> NDArray[np.int32]: ...
    @property
    def loss_mask(self) -> NDArray[np.bool_]: ...
    @property
    def first_index(self) -> int: ...


@dataclass(frozen=True)
class Batch:
    """Sequences as tensors, each [B, T].

    tokens int64, positions and segments int32 (segment -1 is padding), loss_mask bool: whether a token is trained as a
    target. targets int64: at t the token t+1, where both are of one segment and t+1 is trained, else -100. `supervised`
    counts the targets, `real` the tokens that are no padding. `first_index` is the place of the first sequence in its
    phase. `digest` is that of `mixtures/digest.py`, empty where it was not asked for.
    """

    tokens_BT: Tensor
    positions_BT: Tensor
    segments_BT: Tensor
    loss_mask_BT: Tensor
    targets_BT: Tensor
    supervised: int
    real: int
    first_index: int
    digest: str = ""

    def __len__(self) -> int:
        return len(self.tokens_BT)

    def rows(self, first: int, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """tokens, positions, segments and targets of some rows: a micro-batch."""
        chosen = slice(first, first + count)
        return self.tokens_BT[chosen], self.positions_BT[chosen], self.segments_BT[chosen], self.targets_BT[chosen]

    def pin_memory(self) -> "Batch":
        """The batch in memory that a GPU can read by itself; what torch's DataLoader calls."""
        return self._moved(lambda tensor: tensor.pin_memory())

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device; from pinned memory, the copy goes on while the caller does."""
        if self.tokens_BT.device == device:
            return self
        return self._moved(lambda tensor: tensor.to(device, non_blocking=True))

    def _moved(self, move: Callable[[Tensor], Tensor]) -> "Batch":
        return replace(
            self,
            tokens_BT=move(self.tokens_BT),
            positions_BT=move(self.positions_BT),
            segments_BT=move(self.segments_BT),
            loss_mask_BT=move(self.loss_mask_BT),
            targets_BT=move(self.targets_BT),
        )


def next_token_targets(
    tokens_BT: NDArray[np.int64], segments_BT: NDArray[np.int32], loss_mask_BT: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], int, int]:
    """What is to be predicted at every token.

    Returns:
        Targets [B, T]: token t+1 where it continues the segment of t and its loss bit is set, else -100. How many are
        not -100. How many tokens are not padding.
    """
    targets_BT = np.empty(tokens_BT.shape, dtype=np.int64)
    supervised, real = _write_targets(tokens_BT, segments_BT, loss_mask_BT, targets_BT)
    return targets_BT, supervised, real


@numba.njit(cache=True, nogil=True)
def _write_targets(
    tokens_BT: NDArray[np.int64],
    segments_BT: NDArray[np.int32],
    loss_mask_BT: NDArray[np.bool_],
    targets_BT: NDArray[np.int64],
) -> tuple[int, int]:
    supervised = real = 0
    rows, length = tokens_BT.shape
    for b in range(rows):
        tokens, segments, mask, targets = tokens_BT[b], segments_BT[b], loss_mask_BT[b], targets_BT[b]
        for t in range(length - 1):
            follows = (segments[t] == segments[t + 1]) & (segments[t] >= 0) & mask[t + 1]
            targets[t] = tokens[t + 1] if follows else UNSUPERVISED
            supervised += follows
        targets[length - 1 :] = UNSUPERVISED
        for t in range(length):
            real += segments[t] >= 0
    return supervised, real


def to_batch(sequences: Sequences, digest: bool = False) -> Batch:
    """The sequences as a batch in the CPU's memory; with `digest`, its digest too."""
    targets_BT, supervised, real = next_token_targets(sequences.tokens, sequences.segments, sequences.loss_mask)
    return Batch(
        tokens_BT=torch.from_numpy(sequences.tokens),
        positions_BT=torch.from_numpy(sequences.positions),
        segments_BT=torch.from_numpy(sequences.segments),
        loss_mask_BT=torch.from_numpy(sequences.loss_mask),
        targets_BT=torch.from_numpy(targets_BT),
        supervised=supervised,
        real=real,
        first_index=sequences.first_index,
        digest=batch_digest(sequences.tokens, sequences.positions, sequences.loss_mask) if digest else "",
    )


def unsupervised(phase: str, first: int, count: int) -> RunError:
    """The error for a batch of which not one token is trained: its mean loss would be 0/0."""
    return RunError(
        "no token of the batch is trained",
        where=f"phase {phase}, sequences {first} to {first + count - 1}",
        seen="0 supervised tokens",
        expected="at least one",
        fix="a larger batch_tokens, or look at the loss of the phase's sources (midtrain peek)",
    )
