"""The head's sums and gradients against torch's cross entropy over whole logits."""

import pytest
import torch
import torch.nn.functional as F
from midtrain.trainer.models import head
from torch import Tensor


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of three rows, so that the last is not whole."""
    monkeypatch.setattr(head, "LEAST_ROWS", 3)
    monkeypatch.setattr(head, "CHUNK", {"cpu": 1})


def made(rows: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rows)
    hidden_ND = torch.randn(rows, 6, generator=generator, dtype=dtype, requires_grad=True)
    weight_VD = torch.randn(11, 6, generator=generator, dtype=dtype, requires_grad=True)
    return hidden_ND, weight_VD, torch.randint(0, 11, (rows,), generator=generator)


def plain(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor]:
    logits_NV = F.linear(hidden_ND, weight_VD)
    return F.cross_entropy(logits_NV, targets_N, reduction="sum"), logits_NV.logsumexp(dim=-1).square().sum()


@pytest.mark.parametrize("rows", [0, 1, 3, 8])
@pytest.mark.parametrize("weights", [(0.25, None), (0.25, 0.125), (None, 1.0)])
def test_sums_and_gradients_are_torchs(rows: int, weights: tuple[float | None, float | None]) -> None:
    hidden_ND, weight_VD, targets_N = made(rows)
    results = []
    for function in (head.losses, plain):
        sums = function(hidden_ND, weight_VD, targets_N)
        loss = torch.stack([total * weight for total, weight in zip(sums, weights, strict=True) if weight]).sum()
        results.append([*sums, *torch.autograd.grad(loss, (hidden_ND, weight_VD))])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("rows", [0, 1, 3, 8])
def test_nats_of_each_row_are_torchs(rows: int) -> None:
    hidden_ND, weight_VD, targets_N = made(rows)
    expected = F.cross_entropy(F.linear(hidden_ND, weight_VD), targets_N, reduction="none")
    found = head.nats(hidden_ND, weight_VD, targets_N)
    assert not found.requires_grad
    torch.testing.assert_close(found, expected.detach(), atol=1e-12, rtol=1e-12)


def test_gradients_are_those_of_differences() -> None:
    hidden_ND, weight_VD, targets_N = made(7)
    assert torch.autograd.gradcheck(lambda x, w: head.losses(x, w, targets_N), (hidden_ND, weight_VD))


def test_float32_is_as_exact_as_torchs() -> None:
    inputs = made(500, torch.float32)
    hidden64, weight64, targets_N = inputs[0].double(), inputs[1].double(), inputs[2]
    for found, expected in zip(head.losses(*inputs), plain(hidden64, weight64, targets_N), strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), expected, atol=0, rtol=2e-6)


def test_without_gradients_none_are_made() -> None:
    hidden_ND, weight_VD, targets_N = made(4)
    with torch.no_grad():
        found = head.losses(hidden_ND, weight_VD, targets_N)
    assert not any(total.requires_grad for total in found)
    torch.testing.assert_close(found, plain(hidden_ND, weight_VD, targets_N), atol=1e-12, rtol=1e-12)
