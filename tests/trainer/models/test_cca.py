"""CCA: masks and shifts against loops, convolutions against conv1d, and packed documents against documents alone."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.trainer.models import cca as cca_room
from midtrain.trainer.models.attend import Fused
from midtrain.trainer.models.cca import CCA, QKNorm, shift_within_segments
from midtrain.trainer.models.config import ModelConfig
from midtrain.trainer.models.layout import PADDING, View, lay_out, rotary_tables, rotate, segment_starts
from midtrain.trainer.models.model import MoEModel
from torch import Tensor

from .small import CONFIG

ROWS = st.lists(st.lists(st.integers(-1, 2), min_size=6, max_size=6), min_size=1, max_size=3)


def randomised(config: ModelConfig, seed: int) -> MoEModel:
    """A model none of whose parameters has its initial value."""
    model = MoEModel(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = 0.5 if "router_mlp" in name else 0.2
            noise = torch.randn(parameter.shape, generator=generator) * scale
            parameter.copy_(noise + (1 if name.endswith(("scale", "norm.weight", "temp")) else 0))
    return model


def packed(lengths: list[int], pad: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """One row of documents of these lengths and padding after them: tokens, positions, segments."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, 64, (1, sum(lengths) + pad), generator=generator)
    positions = torch.cat([*(torch.arange(length) for length in lengths), torch.zeros(pad, dtype=torch.int64)])
    segments = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    segments = torch.cat([segments, torch.full((pad,), PADDING)])
    return tokens, positions[None], segments[None]


@given(ROWS, st.booleans())
def test_shift_and_starts_are_those_of_a_loop(rows: list[list[int]], cached: bool) -> None:
    segments = torch.tensor(rows)
    x = torch.randn(*segments.shape, 2)
    before = torch.randn(len(rows), 2) if cached else None
    earlier = torch.ones(len(rows), 1, dtype=torch.int64)
    starts = segment_starts(torch.cat([earlier, segments], dim=1))[:, 1:] if cached else segment_starts(segments)
    shifted = shift_within_segments(x, starts, before)
    for b, row in enumerate(rows):
        for t in range(6):
            last = row[t - 1] if t else 1 if cached else None
            assert bool(starts[b, t]) == (last != row[t])
            if last != row[t]:
                expected = torch.zeros(2)
            else:
                expected = x[b, t - 1] if t else before[b]  # type: ignore[index]
            assert torch.equal(shifted[b, t], expected)


def test_convolutions_are_conv1d_on_zero_padded_documents() -> None:
    """Two zero steps before both, on the projections: the second then sees the bias of the first, not zero."""
    projection = randomised(CONFIG, seed=1).layers[1].self_attn.qkv_proj
    first, second = projection.conv_qk_depthwise, projection.conv_qk_grouped
    lengths = [1, 2, 3, 7]
    _, _, segments = packed(lengths, pad=0)
    x_BTC = torch.randn(1, sum(lengths), CONFIG.conv_channels)
    ours = projection._convolve(x_BTC, segment_starts(segments), None)
    expected = []
    for document in x_BTC[0].split(lengths):
        steps = F.pad(document.T[None], (2, 0))
        steps = F.conv1d(steps, first.weight, first.bias, groups=CONFIG.conv_channels)
        expected.append(F.conv1d(steps, second.weight, second.bias, groups=6)[0].T)
    torch.testing.assert_close(ours[0], torch.cat(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [7.0, 1e-4])
def test_queries_and_keys_get_their_length_and_temperature(size: float) -> None:
    norm = QKNorm(CONFIG)
    with torch.no_grad():
        norm.temp.copy_(torch.tensor([1.25, -0.5]))
    lengths = norm(torch.randn(2, 5, 6, 8) * size).norm(dim=-1) / 8**0.5
    expected = torch.tensor([1.0, 1, 1, 1, 1.25, 0.5]).expand(2, 5, 6)
    torch.testing.assert_close(lengths, expected)


def test_a_head_of_zeros_gives_zeros_and_finite_gradients() -> None:
    heads = torch.zeros(1, 1, 6, 8, requires_grad=True)
    output = QKNorm(CONFIG)(heads)
    output.sum().backward()
    assert not output.any()
    assert heads.grad is not None
    assert torch.isfinite(heads.grad).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 4000), st.integers(0, 4000), st.sampled_from([1e4, 1e6, 5e6]))
