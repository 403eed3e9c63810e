"""One block of MoE++: attention and experts, each merged into a float32 residual stream by learned scaling.

The residual stream stays float32 because forty blocks of bfloat16 additions lose the small updates (`residual_in_fp32`
of ZAYA1). Costs 8 x hidden_size parameters a block for the scaling and 4 bytes a number for the stream.
"""

import torch
from torch import Tensor, nn

from .cache import LayerCache
from .config import Kernels, ModelConfig
from .gqa import attention
from .layout import Layout
from .moe import moe_layer
from .norm import RMSNorm
from .residual import scaled_sum
from .routing import LayerRouted


class ResidualScale(nn.Module):
    """(y + bias) * scale of a layer's output plus the same of the residual, each with its own vectors."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.hidden_states_scale = nn.Parameter(torch.ones(hidden_size))
        self.hidden_states_bias = nn.Parameter(torch.zeros(hidden_size))
        self.residual_scale = nn.Parameter(torch.ones(hidden_size))
        self.residual_bias = nn.Parameter(torch.zeros(hidden_size))

    def forward(self, y_BTD: Tensor, residual_BTD: Tensor) -> Tensor:
        """The new residual, float32 [B, T, D]."""
        scale_D, residual_scale_D = self.hidden_states_scale.float(), self.residual_scale.float()
        # Both biases in one vector: one pass over the tokens fewer, and one reduction fewer backward.
        bias_D = self.hidden_states_bias.float() * scale_D + self.residual_bias.float() * residual_scale_D
        return scaled_sum(y_BTD.float(), scale_D, residual_BTD, residual_scale_D, bias_D)


class Block(nn.Module):
    """Attention, then experts (arXiv 2605.05365, section II); one of the paper's pairs of sublayers."""

    def __init__(self, config: ModelConfig, layer: int, kernels: Kernels) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.norm_eps)
        self.self_attn = attention(config, layer)
        self.post_attention_residual_scale = ResidualScale(config.hidden_size)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.norm_eps)
        self.mlp = moe_layer(config, layer, kernels)
        self.post_mlp_residual_scale = ResidualScale(config.hidden_size)

    def forward(
        self, h_BTD: Tensor, state_BTS: Tensor | None, layout: Layout, cached: LayerCache | None
    ) -> tuple[Tensor, Tensor | None, LayerRouted]:
        """New residual stream (float32), router state for the next block, and what this one's router did.

        A wrapper that recomputes or distributes blocks has to carry both h and the router state.
        """
        y_BTD = self.self_attn(self.input_layernorm(h_BTD), layout, cached)
        h_BTD = self.post_attention_residual_scale(y_BTD, h_BTD)
        y_BTD, state_BTS, routed = self.mlp(self.post_attention_layernorm(h_BTD), state_BTS, layout.padding_BT)
        return self.post_mlp_residual_scale(y_BTD, h_BTD), state_BTS, routed
