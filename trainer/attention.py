"""Compressed convolutional attention (CCA) with packed documents kept apart.

Queries and keys are mixed over three tokens before attention and half of the values come from the token before, so a
document that shares a row with others has to be cut off in four places, not only in the attention mask (arXiv
2510.04476; the public implementations leak here). Costs one boolean mask of B x T x S a forward pass, shared by all
layers, and per layer 2 x conv_channels x head_dim multiplications a token beyond grouped-query attention.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .cache import Cache, LayerCache
from .presets import CONV_KERNEL, ModelConfig

PADDING = -1
"""Segment number of padding."""


@dataclass(frozen=True)
class Layout:
    """Where the tokens of one forward pass stand; made once, read by every layer.

    `offset` is the number of cached positions before the first token; S = offset + T.
    """

    cos_BT1R: Tensor
    sin_BT1R: Tensor
    mask_B1TS: Tensor
    starts_BT: Tensor
    padding_BT: Tensor
    offset: int


def lay_out(positions_BT: Tensor, segments_BT: Tensor, rotary_dim: int, theta: float, cache: Cache | None) -> Layout:
    """Rotary tables, attention mask and segment starts of a batch; notes the segments in the cache.

    Raises:
        RunError: the cache cannot take the batch (`Cache.extend`).
    """
    cos_BT1R, sin_BT1R = rotary_tables(positions_BT, rotary_dim, theta)
    offset = cache.length if cache else 0
    key_segments_BS = cache.extend(segments_BT) if cache else segments_BT
    starts_BT = segment_starts(segments_BT, cache.last_segments() if cache else None)
    mask_B1TS = attention_mask(segments_BT, key_segments_BS, offset)
    return Layout(cos_BT1R, sin_BT1R, mask_B1TS, starts_BT, segments_BT == PADDING, offset)


def rotary_tables(positions_BT: Tensor, rotary_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosine and sine, float32 [B, T, 1, rotary_dim / 2], of position x theta^(-2i / rotary_dim) (arXiv 2104.09864)."""
    exponents_R = torch.arange(0, rotary_dim, 2, dtype=torch.float32, device=positions_BT.device) / rotary_dim
    angles_BT1R = positions_BT[:, :, None, None].float() * (1.0 / theta**exponents_R)
    return angles_BT1R.cos(), angles_BT1R.sin()


def segment_starts(segments_BT: Tensor, before_B: Tensor | None) -> Tensor:
    """True, [B, T], where a token is the first of its segment; `before_B` is the segment before the row."""
    starts_BT = torch.ones_like(segments_BT, dtype=torch.bool)
    starts_BT[:, 1:] = segments_BT[:, 1:] != segments_BT[:, :-1]
    if before_B is not None:
        starts_BT[:, 0] = segments_BT[:, 0] != before_B
    return starts_BT


def attention_mask(segments_BT: Tensor, key_segments_BS: Tensor, offset: int) -> Tensor:
    """True, [B, 1, T, S], where query t may see key s: the same segment, and s not after t.

    Every token sees itself, padding too, so no row of the softmax is empty.
    """
    T, S = segments_BT.shape[1], key_segments_BS.shape[1]
    same_BTS = segments_BT[:, :, None] == key_segments_BS[:, None, :]
    causal_TS = torch.ones(T, S, dtype=torch.bool, device=segments_BT.device).tril(offset)
    return (same_BTS & causal_TS)[:, None]


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


def depthwise_history(conv_input_BTC: Tensor, starts_BT: Tensor, cached: LayerCache | None) -> Tensor:
    """What the depthwise convolution sees of the token before, [B, T, C]."""
    return shift_within_segments(conv_input_BTC, starts_BT, cached.conv_input_BC if cached else None)


def grouped_history(depthwise_BTC: Tensor, starts_BT: Tensor, cached: LayerCache | None) -> Tensor:
    """What the grouped convolution sees of the token before, [B, T, C], the depthwise bias apart."""
    return shift_within_segments(depthwise_BTC, starts_BT, cached.depthwise_output_BC if cached else None)


