"""The sizes and kinds of which a model is made.

The command line and the validators have to know a model's sizes, and reject wrong ones, before torch is loaded. Costs
nothing but pydantic: torch is never imported here.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from ...config import Section, parse_count
from ...errors import ConfigError

CONV_KERNEL = (2, 2)
"""Kernel sizes of the depthwise and of the grouped convolution over time (`cca_time0`, `cca_time1`)."""

VOCAB_MULTIPLE = 64
"""A vocabulary taken from the shards is rounded up to a multiple of this, for the matrix product of the head."""

VOCAB_PADDING = 128
"""Rows that a named vocabulary may have beyond the tokenizer's: ZAYA1-8B pads Gemma 3's 262,145 to 262,272."""

Size = Annotated[int, BeforeValidator(parse_count), Field(gt=0)]
Count = Annotated[int, BeforeValidator(parse_count), Field(ge=0)]
Capacity = Annotated[float, Field(ge=1)]


class ZayaMoE(Section):
    """ZAYA1's layer (arXiv 2605.05365): one expert a token, chosen by an MLP router whose state passes through depth.

    `skip` says what the router's last class does: `off` never chooses it, `zero` adds nothing (transformers),
    `identity` adds its probability times the block's normed input (Zyphra's own training code). `capacity` drops, in
    training, the tokens of a micro-batch that an expert would get beyond so many times its even share, those that come
    last; null drops none, and memory does not depend on the load either way.
    """

    kind: Literal["zaya"] = "zaya"
    skip: Literal["off", "zero", "identity"] = "off"
    capacity: Capacity | None = None


class LinearMoE(Section):
    """The usual layer, as a baseline: softmax over one matrix of logits, the `top_k` most probable experts.

    Weights are the probabilities as they are, not scaled to a sum of 1. `balance_weight` is that of the auxiliary loss
    (arXiv 2101.03961, eq. 4, with shares of assignments); biases on the selection are the optimizer's (`balancing`).
    `capacity` is as of ZayaMoE, of assignments.
    """

    kind: Literal["linear"]
    top_k: Size = 1
    balance_weight: float = Field(0.0, ge=0)
    capacity: Capacity | None = None


class ZeroComputationMoE(Section):
    """Skywork's MoE++ (arXiv 2410.07348): beside the experts, some that add nothing, the input, or a learned vector.

    `constant_experts` unset follows the paper's rule, max(num_experts / 4 - zero - copy, 1). `tau` is the weight of the
    zero-computation experts in the balance loss and in the capacity: the smaller, the more tokens they get. `capacity`
    is gamma: in training, a class drops the assignments of a micro-batch beyond so many times its balanced share, those
    that come last; null drops none. `router` may be ZAYA1's, whose state then takes the place of the gating residual.
    """

    kind: Literal["zero_computation"]
    router: Literal["linear", "zaya"] = "linear"
    top_k: Size = 2
    zero_experts: Count = 1
    copy_experts: Count = 1
    constant_experts: Count | None = None
    tau: float = Field(0.75, gt=0, le=1)
    capacity: Capacity | None = 1.1
    gating_residual: bool = True
    balance_weight: float = Field(0.01, ge=0)

    def constants(self, num_experts: int) -> int:
        """Number of constant experts beside so many of computation."""
        if self.constant_experts is not None:
            return self.constant_experts
        return max(num_experts // 4 - self.zero_experts - self.copy_experts, 1)


class DenseFFN(Section):
    """One SwiGLU network of `expert_size` for every token, as a baseline: a dense model of the same active size."""

    kind: Literal["dense"]


def _with_kind(moe: object) -> object:
    """A kind's name alone is that kind as it is; a table that names none is ZAYA1's."""
    if isinstance(moe, str):
        return {"kind": moe}
    return {"kind": "zaya", **moe} if isinstance(moe, dict) else moe


MoEConfig = Annotated[
    Annotated[ZayaMoE | LinearMoE | ZeroComputationMoE | DenseFFN, Field(discriminator="kind")],
    BeforeValidator(_with_kind),
]


class Kernels(Section):
    """Which implementations compute a model; the results are the same but for rounding.

    `attention`: torch's fused product (`sdpa`), plain matrix products (`eager`), or one that passes over what the mask
    hides: flex attention on a GPU (`flex`), our own on a CPU (`tiled`). `experts`: one grouped product over all
    experts, or a loop. `auto` takes the fastest that the device has.
    """

    attention: Literal["auto", "sdpa", "eager", "flex", "tiled"] = "auto"
    experts: Literal["auto", "grouped", "loop"] = "auto"


class ModelConfig(Section):
    """Sizes of a model; arXiv 2605.05365, Table I, holds those of ZAYA1-8B.

    `vocab_size` may stay None until the shards are known (`with_vocab`). `attention` is compressed convolutional
    attention, or grouped-query attention of the same heads as a baseline. Layers in `sliding_layers` (numbers from 0)
    see the last `sliding_window` tokens, their own included, and turn by `sliding_rope_theta`. `num_experts` counts
    those that compute; `router_size` is the width of ZAYA1's router and idle under the others.
    """

    vocab_size: Size | None = None
    hidden_size: Size
    num_layers: Size
    num_heads: Size
    num_kv_heads: Size
    head_dim: Size
    num_experts: Size
    expert_size: Size
    router_size: Size
    attention: Literal["cca", "gqa"] = "cca"
    sliding_layers: tuple[Count, ...] = ()
    sliding_window: Size | None = None
    sliding_rope_theta: Annotated[float, Field(gt=1)] = 1e4
    moe: MoEConfig = ZayaMoE()
    rope_theta: Annotated[float, Field(gt=1)] = 1e4
    partial_rotary_factor: Annotated[float, Field(gt=0, le=1)] = 0.5
    norm_eps: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    init_std: Annotated[float, Field(gt=0, lt=1)] = 0.02

    @model_validator(mode="after")
    def _fits_together(self) -> "ModelConfig":
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_heads {self.num_heads} is not a multiple of num_kv_heads {self.num_kv_heads}: "
                "every key/value head serves the same number of query heads"
            )
        if self.attention == "cca" and self.num_kv_heads * self.head_dim % 2:
            raise ValueError(
                f"{self.num_kv_heads} num_kv_heads of head_dim {self.head_dim} are an odd number of channels: half of "
                "them carry the token before"
            )
        rotary = self.head_dim * self.partial_rotary_factor
        if rotary != int(rotary) or int(rotary) % 2 or not int(rotary):
            raise ValueError(
                f"partial_rotary_factor {self.partial_rotary_factor} of head_dim {self.head_dim} is {rotary:g} "
                "channels: rotary embeddings turn an even, whole number of them"
            )
        self._fits_layers()
        return self

    def _fits_layers(self) -> None:
        """ValueError where sliding layers or experts cannot be."""
        if bool(self.sliding_layers) != (self.sliding_window is not None):
            raise ValueError("sliding_layers and sliding_window belong together: one is given without the other")
        beyond = [layer for layer in self.sliding_layers if layer >= self.num_layers]
        if beyond:
            raise ValueError(f"sliding_layers names layer {beyond[0]} of a model of {self.num_layers} layers, from 0")
        if len(set(self.sliding_layers)) < len(self.sliding_layers):
            raise ValueError("sliding_layers names a layer twice")
        if isinstance(self.moe, LinearMoE | ZeroComputationMoE) and self.moe.top_k > self.num_classes:
            raise ValueError(f"top_k {self.moe.top_k} of {self.num_classes} experts")

    @property
    def num_classes(self) -> int:
        """Classes that a router chooses from: the experts that compute, then ZAYA1's skip, or zero, copy, constant."""
        moe = self.moe
        if isinstance(moe, ZayaMoE):
            return self.num_experts + 1
        if isinstance(moe, ZeroComputationMoE):
            return self.num_experts + moe.zero_experts + moe.copy_experts + moe.constants(self.num_experts)
        return self.num_experts if isinstance(moe, LinearMoE) else 1

    @property
    def rotary_dim(self) -> int:
        """Channels of a head that rotary embeddings turn; the rest carry no position."""
        return int(self.head_dim * self.partial_rotary_factor)

    @property
    def conv_channels(self) -> int:
        """Channels of both convolutions: all query heads, then all key heads."""
        return (self.num_heads + self.num_kv_heads) * self.head_dim

    @property
    def value_half(self) -> int:
        """Value channels computed from the current token; as many more come from the token before."""
        return self.num_kv_heads * self.head_dim // 2

    def with_vocab(self, tokens: int) -> "ModelConfig":
        """The sizes with a vocabulary for `tokens` token ids.

        A config without a vocabulary takes `tokens` rounded up to a multiple of 64. A config that names one keeps it,
        if it holds all ids and at most 128 rows more.

        Raises:
            ConfigError: the named vocabulary does not fit the tokens.
        """
        if tokens < 1:
            raise ConfigError("a vocabulary needs at least one token", where="vocab_size", seen=tokens)
        if self.vocab_size is None:
            return self.model_copy(update={"vocab_size": -(-tokens // VOCAB_MULTIPLE) * VOCAB_MULTIPLE})
        if not tokens <= self.vocab_size <= tokens + VOCAB_PADDING:
            raise ConfigError(
                "the model's vocabulary is not that of the shards",
                where="vocab_size",
                seen=f"vocab_size {self.vocab_size} for a tokenizer of {tokens} tokens",
                expected=f"{tokens} to {tokens + VOCAB_PADDING}",
                fix="train the tokenizer of the mixture to this size, or give the model's sizes without vocab_size",
            )
        return self
