"""One step: the loss is one mean over the global batch, and a step that went wrong changes nothing."""

import copy
import runpy
from pathlib import Path

import pytest
import torch
from midtrain.errors import RunError
from midtrain.trainer.loader import batches
from midtrain.trainer.models.config import ModelConfig
from midtrain.trainer.models.model import MoEModel
from midtrain.trainer.optimizers.balancing import Balancer
from midtrain.trainer.optimizers.optimizer import Optimizer
from midtrain.trainer.optimizers.settings import BalancingConfig, OptimizerConfig
from midtrain.trainer.step import forward_backward, train_step

FakeMixture = runpy.run_path(str(Path(__file__).with_name("fake_mixture.py")))["FakeMixture"]
SIZES = ModelConfig(
    vocab_size=64,
    hidden_size=32,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    num_experts=3,
    expert_size=24,
    router_size=8,
)
BALANCING = BalancingConfig(lr=1e-3)
MUON = OptimizerConfig(name="muon", lr=0.02, adamw_lr=0.003)


@pytest.fixture
def model() -> MoEModel:
    torch.manual_seed(0)
    return MoEModel(SIZES)


@pytest.fixture
def batch():
    return next(batches(FakeMixture(), "midtrain", 0, 6))


def gradients(model: MoEModel) -> dict[str, torch.Tensor]:
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def of_kind(**moe) -> MoEModel:
    torch.manual_seed(0)
    return MoEModel(ModelConfig.model_validate({**SIZES.model_dump(), "moe": moe}, strict=False))


@pytest.mark.parametrize("micro", [1, 4])
def test_micro_batches_change_neither_loss_nor_gradient_nor_counts(model, batch, micro):
    sums = forward_backward(model, batch, 6, bf16=False)
    whole = gradients(model)
    model.zero_grad()
    micro_sums = forward_backward(model, batch, micro, bf16=False)
    assert micro_sums.loss.item() == pytest.approx(sums.loss.item(), abs=1e-6)
    assert torch.equal(sums.counts_LC, micro_sums.counts_LC)
    assert (sums.counts_LC.sum(dim=1) == batch.real).all()
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, whole[name], atol=1e-6, rtol=1e-4, msg=name)


class Uneven(FakeMixture):
    """Rows whose trained tokens differ much in number: of four, two have all, one three, one a single one."""

    def row(self, phase, index):
        tokens, positions, segments, loss = super().row(phase, index)
        kept = (len(tokens), len(tokens), 3, 1)[index % 4]
        return tokens, positions, segments, loss & (loss.cumsum() <= kept)


KINDS = {
    "zaya": {"kind": "zaya"},
    "linear": {"kind": "linear", "top_k": 2},
    "zero_computation": {"kind": "zero_computation", "capacity": None, "balance_weight": 0.0},
    "zero_computation, ZAYA1's router": {
        "kind": "zero_computation",
        "router": "zaya",
        "capacity": None,
        "balance_weight": 0.0,
    },
    "dense": {"kind": "dense"},
}


@pytest.mark.parametrize("z_loss", [0.0, 0.01])
@pytest.mark.parametrize("kind", KINDS)
def test_four_micro_batches_are_one_batch_of_four_times_the_size(kind, z_loss):
    """Losses and gradients to rounding, and the same update, however uneven the supervised tokens are."""
    batch = next(batches(Uneven(), "midtrain", 0, 8))
    supervised = [(batch.rows(first, 2)[3] >= 0).sum().item() for first in range(0, 8, 2)]
    assert max(supervised) > 3 * min(supervised)
    one, four = of_kind(**KINDS[kind]), of_kind(**KINDS[kind])
    whole = forward_backward(one, batch, 8, False, z_loss)
    parts = forward_backward(four, batch, 2, False, z_loss)
    for name in ("loss", "z_loss", "balance_loss"):
        assert getattr(parts, name).item() == pytest.approx(getattr(whole, name).item(), rel=1e-6), name
    assert torch.equal(parts.counts_LC, whole.counts_LC)
    expected, found = gradients(one), gradients(four)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], atol=2e-6, rtol=1e-4, msg=name)
    for model, sums in ((one, whole), (four, parts)):
        settings = MUON.model_copy(update={"name": "adamw", "adamw_lr": None, "eps": 1e-3})
        optimizer, balancer = Optimizer(model, settings), Balancer(model, BalancingConfig())
        optimizer.step()
        balancer.step(sums.counts_LC, 1.0)
    for (name, moved), other in zip(one.state_dict().items(), four.state_dict().values(), strict=True):
        torch.testing.assert_close(other, moved, atol=1e-4, rtol=1e-4, msg=name)


