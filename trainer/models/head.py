"""Cross entropy of the head's logits without the logits: computed, and differentiated, a few rows at a time.

Logits of a micro-batch are its largest tensor by far (134 MB at 4,096 tokens and 8,192 ids), and plain torch passes
over it a dozen times. Here each chunk's gradient is made while its logits are in the cache, in the forward pass, and
only gradients of hidden states and weights are kept. Costs the chunk, and where a z-loss is asked for a second pass.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .products import times

CHUNK = {"cpu": 2**22, "cuda": 2**26}
"""Logits of one chunk: on a CPU as many as fit a last-level cache, on a GPU as many as keep it busy."""

LEAST_ROWS = 512
"""Rows of a chunk, at least: each chunk also costs a pass over the gradient of the weights."""


def losses(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over rows, in the type of the hidden states: nats of cross entropy, and squares of log Z.

    Args:
        hidden_ND: of the supervised positions alone.
        weight_VD: the head's rows; logits are hidden weight^T.
        targets_N: int64.
    """
    sums: tuple[Tensor, Tensor] = Head.apply(hidden_ND, weight_VD, targets_N)  # type: ignore[no-untyped-call]
    return sums


@torch.no_grad()
def nats(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
    """Cross entropy of each row, [N], without a gradient; arguments as of `losses`."""
    found = [
        F.cross_entropy(times(hidden_ND[chunk], weight_VD), targets_N[chunk], reduction="none")
        for chunk in chunks(hidden_ND, weight_VD)
    ]
    return torch.cat([hidden_ND.new_zeros(0), *found])


class Head(torch.autograd.Function):
    """Both sums, with what their gradients need.

    With p the softmax of a row, the gradient of cross entropy by its logits is p - onehot, that of log^2 Z is
    2 p log Z. The two are linear in the upstream scalars, which are known only backward. Cross entropy's products are
    made at once; log^2 Z's only where backward finds that a z-loss asks for them, from logits computed anew.
    """

    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(hidden_ND, weight_VD, targets_N)
        ctx.set_materialize_grads(False)
        wanted = any(ctx.needs_input_grad)
        ctx.gradients = empty_gradients(hidden_ND, weight_VD) if wanted else None
        entropies, squares = [], []
        for chunk in chunks(hidden_ND, weight_VD):
            logits_MV, target_M1 = times(hidden_ND[chunk], weight_VD), targets_N[chunk, None]
            log_p_MV = logits_MV.log_softmax(dim=1)
            entropy_M1 = -log_p_MV.gather(1, target_M1)
            log_z_M1 = logits_MV.gather(1, target_M1) + entropy_M1
            entropies.append(entropy_M1.sum())
            squares.append(log_z_M1.square().sum())
            if ctx.gradients:
                minus_one_M1 = torch.full_like(log_z_M1, -1.0)
                gradient_MV = log_p_MV.exp_().scatter_add_(1, target_M1, minus_one_M1)
                add_products(ctx.gradients, gradient_MV, hidden_ND, weight_VD, chunk)
        zero = hidden_ND.new_zeros(())
        return sum(entropies, start=zero), sum(squares, start=zero.clone())

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, entropy_gradient: Tensor | None, square_gradient: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, None]:
        hidden_ND, weight_VD, _ = ctx.saved_tensors
        scale = hidden_ND.new_zeros(()) if entropy_gradient is None else entropy_gradient
        found = tuple(gradient * scale for gradient in ctx.gradients)
        if square_gradient is not None:
            extra = empty_gradients(hidden_ND, weight_VD)
            for chunk in chunks(hidden_ND, weight_VD):
                logits_MV = times(hidden_ND[chunk], weight_VD)
                log_z_M1 = logits_MV.logsumexp(dim=1, keepdim=True)
                gradient_MV = logits_MV.sub_(log_z_M1).exp_().mul_(2.0 * square_gradient * log_z_M1)
                add_products(extra, gradient_MV, hidden_ND, weight_VD, chunk)
            for gradient, more in zip(found, extra, strict=True):
                gradient.add_(more)
        hidden_gradient_ND, weight_gradient_DV = found
        return hidden_gradient_ND, weight_gradient_DV.T.contiguous(), None


def chunks(hidden_ND: Tensor, weight_VD: Tensor) -> list[slice]:
    """Slices of rows whose logits are one chunk."""
    rows = max(LEAST_ROWS, CHUNK[weight_VD.device.type] // weight_VD.shape[0])
    return [slice(first, first + rows) for first in range(0, len(hidden_ND), rows)]


def empty_gradients(hidden_ND: Tensor, weight_VD: Tensor) -> tuple[Tensor, Tensor]:
    """Room for the gradients of hidden states, and of weights: [D, V], as their product comes out fastest."""
    return torch.empty_like(hidden_ND), weight_VD.new_zeros(weight_VD.shape[::-1])


def add_products(
    gradients: tuple[Tensor, Tensor], gradient_MV: Tensor, hidden_ND: Tensor, weight_VD: Tensor, chunk: slice
) -> None:
    """Takes a chunk's gradient of logits into those of hidden states and weights."""
    hidden_gradient_ND, weight_gradient_DV = gradients
    hidden_gradient_ND[chunk] = times(gradient_MV, weight_VD.T)
    weight_gradient_DV.add_(times(hidden_ND[chunk].T, gradient_MV.T))
