"""Grouped-query attention (Ainslie et al., arXiv 2305.13245), as a baseline for CCA.

Same heads, same partial rotary embeddings and same kernels, so that a difference between two runs is that of CCA's own
parts: no convolution, mean, shift, norm or temperature. Costs hidden_size x head_dim x 2 (num_heads + num_kv_heads)
multiplications a token and layer beside the product itself.
"""

import torch
from torch import Tensor, nn

from .attend import attend
from .cache import LayerCache
from .cca import CCA
from .config import ModelConfig
from .layout import Layout, rotate
from .products import Linear


class GQA(nn.Module):
    """Plain projections, rotary embeddings, softmax attention."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.config = config
        self.sliding = layer in config.sliding_layers
        hidden, d = config.hidden_size, config.head_dim
        self.q_proj = Linear(hidden, config.num_heads * d, bias=False)
        self.k_proj = Linear(hidden, config.num_kv_heads * d, bias=False)
        self.v_proj = Linear(hidden, config.num_kv_heads * d, bias=False)
        self.o_proj = Linear(config.num_heads * d, hidden, bias=False)

    def forward(self, x_BTD: Tensor, layout: Layout, cached: LayerCache | None) -> Tensor:
        """[B, T, D] in and out, in the compute type; rotary embeddings in float32."""
        B, T, _ = x_BTD.shape
        d, view = self.config.head_dim, layout.views[self.sliding]
        heads_BTGd = torch.cat([self.q_proj(x_BTD), self.k_proj(x_BTD)], dim=-1).view(B, T, -1, d)
        values_BKSd = self.v_proj(x_BTD).view(B, T, -1, d).transpose(1, 2)
        heads_BGTd = rotate(heads_BTGd.float(), view).to(values_BKSd.dtype).transpose(1, 2)
        queries_BHTd, keys_BKSd = torch.split(heads_BGTd, [self.config.num_heads, self.config.num_kv_heads], dim=1)
        if cached is not None:
            keys_BKSd, values_BKSd = cached.append(layout.offset, view.first_key, keys_BKSd, values_BKSd)
        attended_BHTd = attend(queries_BHTd, keys_BKSd, values_BKSd, view.mask)
        output_BTD: Tensor = self.o_proj(attended_BHTd.transpose(1, 2).reshape(B, T, -1).to(x_BTD.dtype))
        return output_BTD


def attention(config: ModelConfig, layer: int) -> CCA | GQA:
    """The attention of a layer, numbered from 0."""
    return CCA(config, layer) if config.attention == "cca" else GQA(config, layer)
