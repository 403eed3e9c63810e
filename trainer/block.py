"""One block of MoE++: attention and experts, each merged into a float32 residual stream by learned scaling.

The residual stream stays float32 because forty blocks of bfloat16 additions lose the small updates (`residual_in_fp32`
of ZAYA1). Costs 8 x hidden_size parameters a block for the scaling and 4 bytes a number for the stream.
"""

import torch
from torch import Tensor, nn

from .attention import CCA, Layout
from .cache import LayerCache
from .experts import Experts
from .norm import RMSNorm
from .presets import ModelConfig
from .router import Router


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
        return torch.addcmul(torch.addcmul(bias_D, y_BTD.float(), scale_D), residual_BTD, residual_scale_D)


class MoE(nn.Module):
    """Router and experts: every token goes through the one expert that its router chooses, or none."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.num_experts = config.num_experts
        self.skip_identity = config.skip_mode == "identity"
        self.gate = Router(config, layer)
        self.experts = Experts(config)

    def forward(self, x_BTD: Tensor, state_BTR: Tensor | None, padding_BT: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Output [B, T, D] (float32), router state [B, T, R], tokens per class [num_experts + 1] (int64).

        Padding is computed by no expert and counted in no class.
        """
        routing = self.gate(x_BTD, state_BTR)
        class_N = routing.class_BT.masked_fill(padding_BT, self.num_experts + 1).flatten()
        classes_C = torch.arange(self.num_experts + 1, device=class_N.device)
        counts_C = (class_N[:, None] == classes_C).sum(dim=0)
        y_ND = self.experts(x_BTD.flatten(0, 1), class_N, counts_C[:-1].tolist())
        if self.skip_identity:
            y_ND = torch.where((class_N == self.num_experts)[:, None], x_BTD.flatten(0, 1), y_ND)
        return y_ND.view_as(x_BTD) * routing.weight_BT[:, :, None], routing.state_BTR, counts_C


class Block(nn.Module):
    """Attention, then experts (arXiv 2605.05365, section II); one of the paper's pairs of sublayers."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.norm_eps)
        self.self_attn = CCA(config)
        self.post_attention_residual_scale = ResidualScale(config.hidden_size)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.norm_eps)
        self.mlp = MoE(config, layer)
        self.post_mlp_residual_scale = ResidualScale(config.hidden_size)

    def forward(
        self, h_BTD: Tensor, state_BTR: Tensor | None, layout: Layout, cached: LayerCache | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """New residual stream (float32), router state for the next block, tokens per class of this one.

        A wrapper that recomputes or distributes blocks has to carry both h and the router state.
        """
        y_BTD = self.self_attn(self.input_layernorm(h_BTD), layout, cached)
        h_BTD = self.post_attention_residual_scale(y_BTD, h_BTD)
        y_BTD, state_BTR, counts_C = self.mlp(self.post_attention_layernorm(h_BTD), state_BTR, layout.padding_BT)
        return self.post_mlp_residual_scale(y_BTD, h_BTD), state_BTR, counts_C
