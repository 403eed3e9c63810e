"""Sorting assignments by expert against one assignment at a time, forward and backward; capacity; memory."""

import math
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import ConfigError
from midtrain.trainer.models.config import ModelConfig
from midtrain.trainer.models.dispatch import (
    PIECE,
    Kernel,
    choose_kernel,
    count,
    gather,
    limits,
    pieces,
    scatter,
    sort_by_expert,
    within_capacity,
)
from midtrain.trainer.models.experts import Experts
from torch import Tensor

EXPERTS, D, SIZE = 3, 8, 4
CONFIG = ModelConfig(
    vocab_size=64,
    hidden_size=D,
    num_layers=1,
    num_heads=2,
    num_kv_heads=2,
    head_dim=4,
    num_experts=EXPERTS,
    expert_size=SIZE,
    router_size=4,
)


def made(dtype: torch.dtype = torch.float64, config: ModelConfig = CONFIG) -> Experts:
    experts = Experts(config).to(dtype)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in experts.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return experts


def one_by_one(experts: Experts, x_ND: Tensor, class_NK: list[list[int]]) -> Tensor:
    tokens = []
    for x_D, classes in zip(x_ND, class_NK, strict=True):
        rows = []
        for expert in classes:
            if expert >= EXPERTS:
                rows.append(torch.zeros_like(x_D))
                continue
            gate, up = experts.gate_up_proj[expert, :SIZE] @ x_D, experts.gate_up_proj[expert, SIZE:] @ x_D
            rows.append(experts.down_proj[expert] @ (F.silu(gate) * up))
        tokens.append(torch.stack(rows))
    return torch.stack(tokens)


def assigned(top_k: int) -> st.SearchStrategy[list[list[int]]]:
    """Distinct classes a token; 3 and 4 stand for skip and padding, which no expert computes."""
    return st.lists(st.permutations(range(EXPERTS + 2)).map(lambda p: list(p[:top_k])), min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("kernel", "dtype"), [("loop", torch.float64), ("loop", torch.float32), ("grouped", torch.float32)]
)
@settings(max_examples=40, deadline=None)
@given(class_NK=st.integers(1, 3).flatmap(assigned), tight=st.booleans())
def test_outputs_and_gradients_are_those_of_one_assignment_at_a_time(
    kernel: Kernel, dtype: torch.dtype, class_NK: list[list[int]], tight: bool
) -> None:
    experts = made(dtype)
    generator = torch.Generator().manual_seed(len(class_NK))
    x = torch.randn(len(class_NK), D, generator=generator, dtype=dtype, requires_grad=True)
    weigh = torch.randn(len(class_NK), len(class_NK[0]), D, generator=generator, dtype=dtype)
    inputs = (x, experts.gate_up_proj, experts.down_proj)
    bound = sum(number < EXPERTS for classes in class_NK for number in classes) if tight else None

    ours = experts(x, sort_by_expert(torch.tensor(class_NK), EXPERTS, kernel, bound))
    expected = one_by_one(experts, x, class_NK)
    torch.testing.assert_close(ours, expected, atol=1e-4 if dtype == torch.float32 else 1e-9, rtol=1e-5)
    gradients = torch.autograd.grad((ours * weigh).sum(), inputs)
    wanted = torch.autograd.grad((expected * weigh).sum() + 0 * sum(t.sum() for t in inputs), inputs)
    for gradient, want in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, want, atol=1e-4 if dtype == torch.float32 else 1e-9, rtol=1e-5)


@pytest.mark.parametrize("kernel", ["loop", "grouped"])
def test_an_idle_expert_has_a_gradient_of_zero_not_none(kernel: Kernel) -> None:
    """A None would leave it out of the all-reduce of some ranks and not of others."""
    experts = made(torch.float32)
    experts(torch.randn(4, D), sort_by_expert(torch.ones(4, 1, dtype=torch.int64), EXPERTS, kernel)).sum().backward()
    for parameter in experts.parameters():
        assert parameter.grad is not None
        assert parameter.grad[1].abs().max() > 0
        assert not parameter.grad[[0, 2]].any()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3).flatmap(assigned))
