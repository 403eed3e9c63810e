"""One training step: forward and backward over micro-batches, one look at the numbers, then the move.

The loss of a step is the sum over the global batch's supervised tokens divided by their number, so micro-batches change
memory and nothing else; but an auxiliary balance loss is a product of two means over a micro-batch, and is itself the
mean over micro-batches by their supervised tokens. Costs one synchronization with the device a step, before anything is
changed: a loss or a gradient that is not finite moves no weight.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import RunError
from .batch import Batch
from .models import flops
from .models.config import DenseFFN, LinearMoE, ZeroComputationMoE
from .models.model import UNSUPERVISED, MoEModel
from .optimizers.balancing import ALARM_STEPS, MANY_DROPPED, Balancer, load
from .optimizers.optimizer import Optimizer

_OPTIONAL = ("z_loss", "balance_loss", "load_entropy", "load_entropy_min", "max_expert_share", "dropped")
"""Fields of a result that some models or settings do not have."""


@dataclass(frozen=True)
class Sums:
    """What the forward passes of a step came to, over the global batch.

    Float32 scalars in nats a supervised token: `loss` is the cross entropy alone, `z_loss` and `balance_loss` what is
    added to it. int64: `counts_LC` the assignments of every layer and class, `dropped_LC` those of them that were
    dropped.
    """

    loss: Tensor
    z_loss: Tensor
    balance_loss: Tensor
    counts_LC: Tensor
    dropped_LC: Tensor


@dataclass(frozen=True)
class StepResult:
    """What a step measured; None is what the model or the settings do not have.

    `loss` is the cross entropy alone, `z_loss` and `balance_loss` are what was added to it. `dropped` is the share of
    all assignments; `flops_per_token` counts what was computed, forward and backward (`models/flops.py`). `dead` names
    (layer, expert) pairs that have had no token for the 20th step now, `dropping` layers that have dropped more than a
    tenth of their assignments for the 20th step.
    """

    loss: float
    grad_norm: float
    flops_per_token: float
    z_loss: float | None
    balance_loss: float | None
    load_entropy: float | None
    load_entropy_min: float | None
    max_expert_share: float | None
    dropped: float | None
    dead: tuple[tuple[int, int], ...]
    dropping: tuple[int, ...]

    def measures(self) -> dict[str, float]:
        """The numbers by name, as rows of metrics have them."""
        found = {name: getattr(self, name) for name in ("loss", "grad_norm", *_OPTIONAL, "flops_per_token")}
        return {name: value for name, value in found.items() if value is not None}

    def alarms(self) -> list[str]:
        """What a person should look at."""
        lasting = f"for {ALARM_STEPS} steps"
        dead = [f"expert {expert} of layer {layer} has had no token {lasting}" for layer, expert in self.dead]
        much = f"more than {MANY_DROPPED:.0%} of its assignments {lasting}"
        why = "a low capacity, or an uneven load"
        return dead + [f"layer {layer} has dropped {much}: {why}" for layer in self.dropping]


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
        sums = forward_backward(model, batch, micro_sequences, bf16, optimizer.settings.z_loss)
    except torch.OutOfMemoryError:
        raise RunError(
            "the device has too little memory for a micro-batch",
            where=name,
            seen=f"{min(micro_sequences, len(batch))} sequences of {batch.tokens_BT.shape[1]:,} tokens",
            fix="set a smaller micro_batch_tokens in the phase (--resume accepts another one), or a smaller model",
        ) from None
    norm = optimizer.clip()
    result = _look(model, batch, sums, norm, balancer, optimizer.settings.z_loss)
    if not (math.isfinite(result.loss) and math.isfinite(result.grad_norm)):
        raise RunError(
            "the loss or its gradient is not a finite number",
            where=f"{name}, sequences {batch.first_index} to {batch.first_index + len(batch) - 1}",
            seen=f"loss {result.loss}, gradient norm {result.grad_norm}",
            fix="a lower lr or a longer warm-up from the last checkpoint (init_from), or look at these sequences",
        )
    optimizer.step()
    balancer.step(sums.counts_LC, scale)
    optimizer.zero_grad()
    return result


def forward_backward(model: MoEModel, batch: Batch, micro_sequences: int, bf16: bool, z_loss: float = 0.0) -> Sums:
    """Adds the batch's gradients to the weights'; `z_loss` is the weight of the mean of log^2 Z."""
    scalars, counts, dropped = [], [], []
    for first in range(0, len(batch), micro_sequences):
        tokens_BT, positions_BT, segments_BT, targets_BT = batch.rows(first, micro_sequences)
        with torch.autocast(tokens_BT.device.type, dtype=torch.bfloat16, enabled=bf16):
            losses = model.loss(tokens_BT, positions_BT, segments_BT, targets_BT)
        loss = losses.cross_entropy / batch.supervised
        z = losses.log_z_squared * (z_loss / batch.supervised)
        share = (targets_BT != UNSUPERVISED).sum() / batch.supervised
        balance = losses.routed.balance * share
        total = loss
        if z_loss:
            total = total + z
        if balance.requires_grad:
            total = total + balance
        total.backward()  # type: ignore[no-untyped-call]
        scalars.append(torch.stack([loss.detach(), z.detach(), balance.detach()]))
        counts.append(losses.routed.counts_LC)
        dropped.append(losses.routed.dropped_LC)
    loss, z, balance = torch.stack(scalars).sum(dim=0)
    return Sums(loss, z, balance, torch.stack(counts).sum(dim=0), torch.stack(dropped).sum(dim=0))


def _look(model: MoEModel, batch: Batch, sums: Sums, norm: Tensor, balancer: Balancer, z_loss: float) -> StepResult:
    """Reads all that the step reports in one transfer."""
    spread = load(sums.counts_LC, balancer.experts)
    alarms = balancer.watch(sums.counts_LC, sums.dropped_LC.sum(dim=1))
    computed_LC = sums.counts_LC - sums.dropped_LC
    work = flops.work(model.config, batch.positions_BT, batch.segments_BT, computed_LC, batch.supervised)
    measured = {
        "loss": sums.loss,
        "grad_norm": norm,
        "z_loss": sums.z_loss,
        "balance_loss": sums.balance_loss,
        "load_entropy": spread.entropy_L.mean(),
        "load_entropy_min": spread.entropy_L.min(),
        "max_expert_share": spread.max_share_L.max(),
        "dropped": sums.dropped_LC.sum() / sums.counts_LC.sum().clamp_min(1),
        "flops": torch.as_tensor(flops.training(model.config, work)),
        "alarm": alarms.dead_LE.any() | alarms.dropping_L.any(),
    }
    numbers = torch.stack([number.double() for number in measured.values()]).tolist()
    found = dict(zip(measured, numbers, strict=True))
    missing = _missing(model, balancer, z_loss)
    named = {name: None if name in missing else found[name] for name in _OPTIONAL}
    dead = alarms.dead_LE.nonzero().tolist() if found["alarm"] else []
    dropping = alarms.dropping_L.nonzero().flatten().tolist() if found["alarm"] else []
    return StepResult(
        loss=found["loss"],
        grad_norm=found["grad_norm"],
        flops_per_token=found["flops"] / batch.real,
        dead=tuple((layer, expert) for layer, expert in dead),
        dropping=tuple(dropping),
        **named,
    )


def _missing(model: MoEModel, balancer: Balancer, z_loss: float) -> set[str]:
    """What the model or the settings do not have, and a row of metrics should not show as 0."""
    moe = model.config.moe
    missing = set() if z_loss else {"z_loss"}
    if not (isinstance(moe, LinearMoE | ZeroComputationMoE) and moe.balance_weight):
        missing.add("balance_loss")
    if isinstance(moe, DenseFFN) or moe.capacity is None:
        missing.add("dropped")
    return missing if balancer.routes else missing | {"load_entropy", "load_entropy_min", "max_expert_share"}
