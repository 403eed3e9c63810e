"""config.json of transformers' Zaya, and of Zyphra's legacy layout, to our sizes and back, key by key.

A key that is passed over can mean another model, which would load and talk nonsense; so every key is one that becomes a
size, one whose value has to be that of the architecture, or one that no tensor depends on, and any other is refused by
name. Costs nothing; torch is never imported here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import orjson
import pydantic

from ...errors import ConfigError
from ..models.config import CONV_KERNEL, ModelConfig, ZayaMoE
from . import config_counts
from .names import Layout

NAME: Final = "config.json"
CLASS: Final = "ZayaForCausalLM"
Skip = Literal["off", "zero", "identity"]

_FULL, _SLIDING = "hybrid", "hybrid_sliding"
_SIZES: Final = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_attention_heads": "num_heads",
    "head_dim": "head_dim",
    "num_experts": "num_experts",
}
_NATIVE_SIZES: Final = _SIZES | {
    "num_hidden_layers": "num_layers",
    "num_key_value_heads": "num_kv_heads",
    "moe_intermediate_size": "expert_size",
    "router_hidden_size": "router_size",
    "rms_norm_eps": "norm_eps",
}
_FIXED: Final[Mapping[str, tuple[Any, ...]]] = {
    "model_type": ("zaya",),
    "attention_bias": (False,),
    "attention_dropout": (0, 0.0),
    "tie_word_embeddings": (True,),
    "lm_head_bias": (False,),
    "num_experts_per_tok": (1,),
    "hidden_act": ("silu",),
    "cca_time0": (CONV_KERNEL[0],),
    "cca_time1": (CONV_KERNEL[1],),
    "clamp_temp": (False,),
    "rope_scaling": (False, None),
    # legacy
    "cca": (True,),
    "moe_router_topk": (1,),
    "activation_func": ("swiglu",),
    "gated_linear_unit": (True,),
    "add_bias_linear": (False,),
    "normalization": ("RMSNorm",),
    "zaya_use_mod": (True,),
    "zaya_use_eda": (True,),
    "scale_residual_merge": (True,),
}
"""Keys that do not vary in this architecture; a key that is missing has this value."""

_PASSED: Final = {
    *("architectures", "auto_map", "dtype", "torch_dtype", "transformers_version", "use_cache", "output_router_logits"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "initializer_range", "max_position_embeddings"),
    # how the legacy code computes, not what
    *("residual_in_fp32", "zaya_high_prec", "fused_add_norm", "apply_rope_fusion", "bias_activation_fusion"),
    *("activation_func_fp8_input_store", "use_grouped_mm", "rope_pct", "kv_channels", "partial_rotary_factor"),
}
_NATIVE: Final = {"layer_types", "rope_parameters", "sliding_window", "rope_theta"}
_LEGACY: Final = {
    *("num_hidden_layers", "num_query_groups", "num_key_value_heads", "ffn_hidden_size", "zaya_mlp_expansion"),
    *("norm_epsilon", "rope_theta", "rotary_base", "sliding_window", "swa_layers", "swa_rotary_base"),
}

_COUNTS: Final = {*_NATIVE_SIZES, *_LEGACY, "kv_channels", "max_position_embeddings"} - {
    *("rms_norm_eps", "norm_epsilon", "rope_theta", "rotary_base", "swa_layers", "swa_rotary_base"),
}


@dataclass(frozen=True)
class Described:
    """What a config.json says: the model's sizes, and the longest sequence that it was made for."""

    model: ModelConfig
    max_positions: int


