"""One step: the loss is one mean over the global batch, and a step that went wrong changes nothing."""

import copy
import runpy
from pathlib import Path

import pytest
import torch
from midtrain.errors import RunError
from midtrain.trainer.balancing import Balancer
from midtrain.trainer.loader import batches
from midtrain.trainer.model import MoEModel
from midtrain.trainer.optimizers import Optimizer
from midtrain.trainer.presets import ModelConfig
from midtrain.trainer.run import OptimizerConfig
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


@pytest.mark.parametrize("micro", [1, 4])
def test_micro_batches_change_neither_loss_nor_gradient_nor_counts(model, batch, micro):
    loss, counts = forward_backward(model, batch, 6, bf16=False)
    whole = gradients(model)
    model.zero_grad()
    micro_loss, micro_counts = forward_backward(model, batch, micro, bf16=False)
    assert micro_loss.item() == pytest.approx(loss.item(), abs=1e-6)
    assert torch.equal(counts, micro_counts)
    assert (counts.sum(dim=1) == batch.real).all()
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, whole[name], atol=1e-6, rtol=1e-4, msg=name)


def test_the_loss_is_the_mean_over_supervised_tokens(model, batch):
    loss, _ = forward_backward(model, batch, 2, bf16=False)
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
    optimizer, balancer = Optimizer(model, MUON), Balancer(model, 1e-3)
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
    train_step(model, Optimizer(model, MUON), Balancer(model, 1e-3), batch, micro_sequences=6, scale=1e-12, bf16=False)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], atol=1e-9, rtol=1e-6, msg=name)


def test_bfloat16_products_train_float32_weights(model, batch):
    exact, _ = forward_backward(model, batch, 6, bf16=False)
    model.zero_grad()
    rounded, _ = forward_backward(model, batch, 6, bf16=True)
    assert rounded.item() == pytest.approx(exact.item(), rel=0.02)
    assert rounded.item() != exact.item()
    assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters())


def test_a_loss_that_is_not_finite_changes_nothing(model, batch):
    optimizer, balancer = Optimizer(model, MUON), Balancer(model, 1e-3)
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
    optimizer, balancer = Optimizer(model, MUON), Balancer(model, 0.0)
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
    optimizer, balancer = Optimizer(model, MUON), Balancer(model, 1e-3)
    with pytest.raises(RunError, match="too little memory for a micro-batch") as wrong:
        train_step(model, optimizer, balancer, batch, micro_sequences=4, scale=1.0, bf16=False, name="step 7")
    assert (wrong.value.where, wrong.value.seen) == ("step 7", "4 sequences of 32 tokens")
    assert "micro_batch_tokens" in wrong.value.fix
