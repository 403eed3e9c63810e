"""The ZAYA1 router: a small MLP in a latent space that layers share by exponential depth averaging (EDA).

Selection and weight are apart: balancing biases move the selection only, the unbiased probability weighs the expert and
is the one path by which the router learns. Costs hidden_size x router_size + 2 x router_size^2 multiplications a token
and layer.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .norm import RMSNorm
from .presets import ModelConfig

SKIP_BIAS = -1.0
"""Balancing bias of the skip class at the start, on the scale of probabilities: it is then practically never chosen."""


@dataclass(frozen=True)
class Routing:
    """Each token's class (int64, num_experts is the skip class), its probability (float32), and the state passed on."""

    class_BT: Tensor
    weight_BT: Tensor
    state_BTR: Tensor


class RouterMLP(nn.Module):
    """Norm, two GELU layers of the router's width, and one logit per class."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        size = config.router_size
        self.norm = RMSNorm(size, config.norm_eps)
        self.fc1 = nn.Linear(size, size)
        self.fc2 = nn.Linear(size, size)
        self.out_proj = nn.Linear(size, config.num_experts + 1, bias=False)

    def forward(self, state_BTR: Tensor) -> Tensor:
        """Logits [B, T, num_experts + 1]."""
        hidden_BTR = F.gelu(self.fc1(self.norm(state_BTR)))
        hidden_BTR = F.gelu(self.fc2(hidden_BTR))
        logits_BTE: Tensor = self.out_proj(hidden_BTR)
        return logits_BTE


class Router(nn.Module):
    """Chooses one class of num_experts + 1 for every token (arXiv 2605.05365, section II).

    `balancing_biases` is a float32 buffer that the trainer moves in place; it stays float32 when the model is cast,
    since bfloat16 rounds -1 + 0.001 back to -1.
    """

    balancing_biases: Tensor

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.num_experts = config.num_experts
        self.may_skip = config.skip_mode != "off"
        self.down_proj = nn.Linear(config.hidden_size, config.router_size)
        if layer:
            self.router_states_scale = nn.Parameter(torch.ones(config.router_size))
        self.router_mlp = RouterMLP(config)
        self.register_buffer("balancing_biases", torch.zeros(config.num_experts + 1, dtype=torch.float32))
        self.reset_biases()

    def reset_biases(self) -> None:
        """Zero for the experts, -1 for the skip class."""
        self.balancing_biases.zero_()
        self.balancing_biases[-1] = SKIP_BIAS

    def forward(self, x_BTD: Tensor, before_BTR: Tensor | None) -> Routing:
        """Routes x; `before_BTR` is the state of the layer above, None in the first. Softmax in float32."""
        state_BTR = self.down_proj(x_BTD)
        if before_BTR is not None:
            state_BTR = state_BTR + before_BTR * self.router_states_scale
        probability_BTE = self.router_mlp(state_BTR).float().softmax(dim=-1)
        scores_BTE = probability_BTE.detach() + self.balancing_biases
        class_BT = scores_BTE[..., : self.num_experts + self.may_skip].argmax(dim=-1)
        weight_BT = probability_BTE.gather(-1, class_BT[..., None]).squeeze(-1)
        return Routing(class_BT, weight_BT, state_BTR)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Router":
        biases = self.balancing_biases
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.balancing_biases.dtype != torch.float32:
            self.balancing_biases = biases.to(self.balancing_biases.device)
        return self