def test_gather_and_scatter_and_their_gradients(class_NK: list[list[int]]) -> None:
    """Against plain indexing: sorted rows are those of the tokens, each assignment gets its own back."""
    classes = torch.tensor(class_NK)
    top_k = classes.shape[1]
    sorting = sort_by_expert(classes, EXPERTS, "loop")
    numbers = [a for e in range(EXPERTS) for a, c in enumerate(classes.flatten().tolist()) if c == e]
    computed = len(numbers)
    assert sorting.order_M[:computed].tolist() == numbers
    assert sorting.counts == tuple(count(classes, EXPERTS).tolist())
    assert sorting.ends_E.tolist() == torch.tensor(sorting.counts).cumsum(0).tolist()
    x = torch.randn(len(class_NK), 2, dtype=torch.float64, requires_grad=True)
    token_of = torch.tensor(numbers, dtype=torch.int64) // top_k
    rows = gather(x, sorting)
    assert torch.equal(rows[:computed], x[token_of])
    back = scatter(rows, sorting).flatten(0, 1)
    expected = torch.zeros(len(class_NK) * top_k, 2, dtype=torch.float64)
    expected = expected.index_put((torch.tensor(numbers, dtype=torch.int64),), x[token_of])
    assert torch.equal(back, expected)
    weigh = torch.randn(back.shape, dtype=torch.float64)
    (ours,) = torch.autograd.grad((back * weigh).sum(), x)
    (wanted,) = torch.autograd.grad((expected * weigh).sum(), x)
    torch.testing.assert_close(ours, wanted)


def test_an_expert_of_several_pieces() -> None:
    """3,200 rows, of which 2,500 are one expert's: outputs and gradients add up over its pieces."""
    config = CONFIG.model_copy(update={"hidden_size": 32, "expert_size": 64})
    class_NK = torch.tensor([0] * 2500 + [2] * 700)[torch.randperm(3200, generator=torch.Generator().manual_seed(1))]
    x = torch.randn(3200, 32, generator=torch.Generator().manual_seed(2))
    weigh = torch.randn(3200, 1, 32, generator=torch.Generator().manual_seed(3))
    results = []
    for dtype in (torch.float32, torch.float64):
        experts = made(dtype, config)
        inputs = (x.to(dtype).requires_grad_(), experts.gate_up_proj, experts.down_proj)
        if dtype == torch.float32:
            y = experts(inputs[0], sort_by_expert(class_NK[:, None], EXPERTS, "loop"))
        else:
            gates = torch.einsum("nd,efd->nef", inputs[0], experts.gate_up_proj)
            hidden = F.silu(gates[..., :64]) * gates[..., 64:]
            every = torch.einsum("nei,edi->ned", hidden, experts.down_proj)
            y = every.gather(1, class_NK[:, None, None].expand(-1, 1, 32))
        results.append((y, *torch.autograd.grad((y * weigh.to(dtype)).sum(), inputs)))
    for ours, want in zip(*results, strict=True):
        torch.testing.assert_close(ours.double(), want, atol=1e-5 * float(want.detach().abs().max()), rtol=1e-4)


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=6))
def test_pieces_are_the_experts_rows_in_order_and_never_large(counts: list[int]) -> None:
    rows = [(expert, row) for expert, first, last in pieces(counts) for row in range(first, last)]
    assert rows == list(enumerate_rows(counts))
    assert all(0 < last - first <= PIECE for _, first, last in pieces(counts))


def enumerate_rows(counts: list[int]) -> Iterator[tuple[int, int]]:
    experts = [expert for expert, rows in enumerate(counts) for _ in range(rows)]
    return zip(experts, range(len(experts)), strict=True)