def test_an_auxiliary_loss_is_the_mean_over_micro_batches_by_their_supervised_tokens():
    """It is a product of two means over a micro-batch, so accumulation is not one batch; what holds is the mean."""
    batch = next(batches(Uneven(), "midtrain", 0, 8))
    model = of_kind(kind="linear", top_k=2, balance_weight=0.1)
    sums = forward_backward(model, batch, 2, bf16=False)
    accumulated = gradients(model)
    model.zero_grad()
    total = 0
    for first in range(0, 8, 2):
        *inputs, targets_BT = batch.rows(first, 2)
        losses = model.loss(*inputs, targets_BT)
        total = total + (losses.cross_entropy + losses.routed.balance * (targets_BT >= 0).sum()) / batch.supervised
    total.backward()
    assert (sums.loss + sums.balance_loss).item() == pytest.approx(total.item(), rel=1e-6)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(accumulated[name], gradient, atol=1e-6, rtol=1e-4, msg=name)
    model.zero_grad()
    whole = forward_backward(model, batch, 8, bf16=False)
    assert sums.loss.item() == pytest.approx(whole.loss.item(), rel=1e-6)
    assert sums.balance_loss.item() != pytest.approx(whole.balance_loss.item(), rel=1e-4)
    # Even load costs the weight a layer, by arXiv 2101.03961; both lie near it.
    assert sums.balance_loss.item() == pytest.approx(0.2, rel=0.2)


def test_the_z_loss_is_its_formula_and_apart_from_the_loss(model, batch):
    without = forward_backward(model, batch, 6, bf16=False)
    plain = gradients(model)
    model.zero_grad()
    sums = forward_backward(model, batch, 3, bf16=False, z_loss=0.5)
    with torch.no_grad():
        logits = model(batch.tokens_BT, batch.positions_BT, batch.segments_BT).logits_BTV
    log_z_N = logits.exp().sum(dim=-1).log()[batch.targets_BT >= 0]
    assert sums.z_loss.item() == pytest.approx(0.5 * log_z_N.square().mean().item(), rel=1e-5)
    assert sums.loss.item() == pytest.approx(without.loss.item(), rel=1e-6)
    assert without.z_loss == 0
    assert not torch.allclose(plain["embed_tokens.weight"], gradients(model)["embed_tokens.weight"], rtol=0.01)


def steps_of(model, batch, count=1, settings=MUON, balancing=BALANCING, micro=6):
    optimizer, balancer = Optimizer(model, settings), Balancer(model, balancing)
    rates = {"micro_sequences": micro, "scale": 1.0, "bf16": False}
    return [train_step(model, optimizer, balancer, batch, **rates) for _ in range(count)]


def test_a_result_has_what_the_model_and_the_settings_have(batch):
    always = {"loss", "grad_norm", "flops_per_token"}
    routing = {"load_entropy", "load_entropy_min", "max_expert_share"}
    (zaya,) = steps_of(of_kind(kind="zaya"), batch)
    assert zaya.measures().keys() == always | routing
    (skywork,) = steps_of(
        of_kind(kind="zero_computation"),
        batch,
        settings=MUON.model_copy(update={"z_loss": 1e-4}),
        balancing=BalancingConfig(),
    )
    assert skywork.measures().keys() == always | routing | {"dropped", "balance_loss", "z_loss"}
    assert 0 <= skywork.dropped < 1
    (dense,) = steps_of(of_kind(kind="dense"), batch, balancing=BalancingConfig())
    assert dense.measures().keys() == always
    # A dense network of the same size computes what one expert does, without the router.
    assert 0.5 * zaya.flops_per_token < dense.flops_per_token < zaya.flops_per_token
    assert skywork.flops_per_token != zaya.flops_per_token


