"""RMSNorm against the formula, number by number."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from midtrain.trainer.models.norm import RMSNorm

NUMBERS = st.floats(-100, 100, width=32)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=9))
def test_it_is_the_formula(pairs: list[tuple[float, float]]) -> None:
    values, weights = zip(*pairs, strict=True)
    norm = RMSNorm(len(pairs), eps=1e-5)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor(weights))
    root = math.sqrt(sum(value * value for value in values) / len(values) + 1e-5)
    expected = [value / root * weight for value, weight in pairs]
    torch.testing.assert_close(norm(torch.tensor(values)), torch.tensor(expected), atol=1e-4, rtol=1e-5)


def test_statistics_are_float32_and_the_output_is_of_the_weights_type() -> None:
    x = torch.randn(4096, generator=torch.Generator().manual_seed(1))
    norm = RMSNorm(4096, eps=1e-5).bfloat16()
    y = norm(x)
    assert y.dtype == torch.bfloat16
    exact = x / x.square().mean().add(1e-5).sqrt()
    assert torch.equal(y, exact.bfloat16())
