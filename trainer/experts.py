"""The experts of a layer: SwiGLU networks of which every token runs through at most one.

Tokens are sorted by expert, so that each expert is two plain matrix products over one contiguous slice: nothing is
padded, no token is dropped whatever the load. Costs two passes over the tokens for sorting and back, and, on a GPU,
one synchronization a layer for the slice sizes.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .presets import ModelConfig


class Experts(nn.Module):
    """Stacked weights; gate_up_proj [E, 2I, D] holds the gate rows first, down_proj is [E, D, I]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        experts, hidden, size = config.num_experts, config.hidden_size, config.expert_size
        self.gate_up_proj = nn.Parameter(torch.empty(experts, 2 * size, hidden))
        self.down_proj = nn.Parameter(torch.empty(experts, hidden, size))

    def forward(self, x_ND: Tensor, class_N: Tensor, counts: list[int]) -> Tensor:
        """The output of each token's expert, [N, D], not weighted; zero where the class is no expert.

        Args:
            x_ND: tokens.
            class_N: expert of each token, int64; num_experts and above are computed by none.
            counts: tokens of each expert, num_experts numbers.
        """
        order_N = class_N.argsort(stable=True)
        rest = x_ND.shape[0] - sum(counts)
        *slices, unrouted_MD = torch.split(permute(x_ND, order_N), [*counts, rest])
        # unbind, not indexing: its backward stacks the experts once instead of adding E full-size tensors.
        weights = zip(slices, self.gate_up_proj.unbind(), self.down_proj.unbind(), strict=True)
        outputs = [swiglu(slice_MD, gate_up, down) for slice_MD, gate_up, down in weights]
        if rest:
            outputs.append(outputs[0].new_zeros(unrouted_MD.shape))
        return permute(torch.cat(outputs), inverse(order_N))


def swiglu(x_MD: Tensor, gate_up_FD: Tensor, down_DI: Tensor) -> Tensor:
    """down (silu(gate x) * up x), [M, D] (Shazeer, arXiv 2002.05202)."""
    gate_MI, up_MI = F.linear(x_MD, gate_up_FD).chunk(2, dim=-1)
    return F.linear(F.silu(gate_MI) * up_MI, down_DI)


def inverse(order_N: Tensor) -> Tensor:
    """The permutation that undoes `order_N`."""
    result_N = torch.empty_like(order_N)
    result_N[order_N] = torch.arange(len(order_N), device=order_N.device)
    return result_N


def permute(x_ND: Tensor, order_N: Tensor) -> Tensor:
    """The rows of x in the order `order_N`, a permutation of all of them."""
    result_ND: Tensor = Permutation.apply(x_ND, order_N)  # type: ignore[no-untyped-call]
    return result_ND


class Permutation(torch.autograd.Function):
    """`permute` with a gather for a gradient too: autograd, not knowing that no row repeats, would add row by row."""

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, order_N: Tensor) -> Tensor:
        ctx.save_for_backward(order_N)
        return x_ND.index_select(0, order_N)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_ND: Tensor) -> tuple[Tensor, None]:
        (order_N,) = ctx.saved_tensors
        return gradient_ND.index_select(0, inverse(order_N)), None
