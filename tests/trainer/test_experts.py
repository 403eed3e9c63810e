"""Sorting tokens by expert against one token at a time, forward and backward."""

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.trainer.experts import Experts, inverse, permute
from midtrain.trainer.presets import ModelConfig
from torch import Tensor

EXPERTS = 3
CONFIG = ModelConfig(
    vocab_size=64,
    hidden_size=6,
    num_layers=1,
    num_heads=2,
    num_kv_heads=2,
    head_dim=4,
    num_experts=EXPERTS,
    expert_size=5,
    router_size=4,
)


def made() -> Experts:
    experts = Experts(CONFIG).double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in experts.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return experts


def one_by_one(experts: Experts, x_ND: Tensor, classes: list[int]) -> Tensor:
    rows = []
    for x_D, expert in zip(x_ND, classes, strict=True):
        if expert >= EXPERTS:
            rows.append(torch.zeros_like(x_D))
            continue
        gate = experts.gate_up_proj[expert, :5] @ x_D
        up = experts.gate_up_proj[expert, 5:] @ x_D
        rows.append(experts.down_proj[expert] @ (F.silu(gate) * up))
    return torch.stack(rows)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, EXPERTS + 1), min_size=1, max_size=20))
def test_outputs_and_gradients_are_those_of_one_token_at_a_time(classes: list[int]) -> None:
    """Classes 3 and 4 are skip and padding: no expert computes them."""
    experts = made()
    generator = torch.Generator().manual_seed(len(classes))
    x = torch.randn(len(classes), 6, generator=generator, dtype=torch.float64, requires_grad=True)
    weigh = torch.randn(len(classes), 6, generator=generator, dtype=torch.float64)
    inputs = (x, experts.gate_up_proj, experts.down_proj)
    counts = [classes.count(expert) for expert in range(EXPERTS)]

    ours = experts(x, torch.tensor(classes), counts)
    expected = one_by_one(experts, x, classes)
    torch.testing.assert_close(ours, expected)
    gradients = torch.autograd.grad((ours * weigh).sum(), inputs)
    if any(counts):
        wanted = torch.autograd.grad((expected * weigh).sum(), inputs, allow_unused=True)
    else:
        wanted = (None, None, None)
    for gradient, want, tensor in zip(gradients, wanted, inputs, strict=True):
        torch.testing.assert_close(gradient, torch.zeros_like(tensor) if want is None else want)


def test_an_idle_expert_has_a_gradient_of_zero_not_none() -> None:
    """A None would leave it out of the all-reduce of some ranks and not of others."""
    experts = made()
    experts(torch.randn(4, 6, dtype=torch.float64), torch.tensor([1, 1, 1, 1]), [0, 4, 0]).sum().backward()
    for parameter in experts.parameters():
        assert parameter.grad is not None
        assert parameter.grad[1].abs().max() > 0
        assert not parameter.grad[[0, 2]].any()


@given(st.permutations(list(range(7))))
def test_permutations_and_their_gradients(order: list[int]) -> None:
    order_N = torch.tensor(order)
    x = torch.randn(7, 2, dtype=torch.float64, requires_grad=True)
    assert torch.equal(permute(permute(x, order_N), inverse(order_N)), x)
    assert torch.equal(permute(x, order_N), x[order_N])
    weigh = torch.randn(7, 2, dtype=torch.float64)
    (ours,) = torch.autograd.grad((permute(x, order_N) * weigh).sum(), x)
    (wanted,) = torch.autograd.grad((x[order_N] * weigh).sum(), x)
    assert torch.equal(ours, wanted)
