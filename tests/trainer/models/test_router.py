"""The router: selection by biased, weight by unbiased probabilities, and biases that stay float32."""

import math

import pytest
import torch
from midtrain.trainer.models.config import ModelConfig, ZayaMoE
from midtrain.trainer.models.router import ZayaRouter
from torch import Tensor

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
    moe=ZayaMoE(skip="zero"),
)


def randomised(config: ModelConfig = CONFIG, layer: int = 1) -> ZayaRouter:
    router = ZayaRouter(config, layer)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in router.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 1.5)
    return router


def tokens(rows: int, length: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(rows, length, 12, generator=generator), torch.randn(rows, length, 5, generator=generator)


def test_it_is_the_published_formula_token_by_token() -> None:
    router = randomised()
    router.balancing_biases.copy_(torch.tensor([0.1, -0.2, 0.05, 0.13]))
    x, before = tokens(2, 9)
    routing = router(x, before)
    weights = {name: parameter.detach().double() for name, parameter in router.named_parameters()}

    def gelu(z: Tensor) -> Tensor:
        return torch.tensor([v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in z.tolist()], dtype=torch.float64)

    assert len(routing.class_BTK[..., 0].unique()) == 4
    for b in range(2):
        for t in range(9):
            state = weights["down_proj.weight"] @ x[b, t].double() + weights["down_proj.bias"]
            state = state + before[b, t].double() * weights["router_states_scale"]
            z = state / (state.square().mean() + 1e-5).sqrt() * weights["router_mlp.norm.weight"]
            z = gelu(weights["router_mlp.fc1.weight"] @ z + weights["router_mlp.fc1.bias"])
            z = gelu(weights["router_mlp.fc2.weight"] @ z + weights["router_mlp.fc2.bias"])
            p = (weights["router_mlp.out_proj.weight"] @ z).softmax(0)
            chosen = int((p + router.balancing_biases.double()).argmax())
            assert int(routing.class_BTK[..., 0][b, t]) == chosen
            torch.testing.assert_close(routing.weight_BTK[..., 0][b, t].double(), p[chosen], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(routing.state_BTS[b, t].double(), state, atol=1e-4, rtol=1e-4)


def test_biases_select_and_do_not_weigh() -> None:
    router = randomised()
    x, before = tokens(1, 50)
    free = router(x, before)
    router.balancing_biases[2] = 3.0
    forced = router(x, before)
    assert (forced.class_BTK[..., 0] == 2).all()
    assert (free.class_BTK[..., 0] == 2).any()
    assert not (free.class_BTK[..., 0] == 2).all()
    assert (forced.weight_BTK[..., 0] <= 1).all()
    torch.testing.assert_close(
        forced.weight_BTK[..., 0][free.class_BTK[..., 0] == 2], free.weight_BTK[..., 0][free.class_BTK[..., 0] == 2]
    )


@pytest.mark.parametrize(("mode", "skips"), [("off", False), ("zero", True), ("identity", True)])
def test_skip_is_chosen_only_where_it_may_be(mode: str, skips: bool) -> None:
    router = randomised(CONFIG.model_copy(update={"moe": ZayaMoE(skip=mode)}))
    assert router.balancing_biases.tolist() == [0, 0, 0, -1]
    router.balancing_biases[-1] = 5.0
    routing = router(*tokens(1, 30))
    assert bool((routing.class_BTK[..., 0] == 3).all()) == skips
    assert bool((routing.class_BTK[..., 0] == 3).any()) == skips


def test_off_still_divides_the_probability_among_all_classes() -> None:
    off, zero = (randomised(CONFIG.model_copy(update={"moe": ZayaMoE(skip=mode)})) for mode in ("off", "zero"))
    x, before = tokens(1, 30)
    assert torch.equal(off(x, before).weight_BTK[..., 0], zero(x, before).weight_BTK[..., 0])


def test_gradient_flows_through_weight_and_depth() -> None:
    router = randomised()
    before = torch.randn(1, 4, 5, requires_grad=True)
    router(torch.randn(1, 4, 12), before).weight_BTK[..., 0].sum().backward()
    assert before.grad is not None
    assert before.grad.abs().max() > 0
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in router.parameters())


def test_the_first_layer_has_no_state_to_scale() -> None:
    assert "router_states_scale" not in dict(randomised(layer=0).named_parameters())
    assert "router_states_scale" in dict(randomised(layer=1).named_parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_biases_stay_float32_and_exact(dtype: torch.dtype) -> None:
    router = torch.nn.Sequential(randomised())
    biases = torch.tensor([0.001, -0.0123, 0.5, -1.001])
    router[0].balancing_biases.copy_(biases)
    router.to(dtype)
    assert router[0].down_proj.weight.dtype == dtype
    assert router[0].balancing_biases.dtype == torch.float32
    assert torch.equal(router[0].balancing_biases, biases)
    assert "balancing_biases" in router[0].state_dict()
    routing = router[0](torch.randn(1, 3, 12, dtype=dtype), torch.zeros(1, 3, 5, dtype=dtype))
    assert routing.weight_BTK.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert routing.state_BTS.dtype == dtype


def test_biases_can_be_loaded_into_a_cast_model_and_made_from_meta() -> None:
    with torch.device("meta"):
        router = ZayaRouter(CONFIG, 1)
    router.to(torch.bfloat16)
    assert router.balancing_biases.dtype == torch.float32
    router.to_empty(device="cpu")
    router.load_state_dict(randomised().state_dict())
    assert router.balancing_biases.tolist() == [0, 0, 0, -1]


@pytest.mark.parametrize("mode", ["off", "zero", "identity"])
def test_target_shares_leave_the_skip_class_out(mode: str) -> None:
    router = randomised(CONFIG.model_copy(update={"moe": ZayaMoE(skip=mode)}))
    torch.testing.assert_close(router.target_shares(), torch.tensor([1 / 3, 1 / 3, 1 / 3, 0.0]))