def read(folder: Path, layout: Layout, skip: Skip, tensors: int, largest: int) -> Described:
    """The model that a folder's config.json describes.

    Args:
        folder: of transformers.
        layout: of its tensors, whose config has other keys.
        skip: what the router's last class does.
        tensors, largest: as of `config_counts.check`.

    Raises:
        ConfigError: there is none, or it describes another architecture.
    """
    path = folder / NAME
    found = load(path)
    _check_architecture(path, found)
    _check_keys(path, found, set(_NATIVE_SIZES) | _NATIVE if layout == "native" else set(_SIZES) | _LEGACY)
    config_counts.check(path, found, _COUNTS, tensors, largest)
    try:
        sizes = _native(path, found) if layout == "native" else _legacy(path, found)
        sizes["init_std"] = found.get("initializer_range", 0.02)
        model = ModelConfig.model_validate({**sizes, "moe": ZayaMoE(skip=skip)})
        return Described(model, found["max_position_embeddings"])
    except KeyError as missing:
        raise ConfigError(f"the key {missing.args[0]} is missing", where=str(path)) from None
    except (TypeError, AttributeError, OverflowError) as wrong:
        raise ConfigError(f"a value is of another kind than it should be: {wrong}", where=str(path)) from None
    except pydantic.ValidationError as invalid:
        first = invalid.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise ConfigError(
            f"describes no model: {first['msg'].removeprefix('Value error, ')}",
            where=f"{path}: {key}" if key else str(path),
            seen=first["input"] if key else None,
        ) from None
    except ValueError as wrong:
        raise ConfigError(f"a value is no number: {wrong}", where=str(path)) from None


def load(path: Path) -> dict[str, Any]:
    """The JSON of a config.

    Raises:
        ConfigError: there is no such file, or no table in it.
    """
    try:
        found = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        fix = "name a folder as transformers writes it"
        raise ConfigError("the folder has no config", where=str(path), fix=fix) from None
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"not JSON: {error}", where=str(path)) from None
    if not isinstance(found, dict):
        raise ConfigError("not a config: no table", where=str(path), seen=type(found).__name__)
    return found


def _check_architecture(path: Path, found: Mapping[str, Any]) -> None:
    classes = found.get("architectures")
    if found.get("model_type") != "zaya" or classes not in (None, [], [CLASS]):
        named = ", ".join(map(str, classes)) if isinstance(classes, list) else classes
        raise ConfigError(
            "another architecture",
            where=str(path),
            seen=f"model_type {found.get('model_type')}, {named}",
            expected=f"model_type zaya, {CLASS}",
            fix="only ZAYA1's language models can be imported",
        )


def _check_keys(path: Path, found: Mapping[str, Any], sizes: set[str]) -> None:
    """ConfigError for a key that means another model, or that is not known to mean none."""
    for key, value in found.items():
        if key in _FIXED and (value not in _FIXED[key] or isinstance(value, bool) != isinstance(_FIXED[key][0], bool)):
            if value is None and None not in _FIXED[key]:
                continue  # as if it were missing
            raise ConfigError(
                f"{key} has a value that this architecture does not",
                where=f"{path}: {key}",
                seen=value,
                expected=" or ".join(map(str, _FIXED[key])),
            )
    unknown = [
        key
        for key, value in found.items()
        if key not in sizes | _PASSED | set(_FIXED) and not key.startswith("_") and value not in (None, False)
    ]
    if unknown:
        raise ConfigError(
            f"{', '.join(unknown)}: what this means for the model is not known",
            where=str(path),
            seen={key: found[key] for key in unknown[:3]},
            fix="remove the key, if no tensor depends on it",
        )


def _native(path: Path, found: Mapping[str, Any]) -> dict[str, Any]:
    sizes = {ours: found[theirs] for theirs, ours in _NATIVE_SIZES.items()}
    kinds = found.get("layer_types") or [_FULL] * sizes["num_layers"]
    unknown = [kind for kind in kinds if kind not in (_FULL, _SLIDING)]
    if unknown or len(kinds) != sizes["num_layers"]:
        raise ConfigError(
            "layer_types does not name the layers",
            where=f"{path}: layer_types",
            seen=unknown[0] if unknown else f"{len(kinds)} kinds for {sizes['num_layers']} layers",
            expected=f"{_FULL} or {_SLIDING} for each layer",
        )
    sliding = tuple(layer for layer, kind in enumerate(kinds) if kind == _SLIDING)
    ropes = found.get("rope_parameters") or {}
    full = _rope(path, ropes.get(_FULL) or {"rope_theta": found["rope_theta"]}, found)
    sizes |= {"rope_theta": full[0], "partial_rotary_factor": full[1]}
    if sliding:
        theta, part = _rope(path, ropes.get(_SLIDING) or {"rope_theta": 1e4}, found)
        if part != full[1]:
            raise ConfigError(
                "layers turn other numbers of channels",
                where=f"{path}: rope_parameters",
                seen=f"partial_rotary_factor {full[1]} and {part}",
                expected="the same for all layers",
            )
        sizes |= {"sliding_layers": sliding, "sliding_window": found["sliding_window"], "sliding_rope_theta": theta}
    return sizes


