"""The names of tensors: ours, transformers', and those of Zyphra's legacy layout.

Ours are transformers' without `model.`. The legacy layout counts attention and experts as layers of their own, keeps
every expert apart, and gives each pair of residual scales to the sublayer behind it; the mathematics is the same. The
map is Zyphra's converter's. Costs nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from ..models.config import ModelConfig

Layout = Literal["native", "legacy"]

PREFIX: Final = "model."
HEAD: Final = "lm_head.weight"
"""The head of a file that writes it although it is tied to the embedding."""

_ATTENTION: Final = {
    "input_layernorm.weight": "input_norm.weight",
    "self_attn.qkv_proj.q_proj.weight": "self_attn.qkv.linear_q.weight",
    "self_attn.qkv_proj.k_proj.weight": "self_attn.qkv.linear_k.weight",
    "self_attn.qkv_proj.v_proj_current.weight": "self_attn.qkv.val_proj1.weight",
    "self_attn.qkv_proj.v_proj_delayed.weight": "self_attn.qkv.val_proj2.weight",
    "self_attn.qkv_proj.conv_qk_depthwise.weight": "self_attn.qkv.conv_qk.0.weight",
    "self_attn.qkv_proj.conv_qk_depthwise.bias": "self_attn.qkv.conv_qk.0.bias",
    "self_attn.qkv_proj.conv_qk_grouped.weight": "self_attn.qkv.conv_qk.1.weight",
    "self_attn.qkv_proj.conv_qk_grouped.bias": "self_attn.qkv.conv_qk.1.bias",
    "self_attn.qk_norm.temp": "self_attn.qkv.temp",
    "self_attn.o_proj.weight": "self_attn.o_proj.weight",
}
_MOE: Final = {
    "post_attention_layernorm.weight": "input_norm.weight",
    "mlp.gate.down_proj.weight": "zaya_block.router.down_proj.weight",
    "mlp.gate.down_proj.bias": "zaya_block.router.down_proj.bias",
    "mlp.gate.router_states_scale": "zaya_block.router.router_states_scale",
    "mlp.gate.router_mlp.norm.weight": "zaya_block.router.rmsnorm_eda.weight",
    "mlp.gate.router_mlp.fc1.weight": "zaya_block.router.router_mlp.0.weight",
    "mlp.gate.router_mlp.fc1.bias": "zaya_block.router.router_mlp.0.bias",
    "mlp.gate.router_mlp.fc2.weight": "zaya_block.router.router_mlp.2.weight",
    "mlp.gate.router_mlp.fc2.bias": "zaya_block.router.router_mlp.2.bias",
    "mlp.gate.router_mlp.out_proj.weight": "zaya_block.router.router_mlp.4.weight",
    "mlp.gate.balancing_biases": "zaya_block.router.balancing_biases",
}
_EXPERTS: Final = {"mlp.experts.gate_up_proj": "linear_fc1", "mlp.experts.down_proj": "linear_fc2"}
_AFTER_ATTENTION: Final = "post_attention_residual_scale."
_AFTER_MOE: Final = "post_mlp_residual_scale."
_INPUT: Final = "input_"  # input_hidden_states_scale and _bias


def layout_of(names: Iterable[str]) -> Layout:
    """The layout that a folder's tensors are in."""
    return "legacy" if any(".zaya_block." in name or ".res_scale." in name for name in names) else "native"


def sources(config: ModelConfig, ours: Iterable[str], layout: Layout) -> dict[str, tuple[str, ...]]:
    """Where a folder holds each of our tensors: one name, or several that are stacked along the first dimension.

    Args:
        config: the model's sizes.
        ours: names of tensors of a model of kind zaya with compressed convolutional attention.
        layout: the folder's.

    Raises:
        KeyError: a name that is none of such a model.
    """
    if layout == "native":
        return {name: (PREFIX + name,) for name in ours}
    return {name: tuple(PREFIX + found for found in _legacy(config, name)) for name in ours}


def _legacy(config: ModelConfig, name: str) -> tuple[str, ...]:
    if name == "embed_tokens.weight":
        return (name,)
    if name == "norm.weight":
        return ("final_norm.weight",)
    if name.startswith(_INPUT):
        return (f"layers.0.res_scale.{name.removeprefix(_INPUT)}",)
    _, number, rest = name.split(".", 2)
    attention, moe = f"layers.{2 * int(number)}.", f"layers.{2 * int(number) + 1}."
    if rest.startswith(_AFTER_ATTENTION):
        return (f"{moe}res_scale.{rest.removeprefix(_AFTER_ATTENTION)}",)
    if rest.startswith(_AFTER_MOE):
        last = int(number) == config.num_layers - 1
        behind = "" if last else f"layers.{2 * int(number) + 2}."
        return (f"{behind}res_scale.{rest.removeprefix(_AFTER_MOE)}",)
    if rest in _EXPERTS:
        experts = range(config.num_experts)
        return tuple(f"{moe}zaya_block.experts.local_experts.{one}.{_EXPERTS[rest]}.weight" for one in experts)
    return (attention + _ATTENTION[rest],) if rest in _ATTENTION else (moe + _MOE[rest],)


def inverse(found: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, int]]:
    """Our name of each name of a folder, and its place among those that are stacked."""
    return {name: (ours, place) for ours, names in found.items() for place, name in enumerate(names)}