def value_history(delayed_BTV: Tensor, starts_BT: Tensor, cached: LayerCache | None) -> Tensor:
    """The delayed half of the values, [B, T, V]: each token's comes from the token before."""
    return shift_within_segments(delayed_BTV, starts_BT, cached.delayed_value_BV if cached else None)


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
        self.q_proj = nn.Linear(hidden, config.num_heads * config.head_dim, bias=False)
        self.k_proj = nn.Linear(hidden, config.num_kv_heads * config.head_dim, bias=False)
        self.v_proj_current = nn.Linear(hidden, config.value_half, bias=False)
        self.v_proj_delayed = nn.Linear(hidden, config.value_half, bias=False)
        self.conv_qk_depthwise = ConvWeights(channels, 1, CONV_KERNEL[0])
        self.conv_qk_grouped = ConvWeights(channels, config.head_dim, CONV_KERNEL[1])

    def forward(self, x_BTD: Tensor, layout: Layout, cached: LayerCache | None) -> tuple[Tensor, Tensor]:
        """Queries and keys of all heads, float32 [B, T, num_heads + num_kv_heads, d], and values [B, T, K, d]."""
        B, T, _ = x_BTD.shape
        d = self.config.head_dim
        conv_input_BTC = torch.cat([self.q_proj(x_BTD), self.k_proj(x_BTD)], dim=-1)
        mixed_BTC = self._convolve(conv_input_BTC, layout.starts_BT, cached)
        mean_BTGd = self._query_key_mean(conv_input_BTC.view(B, T, -1, d).float())
        delayed_BTV = self.v_proj_delayed(x_BTD)
        shifted_BTV = value_history(delayed_BTV, layout.starts_BT, cached)
        if cached is not None:
            cached.delayed_value_BV.copy_(delayed_BTV[:, -1])
        values_BTV = torch.cat([self.v_proj_current(x_BTD), shifted_BTV], dim=-1)
        return mixed_BTC.view(B, T, -1, d) + mean_BTGd, values_BTV.view(B, T, -1, d)

    def _convolve(self, conv_input_BTC: Tensor, starts_BT: Tensor, cached: LayerCache | None) -> Tensor:
        """Depthwise, then per-head convolution, each over two tokens, nothing between.

        The depthwise bias b is carried over the second convolution: W0 (v + b) + W1 (v' + b) = W0 v + W1 v' +
        (W0 + W1) b. The history of a segment's first token, a convolution of zeros, is then zero in both.
        """
        B, T, C = conv_input_BTC.shape
        d = self.config.head_dim
        before_BTC = depthwise_history(conv_input_BTC, starts_BT, cached)
        first, second = self.conv_qk_depthwise, self.conv_qk_grouped
        depthwise_BTC = torch.addcmul(conv_input_BTC * first.weight[:, 0, 1], before_BTC, first.weight[:, 0, 0])
        before_u_BTC = grouped_history(depthwise_BTC, starts_BT, cached)
        if cached is not None:
            cached.conv_input_BC.copy_(conv_input_BTC[:, -1])
            cached.depthwise_output_BC.copy_(depthwise_BTC[:, -1])
        pairs_BTGe = torch.cat([before_u_BTC.view(B, T, -1, d), depthwise_BTC.view(B, T, -1, d)], dim=-1)
        # [G, 2d, d]: for every head, rows of the token before, then rows of the token itself.
        weight_Ged = second.weight.view(-1, d, d, 2).permute(0, 3, 2, 1).reshape(-1, 2 * d, d)
        bias_Gd = (first.bias.view(-1, 1, d) @ (weight_Ged[:, :d] + weight_Ged[:, d:])).flatten() + second.bias
        mixed_GNd = torch.bmm(pairs_BTGe.flatten(0, 1).transpose(0, 1), weight_Ged)
        return mixed_GNd.transpose(0, 1).reshape(B, T, C) + bias_Gd

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


def rotate(heads_BTGd: Tensor, layout: Layout) -> Tensor:
    """Turns the first rotary_dim channels of every head, half against half; the rest pass."""
    half = layout.cos_BT1R.shape[-1]
    cos, sin = layout.cos_BT1R, layout.sin_BT1R
    a, b, rest = torch.split(heads_BTGd, [half, half, heads_BTGd.shape[-1] - 2 * half], dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], dim=-1)


class CCA(nn.Module):
    """Compressed convolutional attention with grouped queries (CCGQA)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.qkv_proj = CCAProjection(config)
        self.qk_norm = QKNorm(config)
        self.o_proj = nn.Linear(config.num_heads * config.head_dim, config.hidden_size, bias=False)

    def forward(self, x_BTD: Tensor, layout: Layout, cached: LayerCache | None) -> Tensor:
        """[B, T, D] in and out, in the compute type; norms and rotary embeddings in float32 between."""
        B, T, _ = x_BTD.shape
        heads_BTGd, values_BTKd = self.qkv_proj(x_BTD, layout, cached)
        heads_BGTd = rotate(self.qk_norm(heads_BTGd), layout).to(values_BTKd.dtype).transpose(1, 2)
        queries_BHTd, keys_BKSd = torch.split(heads_BGTd, [self.config.num_heads, self.config.num_kv_heads], dim=1)
        values_BKSd = values_BTKd.transpose(1, 2)
        if cached is not None:
            keys_BKSd, values_BKSd = cached.append(layout.offset, keys_BKSd, values_BKSd)
        attended_BHTd = attend(queries_BHTd, keys_BKSd, values_BKSd, layout.mask_B1TS)
        output_BTD: Tensor = self.o_proj(attended_BHTd.transpose(1, 2).reshape(B, T, -1).to(x_BTD.dtype))
        return output_BTD


def attend(queries_BHTd: Tensor, keys_BKSd: Tensor, values_BKSd: Tensor, mask_B1TS: Tensor) -> Tensor:
    """Masked softmax attention, scale 1 / sqrt(d), each key head serving H / K query heads; [B, H, T, d]."""
    on_cpu = queries_BHTd.device.type == "cpu"
    if not on_cpu:
        # The fused CUDA kernels that take a mask do not group queries; without this the unfused one runs.
        groups = queries_BHTd.shape[1] // keys_BKSd.shape[1]
        keys_BKSd = keys_BKSd.repeat_interleave(groups, dim=1)
        values_BKSd = values_BKSd.repeat_interleave(groups, dim=1)
    return F.scaled_dot_product_attention(
        queries_BHTd.to(keys_BKSd.dtype), keys_BKSd, values_BKSd, attn_mask=mask_B1TS, enable_gqa=on_cpu
    )
