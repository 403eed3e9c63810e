"""The second half of a block, whichever kind it is: a router and its experts, or one dense network.

One interface for every kind, so that blocks, the trainer's balance and its metrics know none of them. Costs what its
router and experts cost, and one pass over the tokens to add up what each got.
"""

import math

import torch
from torch import Tensor, nn

from . import config as kinds
from .config import Kernels, LinearMoE, ModelConfig, ZayaMoE, ZeroComputationMoE
from .dense import DenseFFN
from .dispatch import choose_kernel, count, limits, sort_by_expert, within_capacity
from .experts import Experts
from .linear_router import LinearRouter
from .products import compute_type
from .router import ZayaRouter
from .routing import LayerRouted, Router, Routing, shares, wide
from .zero_computation import ZeroComputation, class_weights


def moe_layer(config: ModelConfig, layer: int, kernels: Kernels) -> "MoE | DenseFFN":
    """The layer of the config's kind."""
    return DenseFFN(config) if isinstance(config.moe, kinds.DenseFFN) else MoE(config, layer, kernels)


class MoE(nn.Module):
    """Router and experts: the outputs of the classes that the router chooses, weighted by its probabilities."""

    def __init__(self, config: ModelConfig, layer: int, kernels: Kernels) -> None:
        super().__init__()
        moe = config.moe
        self.config = config
        self.kernel = kernels.experts
        self.capacity = None if isinstance(moe, kinds.DenseFFN) else moe.capacity
        self.gate = router(config, layer)
        self.experts = Experts(config)
        if isinstance(moe, ZeroComputationMoE):
            self.zero_computation = ZeroComputation(config, moe)
        self.skip_identity = isinstance(moe, ZayaMoE) and moe.skip == "identity"

    def forward(
        self, x_BTD: Tensor, state_BTS: Tensor | None, padding_BT: Tensor
    ) -> tuple[Tensor, Tensor | None, LayerRouted]:
        """Output [B, T, D] (float32), the router's state for the next layer, and what the router did.

        Padding is computed by no expert, counted in no class and takes no capacity. In eval mode nothing is dropped: a
        reply must not depend on what else is in its batch.
        """
        routing: Routing = self.gate(x_BTD, state_BTS)
        classes = self.config.num_classes
        class_BTK = routing.class_BTK.masked_fill(padding_BT[:, :, None], classes)
        class_NK, weight_NK = class_BTK.flatten(0, 1), routing.weight_BTK.flatten(0, 1)
        counts_C = count(class_NK, classes)
        balance = self._balance(routing.probability_BTC, counts_C, padding_BT)
        class_NK, dropped_C = self._drop(class_NK, counts_C)
        y_ND = self._outputs(x_BTD.flatten(0, 1), class_NK, weight_NK)
        return y_ND.view_as(x_BTD), routing.state_BTS, LayerRouted(counts_C, dropped_C, balance)

    def _outputs(self, x_ND: Tensor, class_NK: Tensor, weight_NK: Tensor) -> Tensor:
        """The weighted sum over a token's classes, [N, D]."""
        sizes = (self.config.hidden_size, self.config.expert_size)
        kernel = choose_kernel(self.kernel, x_ND.device, compute_type(x_ND), sizes)
        sorting = sort_by_expert(class_NK, self.config.num_experts, kernel, self._bound(*class_NK.shape))
        y_NKD = self.experts(x_ND, sorting) * weight_NK[:, :, None]
        y_ND: Tensor = y_NKD.squeeze(1) if y_NKD.shape[1] == 1 else y_NKD.sum(dim=1)
        if isinstance(self.config.moe, ZeroComputationMoE):
            y_ND = y_ND + self.zero_computation(x_ND, class_NK, weight_NK)
        if self.skip_identity:
            skip = self.config.num_experts
            return torch.addcmul(y_ND, wide(x_ND), class_weights(class_NK, weight_NK, skip, skip + 1))
        return y_ND

    def _drop(self, class_NK: Tensor, counts_C: Tensor) -> tuple[Tensor, Tensor]:
        """The classes, those beyond capacity replaced by none, and the number dropped of each."""
        if self.capacity is None or not self.training:
            return class_NK, torch.zeros_like(counts_C)
        limit_C = limits(self.capacity, shares(self.config), counts_C.sum())
        kept_NK = within_capacity(class_NK, limit_C)
        return class_NK.masked_fill(~kept_NK, self.config.num_classes), (counts_C - limit_C).clamp(min=0)

    def _bound(self, tokens: int, top_k: int) -> int:
        """The most assignments that the experts can get from so many tokens."""
        most = tokens * min(top_k, self.config.num_experts)
        if self.capacity is None or not self.training:
            return most
        share = shares(self.config)[0]
        return min(most, self.config.num_experts * math.ceil(self.capacity * share * tokens * top_k))

    def _balance(self, probability_BTC: Tensor, counts_C: Tensor, padding_BT: Tensor) -> Tensor:
        """The auxiliary loss over this micro-batch."""
        moe = self.config.moe
        weight = moe.balance_weight if isinstance(moe, LinearMoE | ZeroComputationMoE) else 0.0
        if not weight:
            return probability_BTC.new_zeros(())
        tokens = (~padding_BT).sum().clamp(min=1)
        mean_C = probability_BTC.masked_fill(padding_BT[:, :, None], 0.0).sum(dim=(0, 1)) / tokens
        factor_C = torch.full_like(mean_C, self.config.num_experts / self.gate.top_k)
        if isinstance(moe, ZeroComputationMoE):
            factor_C = torch.ones_like(mean_C)
            factor_C[self.config.num_experts :] = moe.tau
        return weight * (factor_C * (counts_C.to(mean_C.dtype) / tokens) * mean_C).sum()


def router(config: ModelConfig, layer: int) -> Router:
    """The router of the config's kind."""
    moe = config.moe
    if isinstance(moe, ZayaMoE) or (isinstance(moe, ZeroComputationMoE) and moe.router == "zaya"):
        return ZayaRouter(config, layer)
    return LinearRouter(config, layer)
