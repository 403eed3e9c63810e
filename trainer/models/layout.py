"""Where the tokens of a forward pass stand: rotary tables, attention masks and the starts of documents.

Documents that share a row must not see each other, and every layer needs the same facts about them, so these are worked
out once, for each of the two kinds of layer that the model has. Costs what `masks.py` says of the kernel's mask.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from . import masks
from .attend import Mask, choose_kernel, make_mask
from .cache import Cache
from .config import ModelConfig

PADDING = -1
"""Segment number of padding."""


@dataclass(frozen=True)
class View:
    """What the layers of one kind share: rotary tables, the first key that a token sees, and the mask from there on."""

    cos_BT1R: Tensor
    sin_BT1R: Tensor
    first_key: int
    mask: Mask


@dataclass(frozen=True)
class Layout:
    """Where the tokens of one forward pass stand; made once, read by every layer.

    `views` holds that of sliding layers under True and that of the others under False, of those kinds that the model
    has. `offset` is the number of cached positions before the first token.
    """

    views: Mapping[bool, View]
    starts_BT: Tensor
    padding_BT: Tensor
    offset: int


def lay_out(
    positions_BT: Tensor,
    segments_BT: Tensor,
    config: ModelConfig,
    *,
    kernel: str = "auto",
    dtype: torch.dtype = torch.float32,
    rope_theta: float | None = None,
    cache: Cache | None = None,
) -> Layout:
    """Rotary tables, attention masks and segment starts of a batch; notes the segments in the cache.

    Args:
        kernel: `kernels.attention` of the run.
        dtype: the compute type (`compute_type`).
        rope_theta: base of layers that see everything, that of the config by default; sliding ones have their own.

    Raises:
        RunError: the cache cannot take the batch (`Cache.extend`).
        ConfigError: the kernel cannot compute this here (`choose_kernel`).
    """
    device, tokens = segments_BT.device.type, segments_BT.shape[1]
    chosen = choose_kernel(kernel, device, dtype, config, tokens, cache is not None)
    segments_BS = cache.extend(segments_BT) if cache else segments_BT
    offset = cache.length if cache else 0
    starts_BS = segment_starts(segments_BS)
    runs_BS = masks.run_numbers(starts_BS)
    causal = chosen in ("sdpa", "eager") and masks.is_causal(starts_BS, segments_BS == PADDING)
    total = segments_BS.shape[1]

    def view(theta: float, window: int | None) -> View:
        first_key = 0 if window is None else max(0, total - tokens - window + 1)
        mask = make_mask(chosen, runs_BS[:, first_key:], tokens, window, causal, dtype)
        return View(*rotary_tables(positions_BT, config.rotary_dim, theta), first_key, mask)

    views = {}
    if len(config.sliding_layers) < config.num_layers:
        views[False] = view(config.rope_theta if rope_theta is None else rope_theta, None)
    if config.sliding_layers:
        views[True] = view(config.sliding_rope_theta, config.sliding_window)
    return Layout(views, starts_BS[:, offset:], segments_BT == PADDING, offset)


def rotary_tables(positions_BT: Tensor, rotary_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosine and sine, float32 [B, T, 1, rotary_dim / 2], of position x theta^(-2i / rotary_dim) (arXiv 2104.09864)."""
    exponents_R = torch.arange(0, rotary_dim, 2, dtype=torch.float32, device=positions_BT.device) / rotary_dim
    angles_BT1R = positions_BT[:, :, None, None].float() * (1.0 / theta**exponents_R)
    return angles_BT1R.cos(), angles_BT1R.sin()


def segment_starts(segments_BS: Tensor) -> Tensor:
    """True, [B, S], where a token is the first of its segment."""
    starts_BS = torch.ones_like(segments_BS, dtype=torch.bool)
    starts_BS[:, 1:] = segments_BS[:, 1:] != segments_BS[:, :-1]
    return starts_BS


def rotate(heads_BTGd: Tensor, view: View) -> Tensor:
    """Turns the first rotary_dim channels of every head, half against half; the rest pass."""
    half = view.cos_BT1R.shape[-1]
    cos, sin = view.cos_BT1R, view.sin_BT1R
    a, b, rest = torch.split(heads_BTGd, [half, half, heads_BTGd.shape[-1] - 2 * half], dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], dim=-1)
