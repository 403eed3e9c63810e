"""The ZAYA1 router: a small MLP in a latent space that layers share by exponential depth averaging (EDA).

An MLP separates tokens that one matrix cannot, and its state, handed down, lets a layer build on the choice of the one
above. Costs hidden_size x router_size + 2 x router_size^2 multiplications a token and layer.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import ModelConfig
from .norm import RMSNorm
from .products import Linear
from .routing import Router


class RouterMLP(nn.Module):
    """Norm, two GELU layers of the router's width, and one logit per class."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        size = config.router_size
        self.norm = RMSNorm(size, config.norm_eps)
        self.fc1 = Linear(size, size)
        self.fc2 = Linear(size, size)
        self.out_proj = Linear(size, config.num_classes, bias=False)

    def forward(self, state_BTR: Tensor) -> Tensor:
        """Logits [B, T, num_classes]."""
        hidden_BTR = F.gelu(self.fc1(self.norm(state_BTR)))
        hidden_BTR = F.gelu(self.fc2(hidden_BTR))
        logits_BTC: Tensor = self.out_proj(hidden_BTR)
        return logits_BTC


class ZayaRouter(Router):
    """An MLP over r = W x + b + scale * r of the layer above (arXiv 2605.05365, section II); r is the state."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__(config)
        self.down_proj = Linear(config.hidden_size, config.router_size)
        if layer:
            self.router_states_scale = nn.Parameter(torch.ones(config.router_size))
        self.router_mlp = RouterMLP(config)

    def logits(self, x_BTD: Tensor, before_BTS: Tensor | None) -> tuple[Tensor, Tensor]:
        """As of Router; the state [B, T, router_size] is in the compute type."""
        state_BTR = self.down_proj(x_BTD)
        if before_BTS is not None:
            state_BTR = state_BTR + before_BTS * self.router_states_scale
        return self.router_mlp(state_BTR), state_BTR