def test_a_layer_that_drops_many_is_named(batch):
    model = of_kind(kind="linear", capacity=1.0)
    for layer in model.layers:
        layer.mlp.gate.balancing_biases[0] = 5.0
    results = steps_of(model, batch, 20, balancing=BalancingConfig(kind="none"))
    assert results[-1].dropped == pytest.approx(2 / 3, abs=0.02)  # two of three experts stand empty
    assert results[-1].dropping == (0, 1)
    assert results[-1].dead == ((0, 1), (0, 2), (1, 1), (1, 2))
    assert not any(result.alarms() for result in results[:-1])
    assert results[-1].alarms()[4] == (
        "layer 0 has dropped more than 10% of its assignments for 20 steps: a low capacity, or an uneven load"
    )


def test_the_loss_is_the_mean_over_supervised_tokens(model, batch):
    loss = forward_backward(model, batch, 2, bf16=False).loss
    with torch.no_grad():
        logits = model(batch.tokens_BT, batch.positions_BT, batch.segments_BT).logits_BTV.log_softmax(dim=-1)
    nats = []
    for row in range(len(batch)):
        for t in range(batch.tokens_BT.shape[1] - 1):
            if batch.segments_BT[row, t] == batch.segments_BT[row, t + 1] and batch.loss_mask_BT[row, t + 1]:
                nats.append(-logits[row, t, batch.tokens_BT[row, t + 1]])
    assert len(nats) == batch.supervised
    assert loss.item() == pytest.approx(torch.stack(nats).mean().item(), rel=1e-5)


def test_steps_learn_and_report(model, batch):
    optimizer, balancer = Optimizer(model, MUON), Balancer(model, BALANCING)
    results = [
        train_step(model, optimizer, balancer, batch, micro_sequences=3, scale=1.0, bf16=False) for _ in range(40)
    ]
    assert results[-1].loss < 0.5 * results[0].loss
    assert all(0 <= result.load_entropy_min <= result.load_entropy + 1e-6 <= 1 + 1e-6 for result in results)
    assert all(1 / 3 <= result.max_expert_share <= 1 for result in results)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert any(layer.mlp.gate.balancing_biases[:-1].abs().max() > 0 for layer in model.layers)


def test_the_schedule_scales_every_rate(model, batch):
    before = copy.deepcopy(model.state_dict())
    train_step(
        model, Optimizer(model, MUON), Balancer(model, BALANCING), batch, micro_sequences=6, scale=1e-12, bf16=False
    )
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], atol=1e-9, rtol=1e-6, msg=name)


def test_bfloat16_products_train_float32_weights(model, batch):
    exact = forward_backward(model, batch, 6, bf16=False).loss
    model.zero_grad()
    rounded = forward_backward(model, batch, 6, bf16=True).loss
    assert rounded.item() == pytest.approx(exact.item(), rel=0.02)
    assert rounded.item() != exact.item()
    assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters())


def test_a_loss_that_is_not_finite_changes_nothing(model, batch):
    optimizer, balancer = Optimizer(model, MUON), Balancer(model, BALANCING)
    with torch.no_grad():
        model.norm.weight[0] = float("inf")
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(RunError, match=r"step 7, sequences 0 to 5: the loss or its gradient is not a finite number"):
        train_step(model, optimizer, balancer, batch, micro_sequences=6, scale=1.0, bf16=False, name="step 7")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_dead_expert_is_named(model, batch):
    for layer in model.layers:
        layer.mlp.gate.balancing_biases[0] = 5.0
    optimizer, balancer = Optimizer(model, MUON), Balancer(model, BalancingConfig(lr=0.0))
    results = [
        train_step(model, optimizer, balancer, batch, micro_sequences=6, scale=1.0, bf16=False) for _ in range(20)
    ]
    # The zero-mean rule moves all of a layer's biases alike, so expert 0 keeps all tokens.
    assert results[-1].dead == ((0, 1), (0, 2), (1, 1), (1, 2))
    assert not any(result.dead for result in results[:-1])
    assert results[-1].max_expert_share == 1.0


def test_too_little_memory_names_the_micro_batch(model, batch, monkeypatch):
    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model.layers[1], "forward", full)
    optimizer, balancer = Optimizer(model, MUON), Balancer(model, BALANCING)
    with pytest.raises(RunError, match="too little memory for a micro-batch") as wrong:
        train_step(model, optimizer, balancer, batch, micro_sequences=4, scale=1.0, bf16=False, name="step 7")
    assert (wrong.value.where, wrong.value.seen) == ("step 7", "4 sequences of 32 tokens")
    assert "micro_batch_tokens" in wrong.value.fix
