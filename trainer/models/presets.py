"""The four presets, and what `model:` in a run file names: a preset, a table of sizes, or a preset with changes.

Costs nothing but pydantic: torch is never imported here.
"""

from collections.abc import Mapping
from typing import Any

import pydantic

from ...config import did_you_mean
from ...errors import ConfigError
from .config import ModelConfig

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


def expanded(model: Any) -> Any:
    """A preset's name as its sizes, and a table with `preset` as that preset with the table's other keys in place.

    Anything else is given back as it is. KeyError, with the name, where there is no such preset.
    """
    if isinstance(model, str):
        return PRESETS[model]
    if isinstance(model, Mapping) and "preset" in model:
        changes = {key: value for key, value in model.items() if key != "preset"}
        return PRESETS[str(model["preset"])].model_dump() | changes
    return model


def resolve(model: str | Mapping[str, Any] | ModelConfig) -> ModelConfig:
    """The sizes that `model:` in a run file names: a preset, a table of sizes, or a table of a preset and changes.

    Raises:
        ConfigError: no preset of that name (the nearest is suggested), or a key that is missing, unknown or wrong.
    """
    try:
        found = expanded(model)
    except KeyError as unknown:
        name = str(unknown.args[0])
        raise ConfigError(
            f"there is no model preset {name}",
            where="model",
            seen=name,
            expected="one of " + ", ".join(PRESETS) + ", or a table of sizes",
            fix=did_you_mean(name, list(PRESETS)),
        ) from None
    if isinstance(found, ModelConfig):
        return found
    try:
        return ModelConfig.model_validate(dict(found), strict=True)
    except pydantic.ValidationError as invalid:
        raise _complaint(invalid, found) from None


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
