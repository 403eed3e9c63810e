"""The usual router, one matrix; with Skywork's gating residual where its layer is MoE++ (arXiv 2410.07348, eq. 6).

A baseline for ZAYA1's router, and the router of the published MoE++. Costs hidden_size x classes multiplications a
token and layer, and classes^2 more for the residual.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import ModelConfig, ZeroComputationMoE
from .products import linear
from .routing import Router, wide


class LinearRouter(Router):
    """G(x) = W x, and with the gating residual G(x) = W x + W_g G of the layer above; then G, before softmax, is state.

    `weight` is W [C, D], `residual` W_g [C, C], which the first layer has not. The sum, and so the state, is float32.
    """

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__(config)
        classes = config.num_classes
        self.weight = nn.Parameter(torch.empty(classes, config.hidden_size))
        self.passes_state = isinstance(config.moe, ZeroComputationMoE) and config.moe.gating_residual
        if self.passes_state and layer:
            self.residual = nn.Parameter(torch.empty(classes, classes))

    def logits(self, x_BTD: Tensor, before_BTS: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """As of Router; the state is the logits, None without the gating residual."""
        logits_BTC = wide(linear(x_BTD, self.weight))
        if before_BTS is not None:
            logits_BTC = logits_BTC + F.linear(before_BTS.to(self.residual.dtype), self.residual)
        return logits_BTC, logits_BTC if self.passes_state else None
