"""The torch face of the shards: batches of a phase, from any sequence on, in the one order there is.

All that a resumed run needs is one integer, the index of the next sequence, because the order is a pure function of it
(no worker, rank or micro-batch has a state). Costs one batch of read-ahead in memory and one thread that reads it while
the step before computes.
"""

from collections import deque
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import RunError
from .run import PhaseOfShards

UNSUPERVISED = -100
"""Target of a position that is not trained; what torch's cross entropy ignores by default."""


class Sequences(Protocol):
    """What the shards give for a run of sequences; [B, T] arrays, segment -1 is padding."""

    @property
    def tokens(self) -> NDArray[np.int32]: ...
    @property
    def positions(self) -> NDArray[np.int32]: ...
    @property
    def segments(self) -> NDArray[np.int32]: ...
    @property
    def loss_mask(self) -> NDArray[np.bool_]: ...
    @property
    def first_index(self) -> int: ...


class Mixture(Protocol):
    """What training asks of a built mixture (`mixtures.built.Built` is one)."""

    @property
    def root(self) -> Path: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def tokenizer_hash(self) -> str: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def phases(self) -> Mapping[str, PhaseOfShards]: ...
    def batch(self, phase: str, first: int, count: int) -> Sequences: ...


@dataclass(frozen=True)
class Batch:
    """Sequences as tensors, each [B, T].

    tokens and positions int64, segments int32 (-1 is padding), loss_mask bool: whether a token is trained as a target.
    targets int64: at t the token t+1, where both are of one segment and t+1 is trained, else -100. `supervised` counts
    the targets, `real` the tokens that are no padding.
    """

    tokens_BT: Tensor
    positions_BT: Tensor
    segments_BT: Tensor
    loss_mask_BT: Tensor
    targets_BT: Tensor
    supervised: int
    real: int
    first_index: int

    def __len__(self) -> int:
        return len(self.tokens_BT)

    def rows(self, first: int, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """tokens, positions, segments and targets of some rows: a micro-batch."""
        chosen = slice(first, first + count)
        return self.tokens_BT[chosen], self.positions_BT[chosen], self.segments_BT[chosen], self.targets_BT[chosen]


def next_token_targets(
    tokens_BT: NDArray[np.int32], segments_BT: NDArray[np.int32], loss_mask_BT: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Targets [B, T]: token t+1 where it continues the segment of t and its loss bit is set, else -100."""
    targets_BT = np.full(tokens_BT.shape, UNSUPERVISED, dtype=np.int64)
    same_BT = (segments_BT[:, 1:] == segments_BT[:, :-1]) & (segments_BT[:, 1:] >= 0)
    np.copyto(targets_BT[:, :-1], tokens_BT[:, 1:], where=same_BT & loss_mask_BT[:, 1:])
    return targets_BT


def to_batch(sequences: Sequences, phase: str, device: torch.device) -> Batch:
    """The sequences as tensors on the device.

    Raises:
        RunError: not one token of the batch is trained: its mean loss would be 0/0.
    """
    targets_BT = next_token_targets(sequences.tokens, sequences.segments, sequences.loss_mask)
    supervised = int((targets_BT != UNSUPERVISED).sum())
    if supervised == 0:
        last = sequences.first_index + len(targets_BT) - 1
        raise RunError(
            "no token of the batch is trained",
            where=f"phase {phase}, sequences {sequences.first_index} to {last}",
            seen="0 supervised tokens",
            expected="at least one",
            fix="a larger batch_tokens, or look at the loss of the phase's sources (midtrain peek)",
        )
    return Batch(
        tokens_BT=_tensor(sequences.tokens, torch.int64, device),
        positions_BT=_tensor(sequences.positions, torch.int64, device),
        segments_BT=_tensor(sequences.segments, torch.int32, device),
        loss_mask_BT=_tensor(sequences.loss_mask, torch.bool, device),
        targets_BT=_tensor(targets_BT, torch.int64, device),
        supervised=supervised,
        real=int((sequences.segments >= 0).sum()),
        first_index=sequences.first_index,
    )


def _tensor(array: NDArray[np.generic], dtype: torch.dtype, device: torch.device) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(array)).to(dtype)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor


def batches(
    built: Mixture,
    phase: str,
    first_index: int,
    batch_sequences: int,
    *,
    end: int | None = None,
    device: torch.device | None = None,
) -> Generator[Batch, None, None]:
    """The phase's batches from a sequence on; the next one is read while the last is used.

    Args:
        built: the shards.
        phase: name of the phase.
        first_index: index of the first sequence in the phase's order; the loader's whole state.
        batch_sequences: sequences a batch; the last may have fewer.
        end: index after the last sequence, that of the phase's end by default.
        device: where the tensors go, the CPU by default.

    Raises:
        RunError: a batch without a trained token, or the shards gave other sequences than they were asked for.
    """
    stop = built.phases[phase].sequences if end is None else end
    place = device or torch.device("cpu")

    def read(first: int) -> Batch:
        count = min(batch_sequences, stop - first)
        batch = to_batch(built.batch(phase, first, count), phase, place)
        if batch.first_index != first or len(batch) != count:
            raise RunError(
                "the shards gave other sequences than were asked for",
                where=f"{built.root}, phase {phase}",
                seen=f"{len(batch)} from {batch.first_index}",
                expected=f"{count} from {first}",
            )
        return batch

    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="loader")
    try:
        starts = range(first_index, stop, batch_sequences)
        ahead = deque(pool.submit(read, first) for first in starts[:1])
        for first in starts[1:]:
            ahead.append(pool.submit(read, first))
            yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
