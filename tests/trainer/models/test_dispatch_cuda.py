"""On a GPU: the grouped product against the loop and float64, without waiting for the device, in any balance."""

from typing import Literal

import pytest
import torch
from midtrain.trainer.models.config import Kernels, LinearMoE, ModelConfig, MoEConfig, ZayaMoE, ZeroComputationMoE
from midtrain.trainer.models.dispatch import PIECE, Kernel, sort_by_expert
from midtrain.trainer.models.experts import Experts
from midtrain.trainer.models.moe import MoE
from torch import Tensor

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

EXPERTS, D, SIZE, TOKENS = 8, 256, 128, 2048
CONFIG = ModelConfig(
    vocab_size=64,
    hidden_size=D,
    num_layers=2,
    num_heads=2,
    num_kv_heads=2,
    head_dim=4,
    num_experts=EXPERTS,
    expert_size=SIZE,
    router_size=64,
)


def loads() -> dict[str, Tensor]:
    """Classes [N, K] of even and forced loads, with idle experts, and with assignments that no expert computes."""
    generator = torch.Generator().manual_seed(1)
    scores = torch.rand(TOKENS, EXPERTS + 2, generator=generator)
    return {
        "even": (torch.arange(TOKENS) % EXPERTS)[:, None],
        "one expert": torch.full((TOKENS, 1), 5),
        "the last expert": torch.full((TOKENS, 1), EXPERTS - 1),
        "idle experts": torch.randint(0, 3, (TOKENS, 1), generator=generator) * 2 + 1,
        "some left out": scores.topk(1).indices,
        "none computed": torch.full((TOKENS, 1), EXPERTS),
        "top-2": scores[:, :EXPERTS].topk(2).indices,
        "top-3, some left out": scores.topk(3).indices,
        "a single token": torch.tensor([[3]]),
    }


def run(kernel: Kernel, class_NK: Tensor, dtype: torch.dtype, device: str, bound: int | None = None) -> list[Tensor]:
    """Output and all gradients."""
    generator = torch.Generator().manual_seed(2)
    experts = Experts(CONFIG)
    with torch.no_grad():
        for parameter in experts.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    experts.to(device, dtype)
    x = torch.randn(len(class_NK), D, generator=generator).to(device, dtype).requires_grad_()
    weigh = torch.randn(*class_NK.shape, D, generator=generator).to(device, dtype)
    y = experts(x, sort_by_expert(class_NK.to(device), EXPERTS, kernel, bound))
    gradients = torch.autograd.grad((y * weigh).sum(), [x, *experts.parameters()])
    return [y.detach(), *gradients]


def distance(a: Tensor, b: Tensor) -> float:
    """The norm of the difference over that of b; that of a where b is zero."""
    a, b = a.double().cpu(), b.double().cpu()
    return float((a - b).norm() / (b.norm() if b.any() else 1.0))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("load", loads())
@pytest.mark.parametrize("tight", [False, True], ids=["", "bound"])
def test_grouped_loop_and_float64_agree(load: str, dtype: torch.dtype, tight: bool) -> None:
    class_NK = loads()[load]
    bound = int((class_NK < EXPERTS).sum()) if tight else None
    exact = run("loop", class_NK, torch.float64, "cpu")
    most = 2e-2 if dtype == torch.bfloat16 else 2e-3  # TF32 may be on
    for kernel in ("loop", "grouped"):
        for ours, want in zip(run(kernel, class_NK, dtype, "cuda", bound), exact, strict=True):
            assert ours.isfinite().all()
            assert distance(ours, want) < most, kernel


KINDS: dict[str, MoEConfig] = {
    "zaya": ZayaMoE(),
    "zaya with capacity": ZayaMoE(skip="identity", capacity=1.2),
    "linear": LinearMoE(kind="linear", top_k=2, balance_weight=0.01),
    "zero_computation": ZeroComputationMoE(kind="zero_computation", balance_weight=0.01),
    "zero_computation with ZAYA1's router": ZeroComputationMoE(kind="zero_computation", router="zaya"),
}


def layer_of(kind: str, kernel: Literal["auto"] | Kernel) -> MoE:
    moe = MoE(CONFIG.model_copy(update={"moe": KINDS[kind]}), 0, Kernels(experts=kernel))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in moe.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return moe.cuda()


def step(moe: MoE, x_BTD: Tensor, padding_BT: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Output, counts and gradients of one pass under autocast."""
    with torch.autocast("cuda", dtype=torch.bfloat16):
        y, _, routed = moe(x_BTD, None, padding_BT)
    loss = y.float().square().mean() + routed.balance
    return y.detach(), routed.counts_C, list(torch.autograd.grad(loss, list(moe.parameters())))


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_gives_the_same_with_either_product(kind: str) -> None:
    x = torch.randn(4, TOKENS // 4, D, generator=torch.Generator().manual_seed(4)).cuda()
    padding = torch.zeros(4, TOKENS // 4, dtype=torch.bool, device="cuda")
    padding[2, 300:] = True
    grouped, loop = (step(layer_of(kind, kernel), x, padding) for kernel in ("grouped", "loop"))
    assert torch.equal(grouped[1], loop[1])
    assert distance(grouped[0], loop[0]) < 1e-2
    for ours, want in zip(grouped[2], loop[2], strict=True):
        assert ours.isfinite().all()
        assert distance(ours, want) < 2e-2


@pytest.mark.parametrize("kind", KINDS)
def test_grouped_in_bfloat16_never_waits_for_the_device_and_repeats_itself(kind: str) -> None:
    """A wait raises here; and no sum depends on the order in which threads come."""
    moe = layer_of(kind, "auto")
    x = torch.randn(4, TOKENS // 4, D, generator=torch.Generator().manual_seed(4)).cuda()
    padding = torch.zeros(4, TOKENS // 4, dtype=torch.bool, device="cuda")
    padding[2, 300:] = True
    first = step(moe, x, padding)
    torch.cuda.set_sync_debug_mode("error")
    try:
        second = step(moe, x, padding)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(first[0], second[0])
    assert all(torch.equal(a, b) for a, b in zip(first[2], second[2], strict=True))


@pytest.mark.parametrize("kernel", ["grouped", "loop"])
@pytest.mark.parametrize("top_k", [1, 2])
def test_memory_does_not_depend_on_the_load(kernel: Kernel, top_k: int) -> None:
    """With rows enough that a product of the loop has its most of them, 1,024, in either load."""
    tokens = EXPERTS * PIECE
    even = (torch.arange(tokens)[:, None] + torch.arange(top_k)) % EXPERTS
    forced = torch.arange(top_k).expand(tokens, top_k)
    held, most = [], []
    for class_NK in (even, forced):
        run(kernel, class_NK, torch.bfloat16, "cuda")
        held.append(torch.cuda.memory_allocated())
        torch.cuda.reset_peak_memory_stats()
        run(kernel, class_NK, torch.bfloat16, "cuda")
        most.append(torch.cuda.max_memory_allocated())
    before = min(held)  # a backward pass lets go of its last tensors when it likes: they may be among what is held
    most = [one - before for one in most]
    assert most[1] == pytest.approx(most[0], rel=0.1), f"{most[1]:,} bytes against {most[0]:,}"