@settings(max_examples=80, deadline=None)
@given(class_NK=st.integers(1, 3).flatmap(assigned), limit=st.lists(st.integers(0, 6), min_size=4, max_size=4))
def test_first_come_first_kept(class_NK: list[list[int]], limit: list[int]) -> None:
    taken: Counter[int] = Counter()
    expected = []
    for classes in class_NK:
        kept = [number < len(limit) and taken[number] < limit[number] for number in classes]
        taken.update(classes)
        expected.append(kept)
    assert within_capacity(torch.tensor(class_NK), torch.tensor(limit)).tolist() == expected


@given(
    capacity=st.integers(100, 300).map(lambda n: n / 100),
    assignments=st.integers(0, 5000),
    experts=st.integers(1, 64),
)
def test_a_limit_is_the_capacity_rounded_up(capacity: float, assignments: int, experts: int) -> None:
    exact = math.ceil(Fraction(str(capacity)) * assignments / experts)
    limit = limits(capacity, (1 / experts, 0.0), torch.tensor(assignments)).tolist()
    assert limit == [exact, torch.iinfo(torch.int64).max]


@pytest.mark.parametrize(
    ("asked", "device", "dtype", "sizes", "chosen"),
    [
        ("auto", "cpu", torch.float32, (128, 128), "loop"),
        ("auto", "cuda", torch.bfloat16, (128, 64), "grouped"),
        ("auto", "cuda", torch.bfloat16, (128, 60), "loop"),
        ("auto", "cuda", torch.float32, (128, 64), "loop"),
        ("grouped", "cpu", torch.bfloat16, (8, 16), "grouped"),
        ("grouped", "cuda", torch.float32, (4, 12), "grouped"),
        ("loop", "cuda", torch.bfloat16, (128, 64), "loop"),
    ],
)
def test_which_product_is_taken(
    asked: Literal["auto"] | Kernel, device: str, dtype: torch.dtype, sizes: tuple[int, ...], chosen: Kernel
) -> None:
    assert choose_kernel(asked, torch.device(device), dtype, sizes) == chosen


@pytest.mark.parametrize(
    ("dtype", "sizes"), [(torch.bfloat16, (8, 12)), (torch.float32, (6, 8)), (torch.float64, (8, 8))]
)
def test_a_grouped_product_that_cannot_be_is_an_error(dtype: torch.dtype, sizes: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="no grouped product"):
        choose_kernel("grouped", torch.device("cpu"), dtype, sizes)


def peak(kernel: Kernel, class_NK: Tensor, experts: Experts, x: Tensor) -> int:
    """Most bytes that a forward and a backward pass held at once, from torch's own record of its allocations."""
    with torch.profiler.profile(profile_memory=True, record_shapes=False) as profile:
        experts(x, sort_by_expert(class_NK, experts.gate_up_proj.shape[0], kernel)).square().sum().backward()
    held = most = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


@pytest.mark.parametrize("kernel", ["loop", "grouped"])
@pytest.mark.parametrize("top_k", [1, 2])
def test_memory_does_not_depend_on_the_load(kernel: Kernel, top_k: int) -> None:
    """All tokens to the same experts hold as much as evenly spread ones; activations outweigh weights here."""
    config = CONFIG.model_copy(update={"hidden_size": 32, "expert_size": 64, "num_experts": 8})
    x = torch.randn(8192, 32, requires_grad=True)
    even = (torch.arange(8192)[:, None] + torch.arange(top_k)) % 8
    most = {}
    for name, class_NK in (("even", even), ("forced", torch.arange(top_k).expand(8192, top_k).contiguous())):
        experts = made(torch.float32, config)
        peak(kernel, class_NK, experts, x)
        x.grad = None
        most[name] = peak(kernel, class_NK, made(torch.float32, config), x)
        x.grad = None
    assert most["even"] > 8192 * top_k * (32 + 2 * 64) * 4
    assert most["forced"] == pytest.approx(most["even"], rel=0.02)
