"""Softmax attention over queries, keys and values that stand ready: one interface, four kernels.

Every kind of attention ends in the same product, and which kernel is fastest depends on the device and on the mask:
torch's fused product (`sdpa`), plain matrix products (`eager`), and two that pass over what the mask hides: flex
attention on a GPU (`flex`), our own tiles on a CPU (`tiled`). Costs B x H x T x S x 2d multiplications where nothing is
passed over, twice that backward.
"""

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from ...errors import ConfigError
from . import masks
from .config import ModelConfig
from .tiles import QUERIES, Tile, attend_in_tiles, tiles

Kernel = Literal["sdpa", "eager", "flex", "tiled"]

FLEX_HEAD_DIM = 16
"""Channels of a head that flex attention needs on a GPU, at least."""

TILED_THREADS = 4
"""Threads up to which tiled attention is taken: torch's fused product shares its work among many better."""


@dataclass(frozen=True)
class Fused:
    """For sdpa: what is added to the scores, in the type of queries and keys; None is plain causal attention."""

    additive_B1TS: Tensor | None


@dataclass(frozen=True)
class Plain:
    """For eager: what is added to the scores."""

    additive_B1TS: Tensor


@dataclass(frozen=True)
class Blocked:
    """For flex attention: which blocks of keys each block of queries looks at."""

    blocks: BlockMask


@dataclass(frozen=True)
class Tiled:
    """For tiled attention: which keys each tile of queries looks at."""

    tiles: tuple[Tile, ...]


Mask = Fused | Plain | Blocked | Tiled


def choose_kernel(
    asked: str, device: str, dtype: torch.dtype, config: ModelConfig, tokens: int, cached: bool
) -> Kernel:
    """The kernel of a forward pass, `auto` being the fastest that the device has.

    With a cache flex and tiled attention give way to sdpa: the lengths change with every token, and few are new. So
    does flex on a GPU where a row is shorter than one of its blocks. `auto` takes flex in half precision alone:
    float32 tiles of large heads do not fit a GPU's shared memory.

    Args:
        asked: `kernels.attention` of the run.
        device: type of the device.
        dtype: the compute type.
        tokens: length of the rows.

    Raises:
        ConfigError: flex attention where a gradient is wanted on a CPU, for which torch has none; heads that are too
            small for it on a GPU; tiled attention elsewhere than in float32 on a CPU.
    """
    cpu, small = device == "cpu", config.head_dim < FLEX_HEAD_DIM
    if asked == "sdpa" or asked == "eager":
        return "sdpa" if asked == "sdpa" else "eager"
    if asked == "flex":
        _require_flex(cpu, config.head_dim)
    if asked == "tiled" and not (cpu and dtype == torch.float32):
        raise ConfigError(
            "tiled attention is for float32 on a CPU",
            where="kernels.attention",
            seen=f"tiled, in {dtype} on {device}",
            fix="kernels: {attention: auto}",
        )
    if cached or (asked == "flex" and not cpu and tokens < masks.BLOCK):
        return "sdpa"
    if asked == "auto" and cpu:
        tiled = dtype == torch.float32 and tokens >= 4 * QUERIES and torch.get_num_threads() <= TILED_THREADS
        return "tiled" if tiled else "sdpa"
    if asked == "auto":
        flexible = device == "cuda" and dtype != torch.float32 and not small and tokens >= masks.BLOCK
        return "flex" if flexible else "sdpa"
    return "flex" if asked == "flex" else "tiled"


def _require_flex(cpu: bool, head_dim: int) -> None:
    """ConfigError where torch's flex attention cannot do it."""
    if not cpu and head_dim < FLEX_HEAD_DIM:
        raise ConfigError(
            "flex attention needs larger heads on a GPU",
            where="kernels.attention",
            seen=f"flex, with head_dim {head_dim}",
            expected=f"head_dim {FLEX_HEAD_DIM} or more",
            fix="kernels: {attention: sdpa}",
        )
    if cpu and torch.is_grad_enabled():
        raise ConfigError(
            "flex attention has no gradient on a CPU",
            where="kernels.attention",
            seen="flex, with gradients, on a CPU",
            expected="another kernel where a CPU trains",
            fix="kernels: {attention: auto}, or call the model under torch.no_grad()",
        )


