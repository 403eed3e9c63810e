"""Compressed convolutional attention (CCA) with packed documents kept apart.

Queries and keys are mixed over three tokens before attention and half of the values come from the token before, so a
document that shares a row with others has to be cut off in four places, not only in the attention mask (arXiv
2510.04476; the public implementations leak here). Costs 2 x conv_channels x head_dim multiplications a token and layer
beyond grouped-query attention.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attend import attend
from .cache import History, LayerCache
from .config import CONV_KERNEL, ModelConfig
from .convolution import depthwise_pairs
from .heads import finished_heads
from .layout import Layout, View, rotate
from .pointwise import fuses
from .products import Linear, linear, stacked_linear


def shift_within_segments(x_BTC: Tensor, starts_BT: Tensor, before_BC: Tensor | None) -> Tensor:
    """x of the token before, [B, T, C], and zero where a segment starts.

    `before_BC` is what stands before the first token of a row that goes on from a cache. Without one, every first token
    starts a segment.
    """
    if before_BC is None:
        shifted_BTC = x_BTC.roll(1, dims=1)  # what comes round from the end stands at a start, and is zeroed
    else:
        shifted_BTC = torch.cat([before_BC[:, None].to(x_BTC.dtype), x_BTC[:, :-1]], dim=1)
    return shifted_BTC.masked_fill(starts_BT[:, :, None], 0.0)


def depthwise_history(conv_input_BTC: Tensor, starts_BT: Tensor, history: History | None) -> Tensor:
    """What the depthwise convolution sees of the token before, [B, T, C]."""
    return shift_within_segments(conv_input_BTC, starts_BT, history.conv_input_BC if history else None)


def grouped_history(depthwise_BTC: Tensor, starts_BT: Tensor, history: History | None) -> Tensor:
    """What the grouped convolution sees of the token before, [B, T, C], the depthwise bias apart."""
    return shift_within_segments(depthwise_BTC, starts_BT, history.depthwise_output_BC if history else None)


def value_history(delayed_BTV: Tensor, starts_BT: Tensor, history: History | None) -> Tensor:
    """The delayed half of the values, [B, T, V]: each token's comes from the token before."""
    return shift_within_segments(delayed_BTV, starts_BT, history.delayed_value_BV if history else None)


class ConvWeights(nn.Module):
    """Weight [C, inputs, kernel] and bias [C] of one convolution over time, as nn.Conv1d has them."""

    def __init__(self, channels: int, inputs: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, inputs, kernel))
        self.bias = nn.Parameter(torch.zeros(channels))


