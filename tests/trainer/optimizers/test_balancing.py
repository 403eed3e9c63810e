"""Bias balancing: against torch's AdamW, its invariants, and the load's measures."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from midtrain.errors import RunError
from midtrain.trainer.models.config import ModelConfig
from midtrain.trainer.models.model import MoEModel
from midtrain.trainer.models.routing import Router
from midtrain.trainer.optimizers.balancing import ALARM_STEPS, Balancer, load, shares
from midtrain.trainer.optimizers.settings import BalancingConfig

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

NONE = torch.zeros(3, dtype=torch.int64)


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
    balancer = Balancer(model, BalancingConfig(lr=1e-3))
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
    balancer = Balancer(model, BalancingConfig(lr=0.1))
    for seed in range(30):
        balancer.step(counts(seed), 1.0)
    assert biases(model)[:, :-1].mean(dim=1).abs().max() < 1e-6
    assert biases(model)[:, :-1].abs().max() > 0.05
    assert (biases(model)[:, -1] == -1).all()


def test_a_crowded_expert_loses_and_an_empty_one_gains(model):
    Balancer(model, BalancingConfig(lr=1e-3)).step(torch.tensor([[70, 10, 10, 10, 500]] * 3), 1.0)
    assert (biases(model)[:, 0] < 0).all()
    assert (biases(model)[:, 1:4] > 0).all()


def test_tokens_that_were_skipped_do_not_count():
    few, many = torch.tensor([[3, 1, 0]]), torch.tensor([[3, 1, 96]])
    for tokens in (few, many):
        twin = MoEModel(SIZES.model_copy(update={"num_layers": 1, "num_experts": 2}))
        Balancer(twin, BalancingConfig(lr=1e-3)).step(tokens, 1.0)
        assert biases(twin)[0].tolist() == pytest.approx([-1e-3, 1e-3, -1], rel=1e-4)
    assert torch.equal(load(few, 2).entropy_L, load(many, 2).entropy_L)
    assert shares(torch.tensor([[0, 0]])).tolist() == [[0.0, 0.0]]


@given(st.lists(st.integers(0, 50), min_size=2, max_size=8).filter(any))
def test_entropy_and_largest_share_are_their_formulas(tokens):
    spread = load(torch.tensor([[*tokens, 9]]), len(tokens))
    total, experts = sum(tokens), len(tokens)
    entropy = -sum(t / total * math.log(t / total) for t in tokens if t) / math.log(experts)
    assert spread.entropy_L.item() == pytest.approx(entropy, abs=1e-5)
    assert spread.max_share_L.item() == pytest.approx(max(tokens) / total)


def test_one_expert_is_balanced():
    assert load(torch.tensor([[5, 0]]), 1).entropy_L.tolist() == [1.0]


def test_an_expert_without_a_token_for_twenty_steps_is_reported_once(model):
    balancer = Balancer(model, BalancingConfig(lr=1e-3))
    without = torch.tensor([[5, 5, 5, 5, 0], [5, 0, 5, 5, 0], [5, 5, 5, 5, 0]])
    reported = [balancer.watch(without, NONE).dead_LE.nonzero().tolist() for _ in range(ALARM_STEPS + 5)]
    assert [step for step, dead in enumerate(reported, start=1) if dead] == [20]
    assert reported[19] == [[1, 1]]
    balancer.watch(without + 1, NONE)
    assert not any(balancer.watch(without, NONE).dead_LE.any() for _ in range(ALARM_STEPS - 1))


def test_a_loaded_state_steps_bitwise_alike(model):
    one, other = Balancer(model, BalancingConfig(lr=1e-2)), Balancer(MoEModel(SIZES), BalancingConfig(lr=1e-2))
    for seed in range(3):
        one.step(counts(seed), 1.0)
        one.watch(counts(seed) * (seed % 2), NONE)
    twin = MoEModel(SIZES)
    twin.load_state_dict(model.state_dict())
    other = Balancer(twin, BalancingConfig(lr=1e-2))
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
    balancer = Balancer(model, BalancingConfig(lr=1e-2))
    entropies = []
    for _ in range(150):
        chosen = [(probabilities + row[:-1]).argmax(dim=1).bincount(minlength=5) for row in biases(model)]
        entropies.append(load(torch.stack(chosen), 4).entropy_L.min().item())
        balancer.step(torch.stack(chosen), 1.0)
    assert entropies[0] < 0.8
    assert min(entropies[-20:]) > 0.99


def test_by_sign_every_bias_moves_by_the_rate_towards_its_target(model):
    balancer = Balancer(model, BalancingConfig(kind="sign", lr=0.01))
    balancer.step(torch.tensor([[70, 10, 10, 10, 500]] * 3), 0.5)
    # -0.005 and three of +0.005, made zero-mean.
    torch.testing.assert_close(biases(model)[:, :-1], torch.tensor([[-0.0075, 0.0025, 0.0025, 0.0025]] * 3))
    assert (biases(model)[:, -1] == -1).all()
    before = biases(model)
    balancer.step(torch.tensor([[25, 25, 25, 25, 7]] * 3), 1.0)
    torch.testing.assert_close(biases(model), before)
    assert sorted(balancer.state_dict()) == ["dropping", "idle"]


def test_none_leaves_the_biases_and_still_watches(model):
    balancer = Balancer(model, BalancingConfig(kind="none"))
    before = biases(model)
    balancer.step(counts(0), 1.0)
    assert torch.equal(biases(model), before)
    assert balancer.watch(counts(0) * 0, NONE).dead_LE.sum() == 0
    assert (balancer.state_dict()["idle"] == 1).all()


@pytest.mark.parametrize("kind", ["adamw", "sign"])
def test_targets_that_differ_are_what_the_load_goes_to(model, kind, monkeypatch):
    """Two classes that should get a quarter of what the others get, as zero-computation experts do, and no skip."""
    monkeypatch.setattr(Router, "target_shares", lambda router: torch.tensor([0.3, 0.3, 0.2, 0.1, 0.1]))
    for layer in model.layers:
        layer.mlp.gate.balancing_biases.zero_()
    balancer = Balancer(model, BalancingConfig(kind=kind, lr=3e-3))
    probabilities = torch.randn(4000, 5, generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    for step in range(400):
        chosen = torch.stack([(probabilities + row).argmax(dim=1).bincount(minlength=5) for row in biases(model)])
        balancer.step(chosen, 1.0 - step / 400)
    torch.testing.assert_close(chosen[0] / 4000, torch.tensor([0.3, 0.3, 0.2, 0.1, 0.1]), atol=0.01, rtol=0)
    assert biases(model).mean(dim=1).abs().max() < 1e-6


def test_a_layer_that_drops_more_than_a_tenth_for_twenty_steps_is_reported_once(model):
    balancer = Balancer(model, BalancingConfig())
    tokens = torch.full((3, 5), 20)
    dropped = torch.tensor([0, 11, 10])  # of 100; a tenth is not more than a tenth
    reported = [balancer.watch(tokens, dropped).dropping_L.nonzero().flatten().tolist() for _ in range(ALARM_STEPS + 5)]
    assert [(step, layers) for step, layers in enumerate(reported, start=1) if layers] == [(20, [1])]
    balancer.watch(tokens, NONE)
    assert balancer.state_dict()["dropping"].tolist() == [0, 0, 0]


def test_another_kind_keeps_the_biases_and_begins_its_moments_anew(model):
    balancer = Balancer(model, BalancingConfig(lr=0.01))
    balancer.step(counts(0), 1.0)
    moved, moments = biases(model), balancer.state_dict()["exp_avg"]
    balancer.configure(BalancingConfig(lr=0.5))
    assert balancer.state_dict()["exp_avg"] is moments
    balancer.configure(BalancingConfig(kind="sign"))
    assert torch.equal(biases(model), moved)
    balancer.configure(BalancingConfig(kind="adamw"))
    assert balancer.state_dict()["step"] == 0


@pytest.mark.parametrize(
    ("moe", "kind"),
    [
        ({"kind": "zaya"}, "adamw"),
        ({"kind": "linear"}, "adamw"),
        ({"kind": "linear", "balance_weight": 0.01}, "none"),
        ({"kind": "zero_computation"}, "none"),
        ({"kind": "zero_computation", "balance_weight": 0.0}, "adamw"),
        ({"kind": "dense"}, "none"),
    ],
)
def test_what_balances_unless_it_is_said(moe, kind):
    config = ModelConfig.model_validate({**SIZES.model_dump(), "moe": moe}, strict=False)
    assert BalancingConfig().kind_for(config.moe) == kind
    assert BalancingConfig(kind="sign").kind_for(config.moe) == "sign"
