"""Skywork's MoE++ against its equations, one token at a time in float64: outputs, balance loss, drops, gradients."""

import math
from fractions import Fraction

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.trainer.models.config import Kernels, ModelConfig, ZeroComputationMoE
from midtrain.trainer.models.moe import MoE
from torch import Tensor

D, SIZE = 6, 5


def config_of(experts: int, moe: ZeroComputationMoE) -> ModelConfig:
    return ModelConfig(
        vocab_size=64,
        hidden_size=D,
        num_layers=2,
        num_heads=2,
        num_kv_heads=2,
        head_dim=4,
        num_experts=experts,
        expert_size=SIZE,
        router_size=4,
        moe=moe,
    )


def randomised(config: ModelConfig, layer: int, seed: int) -> MoE:
    layer_ = MoE(config, layer, Kernels(experts="loop")).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer_.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return layer_


def expert_output(layer: MoE, number: int, x_D: Tensor) -> Tensor:
    """Equations 3 to 5, and SwiGLU for the experts that compute; classes in the order of ModelConfig."""
    experts, moe = layer.config.num_experts, layer.config.moe
    assert isinstance(moe, ZeroComputationMoE)
    if number < experts:
        gate = layer.experts.gate_up_proj[number, :SIZE] @ x_D
        up = layer.experts.gate_up_proj[number, SIZE:] @ x_D
        return layer.experts.down_proj[number] @ (F.silu(gate) * up)
    number -= experts
    if number < moe.zero_experts:
        return x_D * 0
    number -= moe.zero_experts
    if number < moe.copy_experts:
        return x_D
    constants = layer.zero_computation.constants
    number -= moe.copy_experts
    a, b = (constants.mix[number] @ x_D).softmax(0)
    return a * x_D + b * constants.vectors[number]


def capacities(config: ModelConfig, assignments: int) -> list[float]:
    """Equation 9 in exact fractions; `assignments` is T for top-1."""
    moe = config.moe
    assert isinstance(moe, ZeroComputationMoE)
    others = config.num_classes - config.num_experts
    if moe.capacity is None:
        return [math.inf] * config.num_classes
    gamma, tau = Fraction(str(moe.capacity)), Fraction(str(moe.tau))
    whole = tau * config.num_experts + others
    compute, free = (math.ceil(gamma * part * assignments / whole) for part in (tau, Fraction(1)))
    return [compute] * config.num_experts + [free] * others


def plain(
    layer: MoE, x_ND: Tensor, before: list[Tensor] | None, padding: list[bool]
) -> tuple[Tensor, list[Tensor], Tensor, list[int], list[int]]:
    """Outputs, pre-softmax scores, balance loss, assignments and drops of each class, token by token (section 3)."""
    config, moe = layer.config, layer.config.moe
    assert isinstance(moe, ZeroComputationMoE)
    classes, real = config.num_classes, padding.count(False)
    limit = capacities(config, real * moe.top_k)
    taken, chosen, dropped = [0] * classes, [0] * classes, [0] * classes
    outputs, scores, mean = [], [], torch.zeros(classes, dtype=torch.float64)
    for n, x_D in enumerate(x_ND):
        score = layer.gate.weight @ x_D
        if before is not None and moe.gating_residual:
            score = score + layer.gate.residual @ before[n]
        scores.append(score)
        y = torch.zeros(D, dtype=torch.float64)
        probability = score.softmax(0)
        if not padding[n]:
            mean = mean + probability / real
            best = probability.sort(descending=True, stable=True).indices[: moe.top_k].tolist()
            for c in best:
                chosen[c] += 1
                if taken[c] == limit[c]:
                    dropped[c] += 1
                    continue
                taken[c] += 1
                y = y + probability[c] * expert_output(layer, c, x_D)
        outputs.append(y)
    balance = torch.zeros((), dtype=torch.float64)
    for c in range(classes):
        eta = 1.0 if c < config.num_experts else moe.tau
        balance = balance + eta * (chosen[c] / max(real, 1)) * mean[c]
    return torch.stack(outputs), scores, moe.balance_weight * balance, chosen, dropped


