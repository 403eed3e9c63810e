"""Whole models of every kind of layer: initialized, trained, packed, and decoded from a cache."""

import pytest
import torch
from midtrain.trainer.models.cache import Cache
from midtrain.trainer.models.config import DenseFFN, LinearMoE, ModelConfig, MoEConfig, ZayaMoE, ZeroComputationMoE
from midtrain.trainer.models.model import MoEModel
from midtrain.trainer.models.routing import Router
from torch import Tensor

CONFIG = ModelConfig(
    vocab_size=40,
    hidden_size=32,
    num_layers=3,
    num_heads=2,
    num_kv_heads=2,
    head_dim=16,
    num_experts=4,
    expert_size=24,
    router_size=16,
)

KINDS: dict[str, MoEConfig] = {
    "zaya": ZayaMoE(),
    "zaya, identity, capacity": ZayaMoE(skip="identity", capacity=1.5),
    "linear": LinearMoE(kind="linear", balance_weight=0.01),
    "linear top-2": LinearMoE(kind="linear", top_k=2),
    "zero_computation": ZeroComputationMoE(kind="zero_computation"),
    "zero_computation, no residual, no constant": ZeroComputationMoE(
        kind="zero_computation", gating_residual=False, constant_experts=0
    ),
    "zero_computation, ZAYA1's router": ZeroComputationMoE(kind="zero_computation", router="zaya"),
    "dense": DenseFFN(kind="dense"),
}


def model_of(kind: str, attention: str = "cca") -> MoEModel:
    model = MoEModel(CONFIG.model_copy(update={"moe": KINDS[kind], "attention": attention}))
    model.init_weights(torch.Generator().manual_seed(1))
    return model


def rows(lengths: list[int], seed: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Documents of these lengths in one row: tokens, positions, segments."""
    tokens = torch.randint(0, 40, (1, sum(lengths)), generator=torch.Generator().manual_seed(seed))
    positions = torch.cat([torch.arange(n) for n in lengths])[None]
    segments = torch.cat([torch.full((n,), i) for i, n in enumerate(lengths)])[None]
    return tokens, positions, segments


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_and_buffer_is_initialized(kind: str) -> None:
    with torch.device("meta"):
        model = MoEModel(CONFIG.model_copy(update={"moe": KINDS[kind]}))
    model.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.fill_(float("nan"))
    model.init_weights(torch.Generator().manual_seed(1))
    twin = model_of(kind).state_dict()
    for name, tensor in model.state_dict().items():
        assert tensor.isfinite().all(), name
        assert torch.equal(tensor, twin[name]), name
        if name.endswith("constants.vectors"):
            assert 0.7 < float(tensor.std()) < 1.3
        elif name.endswith(("gate.weight", "gate.residual", "constants.mix", "gate_proj.weight")):
            assert 0.01 < float(tensor.std()) < 0.03, name
    for module in model.modules():
        if isinstance(module, Router):
            assert not module.balancing_biases[: CONFIG.num_experts].any()
            assert module.target_shares().sum() == pytest.approx(1)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_learns(kind: str) -> None:
    """The next of a fixed cycle of 40 tokens can be learned to near certainty."""
    model = model_of(kind)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    tokens = (torch.arange(65)[None] * 7 + torch.arange(4)[:, None] * 11) % 40
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    positions = torch.arange(64).expand(4, 64)
    losses = []
    for _ in range(60):
        result = model.loss(inputs, positions, torch.zeros_like(inputs), targets)
        loss = result.cross_entropy / targets.numel() + result.routed.balance
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
        optimizer.step()
        losses.append(float(result.cross_entropy.detach()) / targets.numel())
    assert losses[0] > 3.0
    assert losses[-1] < 0.3, losses[-1]


@pytest.mark.parametrize("attention", ["cca", "gqa"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_document_is_computed_alone_among_others(kind: str, attention: str) -> None:
    model = model_of(kind, attention).eval()
    lengths = [7, 1, 12, 3]
    tokens, positions, segments = rows(lengths)
    with torch.no_grad():
        packed = model(tokens, positions, segments).logits_BTV[0]
        first = 0
        for length in lengths:
            chosen = slice(first, first + length)
            alone = model(tokens[:, chosen], positions[:, chosen], torch.zeros(1, length, dtype=torch.int64))
            torch.testing.assert_close(packed[chosen], alone.logits_BTV[0], atol=1e-5, rtol=0)
            first += length


@pytest.mark.parametrize("kind", KINDS)
def test_decoding_from_a_cache_gives_what_one_pass_gives(kind: str) -> None:
    model = model_of(kind).eval()
    tokens, positions, segments = rows([15])
    with torch.inference_mode():
        whole = model(tokens, positions, segments).logits_BTV
        cache = Cache.empty(model.config, 1, 15)
        parts = [
            model(tokens[:, a:b], positions[:, a:b], segments[:, a:b], cache=cache).logits_BTV
            for a, b in ((0, 6), (6, 7), (7, 8), (8, 15))
        ]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-5, rtol=0)