def test_rotation_depends_on_distance_alone(first: int, distance: int, theta: float) -> None:
    def turned(position: int, head: Tensor) -> Tensor:
        tables = rotary_tables(torch.tensor([[position]]), CONFIG.rotary_dim, theta)
        return rotate(head.view(1, 1, 1, 8), View(*tables, 0, Fused(None))).flatten()

    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 8, generator=generator)
    moved = turned(first + distance, query) @ turned(first, key)
    torch.testing.assert_close(moved, turned(distance, query) @ turned(0, key), atol=5e-3, rtol=0)
    torch.testing.assert_close(turned(first, query)[CONFIG.rotary_dim :], query[CONFIG.rotary_dim :])
    torch.testing.assert_close(turned(first, query).norm(), query.norm())


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 2), (4, 1), (4, 4)])
def test_half_of_the_values_is_of_the_token_before(heads: int, kv_heads: int) -> None:
    config = CONFIG.model_copy(update={"num_heads": heads, "num_kv_heads": kv_heads})
    cca = CCA(config, layer=0)
    torch.nn.init.normal_(cca.qkv_proj.conv_qk_depthwise.weight)
    torch.nn.init.normal_(cca.qkv_proj.conv_qk_grouped.weight)
    _, _, segments = packed([5], pad=0)
    x_BTD = torch.randn(1, 5, 32)
    _, values = cca.qkv_proj(x_BTD, segment_starts(segments), None)
    assert values.shape == (1, 5, kv_heads, 8)
    flat = values.flatten(2)
    torch.testing.assert_close(flat[..., : kv_heads * 4], cca.qkv_proj.v_proj_current(x_BTD))
    torch.testing.assert_close(flat[:, 1:, kv_heads * 4 :], cca.qkv_proj.v_proj_delayed(x_BTD)[:, :-1])
    assert not flat[:, 0, kv_heads * 4 :].any()


def test_the_query_key_mean_is_float32_for_bfloat16_projections() -> None:
    projection = CCA(CONFIG, layer=0).bfloat16().qkv_proj
    with torch.no_grad():
        for convolution in (projection.conv_qk_depthwise, projection.conv_qk_grouped):
            convolution.weight.zero_()
    _, _, segments = packed([5], pad=0)
    x_BTD = torch.randn(1, 5, 32).bfloat16()
    with torch.no_grad():
        heads, _ = projection(x_BTD, segment_starts(segments), None)
        queries = projection.q_proj(x_BTD).float().view(1, 5, 4, 8)
        keys = projection.k_proj(x_BTD).float().view(1, 5, 2, 8)
    means = (queries + keys.repeat_interleave(2, dim=2)) / 2
    assert torch.equal(heads[:, :, :4], means)
    torch.testing.assert_close(heads[:, :, 4:], (means[:, :, ::2] + means[:, :, 1::2]) / 2, atol=1e-6, rtol=0)
    assert not torch.equal(means, means.bfloat16().float())


@pytest.mark.parametrize("how", ["weights", "autocast"])
def test_queries_and_keys_are_rounded_to_bfloat16_once(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Mean, norm, temperature and rotary embedding are float32 between the products and the attention."""
    seen: list[Tensor] = []

    def noted(queries_BHTd: Tensor, keys_BKSd: Tensor, values_BKSd: Tensor, mask: object) -> Tensor:
        seen.extend([queries_BHTd, keys_BKSd, values_BKSd])
        return queries_BHTd

    monkeypatch.setattr(cca_room, "attend", noted)
    attention = randomised(CONFIG, seed=5).layers[1].self_attn
    attention = attention.bfloat16() if how == "weights" else attention
    _, positions, segments = packed([3, 5], pad=1)
    x_BTD = torch.randn(1, 9, 32, generator=torch.Generator().manual_seed(2)).to(attention.o_proj.weight.dtype)
    layout = lay_out(positions, segments, CONFIG)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=how == "autocast"):
        attention(x_BTD, layout, None)
        raw, _ = attention.qkv_proj(x_BTD, layout.starts_BT, None)
    assert raw.dtype == torch.float32
    assert [tensor.dtype for tensor in seen] == [torch.bfloat16] * 3
    raw = raw.double()
    temp = torch.cat([torch.ones(4), attention.qk_norm.temp.detach().float()]).double()
    scaled = raw / raw.norm(dim=-1, keepdim=True) * 8**0.5 * temp[:, None]
    angles = positions[0, :, None].double() * 1e4 ** -torch.tensor([0.0, 0.5], dtype=torch.float64)
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]
    a, b = scaled[..., :2], scaled[..., 2:4]
    turned = torch.cat([a * cos - b * sin, b * cos + a * sin, scaled[..., 4:]], dim=-1)
    expected = turned.transpose(1, 2)
    found = torch.cat(seen[:2], dim=1).double()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=2.0**-8)