def _rope(path: Path, rope: Mapping[str, Any], found: Mapping[str, Any]) -> tuple[float, float]:
    """Base and share of the channels that rotary embeddings turn."""
    extra = sorted(rope.keys() - {"rope_type", "rope_theta", "partial_rotary_factor"})
    if rope.get("rope_type", "default") != "default" or extra:
        raise ConfigError(
            "rotary embeddings of another kind",
            where=f"{path}: rope_parameters",
            seen=rope,
            expected="rope_type default, with rope_theta and partial_rotary_factor",
        )
    part = rope.get("partial_rotary_factor", found.get("partial_rotary_factor", 0.5))
    return float(rope["rope_theta"]), float(part)


def _legacy(path: Path, found: Mapping[str, Any]) -> dict[str, Any]:
    sizes = {ours: found[theirs] for theirs, ours in _SIZES.items() if theirs != "head_dim"}
    sizes["head_dim"] = found["head_dim"] if "head_dim" in found else found["kv_channels"]
    for key in ("num_hidden_layers", "ffn_hidden_size"):
        if not isinstance(found[key], int) or found[key] % 2:
            raise ConfigError(
                "the legacy layout counts two sublayers a block, and gate and up together",
                where=f"{path}: {key}",
                seen=found[key],
                expected="an even number",
            )
    if any(found.get("swa_layers") or ()):
        raise ConfigError(
            "sliding layers in the legacy layout cannot be imported",
            where=f"{path}: swa_layers",
            seen=found["swa_layers"],
            fix="name the model's folder in transformers' own layout",
        )
    theta = found["rope_theta"] if "rope_theta" in found else found["rotary_base"]
    return {
        **sizes,
        "num_layers": found["num_hidden_layers"] // 2,
        "num_kv_heads": found["num_query_groups"],
        "expert_size": found["ffn_hidden_size"] // 2,
        "router_size": _router_size(path, found["zaya_mlp_expansion"]),
        "norm_eps": found["norm_epsilon"],
        "rope_theta": theta,
        "partial_rotary_factor": found.get("partial_rotary_factor", found.get("rope_pct", 0.5)),
    }


def _router_size(path: Path, expansion: Any) -> Any:
    """One number, or a list of one for each sublayer: 0 where it is attention."""
    if not isinstance(expansion, list):
        return expansion
    found = {size for size in expansion if size}
    if len(found) != 1:
        raise ConfigError(
            "routers of several widths", where=f"{path}: zaya_mlp_expansion", seen=sorted(found), expected="one width"
        )
    return found.pop()


def contents(model: ModelConfig, max_positions: int, dtype: str, ends: tuple[int, ...]) -> dict[str, Any]:
    """What config.json says of a model that transformers can load.

    Args:
        model: kind zaya, compressed convolutional attention; see `export.refuse`.
        max_positions: tokens of the longest sequence that it was trained on.
        dtype: of the weights, as torch names it.
        ends: the tokens that end a reply.
    """
    rope = {"rope_type": "default", "partial_rotary_factor": model.partial_rotary_factor}
    sliding = set(model.sliding_layers)
    return {
        "architectures": [CLASS],
        **{theirs: getattr(model, ours) for theirs, ours in _NATIVE_SIZES.items()},
        **{key: values[0] for key, values in _FIXED.items() if key in _WRITTEN},
        "rope_parameters": {
            _FULL: rope | {"rope_theta": model.rope_theta},
            _SLIDING: rope | {"rope_theta": model.sliding_rope_theta},
        },
        "layer_types": [_SLIDING if layer in sliding else _FULL for layer in range(model.num_layers)],
        "sliding_window": model.sliding_window,
        "max_position_embeddings": max_positions,
        "initializer_range": model.init_std,
        "dtype": dtype,
        "use_cache": True,
        "output_router_logits": False,
        "bos_token_id": None,
        "pad_token_id": None,  # the row of a padding token would get no gradient, and ours may stand for a word
        "eos_token_id": list(ends),
    }


_WRITTEN: Final = {
    *("model_type", "attention_bias", "attention_dropout", "tie_word_embeddings", "lm_head_bias", "hidden_act"),
    *("num_experts_per_tok", "cca_time0", "cca_time1"),
}
