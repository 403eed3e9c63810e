"""The sizes of a MoE++ (ZAYA1) model, and the four presets.

The command line and the validators have to know a model's sizes, and reject wrong ones, before torch is loaded.
Costs nothing but pydantic: torch is never imported here.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BeforeValidator, Field, model_validator

from ..config import Section, did_you_mean, parse_count
from ..errors import ConfigError

CONV_KERNEL = (2, 2)
"""Kernel sizes of the depthwise and of the grouped convolution over time (`cca_time0`, `cca_time1`)."""

VOCAB_MULTIPLE = 64
"""A vocabulary taken from the shards is rounded up to a multiple of this, for the matrix product of the head."""

VOCAB_PADDING = 128
"""Rows that a named vocabulary may have beyond the tokenizer's: ZAYA1-8B pads Gemma 3's 262,145 to 262,272."""

Size = Annotated[int, BeforeValidator(parse_count), Field(gt=0)]


class ModelConfig(Section):
    """Sizes of a model; arXiv 2605.05365, Table I, holds those of ZAYA1-8B.

    `vocab_size` may stay None until the shards are known (`with_vocab`). `skip_mode` says what the router's last class
    does: `off` never chooses it, `zero` adds nothing (transformers), `identity` adds its probability times the block's
    normed input (Zyphra's own training code).
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
    rope_theta: Annotated[float, Field(gt=1)] = 1e4
    partial_rotary_factor: Annotated[float, Field(gt=0, le=1)] = 0.5
    norm_eps: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    init_std: Annotated[float, Field(gt=0, lt=1)] = 0.02
    skip_mode: Literal["off", "zero", "identity"] = "off"

    @model_validator(mode="after")
    def _fits_together(self) -> "ModelConfig":
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_heads {self.num_heads} is not a multiple of num_kv_heads {self.num_kv_heads}: "
                "every key/value head serves the same number of query heads"
            )
        if self.num_kv_heads != 1 and self.num_kv_heads % 2:
            raise ValueError(
                f"num_kv_heads {self.num_kv_heads} is neither 1 nor even: "
                "half of the value heads carry the token before, in whole heads (or in halves of a single one)"
            )
        if self.num_kv_heads == 1 and self.head_dim % 2:
            raise ValueError(f"head_dim {self.head_dim} is odd: a single value head is halved for the token before")
        rotary = self.head_dim * self.partial_rotary_factor
        if rotary != int(rotary) or int(rotary) % 2 or not int(rotary):
            raise ValueError(
                f"partial_rotary_factor {self.partial_rotary_factor} of head_dim {self.head_dim} is {rotary:g} "
                "channels: rotary embeddings turn an even, whole number of them"
            )
        return self

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


PRESETS: dict[str, ModelConfig] = {
    "zaya-tiny": ModelConfig(
        hidden_size=128,
        num_layers=4,
        num_heads=4,
        num_kv_heads=2,
        head_dim=32,
        num_experts=4,
        expert_size=128,
        router_size=32,
    ),
    "zaya-small": ModelConfig(
        hidden_size=512,
        num_layers=8,
        num_heads=8,
        num_kv_heads=2,
        head_dim=64,
        num_experts=16,
        expert_size=512,
        router_size=128,
    ),
    "zaya-mini": ModelConfig(
        vocab_size=32_768,
        hidden_size=1024,
        num_layers=16,
        num_heads=4,
        num_kv_heads=1,
        head_dim=128,
        num_experts=16,
        expert_size=1024,
        router_size=128,
    ),
    # arXiv 2605.05365, Table I, and the released configuration (theta of the last, 131K stage).
    "zaya1-8b": ModelConfig(
        vocab_size=262_272,
        hidden_size=2048,
        num_layers=40,
        num_heads=8,
        num_kv_heads=2,
        head_dim=128,
        num_experts=16,
        expert_size=2048,
        router_size=256,
        rope_theta=5e6,
    ),
}


def resolve(model: str | Mapping[str, Any] | ModelConfig) -> ModelConfig:
    """The sizes that `model:` in a run file names: a preset, or a table of sizes.

    Raises:
        ConfigError: no preset of that name (the nearest is suggested), or a key that is missing, unknown or wrong.
    """
    if isinstance(model, ModelConfig):
        return model
    if isinstance(model, str):
        if model in PRESETS:
            return PRESETS[model]
        raise ConfigError(
            f"there is no model preset {model}",
            where="model",
            seen=model,
            expected="one of " + ", ".join(PRESETS) + ", or a table of sizes",
            fix=did_you_mean(model, list(PRESETS)),
        )
    try:
        return ModelConfig.model_validate(dict(model), strict=True)
    except pydantic.ValidationError as invalid:
        raise _complaint(invalid, model) from None


def _complaint(invalid: pydantic.ValidationError, model: Mapping[str, Any]) -> ConfigError:
    """All that pydantic found, one line each; seen and fix are those of the first."""
    lines = []
    fix = ""
    for error in invalid.errors():
        path = ".".join(["model", *(str(part) for part in error["loc"])])
        if error["type"] == "unknown_key":
            context = error["ctx"]
            lines.append(f"model.{context['key']}: unknown key {context['key']}")
            fix = fix or (f"did you mean {context['nearest']}?" if context["nearest"] else "remove the key")
        elif error["type"] == "missing":
            lines.append(f"{path}: the key {error['loc'][-1]} is missing")
        else:
            lines.append(f"{path}: {error['msg'].removeprefix('Value error, ')}")
    seen = {str(key): value for key, value in model.items()}
    return ConfigError("\n".join(lines), where="model", seen=seen, fix=fix)
