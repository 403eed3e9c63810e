"""oneDNN's products against torch's in float64: values, gradients, slices, and which tensors are left to torch."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.trainer.models import products
from midtrain.trainer.models.products import Linear, linear, over_rows, slice_over_rows, slice_times, stacked_linear
from torch import Tensor

needs_onednn = pytest.mark.skipif(not products.ONEDNN, reason="this torch has no oneDNN")


def numbers(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found.double(), expected, atol=2e-4, rtol=1e-5)


@needs_onednn
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(3, 200), (600,)])
def test_linear_and_its_gradients_are_those_of_float64(shape: tuple[int, ...], bias: bool) -> None:
    x, layer = numbers(*shape, 96).requires_grad_(), Linear(96, 160, bias=bias)
    y = layer(x)
    assert products.fast(x, 160)
    assert type(y.grad_fn).__name__ in ("ProductBackward", "ViewBackward0")
    exact = Linear(96, 160, bias=bias).double()
    exact.load_state_dict({name: tensor.double() for name, tensor in layer.state_dict().items()})
    x64 = x.detach().double().requires_grad_()
    y64 = exact(x64)
    assert_close(y, y64)
    upstream = numbers(*y.shape, seed=2)
    y.backward(upstream)
    y64.backward(upstream.double())
    for (name, mine), theirs in zip([("x", x), *layer.named_parameters()], [x64, *exact.parameters()], strict=True):
        assert mine.grad is not None, name
        assert theirs.grad is not None
        assert_close(mine.grad, theirs.grad)


def test_operands_may_be_transposes_and_an_expanded_gradient_is_one() -> None:
    x, weight = numbers(300, 700).T, numbers(700, 500)
    weight = weight[:, :300] if weight.shape[1] > 300 else weight
    assert_close(linear(x, weight), x.double() @ weight.double().T)
    leaf = numbers(256, 128).requires_grad_()
    linear(leaf, numbers(160, 128)).sum().backward()
    assert_close(leaf.grad, numbers(160, 128).double().sum(dim=0).expand(256, 128))


@pytest.mark.parametrize("sizes", [(400, 96, 160), (400, 160, 96), (3, 4, 5)])
def test_over_rows_is_the_gradient_of_a_weight(sizes: tuple[int, int, int]) -> None:
    rows, n, k = sizes
    y, x = numbers(rows, n), numbers(rows, k, seed=2)
    assert_close(over_rows(y, x), y.double().T @ x.double())


@settings(deadline=None)
@given(st.tuples(st.integers(0, 400), st.integers(0, 400)).map(sorted), st.booleans())
def test_a_slice_is_computed_as_part_of_a_round_number_of_rows(ends: list[int], wide: bool) -> None:
    first, last = ends
    x, weight = numbers(400, 256), numbers(320, 256, seed=2)
    x[:first], x[last:] = 1e6, -1e6  # what stands beside the slice does not come into it
    assert_close(slice_times(x, first, last, weight), x[first:last].double() @ weight.double().T)
    y = numbers(400, 320 if wide else 192, seed=3)
    assert_close(slice_over_rows(y, x, first, last), y[first:last].double().T @ x[first:last].double())


def test_stacks_are_products_of_pairs() -> None:
    for sizes in [(3, 500, 128, 64), (3, 5, 4, 2)]:
        heads, rows, k, n = sizes
        x, weight = numbers(heads, rows, k).requires_grad_(), numbers(heads, n, k, seed=2).requires_grad_()
        found = torch.autograd.grad(stacked_linear(x, weight).square().sum(), (x, weight))
        x64, weight64 = x.detach().double().requires_grad_(), weight.detach().double().requires_grad_()
        expected = torch.autograd.grad(torch.bmm(x64, weight64.mT).square().sum(), (x64, weight64))
        for mine, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(mine.double(), theirs, atol=2e-2, rtol=1e-5)


def test_other_types_and_autocast_are_torchs() -> None:
    x, weight = numbers(512, 128), numbers(128, 128)
    assert not products.fast(x.double(), 128)
    assert not products.fast(x.bfloat16(), 128)
    assert not products.fast(x[:1], 128)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not products.fast(x, 128)
        assert linear(x, weight).dtype == torch.bfloat16
        assert torch.equal(linear(x, weight), F.linear(x, weight))
