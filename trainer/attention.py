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


def lay_out(
    positions_BT: Tensor, segments_BT: Tensor, rotary_dim: int, theta: float, cache: Cache | None
) -> Layout:
    """Rotary tables, attention mask and segment starts of a batch; notes the segments in the cache.

    Raises:
        RunError: the cache cannot take the batch (`Cache.extend`).
    """
    cos_BT1R, sin_BT1R = rotary_tables(positions_BT, rotary_dim, theta)
    offset = cache.length if cache else 0
    starts_BT = segment_starts(segments_BT, cache.last_segment_B if cache and offset else None)
    key_segments_BS = cache.extend(segments_BT) if cache else segments_BT
    mask_B1TS = attention_mask(segments_BT, key_segments_BS, offset)
    return Layout(cos_BT1R, sin_BT1R, mask_B1TS, starts_BT, segments_BT == PADDING, offset)


def rotary_tables(positions_BT: Tensor, rotary_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosine and sine, float32 [B, T, 1, rotary_dim / 2], of position x theta^(-2i / rotary_dim) (arXiv 2104.09864)."""
    exponents_R = torch.arange(0, rotary_dim, 2, dtype=torch.float32, device=positions_BT.device) / rotary_dim
    angles_BT1R = positions_BT[:, :, None, None].float() * (1.0 / theta**exponents_R)
    return angles_BT1R.cos(), angles_BT1R.sin()


def segment_starts(segments_BT: Tensor, before_B: Tensor | None) -> Tensor:
    """True, [B, T], where a token is the first of its segment; `before_B` is the segment of the token before the row."""
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


def shift_within_segments(x_BTC: Tensor, starts_BT: Tensor, before_BC: Tensor | None, first_C: Tensor) -> Tensor:
    """x of the token before, [B, T, C]: `first_C` at the start of a segment, `before_BC` for the first token if it is none."""
    if before_BC is None:
        before_BC = first_C.expand(x_BTC.shape[0], -1)
    previous_BTC = torch.cat([before_BC[:, None].to(x_BTC.dtype), x_BTC[:, :-1]], dim=1)
    return torch.where(starts_BT[:, :, None], first_C.to(x_BTC.dtype), previous_BTC)