def make_mask(
    kernel: Kernel, runs_BS: Tensor, queries: int, window: int | None, causal: bool, dtype: torch.dtype
) -> Mask:
    """The mask of the last `queries` of S tokens.

    Args:
        runs_BS: `masks.run_numbers` of all S tokens.
        window: how many tokens a token sees, itself included; None for all.
        causal: every row is one segment (`masks.is_causal`).
        dtype: type of the scores' operands, which the sdpa kernel wants of the mask too.
    """
    if window is not None and window >= runs_BS.shape[1]:
        window = None
    if kernel == "flex":
        return Blocked(masks.blocks(runs_BS, window))
    if kernel == "tiled":
        return Tiled(tiles(runs_BS, window))
    if causal and kernel == "sdpa" and window is None and queries == runs_BS.shape[1]:
        return Fused(None)
    # One row stands for all where they are alike.
    runs_BS = torch.ones_like(runs_BS[:1]) if causal else runs_BS
    additive_B1TS = masks.additive(masks.visible(runs_BS, queries, window), dtype)
    return Plain(additive_B1TS) if kernel == "eager" else Fused(additive_B1TS)


def attend(queries_BHTd: Tensor, keys_BKSd: Tensor, values_BKSd: Tensor, mask: Mask) -> Tensor:
    """Masked softmax attention, scale 1 / sqrt(d), each key head serving H / K query heads; [B, H, T, d].

    All are taken in the type of the values, and so is the result; scores and softmax are float32 within every kernel.
    """
    dtype = values_BKSd.dtype
    queries_BHTd, keys_BKSd = queries_BHTd.to(dtype), keys_BKSd.to(dtype)
    if isinstance(mask, Plain):
        return _eager(queries_BHTd, keys_BKSd, values_BKSd, mask.additive_B1TS)
    if isinstance(mask, Blocked):
        return _flex(queries_BHTd.device.type)(queries_BHTd, keys_BKSd, values_BKSd, mask.blocks)
    if isinstance(mask, Tiled):
        return attend_in_tiles(queries_BHTd, keys_BKSd, values_BKSd, mask.tiles)
    return _sdpa(queries_BHTd, keys_BKSd, values_BKSd, mask.additive_B1TS)


def _sdpa(queries_BHTd: Tensor, keys_BKSd: Tensor, values_BKSd: Tensor, additive_B1TS: Tensor | None) -> Tensor:
    # On a GPU the fused kernel without a mask groups queries itself, in half precision; those with a mask do not, and
    # torch would fall back to an unfused one.
    groups = queries_BHTd.device.type == "cpu" or (additive_B1TS is None and queries_BHTd.dtype != torch.float32)
    if not groups:
        repeats = queries_BHTd.shape[1] // keys_BKSd.shape[1]
        keys_BKSd = keys_BKSd.repeat_interleave(repeats, dim=1)
        values_BKSd = values_BKSd.repeat_interleave(repeats, dim=1)
    if additive_B1TS is not None:
        additive_B1TS = additive_B1TS.to(queries_BHTd.dtype)
    return F.scaled_dot_product_attention(
        queries_BHTd,
        keys_BKSd,
        values_BKSd,
        attn_mask=additive_B1TS,
        is_causal=additive_B1TS is None,
        enable_gqa=groups,
    )


def _eager(queries_BHTd: Tensor, keys_BKSd: Tensor, values_BKSd: Tensor, additive_B1TS: Tensor) -> Tensor:
    """Float32 throughout, also under autocast. The queries of a key head are rows of one product."""
    B, H, T, d = queries_BHTd.shape
    K, S = keys_BKSd.shape[1:3]
    with torch.autocast(queries_BHTd.device.type, enabled=False):
        queries_BKNd = queries_BHTd.reshape(B, K, (H // K) * T, d).float() * d**-0.5
        scores_BHTS = (queries_BKNd @ keys_BKSd.float().transpose(-1, -2)).view(B, H, T, S)
        weights_BHTS = (scores_BHTS + additive_B1TS.float()).softmax(dim=-1)
        attended_BKNd = weights_BHTS.view(B, K, -1, S) @ values_BKSd.float()
    attended_BHTd: Tensor = attended_BKNd.view(B, H, T, d).to(values_BKSd.dtype)
    return attended_BHTd


@functools.cache
def _flex(device: str) -> Callable[[Tensor, Tensor, Tensor, BlockMask | None], Tensor]:
    """Flex attention: compiled on a GPU; unfused on a CPU, where it is there to be compared."""

    def plain(queries_BHTd: Tensor, keys_BKSd: Tensor, values_BKSd: Tensor, blocks: BlockMask | None) -> Tensor:
        attended: Tensor = flex_attention(queries_BHTd, keys_BKSd, values_BKSd, block_mask=blocks, enable_gqa=True)
        return attended

    if device != "cpu":
        compiled: Callable[[Tensor, Tensor, Tensor, BlockMask | None], Tensor] = torch.compile(plain)
        return compiled

    def unfused(queries_BHTd: Tensor, keys_BKSd: Tensor, values_BKSd: Tensor, blocks: BlockMask | None) -> Tensor:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="flex_attention called without torch.compile")
            return plain(queries_BHTd, keys_BKSd, values_BKSd, blocks)

    return unfused
