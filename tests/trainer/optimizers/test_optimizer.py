"""Muon and AdamW: against the definition, against torch, and as state that is saved and loaded."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import RunError
from midtrain.trainer.models.config import ModelConfig
from midtrain.trainer.models.model import MoEModel
from midtrain.trainer.optimizers.optimizer import Optimizer, groups, matrices, orthogonalize
from midtrain.trainer.optimizers.settings import OptimizerConfig
from torch.utils.flop_counter import FlopCounterMode

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
MUON = OptimizerConfig(name="muon", lr=0.02, adamw_lr=0.003, weight_decay=0.1)


@pytest.fixture
def model() -> MoEModel:
    torch.manual_seed(0)
    return MoEModel(SIZES)


def give_gradients(model: MoEModel, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40), st.floats(1e-6, 1e6), st.integers(0, 99))
def test_orthogonalized_is_near_the_svd_reference(count, rows, columns, size, seed):
    stack = torch.randn(count, rows, columns, generator=torch.Generator().manual_seed(seed)) * size
    u, _, vh = torch.linalg.svd(stack, full_matrices=False)
    result = orthogonalize(stack)
    assert result.shape == stack.shape
    # In the reference's own basis the result is diagonal: same directions, singular values brought near 1.
    spectrum = u.mT @ result @ vh.mT
    diagonal = spectrum.diagonal(dim1=1, dim2=2)
    largest = torch.linalg.svdvals(stack)
    condition = largest[:, :1] / largest.clamp_min(1e-30)
    well_conditioned = condition < 30
    assert (spectrum - torch.diag_embed(diagonal)).abs().max() < 2e-3
    assert ((diagonal > 0.6) & (diagonal < 1.3))[well_conditioned].all()
    assert diagonal.max() < 1.3


@pytest.mark.parametrize(("rows", "columns"), [(8, 20), (20, 8), (12, 12)])
def test_a_step_costs_what_the_module_says(rows, columns):
    with FlopCounterMode(display=False) as counted:
        orthogonalize(torch.randn(3, rows, columns))
    m, n = sorted((rows, columns))
    assert counted.get_total_flops() == 3 * 2 * (10 * m**2 * n + 5 * m**3)  # a multiplication and an addition each


def test_a_stack_equals_its_matrices_one_by_one():
    stack = torch.randn(5, 24, 16)
    alone = torch.cat([orthogonalize(matrix[None]) for matrix in stack])
    torch.testing.assert_close(orthogonalize(stack), alone, atol=1e-5, rtol=1e-5)
    assert orthogonalize(torch.zeros(2, 3, 4)).count_nonzero() == 0


def test_every_parameter_is_in_the_one_group_that_suits_it(model):
    named = groups(model)
    listed = [name for names in named.values() for name in names]
    assert sorted(listed) == sorted(name for name, _ in model.named_parameters())
    ends = {name.split(".", 2)[-1] for name in named["muon"]}
    assert ends == {
        "self_attn.qkv_proj.q_proj.weight",
        "self_attn.qkv_proj.k_proj.weight",
        "self_attn.qkv_proj.v_proj_current.weight",
        "self_attn.qkv_proj.v_proj_delayed.weight",
        "self_attn.o_proj.weight",
        "mlp.gate.down_proj.weight",
        "mlp.gate.router_mlp.fc1.weight",
        "mlp.gate.router_mlp.fc2.weight",
        "mlp.gate.router_mlp.out_proj.weight",
        "mlp.experts.gate_up_proj",
        "mlp.experts.down_proj",
    }
    decayed = {name.removeprefix("layers.0.").removeprefix("layers.1.") for name in named["adamw_decay"]}
    assert decayed == {"embed_tokens.weight", "self_attn.qkv_proj.conv_qk_grouped.weight"}
    assert all(dict(model.named_parameters())[name].ndim == 1 or "depthwise.weight" in name for name in named["adamw"])


@pytest.mark.parametrize("attention", ["cca", "gqa"])
@pytest.mark.parametrize(
    "moe",
    [
        {"kind": "linear"},
        {"kind": "zero_computation"},
        {"kind": "zero_computation", "router": "zaya"},
        {"kind": "dense"},
    ],
)
def test_muon_takes_the_matrices_of_every_kind_of_model(moe, attention):
    sizes = {**SIZES.model_dump(), "moe": moe, "attention": attention}
    model = MoEModel(ModelConfig.model_validate(sizes, strict=False))
    named = groups(model)
    parameters = dict(model.named_parameters())
    assert sorted(name for names in named.values() for name in names) == sorted(parameters)
    apart = ("embed_tokens.weight", "conv_qk_grouped.weight", "conv_qk_depthwise.weight", "constants.mix")
    matrices_of = {name for name, parameter in parameters.items() if parameter.ndim > 1}
    assert set(named["muon"]) == {name for name in matrices_of if not name.endswith((*apart, "constants.vectors"))}
    assert all(name.endswith(("embed_tokens.weight", "conv_qk_grouped.weight")) for name in named["adamw_decay"])
    give_gradients(model, 0)
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    Optimizer(model, MUON).step()
    assert all(not torch.equal(parameter, before[name]) for name, parameter in parameters.items())


def test_a_parameter_that_no_rule_names_is_an_error():
    strange = torch.nn.Module()
    strange.kernel = torch.nn.Parameter(torch.zeros(2, 3, 4))
    with pytest.raises(RunError, match=r"kernel: no optimizer is meant for this parameter"):
        groups(strange)


def reference_step(name, weight, gradient, buffer):
    """Muon of one parameter by its definition, a matrix at a time; gate and up, and experts, apart."""
    buffer.mul_(0.95).add_(gradient)
    nesterov = gradient + 0.95 * buffer
    pieces = zip(matrices(name, weight), matrices(name, nesterov), strict=True)
    for matrix, direction in pieces:
        matrix.mul_(1 - MUON.lr * 0.5 * MUON.weight_decay)
        scale = 0.2 * max(matrix.shape) ** 0.5
        matrix.sub_(MUON.lr * 0.5 * scale * orthogonalize(direction[None])[0])


@pytest.mark.parametrize("expert_size", [24, 48])  # gate and up are wide or tall: hidden_size is 32
def test_muon_is_its_definition_and_the_rest_torchs_adamw(expert_size):
    model = MoEModel(SIZES.model_copy(update={"expert_size": expert_size}))
    named = groups(model)
    expected = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    buffers = {name: torch.zeros_like(expected[name]) for name in named["muon"]}
    adamw = torch.optim.AdamW(
        [
            {"params": [expected[name] for name in named["adamw_decay"]], "weight_decay": 0.1},
            {"params": [expected[name] for name in named["adamw"]], "weight_decay": 0.0},
        ],
        lr=0.003 * 0.5,
        betas=(0.9, 0.95),
        foreach=False,
        fused=False,
    )
    optimizer = Optimizer(model, MUON)
    optimizer.set_lr(0.5)
    for seed in range(3):
        give_gradients(model, seed)
        for name, parameter in model.named_parameters():
            if name in buffers:
                reference_step(name, expected[name], parameter.grad, buffers[name])
            else:
                expected[name].grad = parameter.grad.clone()
        adamw.step()
        optimizer.step()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[name], atol=2e-5, rtol=1e-4, msg=name)


def test_gate_and_up_are_orthogonalized_apart(model):
    """The other half's gradient must not matter: a joint orthogonalization would mix them."""
    name = "layers.0.mlp.experts.gate_up_proj"
    moved = []
    for factor in (1.0, 100.0):
        twin = copy.deepcopy(model)
        give_gradients(twin, 0)
        weight = dict(twin.named_parameters())[name]
        weight.grad[:, SIZES.expert_size :] *= factor
        Optimizer(twin, MUON).step()
        moved.append(weight.detach().clone())
    torch.testing.assert_close(moved[0], moved[1], atol=1e-5, rtol=1e-5)


