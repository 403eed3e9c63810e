"""Bias balancing: against torch's AdamW, its invariants, and the load's measures."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from midtrain.errors import RunError
from midtrain.trainer.balancing import DEAD_STEPS, Balancer, load, shares
from midtrain.trainer.model import MoEModel
from midtrain.trainer.presets import ModelConfig
from midtrain.trainer.router import Router

SIZES = ModelConfig(
    vocab_size=64,
    hidden_size=16,
    num_layers=3,
    num_heads=2,
    num_kv_heads=2,
    head_dim=8,
    num_experts=4,
    expert_size=8,
    router_size=8,
)


@pytest.fixture
def model() -> MoEModel:
    return MoEModel(SIZES)


def biases(model: MoEModel) -> torch.Tensor:
    return torch.stack([module.balancing_biases for module in model.modules() if isinstance(module, Router)])


def counts(seed: int) -> torch.Tensor:
    return torch.randint(0, 100, (3, 5), generator=torch.Generator().manual_seed(seed))


def test_biases_move_as_torchs_adamw_would_move_them(model):
    expected = torch.zeros(3, 4, requires_grad=True)
    adamw = torch.optim.AdamW([expected], lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    balancer = Balancer(model, 1e-3)
    for seed in range(5):
        scale = 1 / (1 + seed)
        real = counts(seed)[:, :-1].double()
        expected.grad = (real / real.sum(dim=1, keepdim=True) - 1 / 4).float()
        adamw.param_groups[0]["lr"] = 1e-3 * scale
        adamw.step()
        with torch.no_grad():
            expected -= expected.mean(dim=1, keepdim=True)
        balancer.step(counts(seed), scale)
    torch.testing.assert_close(biases(model)[:, :-1], expected.detach(), atol=1e-7, rtol=1e-4)


def test_biases_stay_zero_mean_and_the_skip_class_is_never_moved(model):
    balancer = Balancer(model, 0.1)
    for seed in range(30):
        balancer.step(counts(seed), 1.0)
    assert biases(model)[:, :-1].mean(dim=1).abs().max() < 1e-6
    assert biases(model)[:, :-1].abs().max() > 0.05
    assert (biases(model)[:, -1] == -1).all()


def test_a_crowded_expert_loses_and_an_empty_one_gains(model):
    Balancer(model, 1e-3).step(torch.tensor([[70, 10, 10, 10, 500]] * 3), 1.0)
    assert (biases(model)[:, 0] < 0).all()
    assert (biases(model)[:, 1:4] > 0).all()


def test_tokens_that_were_skipped_do_not_count():
    few, many = torch.tensor([[3, 1, 0]]), torch.tensor([[3, 1, 96]])
    assert torch.equal(shares(few), shares(many))
    assert shares(torch.tensor([[0, 0, 7]])).tolist() == [[0.0, 0.0]]


@given(st.lists(st.integers(0, 50), min_size=2, max_size=8).filter(any))
def test_entropy_and_largest_share_are_their_formulas(tokens):
    spread = load(torch.tensor([[*tokens, 9]]))
    total, experts = sum(tokens), len(tokens)
    entropy = -sum(t / total * math.log(t / total) for t in tokens if t) / math.log(experts)
    assert spread.entropy_L.item() == pytest.approx(entropy, abs=1e-5)
    assert spread.max_share_L.item() == pytest.approx(max(tokens) / total)


def test_one_expert_is_balanced():
    assert load(torch.tensor([[5, 0]])).entropy_L.tolist() == [1.0]


def test_an_expert_without_a_token_for_twenty_steps_is_reported_once(model):
    balancer = Balancer(model, 1e-3)
    without = torch.tensor([[5, 5, 5, 5, 0], [5, 0, 5, 5, 0], [5, 5, 5, 5, 0]])
    reported = [balancer.watch(without).nonzero().tolist() for _ in range(DEAD_STEPS + 5)]
    assert [step for step, dead in enumerate(reported, start=1) if dead] == [20]
    assert reported[19] == [[1, 1]]
    balancer.watch(without + 1)
    assert not any(balancer.watch(without).any() for _ in range(DEAD_STEPS - 1))


def test_a_loaded_state_steps_bitwise_alike(model):
    one, other = Balancer(model, 1e-2), Balancer(MoEModel(SIZES), 1e-2)
    for seed in range(3):
        one.step(counts(seed), 1.0)
        one.watch(counts(seed) * (seed % 2))
    twin = MoEModel(SIZES)
    twin.load_state_dict(model.state_dict())
    other = Balancer(twin, 1e-2)
    other.load_state_dict(one.state_dict())
    one.step(counts(7), 0.5)
    other.step(counts(7), 0.5)
    assert torch.equal(biases(model), biases(twin))
    assert torch.equal(one.state_dict()["idle"], other.state_dict()["idle"])
    with pytest.raises(RunError, match=r"balancing\.idle.*\n.*missing"):
        other.load_state_dict({key: value for key, value in one.state_dict().items() if key != "idle"})


def test_routing_evens_out_where_the_tokens_do_not():
    """Fixed probabilities that favour one expert; the biases alone must spread the tokens."""
    generator = torch.Generator().manual_seed(0)
    probabilities = (torch.randn(2000, 4, generator=generator) + torch.tensor([2.0, 0, 0, 0])).softmax(dim=1)
    model = MoEModel(SIZES)
    balancer = Balancer(model, 1e-2)
    entropies = []
    for _ in range(150):
        chosen = [(probabilities + row[:-1]).argmax(dim=1).bincount(minlength=5) for row in biases(model)]
        entropies.append(load(torch.stack(chosen)).entropy_L.min().item())
        balancer.step(torch.stack(chosen), 1.0)
    assert entropies[0] < 0.8
    assert min(entropies[-20:]) > 0.99
