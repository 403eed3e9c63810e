"""One SwiGLU network for every token, in the place of router and experts: the dense baseline.

A mixture of experts has to beat a dense model of the same active size, trained by the same code. Costs 3 x hidden_size
x expert_size multiplications a token and layer.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import ModelConfig
from .products import Linear
from .routing import LayerRouted


class DenseFFN(nn.Module):
    """down (silu(gate x) * up x) (Shazeer, arXiv 2002.05202), without biases."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = Linear(config.hidden_size, config.expert_size, bias=False)
        self.up_proj = Linear(config.hidden_size, config.expert_size, bias=False)
        self.down_proj = Linear(config.expert_size, config.hidden_size, bias=False)

    def forward(
        self, x_BTD: Tensor, state_BTS: Tensor | None, padding_BT: Tensor
    ) -> tuple[Tensor, Tensor | None, LayerRouted]:
        """Output [B, T, D] in the compute type, the state as it came, and one class that all tokens chose.

        Padding is computed like any token, and not counted.
        """
        y_BTD: Tensor = self.down_proj(F.silu(self.gate_proj(x_BTD)) * self.up_proj(x_BTD))
        counts_C = (~padding_BT).sum()[None]
        return (
            y_BTD,
            state_BTS,
            LayerRouted(counts_C, torch.zeros_like(counts_C), y_BTD.new_zeros((), dtype=torch.float32)),
        )