kinds = st.builds(
    ZeroComputationMoE,
    kind=st.just("zero_computation"),
    top_k=st.integers(1, 2),
    zero_experts=st.integers(0, 2),
    copy_experts=st.integers(0, 2),
    constant_experts=st.integers(0, 2),
    tau=st.sampled_from([0.1, 0.5, 0.75, 1.0]),
    capacity=st.sampled_from([None, 1.0, 1.1, 2.0]),
    gating_residual=st.booleans(),
    balance_weight=st.sampled_from([0.0, 0.01, 1.0]),
)


@settings(max_examples=60, deadline=None)
@given(
    moe=kinds,
    experts=st.integers(2, 3),
    padding=st.lists(st.booleans(), min_size=2, max_size=16),
    seed=st.integers(0, 99),
)
def test_two_layers_are_the_published_equations(
    moe: ZeroComputationMoE, experts: int, padding: list[bool], seed: int
) -> None:
    config = config_of(experts, moe)
    first, second = randomised(config, 0, seed), randomised(config, 1, seed + 1)
    generator = torch.Generator().manual_seed(seed)
    x_ND = torch.randn(len(padding), D, generator=generator, dtype=torch.float64, requires_grad=True)
    weigh_ND = torch.randn(len(padding), D, generator=generator, dtype=torch.float64)
    padding_BT = torch.tensor(padding)[None]

    ours_1, state, routed_1 = first(x_ND[None], None, padding_BT)
    ours_2, _, routed_2 = second(ours_1.sin() + x_ND, state, padding_BT)
    wanted_1, scores, balance_1, chosen_1, dropped_1 = plain(first, x_ND, None, padding)
    wanted_2, _, balance_2, chosen_2, dropped_2 = plain(second, wanted_1.sin() + x_ND, scores, padding)

    torch.testing.assert_close(ours_1[0], wanted_1, atol=1e-11, rtol=1e-11)
    torch.testing.assert_close(ours_2[0], wanted_2, atol=1e-11, rtol=1e-11)
    assert (state is None) == (not moe.gating_residual)
    for routed, chosen, dropped, balance in (
        (routed_1, chosen_1, dropped_1, balance_1),
        (routed_2, chosen_2, dropped_2, balance_2),
    ):
        assert routed.counts_C.tolist() == chosen
        assert routed.dropped_C.tolist() == dropped
        torch.testing.assert_close(routed.balance, balance, atol=1e-12, rtol=1e-12)

    inputs = {"x": x_ND, **{f"1.{n}": p for n, p in first.named_parameters()}}
    inputs |= {f"2.{n}": p for n, p in second.named_parameters()}
    ours = (ours_2 * weigh_ND).sum() + routed_1.balance + routed_2.balance
    wanted = (wanted_2 * weigh_ND).sum() + balance_1 + balance_2 + 0 * x_ND.sum()
    gradients = torch.autograd.grad(ours, list(inputs.values()), allow_unused=True)
    expected = torch.autograd.grad(wanted, list(inputs.values()), allow_unused=True)
    for name, gradient, want, tensor in zip(inputs, gradients, expected, inputs.values(), strict=True):
        zero = torch.zeros_like(tensor)
        got = zero if gradient is None else gradient
        torch.testing.assert_close(got, zero if want is None else want, atol=1e-10, rtol=1e-10, msg=name)


def forced(layer: MoE, order: list[int]) -> None:
    """Biases that make every token choose these classes."""
    with torch.no_grad():
        for rank, number in enumerate(order):
            layer.gate.balancing_biases[number] = 100.0 - rank


