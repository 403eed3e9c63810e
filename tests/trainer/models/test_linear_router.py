"""The linear router, and its gating residual, against the published formulas."""

import pytest
import torch
from midtrain.trainer.models.config import LinearMoE, ModelConfig, MoEConfig, ZeroComputationMoE
from midtrain.trainer.models.linear_router import LinearRouter
from torch import Tensor

CONFIG = ModelConfig(
    vocab_size=64,
    hidden_size=12,
    num_layers=2,
    num_heads=2,
    num_kv_heads=2,
    head_dim=4,
    num_experts=4,
    expert_size=8,
    router_size=5,
)


def randomised(moe: MoEConfig, layer: int = 1) -> LinearRouter:
    router = LinearRouter(CONFIG.model_copy(update={"moe": moe}), layer)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in router.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return router


def tokens() -> Tensor:
    return torch.randn(2, 9, 12, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_the_most_probable_with_their_probabilities(top_k: int) -> None:
    router = randomised(LinearMoE(kind="linear", top_k=top_k))
    routing = router(tokens(), None)
    probability = (tokens().double() @ router.weight.double().T).softmax(-1)
    for b in range(2):
        for t in range(9):
            best = probability[b, t].sort(descending=True).indices[:top_k].tolist()
            assert routing.class_BTK[b, t].tolist() == best
            torch.testing.assert_close(routing.weight_BTK[b, t].double(), probability[b, t, best], atol=1e-6, rtol=1e-5)
    assert routing.state_BTS is None


def test_biases_select_and_do_not_weigh() -> None:
    router = randomised(LinearMoE(kind="linear", top_k=2))
    free = router(tokens(), None)
    router.balancing_biases[3] = 2.0
    forced = router(tokens(), None)
    assert (forced.class_BTK[..., 0] == 3).all()
    assert not (free.class_BTK == 3).any(-1).all()
    torch.testing.assert_close(forced.weight_BTK[..., 0], free.probability_BTC[..., 3])
    assert router.balancing_biases.dtype == router.to(torch.bfloat16).balancing_biases.dtype == torch.float32


def test_the_gating_residual_carries_scores_before_softmax() -> None:
    moe = ZeroComputationMoE(kind="zero_computation")
    first, second = randomised(moe, 0), randomised(moe, 1)
    assert "residual" not in dict(first.named_parameters())
    state = first(tokens(), None).state_BTS
    assert state is not None
    torch.testing.assert_close(state, tokens() @ first.weight.T)
    routing = second(tokens(), state)
    scores = tokens() @ second.weight.T + state @ second.residual.T
    torch.testing.assert_close(routing.state_BTS, scores, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(routing.probability_BTC, scores.softmax(-1))
    routing.weight_BTK.sum().backward()
    assert first.weight.grad is not None
    assert first.weight.grad.abs().max() > 0
    assert second.residual.grad is not None


def test_without_the_gating_residual_nothing_is_passed_on() -> None:
    router = randomised(ZeroComputationMoE(kind="zero_computation", gating_residual=False), 1)
    assert list(dict(router.named_parameters())) == ["weight"]
    assert router(tokens(), None).state_BTS is None


def test_target_shares_are_even() -> None:
    assert randomised(LinearMoE(kind="linear")).target_shares().tolist() == [0.25] * 4
