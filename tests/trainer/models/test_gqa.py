"""Grouped-query attention against transformers' StableLM, which turns a part of each head too, and with a cache."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.trainer.models import masks
from midtrain.trainer.models.cache import Cache
from midtrain.trainer.models.gqa import GQA
from midtrain.trainer.models.layout import lay_out, segment_starts
from midtrain.trainer.models.model import MoEModel

from .small import CONFIG as SMALL

CONFIG = SMALL.model_copy(update={"attention": "gqa"})
SLIDING = {"sliding_layers": (0, 2), "sliding_window": 4, "sliding_rope_theta": 17.0}


@pytest.mark.parametrize("layer", [0, 1], ids=["sliding", "full"])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 2), (4, 1), (4, 4)])
def test_output_and_gradients_are_those_of_stablelm(heads: int, kv_heads: int, layer: int) -> None:
    stablelm = pytest.importorskip("transformers.models.stablelm.modeling_stablelm")
    config = CONFIG.model_copy(update={"num_heads": heads, "num_kv_heads": kv_heads} | SLIDING)
    theta = config.rope_theta if layer else config.sliding_rope_theta
    theirs = stablelm.StableLmConfig(
        hidden_size=32,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        rope_parameters={"rope_type": "default", "rope_theta": theta, "partial_rotary_factor": 0.5},
        attn_implementation="eager",
    )
    gqa, reference = GQA(config, layer), stablelm.StableLmAttention(theirs, 0)
    for parameter in gqa.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(parameter.numel()))
    reference.load_state_dict(gqa.state_dict())
    segments_BT, positions_BT = torch.zeros(2, 9, dtype=torch.int64), torch.arange(9).expand(2, 9)
    x_BTD = torch.randn(2, 9, 32, generator=torch.Generator().manual_seed(1))
    visible = masks.visible(masks.run_numbers(segment_starts(segments_BT)), 9, None if layer else 4)
    expected = reference(
        x_BTD,
        attention_mask=masks.additive(visible, torch.float32),
        position_embeddings=stablelm.StableLmRotaryEmbedding(theirs)(x_BTD, positions_BT),
    )[0]
    output = gqa(x_BTD, lay_out(positions_BT, segments_BT, config), None)
    torch.testing.assert_close(output, expected, atol=5e-6, rtol=0)
    output.square().mean().backward()
    expected.square().mean().backward()
    for name, parameter in gqa.named_parameters():
        gradient = reference.get_parameter(name).grad
        assert gradient.any()
        torch.testing.assert_close(parameter.grad, gradient, atol=5e-6, rtol=0)


def made(changes: dict[str, Any]) -> MoEModel:
    model = MoEModel(CONFIG.model_copy(update=changes))
    generator = torch.Generator().manual_seed(8)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator) * (0.5 if "router_mlp" in name else 0.2)
            parameter.copy_(noise + (1 if name.endswith(("scale", "norm.weight")) else 0))
    return model


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=16), st.sampled_from([{}, SLIDING, {"num_kv_heads": 1}]))
@torch.no_grad()
def test_any_chunks_give_the_logits_of_the_whole(sizes: list[int], changes: dict[str, Any]) -> None:
    chunks: list[int] = []
    for size in [*sizes, 16]:
        chunks.append(min(size, 16 - sum(chunks)))
    chunks = [size for size in chunks if size]
    model = made(changes)
    tokens_BT = torch.randint(0, 64, (2, 16), generator=torch.Generator().manual_seed(5))
    segments_BT = torch.tensor([[0] * 16, [-1] * 5 + [0] * 11])
    positions_BT = torch.stack([torch.arange(16), (torch.arange(16) - 5).clamp_min(0)])
    cache = Cache.empty(model.config, 2, 16)
    assert all(layer.history is None for layer in cache.layers), "there is no convolution to remember"
    parts = zip(*(x.split(chunks, dim=1) for x in (tokens_BT, positions_BT, segments_BT)), strict=True)
    logits = torch.cat([model(*part, cache=cache).logits_BTV for part in parts], dim=1)
    whole = model(tokens_BT, positions_BT, segments_BT).logits_BTV
    real = segments_BT == 0
    torch.testing.assert_close(logits[real], whole[real], atol=1e-5, rtol=0)


def test_its_parameters_are_plain_projections() -> None:
    shapes = {name: tuple(parameter.shape) for name, parameter in made({}).layers[1].self_attn.named_parameters()}
    assert shapes == {
        "q_proj.weight": (32, 32),
        "k_proj.weight": (16, 32),
        "v_proj.weight": (16, 32),
        "o_proj.weight": (32, 32),
    }