def test_first_come_first_kept_and_the_dropped_get_nothing() -> None:
    """Ten tokens, top-1, tau 1: every class takes ceil(1 x 10 / 5) = 2."""
    moe = ZeroComputationMoE(kind="zero_computation", top_k=1, constant_experts=1, tau=1.0, capacity=1.0)
    layer = randomised(config_of(2, moe), 0, 3)
    x = torch.randn(2, 7, D, dtype=torch.float64)
    padding = torch.zeros(2, 7, dtype=torch.bool)
    padding[0, [0, 3]] = True
    padding[1, [5, 6]] = True
    for number in (1, 3, 4):  # an expert that computes, the copy, the constant
        layer.gate.reset_biases()
        forced(layer, [number])
        y, _, routed = layer(x, None, padding)
        kept = y.abs().amax(-1) > 0
        assert kept.nonzero().tolist() == [[0, 1], [0, 2]]
        assert routed.counts_C[number] == 10
        assert routed.dropped_C.tolist() == [8 if c == number else 0 for c in range(5)]


def test_capacities_of_the_paper_by_hand() -> None:
    """Two experts that compute and two that do not, tau 0.5, gamma 1.5, T 20: 1.5 x 0.5 x 20 / 3 = 5, and 10."""
    moe = ZeroComputationMoE(
        kind="zero_computation", top_k=1, copy_experts=1, constant_experts=0, tau=0.5, capacity=1.5
    )
    layer = randomised(config_of(2, moe), 0, 4)
    x, padding = torch.randn(1, 20, D, dtype=torch.float64), torch.zeros(1, 20, dtype=torch.bool)
    for number, dropped in ((0, 15), (1, 15), (2, 10), (3, 10)):
        layer.gate.reset_biases()
        forced(layer, [number])
        assert int(layer(x, None, padding)[2].dropped_C[number]) == dropped


def test_nothing_is_dropped_outside_training() -> None:
    moe = ZeroComputationMoE(kind="zero_computation", capacity=1.0)
    layer = randomised(config_of(2, moe), 0, 5)
    forced(layer, [0, 1])
    x, padding = torch.randn(1, 20, D, dtype=torch.float64), torch.zeros(1, 20, dtype=torch.bool)
    assert layer(x, None, padding)[2].dropped_C.sum() > 0
    whole, _, routed = layer.eval()(x, None, padding)
    assert routed.dropped_C.sum() == 0
    alone, _, _ = layer(x[:, -1:], None, padding[:, -1:])
    torch.testing.assert_close(whole[:, -1:], alone)


def test_targets_follow_tau() -> None:
    moe = ZeroComputationMoE(kind="zero_computation", constant_experts=2, tau=0.5)
    shares = randomised(config_of(4, moe), 0, 6).gate.target_shares()
    torch.testing.assert_close(shares, torch.tensor([1 / 12] * 4 + [1 / 6] * 4))
    assert shares.sum() == 1


def test_under_zayas_router_the_state_is_its_own_and_no_class_skips() -> None:
    moe = ZeroComputationMoE(kind="zero_computation", router="zaya", top_k=2, constant_experts=1)
    layer = randomised(config_of(2, moe), 1, 7)
    assert "gate.residual" not in dict(layer.named_parameters())
    assert layer.gate.balancing_biases.tolist() == [0.0] * 5
    layer.gate.balancing_biases.copy_(torch.tensor([0.3, 0.0, 0.0, 0.3, 0.3]))
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, 30, D, generator=generator, dtype=torch.float64)
    state = torch.randn(1, 30, 4, generator=generator, dtype=torch.float64)
    y, after, routed = layer(x, state, torch.zeros(1, 30, dtype=torch.bool))
    assert after is not None
    assert after.shape == (1, 30, 4)
    assert int(routed.counts_C.sum()) == 60
    assert (routed.counts_C > 0).all()
    routing = layer.gate(x, state)
    limit = capacities(layer.config, 60)
    expected, taken = torch.zeros(30, D, dtype=torch.float64), [0] * 5
    for t in range(30):
        for c, weight in zip(routing.class_BTK[0, t].tolist(), routing.weight_BTK[0, t], strict=True):
            if taken[c] < limit[c]:
                taken[c] += 1
                expected[t] += weight.detach() * expert_output(layer, c, x[0, t]).detach()
    torch.testing.assert_close(y[0], expected, atol=1e-11, rtol=1e-11)
