"""The kernels of the CPU against chains of torch's operations: values, gradients, types, threads."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from midtrain.trainer.models import pointwise
from midtrain.trainer.models.cca import CCAProjection, QKNorm
from midtrain.trainer.models.config import ModelConfig
from midtrain.trainer.models.convolution import depthwise_pairs
from midtrain.trainer.models.heads import finished_heads
from midtrain.trainer.models.layout import View, rotary_tables, rotate
from midtrain.trainer.models.norm import Norm, RMSNorm
from midtrain.trainer.models.residual import ScaledSum, scaled_sum
from midtrain.trainer.models.swiglu import swiglu
from torch import Tensor

from tests.sizes import sized

STARTS = torch.tensor([1, 0, 0, 0, 1, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1], dtype=torch.bool)
"""Two rows of eight tokens: segments of 1, 2, 3 and more, at the ends of a row and inside."""


def numbers(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_()


def check(fused: Callable[..., Tensor], plain: Callable[..., Tensor], *inputs: Tensor) -> None:
    """Values and gradients of both, and gradients against differences."""
    found, expected = fused(*inputs), plain(*inputs)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)
    upstream = numbers(*expected.shape, seed=99).detach()
    gradients = [torch.autograd.grad(output, inputs, upstream) for output in (found, expected)]
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-10, rtol=1e-10)
    assert torch.autograd.gradcheck(fused, inputs)


@pytest.mark.parametrize("shape", [(2, 5, 12), (70, 3)])
def test_norm(shape: tuple[int, ...]) -> None:
    size = shape[-1]
    check(
        lambda x, w: Norm.apply(x, w, 1e-3),
        lambda x, w: F.rms_norm(x, (size,), w, 1e-3),
        numbers(*shape),
        numbers(size, seed=2),
    )


def test_scaled_sum() -> None:
    inputs = [numbers(2, 20, 6, seed=1), numbers(6, seed=2), numbers(2, 20, 6, seed=3), numbers(6, seed=4)]
    check(
        ScaledSum.apply,
        lambda y, scale, residual, residual_scale, bias: y * scale + residual * residual_scale + bias,
        *inputs,
        numbers(6, seed=5),
    )


def test_swiglu() -> None:
    check(swiglu, lambda x: F.silu(x[:, :5]) * x[:, 5:], numbers(7, 10))


def plain_pairs(x_NC: Tensor, weight_C2: Tensor) -> Tensor:
    """By conv's definition, token by token."""
    zero, outputs, before = torch.zeros_like(x_NC[0]), [], torch.zeros_like(x_NC[0])
    for n, start in enumerate(STARTS):
        earlier = zero if start else x_NC[n - 1]
        output = weight_C2[:, 0] * earlier + weight_C2[:, 1] * x_NC[n]
        pair = torch.cat([(zero if start else before).view(3, -1), output.view(3, -1)], dim=1)
        outputs.append(pair)
        before = output
    return torch.stack(outputs, dim=1)


def test_depthwise_pairs() -> None:
    check(lambda x, w: depthwise_pairs(x, w, STARTS, 3), plain_pairs, numbers(16, 12), numbers(12, 2, seed=2))


CONFIG = ModelConfig(
    vocab_size=8,
    hidden_size=8,
    num_layers=1,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    num_experts=2,
    expert_size=4,
    router_size=4,
)


