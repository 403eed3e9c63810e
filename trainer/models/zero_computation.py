"""Skywork's experts that compute next to nothing: zero, copy and constant (arXiv 2410.07348, eq. 3 to 5).

A token that needs no network is sent to one of these, and the time saved goes to the others. A zero expert adds
nothing, so only the other two have code. Costs, for every token whatever its classes, 3 x 2 x hidden_size
multiplications a constant expert: one small product for all tokens is cheaper than to gather those that chose it.
"""

import torch
from torch import Tensor, nn

from .config import ModelConfig, ZeroComputationMoE
from .products import linear
from .routing import wide


def class_weights(class_NK: Tensor, weight_NK: Tensor, first: int, stop: int) -> Tensor:
    """The weight of each class in [first, stop) for each token, [N, stop - first]; 0 where it was not chosen."""
    classes_C = torch.arange(first, stop, device=class_NK.device)
    return ((class_NK[:, :, None] == classes_C) * weight_NK[:, :, None]).sum(dim=1)


class ConstantExperts(nn.Module):
    """E(x) = a x + b v with (a, b) = softmax(W x): `mix` holds W [J, 2, D], `vectors` v [J, D], of J experts."""

    def __init__(self, config: ModelConfig, count: int) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.empty(count, 2, config.hidden_size))
        self.vectors = nn.Parameter(torch.empty(count, config.hidden_size))

    def forward(self, x_ND: Tensor, weight_NJ: Tensor) -> tuple[Tensor, Tensor]:
        """What multiplies each token's x, float32 [N], and what is added to it, [N, D]: weighted sums over experts."""
        logits_NJ2 = linear(x_ND, self.mix.flatten(0, 1)).view(*weight_NJ.shape, 2)
        share_NJ2 = wide(logits_NJ2).softmax(dim=-1) * weight_NJ[:, :, None]
        share_NJ, vector_share_NJ = share_NJ2.unbind(dim=-1)
        return share_NJ.sum(dim=1), vector_share_NJ.to(self.vectors.dtype) @ self.vectors


class ZeroComputation(nn.Module):
    """All zero-computation experts of a layer; their classes stand behind the others', zero, copy, then constant."""

    def __init__(self, config: ModelConfig, moe: ZeroComputationMoE) -> None:
        super().__init__()
        self.copies = config.num_experts + moe.zero_experts
        self.constants_from = self.copies + moe.copy_experts
        self.stop = config.num_classes
        if self.stop > self.constants_from:
            self.constants = ConstantExperts(config, self.stop - self.constants_from)

    def forward(self, x_ND: Tensor, class_NK: Tensor, weight_NK: Tensor) -> Tensor:
        """The weighted sum of what these experts give, [N, D], float32."""
        weight_NZ = class_weights(class_NK, weight_NK, self.copies, self.stop)
        copies = self.constants_from - self.copies
        factor_N = weight_NZ[:, :copies].sum(dim=1)
        if self.stop == self.constants_from:
            return x_ND * factor_N[:, None]
        more_N, added_ND = self.constants(x_ND, weight_NZ[:, copies:])
        return torch.addcmul(wide(added_ND), wide(x_ND), (factor_N + more_N)[:, None])
