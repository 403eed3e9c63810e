"""The layer's kinds behind one interface: skip modes, padding, capacity, what is counted, and the auxiliary loss."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import ConfigError
from midtrain.trainer.models.config import (
    DenseFFN,
    Kernels,
    LinearMoE,
    ModelConfig,
    MoEConfig,
    ZayaMoE,
    ZeroComputationMoE,
)
from midtrain.trainer.models.moe import MoE, moe_layer
from torch import Tensor, nn

CONFIG = ModelConfig(
    vocab_size=64,
    hidden_size=12,
    num_layers=2,
    num_heads=2,
    num_kv_heads=2,
    head_dim=4,
    num_experts=3,
    expert_size=8,
    router_size=5,
)

KINDS: dict[str, MoEConfig] = {
    "zaya": ZayaMoE(),
    "zero": ZayaMoE(skip="zero"),
    "identity": ZayaMoE(skip="identity", capacity=1.0),
    "linear": LinearMoE(kind="linear", top_k=2, balance_weight=0.02, capacity=1.25),
    "zero_computation": ZeroComputationMoE(kind="zero_computation"),
    "zero_computation with ZAYA1's router": ZeroComputationMoE(kind="zero_computation", router="zaya", capacity=None),
    "dense": DenseFFN(kind="dense"),
}


def made(moe: MoEConfig, layer: int = 1) -> nn.Module:
    module = moe_layer(CONFIG.model_copy(update={"moe": moe}), layer, Kernels())
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module


def state_of(module: nn.Module, rows: int, length: int) -> Tensor | None:
    """A router state of the size that the module takes, or None."""
    generator = torch.Generator().manual_seed(8)
    if not isinstance(module, MoE) or isinstance(module.config.moe, LinearMoE):
        return None
    names = dict(module.gate.named_parameters())
    size = 5 if "router_states_scale" in names else module.config.num_classes
    return torch.randn(rows, length, size, generator=generator)


def tokens(rows: int = 2, length: int = 9) -> Tensor:
    return torch.randn(rows, length, 12, generator=torch.Generator().manual_seed(5))


def test_skip_modes_differ_as_specified() -> None:
    x, padding = tokens(), torch.zeros(2, 9, dtype=torch.bool)
    for mode in ("zero", "identity"):
        moe = made(ZayaMoE(skip=mode))
        state = state_of(moe, 2, 9)
        moe.gate.balancing_biases[-1] = 0.2
        y, _, routed = moe(x, state, padding)
        routing = moe.gate(x, state)
        skipped = routing.class_BTK[..., 0] == 3
        assert routed.counts_C.tolist() == torch.bincount(routing.class_BTK.flatten(), minlength=4).tolist()
        assert 0 < int(routed.counts_C[3]) < 18
        passed = routing.weight_BTK[skipped] * x[skipped]
        assert torch.equal(y[skipped], passed if mode == "identity" else torch.zeros_like(passed))
        assert (y[~skipped].abs().amax(-1) > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_neither_counted_nor_heard(kind: str) -> None:
    moe = made(KINDS[kind]).eval()
    x = tokens()
    state, padding = state_of(moe, 2, 9), torch.rand(2, 9, generator=torch.Generator().manual_seed(6)) < 0.4
    y, _, routed = moe(x, state, padding)
    whole, _, _ = moe(x, state, torch.zeros_like(padding))
    top_k = getattr(KINDS[kind], "top_k", 1)
    assert routed.counts_C.dtype == routed.dropped_C.dtype == torch.int64
    assert int(routed.counts_C.sum()) == top_k * int((~padding).sum())
    assert kind == "dense" or not y[padding].any()
    torch.testing.assert_close(y[~padding], whole[~padding])
    other = x.clone()
    other[padding] = 100.0
    again, _, changed = moe(other, state, padding)
    assert torch.equal(again[~padding], y[~padding])
    assert torch.equal(changed.counts_C, routed.counts_C)
    torch.testing.assert_close(changed.balance, routed.balance)


@pytest.mark.parametrize("kind", KINDS)
def test_only_padding_gives_nothing_and_no_nan(kind: str) -> None:
    moe = made(KINDS[kind])
    x = tokens().requires_grad_()
    y, _, routed = moe(x, state_of(moe, 2, 9), torch.ones(2, 9, dtype=torch.bool))
    (y.sum() + routed.balance).backward()
    assert int(routed.counts_C.sum()) == 0
    assert not routed.balance.detach()
    assert kind == "dense" or not y.any()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_grouped_product_gives_what_the_loop_gives(kind: str) -> None:
    results = []
    for experts in ("loop", "grouped"):
        moe = made(KINDS[kind])
        if isinstance(moe, MoE):
            moe.kernel = experts
        x = tokens().requires_grad_()
        padding = torch.rand(2, 9, generator=torch.Generator().manual_seed(6)) < 0.3
        y, _, routed = moe(x, state_of(moe, 2, 9), padding)
        (y.sin().sum() + routed.balance).backward()
        results.append((y, x.grad, *(parameter.grad for parameter in moe.parameters())))
    for loop, grouped in zip(*results, strict=True):
        torch.testing.assert_close(loop, grouped, atol=1e-5 * max(1.0, float(loop.detach().abs().max())), rtol=1e-5)


def test_what_torch_cannot_group_is_refused() -> None:
    config = CONFIG.model_copy(update={"hidden_size": 6})
    moe = MoE(config, 0, Kernels(experts="grouped"))
    with pytest.raises(ConfigError, match=r"rows of 6 and 8 numbers of torch\.float32"):
        moe(torch.randn(1, 4, 6), None, torch.zeros(1, 4, dtype=torch.bool))


@settings(max_examples=50, deadline=None)
@given(
    chosen=st.lists(st.integers(0, 3), min_size=1, max_size=30),
    capacity=st.sampled_from([1.0, 1.1, 1.5, 4.0]),
    mode=st.sampled_from(["zero", "identity"]),
)
def test_capacity_drops_the_last_of_an_overfull_expert(chosen: list[int], capacity: float, mode: str) -> None:
    """Each token is sent where the test wants it; dropped tokens get nothing, the skip class has no limit."""
    free, capped = (made(ZayaMoE(skip=mode, capacity=limit), layer=0) for limit in (None, capacity))
    x, padding = tokens(1, len(chosen)), torch.zeros(1, len(chosen), dtype=torch.bool)
    wanted = torch.tensor(chosen)
    for moe in (free, capped):
        moe.gate.register_forward_hook(
            lambda _module, _inputs, routing: type(routing)(
                wanted[None, :, None],
                routing.probability_BTC.gather(-1, wanted[None, :, None]),
                routing.probability_BTC,
                routing.state_BTS,
            )
        )
    y, _, routed = capped(x, None, padding)
    whole, _, _ = free(x, None, padding)
    limit = -(-round(capacity * len(chosen) * 1000) // 3000)
    seen, kept = [0] * 4, []
    for number in chosen:
        seen[number] += 1
        kept.append(number == 3 or seen[number] <= limit)
    torch.testing.assert_close(y[0], torch.where(torch.tensor(kept)[:, None], whole[0], 0.0))
    assert not y[0][~torch.tensor(kept)].any()
    assert routed.counts_C.tolist() == seen
    assert routed.dropped_C.tolist() == [max(n - limit, 0) for n in seen[:3]] + [0]


def test_the_auxiliary_loss_is_the_published_one() -> None:
    """arXiv 2101.03961, eq. 4: E times the sum of share x mean probability; 1 x its weight where both are even."""
    moe = made(LinearMoE(kind="linear", top_k=2, balance_weight=0.3))
    x = tokens(3, 11)
    padding = torch.rand(3, 11, generator=torch.Generator().manual_seed(2)) < 0.3
    _, _, routed = moe(x, None, padding)
    probability = (x[~padding] @ moe.gate.weight.T).softmax(-1)
    share = F.one_hot(probability.topk(2).indices, 3).sum(dim=(0, 1)) / (2 * len(probability))
    torch.testing.assert_close(routed.balance, 0.3 * 3 * (share * probability.mean(0)).sum())
    with torch.no_grad():
        moe.gate.weight.zero_()
    torch.testing.assert_close(moe(x, None, padding)[2].balance, torch.tensor(0.3))


@pytest.mark.parametrize("kind", ["zaya", "dense", "linear without weight"])
def test_kinds_without_an_auxiliary_loss_have_zero(kind: str) -> None:
    moe = made(KINDS.get(kind, LinearMoE(kind="linear")))
    balance = moe(tokens(), state_of(moe, 2, 9), torch.zeros(2, 9, dtype=torch.bool))[2].balance
    assert balance.dtype == torch.float32
    assert float(balance) == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["weights", "autocast"])
def test_bfloat16_products_and_float32_outputs(kind: str, how: str) -> None:
    moe = made(KINDS[kind])
    x, padding = tokens(), torch.zeros(2, 9, dtype=torch.bool)
    state = state_of(moe, 2, 9)
    if how == "weights":
        moe.to(torch.bfloat16)
        x = x.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=how == "autocast"):
        y, after, routed = moe(x, state, padding)
    assert y.dtype == (torch.bfloat16 if kind == "dense" else torch.float32)
    assert routed.balance.dtype == torch.float32
    (y.float().sum() + routed.balance).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for n, p in moe.named_parameters() if "gate" not in n)
    if kind == "zero_computation":
        assert after is not None
        assert after.dtype == torch.float32