@pytest.mark.parametrize(("heads", "keys"), [(4, 2), (2, 2), (3, 1)])
def test_finished_heads(heads: int, keys: int) -> None:
    config = CONFIG.model_copy(update={"num_heads": heads, "num_kv_heads": keys})
    projection, norm = CCAProjection(config).double(), QKNorm(config)
    positions_BT = torch.tensor([[0, 1, 2, 3, 4], [0, 1, 0, 1, 7]])
    cos_BT1R, sin_BT1R = (table.double() for table in rotary_tables(positions_BT, 4, 1e2))
    tables = cos_BT1R.flatten(0, 2), sin_BT1R.flatten(0, 2)

    def plain(mixed_GNd: Tensor, x_NC: Tensor, bias_C: Tensor, temp_K: Tensor) -> Tensor:
        x_BTGd = x_NC.view(2, 5, heads + keys, 8)
        raw_BTGd = (mixed_GNd.transpose(0, 1).flatten(1) + bias_C).view_as(x_BTGd) + projection._query_key_mean(x_BTGd)
        length_BTG1 = raw_BTGd.norm(dim=-1, keepdim=True)
        temp_G1 = torch.cat([torch.ones(heads, dtype=temp_K.dtype), temp_K])[:, None]
        normed_BTGd = raw_BTGd / length_BTG1 * 8**0.5 * temp_G1
        return rotate(normed_BTGd, View(cos_BT1R, sin_BT1R, 0, None)).transpose(1, 2)

    channels = (heads + keys) * 8
    inputs = numbers(heads + keys, 10, 8), numbers(10, channels, seed=2), numbers(channels, seed=3)
    check(lambda *given: finished_heads(*given, *tables, 2), plain, *inputs, numbers(keys, seed=4))
    with torch.no_grad():
        nothing = finished_heads(
            torch.zeros(heads + keys, 10, 8), torch.zeros(10, channels), torch.zeros(channels), norm.temp, *tables, 2
        )
    assert not nothing.any()  # heads of length zero, as padding's may be


def test_modules_take_the_kernels_and_do_without(monkeypatch: pytest.MonkeyPatch) -> None:
    norm = RMSNorm(8, 1e-5)
    x = numbers(3, 7, 8, dtype=torch.float32)
    fused = norm(x)
    assert type(fused.grad_fn).__name__ == "NormBackward"
    assert scaled_sum(x, norm.weight, x, norm.weight, norm.weight).grad_fn.name() == "ScaledSumBackward"
    monkeypatch.setattr("midtrain.trainer.models.norm.fuses", lambda _: False)
    torch.testing.assert_close(fused, norm(x), atol=1e-6, rtol=1e-6)


def test_what_is_fused() -> None:
    x = torch.ones(8, 8)
    assert pointwise.fuses(x)
    assert not pointwise.fuses(x.bfloat16())
    assert not pointwise.fuses(x.to("meta"))
    with torch.no_grad():
        assert not pointwise.fuses(x)
        assert pointwise.fuses(torch.ones(pointwise.FEW))


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    threads = torch.get_num_threads()
    x, weight = numbers(1000, 64, dtype=torch.float32), numbers(64, seed=2, dtype=torch.float32)
    results = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            assert pointwise.fuses(x)
            y = Norm.apply(x, weight, 1e-5)
            results.append([y, *torch.autograd.grad(y.square().sum(), (x, weight))])
    finally:
        torch.set_num_threads(threads)
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


STEP = """
import hashlib, torch
from midtrain.trainer.models.model import MoEModel
from midtrain.trainer.models.presets import PRESETS

torch.set_num_threads(1)
torch.manual_seed(0)
model = MoEModel(PRESETS["zaya-tiny"].with_vocab(256))
tokens = torch.randint(256, (4, 512))
positions, segments = torch.arange(512).expand(4, -1).contiguous(), (torch.arange(512) // 200).expand(4, -1)
model.loss(tokens, positions, segments.contiguous(), tokens.roll(-1, 1)).cross_entropy.backward()
found = hashlib.sha256()
for parameter in model.parameters():
    found.update(parameter.grad.numpy().tobytes())
print(found.hexdigest())
"""


@pytest.mark.slow
def test_the_first_run_of_a_machine_is_bitwise_the_next_one(tmp_path: Path) -> None:
    """Kernels that are compiled, and the same out of Numba's cache."""
    settings = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", STEP]
    runs = [subprocess.run(command, env=settings, capture_output=True, check=True).stdout for _ in range(sized(3, 2))]
    assert len(set(runs)) == 1
    assert list(tmp_path.rglob("*.nbc"))
