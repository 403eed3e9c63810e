"""Residual scaling, the three skip modes, and what is counted."""

import pytest
import torch
from midtrain.trainer.block import MoE, ResidualScale
from midtrain.trainer.presets import ModelConfig

CONFIG = ModelConfig(
    vocab_size=64,
    hidden_size=12,
    num_layers=2,
    num_heads=2,
    num_kv_heads=2,
    head_dim=4,
    num_experts=3,
    expert_size=8,
    router_size=5,
)


def randomised(mode: str) -> MoE:
    moe = MoE(CONFIG.model_copy(update={"skip_mode": mode}), layer=1)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in moe.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return moe


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_residual_scaling_is_bias_then_scale_in_float32(dtype: torch.dtype) -> None:
    scale = ResidualScale(6).to(dtype)
    with torch.no_grad():
        for parameter in scale.parameters():
            parameter.normal_()
    y, residual = torch.randn(2, 3, 6).to(dtype), torch.randn(2, 3, 6)
    merged = scale(y, residual)
    assert merged.dtype == torch.float32
    expected = (y.float() + scale.hidden_states_bias.float()) * scale.hidden_states_scale.float()
    expected = expected + (residual + scale.residual_bias.float()) * scale.residual_scale.float()
    torch.testing.assert_close(merged, expected, atol=1e-5, rtol=1e-5)


def test_a_new_block_is_a_plain_residual() -> None:
    y, residual = torch.randn(2, 3, 6), torch.randn(2, 3, 6)
    torch.testing.assert_close(ResidualScale(6)(y, residual), y + residual)


def test_skip_modes_differ_as_specified() -> None:
    x, state = torch.randn(2, 9, 12), torch.randn(2, 9, 5)
    padding = torch.zeros(2, 9, dtype=torch.bool)
    for mode in ("zero", "identity"):
        moe = randomised(mode)
        moe.gate.balancing_biases[-1] = 0.2
        y, _, counts = moe(x, state, padding)
        routing = moe.gate(x, state)
        skipped = routing.class_BT == 3
        assert counts.tolist() == torch.bincount(routing.class_BT.flatten(), minlength=4).tolist()
        assert 0 < int(counts[3]) < 18
        passed = routing.weight_BT[skipped][:, None] * x[skipped]
        assert torch.equal(y[skipped], passed if mode == "identity" else torch.zeros_like(passed))
        assert (y[~skipped].abs().amax(-1) > 0).all()


@pytest.mark.parametrize("mode", ["off", "zero", "identity"])
def test_padding_is_neither_computed_nor_counted(mode: str) -> None:
    moe = randomised(mode)
    x, state = torch.randn(2, 9, 12), torch.randn(2, 9, 5)
    padding = torch.rand(2, 9) < 0.4
    y, _, counts = moe(x, state, padding)
    whole, _, _ = moe(x, state, torch.zeros_like(padding))
    assert counts.dtype == torch.int64
    assert int(counts.sum()) == int((~padding).sum())
    assert not y[padding].any()
    torch.testing.assert_close(y[~padding], whole[~padding])