def test_updates_have_the_size_of_adamws(model):
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    give_gradients(model, 1)
    Optimizer(model, MUON.model_copy(update={"weight_decay": 0.0})).step()
    for name in groups(model)["muon"]:
        if "gate." in name:  # the router's matrices are too small for a mean
            continue
        update = (dict(model.named_parameters())[name].detach() - before[name]) / MUON.lr
        assert update.square().mean().sqrt() == pytest.approx(0.2, rel=0.25), name


def test_adamw_alone_takes_every_parameter(model):
    optimizer = Optimizer(model, OptimizerConfig(name="adamw", lr=0.01))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    give_gradients(model, 0)
    optimizer.step()
    assert all(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert not optimizer.state_dict()["momentum"]
    with pytest.raises(RunError, match="of no use to another one"):
        optimizer.configure(MUON)


def test_clip_bounds_the_global_norm_and_returns_it(model):
    give_gradients(model, 0)
    expected = torch.cat([parameter.grad.flatten() for parameter in model.parameters()]).norm()
    assert Optimizer(model, MUON.model_copy(update={"clip": None})).clip() == pytest.approx(expected.item(), rel=1e-5)
    assert Optimizer(model, MUON).clip() == pytest.approx(expected.item(), rel=1e-5)
    clipped = torch.cat([parameter.grad.flatten() for parameter in model.parameters()]).norm()
    assert clipped == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_a_loaded_state_steps_bitwise_alike(model, name):
    settings = OptimizerConfig(name=name, lr=0.01, weight_decay=0.01)
    optimizer = Optimizer(model, settings)
    for seed in range(2):
        give_gradients(model, seed)
        optimizer.step()
    twin = copy.deepcopy(model)
    loaded = Optimizer(twin, settings)
    loaded.load_state_dict({kind: dict(named) for kind, named in optimizer.state_dict().items()})
    for trained, one in ((model, optimizer), (twin, loaded)):
        give_gradients(trained, 9)
        one.step()
    for (key, a), b in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b), key


def test_a_partial_or_foreign_state_is_an_error(model):
    optimizer = Optimizer(model, MUON)
    state = {kind: dict(named) for kind, named in optimizer.state_dict().items()}
    gone = state["exp_avg"].pop("norm.weight")
    with pytest.raises(RunError, match=r"exp_avg\.norm\.weight.*\n.*missing"):
        optimizer.load_state_dict(state)
    state["exp_avg"]["norm.weight"] = gone[:-1]
    with pytest.raises(RunError, match="of another shape"):
        optimizer.load_state_dict(state)


def test_configure_keeps_the_moments_and_takes_the_rates(model):
    optimizer = Optimizer(model, MUON)
    give_gradients(model, 0)
    optimizer.step()
    before = {kind: {name: t.clone() for name, t in named.items()} for kind, named in optimizer.state_dict().items()}
    optimizer.configure(MUON.model_copy(update={"lr": 1.0, "adamw_lr": None, "weight_decay": 0.5}))
    for kind, named in optimizer.state_dict().items():
        assert all(torch.equal(tensor, before[kind][name]) for name, tensor in named.items())
    assert [group["lr"] for group in optimizer.adamw.param_groups] == [1.0, 1.0]
    assert [group["weight_decay"] for group in optimizer.adamw.param_groups] == [0.5, 0.0]
