"""What a MoE++ model keeps between calls when it generates: keys, values, and one token of history per layer.

Compressed convolutional attention looks two tokens back before attention starts, so keys and values alone do not
continue a sequence: the last input and output of the first convolution and the last delayed value stand beside them.
Costs 2 x num_kv_heads x head_dim numbers per layer and token in the chosen type, and 2 x conv_channels + value_half
float32 numbers per layer and row.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import RunError
from .config import ModelConfig

UNWRITTEN = -2
"""Segment number of a cache position that holds nothing yet; -1 is padding."""


@dataclass
class History:
    """What CCA needs of the token before: input and output of the first convolution, and the delayed value.

    Float32 whatever the compute type (arXiv 2605.05365, section IV-D, keeps this state so), which holds every bfloat16
    number exactly.
    """

    conv_input_BC: Tensor
    depthwise_output_BC: Tensor
    delayed_value_BV: Tensor

    @classmethod
    def empty(cls, config: ModelConfig, batch: int, device: torch.device | str) -> "History":
        """That of no token yet."""
        conv_input_BC, depthwise_output_BC = torch.zeros(2, batch, config.conv_channels, device=device)
        return cls(conv_input_BC, depthwise_output_BC, torch.zeros(batch, config.value_half, device=device))

    def rows(self, rows_N: Tensor) -> "History":
        """A copy with these rows, in this order."""
        return History(self.conv_input_BC[rows_N], self.depthwise_output_BC[rows_N], self.delayed_value_BV[rows_N])


@dataclass
class LayerCache:
    """One layer's part: K and V of all S positions, and CCA's history; grouped-query attention has none."""

    keys_BKSD: Tensor
    values_BKSD: Tensor
    history: History | None

    def append(self, start: int, first: int, keys_BKTD: Tensor, values_BKTD: Tensor) -> tuple[Tensor, Tensor]:
        """Writes T new positions from `start` on; returns the keys and values of all positions from `first` on."""
        stop = start + keys_BKTD.shape[2]
        self.keys_BKSD[:, :, start:stop] = keys_BKTD
        self.values_BKSD[:, :, start:stop] = values_BKTD
        return self.keys_BKSD[:, :, first:stop], self.values_BKSD[:, :, first:stop]

    def rows(self, rows_N: Tensor) -> "LayerCache":
        """A copy with these rows, in this order."""
        history = self.history and self.history.rows(rows_N)
        return LayerCache(self.keys_BKSD[rows_N], self.values_BKSD[rows_N], history)


@dataclass
class Cache:
    """The state of a batch that is being generated; `MoEModel.forward` fills it and moves `length` on.

    Rows may be prompts of different length if they are padded on the left: padding has segment -1, the prompt segment
    0 with positions from 0. After a call that raised, the cache cannot be used on.
    """

    layers: tuple[LayerCache, ...]
    segments_BS: Tensor
    length: int = 0

    @classmethod
    def empty(
        cls,
        config: ModelConfig,
        batch: int,
        max_length: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> "Cache":
        """A cache for `batch` rows of at most `max_length` tokens, prompt and padding included.

        `dtype` is that of keys and values: the compute type of the model.
        """
        kv_shape = (batch, config.num_kv_heads, max_length, config.head_dim)
        layers = tuple(
            LayerCache(
                keys_BKSD=torch.zeros(kv_shape, dtype=dtype, device=device),
                values_BKSD=torch.zeros(kv_shape, dtype=dtype, device=device),
                history=History.empty(config, batch, device) if config.attention == "cca" else None,
            )
            for _ in range(config.num_layers)
        )
        segments_BS = torch.full((batch, max_length), UNWRITTEN, dtype=torch.int64, device=device)
        return cls(layers, segments_BS)

    def rows(self, rows_N: Tensor) -> "Cache":
        """A copy with these rows, in this order: rows that are finished can be let go."""
        return Cache(tuple(layer.rows(rows_N) for layer in self.layers), self.segments_BS[rows_N], self.length)

    def last_segments(self) -> Tensor:
        """Segment of the last cached position of each row, int64 [B]; -2 where nothing is cached."""
        if not self.length:
            return torch.full_like(self.segments_BS[:, 0], UNWRITTEN)
        return self.segments_BS[:, self.length - 1]

    def extend(self, segments_BT: Tensor) -> Tensor:
        """Notes the segments of T new positions; returns those of all positions so far, cached and new.

        Raises:
            RunError: another number of rows, no room left, a gradient is being recorded, or a segment that ended is
                taken up again (a prompt padded on the right): its convolution history is gone.
        """
        rows, room = self.segments_BS.shape
        batch, count = segments_BT.shape
        stop = self.length + count
        if torch.is_grad_enabled():
            raise RunError(
                "a cache holds no gradient", where="Cache", fix="call the model under torch.inference_mode()"
            )
        if batch != rows:
            raise RunError(
                "the cache is for another batch", where="Cache", seen=f"{batch} rows", expected=f"{rows} rows"
            )
        if stop > room:
            raise RunError(
                "the cache is full",
                where="Cache",
                seen=f"{self.length} cached and {count} new tokens",
                expected=f"at most {room} in all",
                fix="give Cache.empty a larger max_length",
            )
        first_B1 = segments_BT[:, :1]
        resumed_BS = (self.segments_BS[:, : self.length] == first_B1) & (first_B1 != self.last_segments()[:, None])
        if bool((resumed_BS & (first_B1 >= 0)).any()):
            raise RunError(
                "a segment goes on after it ended",
                where="Cache",
                seen="a row whose last cached token is of another segment, or padding",
                expected="prompts of different length padded on the left",
            )
        self.segments_BS[:, self.length : stop] = segments_BT
        return self.segments_BS[:, :stop]
