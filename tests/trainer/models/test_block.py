"""Residual scaling in float32."""

import pytest
import torch
from midtrain.trainer.models.block import ResidualScale


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
