"""One training step: forward and backward over micro-batches, one look at the numbers, then the move.

The loss of a step is the sum over the global batch's supervised tokens divided by their number, so micro-batches change
memory and nothing else. Costs one synchronization with the device a step, before anything is changed: a loss or a
gradient that is not finite moves no weight.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import RunError
from .balancing import Balancer, load
from .loader import UNSUPERVISED, Batch
from .model import MoEModel
from .optimizers import Optimizer


@dataclass(frozen=True)
class StepResult:
    """What a step measured; `dead` names (layer, expert) pairs that have had no token for the 20th step now."""

    loss: float
    grad_norm: float
    load_entropy: float
    load_entropy_min: float
    max_expert_share: float
    dead: tuple[tuple[int, int], ...]


def train_step(
    model: MoEModel,
    optimizer: Optimizer,
    balancer: Balancer,
    batch: Batch,
    *,
    micro_sequences: int,
    scale: float,
    bf16: bool,
    name: str = "",
) -> StepResult:
    """Trains on one global batch.

    Args:
        model: with float32 weights.
        optimizer: moves the weights.
        balancer: moves the balancing biases, after the weights.
        batch: the global batch.
        micro_sequences: rows a forward pass.
        scale: the schedule's factor, on every rate.
        bf16: matrix products in bfloat16.
        name: what an error calls the step.

    Raises:
        RunError: the loss or the gradient is not finite, or the device's memory is full; no weight was changed.
    """
    optimizer.set_lr(scale)
    try:
        loss, counts_LC = forward_backward(model, batch, micro_sequences, bf16)
    except torch.OutOfMemoryError:
        raise RunError(
            "the device has too little memory for a micro-batch",
            where=name,
            seen=f"{min(micro_sequences, len(batch))} sequences of {batch.tokens_BT.shape[1]:,} tokens",
            fix="set a smaller micro_batch_tokens in the phase (--resume accepts another one), or a smaller model",
        ) from None
    norm = optimizer.clip()
    result = _look(loss, norm, counts_LC, balancer)
    if not (math.isfinite(result.loss) and math.isfinite(result.grad_norm)):
        raise RunError(
            "the loss or its gradient is not a finite number",
            where=f"{name}, sequences {batch.first_index} to {batch.first_index + len(batch) - 1}",
            seen=f"loss {result.loss}, gradient norm {result.grad_norm}",
            fix="a lower lr or a longer warm-up from the last checkpoint (init_from), or look at these sequences",
        )
    optimizer.step()
    balancer.step(counts_LC, scale)
    optimizer.zero_grad()
    return result


def forward_backward(model: MoEModel, batch: Batch, micro_sequences: int, bf16: bool) -> tuple[Tensor, Tensor]:
    """Adds the batch's gradients to the weights'.

    Returns:
        The mean loss over the supervised tokens in nats (float32 scalar), and the tokens of every layer and class
        (int64 [L, E + 1]) of the whole batch.
    """
    losses, counts = [], []
    for first in range(0, len(batch), micro_sequences):
        tokens_BT, positions_BT, segments_BT, targets_BT = batch.rows(first, micro_sequences)
        with torch.autocast(tokens_BT.device.type, dtype=torch.bfloat16, enabled=bf16):
            output = model(tokens_BT, positions_BT, segments_BT)
        loss = supervised_sum(output.logits_BTV, targets_BT) / batch.supervised
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
        counts.append(output.expert_counts_LE)
    return torch.stack(losses).sum(), torch.stack(counts).sum(dim=0)


def supervised_sum(logits_BTV: Tensor, targets_BT: Tensor) -> Tensor:
    """Cross entropy summed over the supervised targets, in nats; logits float32 [B, T, V], targets int64 [B, T]."""
    return F.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten(), ignore_index=UNSUPERVISED, reduction="sum")


def _look(loss: Tensor, norm: Tensor, counts_LC: Tensor, balancer: Balancer) -> StepResult:
    """Reads all that the step reports in one transfer."""
    spread = load(counts_LC)
    dead_LE = balancer.watch(counts_LC)
    entropy_L = spread.entropy_L
    scalars = [loss, norm, entropy_L.mean(), entropy_L.min(), spread.max_share_L.max(), dead_LE.any().float()]
    mean_loss, grad_norm, entropy, least_entropy, max_share, any_dead = torch.stack(scalars).tolist()
    dead = tuple((layer, expert) for layer, expert in dead_LE.nonzero().tolist()) if any_dead else ()
    return StepResult(mean_loss, grad_norm, entropy, least_entropy, max_share, dead)