class CCAProjection(nn.Module):
    """Queries, keys and values of CCA before normalization (arXiv 2510.04476, section 3)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        hidden, channels = config.hidden_size, config.conv_channels
        self.q_proj = Linear(hidden, config.num_heads * config.head_dim, bias=False)
        self.k_proj = Linear(hidden, config.num_kv_heads * config.head_dim, bias=False)
        self.v_proj_current = Linear(hidden, config.value_half, bias=False)
        self.v_proj_delayed = Linear(hidden, config.value_half, bias=False)
        self.conv_qk_depthwise = ConvWeights(channels, 1, CONV_KERNEL[0])
        self.conv_qk_grouped = ConvWeights(channels, config.head_dim, CONV_KERNEL[1])

    def forward(self, x_BTD: Tensor, starts_BT: Tensor, history: History | None) -> tuple[Tensor, Tensor]:
        """Queries and keys of all heads, float32 [B, T, num_heads + num_kv_heads, d], and values [B, T, K, d]."""
        B, T, _ = x_BTD.shape
        d = self.config.head_dim
        conv_input_BTC = torch.cat([self.q_proj(x_BTD), self.k_proj(x_BTD)], dim=-1)
        mixed_BTC = self._convolve(conv_input_BTC, starts_BT, history)
        mean_BTGd = self._query_key_mean(conv_input_BTC.view(B, T, -1, d).float())
        delayed_BTV = self.v_proj_delayed(x_BTD)
        shifted_BTV = value_history(delayed_BTV, starts_BT, history)
        if history is not None:
            history.delayed_value_BV.copy_(delayed_BTV[:, -1])
        values_BTV = torch.cat([self.v_proj_current(x_BTD), shifted_BTV], dim=-1)
        return mixed_BTC.view(B, T, -1, d) + mean_BTGd, values_BTV.view(B, T, -1, d)

    def fused(self, x_BTD: Tensor, starts_BT: Tensor, temp_K: Tensor, view: View) -> tuple[Tensor, Tensor]:
        """Queries and keys that are normed and turned, [B, num_heads + num_kv_heads, T, d], and values [B, T, K, d].

        What `forward`, QKNorm and `rotate` do without a cache, by kernels of the CPU.
        """
        B, T, _ = x_BTD.shape
        d, C, V = self.config.head_dim, self.config.conv_channels, self.config.value_half
        weight = [self.q_proj.weight, self.k_proj.weight, self.v_proj_current.weight, self.v_proj_delayed.weight]
        conv_input_BTC, current_BTV, delayed_BTV = torch.split(linear(x_BTD, torch.cat(weight)), [C, V, V], dim=-1)
        conv_input_NC, starts_N = conv_input_BTC.flatten(0, 1).contiguous(), starts_BT.flatten()
        pairs_GNe = depthwise_pairs(conv_input_NC, self.conv_qk_depthwise.weight[:, 0], starts_N, C // d)
        weight_Gde, bias_C = self._grouped()
        mixed_GNd = stacked_linear(pairs_GNe, weight_Gde)
        tables = view.cos_BT1R.flatten(0, 2), view.sin_BT1R.flatten(0, 2)
        heads_BGTd = finished_heads(mixed_GNd, conv_input_NC, bias_C, temp_K, *tables, B)
        values_BTV = torch.cat([current_BTV, value_history(delayed_BTV, starts_BT, None)], dim=-1)
        return heads_BGTd, values_BTV.view(B, T, -1, d)

    def _grouped(self) -> tuple[Tensor, Tensor]:
        """The grouped convolution: weight [G, d, 2d], columns of the token before, then of the token; bias [C]."""
        d = self.config.head_dim
        first, second = self.conv_qk_depthwise, self.conv_qk_grouped
        weight_Gd2d = second.weight.view(-1, d, d, 2).permute(0, 1, 3, 2)
        bias_C = (weight_Gd2d.sum(dim=2) @ first.bias.view(-1, d, 1)).flatten() + second.bias
        return weight_Gd2d.reshape(-1, d, 2 * d), bias_C

    def _convolve(self, conv_input_BTC: Tensor, starts_BT: Tensor, history: History | None) -> Tensor:
        """Depthwise, then per-head convolution, each over two tokens, nothing between.

        The depthwise bias b is carried over the second convolution: W0 (v + b) + W1 (v' + b) = W0 v + W1 v' +
        (W0 + W1) b. The history of a segment's first token, a convolution of zeros, is then zero in both.
        """
        B, T, C = conv_input_BTC.shape
        d = self.config.head_dim
        before_BTC = depthwise_history(conv_input_BTC, starts_BT, history)
        first = self.conv_qk_depthwise
        depthwise_BTC = torch.addcmul(conv_input_BTC * first.weight[:, 0, 1], before_BTC, first.weight[:, 0, 0])
        before_u_BTC = grouped_history(depthwise_BTC, starts_BT, history)
        if history is not None:
            history.conv_input_BC.copy_(conv_input_BTC[:, -1])
            history.depthwise_output_BC.copy_(depthwise_BTC[:, -1])
        pairs_BTGe = torch.cat([before_u_BTC.view(B, T, -1, d), depthwise_BTC.view(B, T, -1, d)], dim=-1)
        weight_Gde, bias_C = self._grouped()
        mixed_GNd = torch.bmm(pairs_BTGe.flatten(0, 1).transpose(0, 1), weight_Gde.mT)
        return mixed_GNd.transpose(0, 1).reshape(B, T, C) + bias_C

    def _query_key_mean(self, heads_BTGd: Tensor) -> Tensor:
        """The mean of each query and its key before the convolutions, and its mean over a key's queries."""
        B, T, _, d = heads_BTGd.shape
        H, K = self.config.num_heads, self.config.num_kv_heads
        queries_BTHd, keys_BTKd = torch.split(heads_BTGd, [H, K], dim=2)
        means_BTKgd = (queries_BTHd.view(B, T, K, H // K, d) + keys_BTKd[:, :, :, None]) * 0.5
        return torch.cat([means_BTKgd.view(B, T, H, d), means_BTKgd.mean(dim=3)], dim=2)


class QKNorm(nn.Module):
    """Scales queries and keys to length sqrt(d), and keys by one learned temperature per key head (linear)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.temp = nn.Parameter(torch.ones(config.num_kv_heads))

    def forward(self, heads_BTGd: Tensor) -> Tensor:
        """Float32 [B, T, num_heads + num_kv_heads, d] in and out."""
        eps = torch.finfo(torch.float32).eps
        squares_BTG1 = heads_BTGd.square().sum(dim=-1, keepdim=True)
        temp_G1 = F.pad(self.temp.float(), (self.num_heads, 0), value=1.0)[:, None]
        scale_BTG1 = squares_BTG1.clamp_min(eps * eps).rsqrt() * (math.sqrt(heads_BTGd.shape[-1]) * temp_G1)
        return heads_BTGd * scale_BTG1


class CCA(nn.Module):
    """Compressed convolutional attention with grouped queries (CCGQA)."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.config = config
        self.sliding = layer in config.sliding_layers
        self.qkv_proj = CCAProjection(config)
        self.qk_norm = QKNorm(config)
        self.o_proj = Linear(config.num_heads * config.head_dim, config.hidden_size, bias=False)

    def forward(self, x_BTD: Tensor, layout: Layout, cached: LayerCache | None) -> Tensor:
        """[B, T, D] in and out, in the compute type; norms and rotary embeddings in float32 between."""
        B, T, _ = x_BTD.shape
        view = layout.views[self.sliding]
        if cached is None and fuses(x_BTD) and not torch.is_autocast_enabled(x_BTD.device.type):
            heads_BGTd, values_BTKd = self.qkv_proj.fused(x_BTD, layout.starts_BT, self.qk_norm.temp, view)
        else:
            heads_BTGd, values_BTKd = self.qkv_proj(x_BTD, layout.starts_BT, cached.history if cached else None)
            heads_BGTd = rotate(self.qk_norm(heads_BTGd), view).to(values_BTKd.dtype).transpose(1, 2)
        queries_BHTd, keys_BKSd = torch.split(heads_BGTd, [self.config.num_heads, self.config.num_kv_heads], dim=1)
        values_BKSd = values_BTKd.transpose(1, 2)
        if cached is not None:
            keys_BKSd, values_BKSd = cached.append(layout.offset, view.first_key, keys_BKSd, values_BKSd)
        attended_BHTd = attend(queries_BHTd, keys_BKSd, values_BKSd, view.mask)
        output_BTD: Tensor = self.o_proj(attended_BHTd.transpose(1, 2).reshape(B, T, -1).to(x_BTD.dtype))
        return output_BTD
