"""The names of tensors in both layouts, for models of any depth and number of experts."""

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.trainer.exchange import names
from midtrain.trainer.models.config import ModelConfig
from midtrain.trainer.models.model import MoEModel
from midtrain.trainer.models.presets import PRESETS

SIZES: dict[str, Any] = {
    "vocab_size": 9,
    "hidden_size": 4,
    "num_heads": 2,
    "num_kv_heads": 1,
    "head_dim": 4,
    "expert_size": 4,
    "router_size": 2,
}


def ours(config: ModelConfig) -> list[str]:
    with torch.device("meta"):
        return list(MoEModel(config).state_dict())


def test_the_published_model_has_its_number_of_tensors() -> None:
    config = PRESETS["zaya1-8b"]
    native, legacy = (names.sources(config, ours(config), layout) for layout in ("native", "legacy"))
    assert sum(map(len, native.values())) == 1_283
    assert sum(map(len, legacy.values())) == 2_483


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 7), st.integers(1, 6))
def test_no_two_tensors_have_one_name_and_experts_keep_their_order(layers: int, experts: int) -> None:
    config = ModelConfig(**SIZES, num_layers=layers, num_experts=experts)
    for layout in ("native", "legacy"):
        found = names.sources(config, ours(config), layout)
        every = [name for several in found.values() for name in several]
        assert len(set(every)) == len(every)
        assert names.layout_of(every) == layout
        back = names.inverse(found)
        assert [back[name] for name in every] == [
            (name, place) for name, several in found.items() for place in range(len(several))
        ]
    stacked = names.sources(config, ours(config), "legacy")["layers.0.mlp.experts.down_proj"]
    assert stacked == tuple(
        f"model.layers.1.zaya_block.experts.local_experts.{one}.linear_fc2.weight" for one in range(experts)
    )


def test_residual_scales_belong_to_the_sublayer_behind_them() -> None:
    config = ModelConfig(**SIZES, num_layers=2, num_experts=2)
    found = names.sources(config, ours(config), "legacy")
    assert found["input_hidden_states_bias"] == ("model.layers.0.res_scale.hidden_states_bias",)
    for name, expected in (
        ("layers.0.post_attention_residual_scale.residual_scale", "model.layers.1.res_scale.residual_scale"),
        ("layers.0.post_mlp_residual_scale.residual_scale", "model.layers.2.res_scale.residual_scale"),
        ("layers.1.post_attention_residual_scale.residual_bias", "model.layers.3.res_scale.residual_bias"),
        ("layers.1.post_mlp_residual_scale.residual_bias", "model.res_scale.residual_bias"),
    ):
        assert found[name] == (expected,)
