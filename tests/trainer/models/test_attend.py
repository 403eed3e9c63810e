"""The kernels against plain float64 attention, and how one is chosen."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import ConfigError
from midtrain.trainer.models import masks
from midtrain.trainer.models.attend import Blocked, Fused, Kernel, Plain, attend, choose_kernel, make_mask
from midtrain.trainer.models.config import ModelConfig
from midtrain.trainer.models.layout import segment_starts
from torch import Tensor


def plain(q: Tensor, k: Tensor, v: Tensor, visible_B1TS: Tensor) -> Tensor:
    """Attention head by head, in float64."""
    groups = q.shape[1] // k.shape[1]
    heads = []
    for head in range(q.shape[1]):
        scores = q[:, head].double() @ k[:, head // groups].double().transpose(1, 2) / q.shape[-1] ** 0.5
        weights = scores.masked_fill(~visible_B1TS[:, 0], float("-inf")).softmax(-1)
        heads.append(weights @ v[:, head // groups].double())
    return torch.stack(heads, dim=1)


def heads_of(rows: int, queries: int, keys: int, kv_heads: int = 2, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(rows, 4, queries, 8, generator=generator)
    k = torch.randn(rows, kv_heads, keys, 8, generator=generator)
    return q, k, torch.randn(rows, kv_heads, keys, 8, generator=generator)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(-1, 2), min_size=9, max_size=9), min_size=1, max_size=3),
    st.integers(0, 8),
    st.none() | st.integers(1, 10),
    st.sampled_from([1, 2, 4]),
    st.sampled_from(["sdpa", "eager"]),
)
def test_kernels_compute_attention(
    rows: list[list[int]], offset: int, window: int | None, kv_heads: int, kernel: Kernel
) -> None:
    runs = masks.run_numbers(segment_starts(torch.tensor(rows)))
    q, k, v = heads_of(len(rows), 9 - offset, 9, kv_heads)
    mask = make_mask(kernel, runs, 9 - offset, window, False, torch.float32)
    expected = plain(q, k, v, masks.visible(runs, 9 - offset, window))
    torch.testing.assert_close(attend(q, k, v, mask).double(), expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("window", [None, 1, 150])
def test_flex_computes_it_too_without_gradients(window: int | None, kv_heads: int) -> None:
    segments = torch.repeat_interleave(torch.arange(4), torch.tensor([3, 200, 1, 96])).expand(2, -1).clone()
    segments[1, 40:] += 1
    runs = masks.run_numbers(segment_starts(segments))
    q, k, v = heads_of(2, 300, 300, kv_heads)
    with torch.no_grad():
        attended = attend(q, k, v, make_mask("flex", runs, 300, window, False, torch.float32))
    expected = plain(q, k, v, masks.visible(runs, 300, window))
    torch.testing.assert_close(attended.double(), expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_gradients_are_those_of_plain_attention(kernel: Kernel) -> None:
    runs = masks.run_numbers(segment_starts(torch.tensor([[0, 0, 1, 1, 1, -1], [4, 4, 4, 4, 4, 4]])))
    inputs = [x.requires_grad_() for x in heads_of(2, 6, 6)]
    weights = torch.randn(2, 4, 6, 8)
    ours = torch.autograd.grad(
        (attend(*inputs, make_mask(kernel, runs, 6, 3, False, torch.float32)) * weights).sum(), inputs
    )
    theirs = torch.autograd.grad((plain(*inputs, masks.visible(runs, 6, 3)) * weights).sum(), inputs)
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their, atol=5e-6, rtol=0)


def test_one_segment_a_row_needs_no_mask() -> None:
    runs = torch.ones(3, 8, dtype=torch.int32)
    assert make_mask("sdpa", runs, 8, None, True, torch.float32) == Fused(None)
    assert make_mask("sdpa", runs, 8, 8, True, torch.float32) == Fused(None), (
        "a window as long as the row hides nothing"
    )
    for mask in (
        make_mask("sdpa", runs, 8, 7, True, torch.float32),
        make_mask("eager", runs, 8, None, True, torch.float32),
        make_mask("sdpa", runs, 5, None, True, torch.float32),
    ):
        assert isinstance(mask, Fused | Plain)
        assert mask.additive_B1TS is not None
        assert mask.additive_B1TS.shape[0] == 1, "one mask for all rows"
    q, k, v = heads_of(3, 8, 8)
    causal = plain(q, k, v, masks.visible(runs, 8, None))
    for kernel in ("sdpa", "eager"):
        attended = attend(q, k, v, make_mask(kernel, runs, 8, None, True, torch.float32))  # type: ignore[arg-type]
        torch.testing.assert_close(attended.double(), causal, atol=2e-6, rtol=0)


def test_softmax_is_float32_for_bfloat16_heads() -> None:
    """Nearer to float64 attention of the same bfloat16 heads than rounding the scores would allow."""
    q, k, v = (x.bfloat16() for x in heads_of(2, 40, 40))
    runs = torch.ones(2, 40, dtype=torch.int32)
    expected = plain(q * 8, k, v, masks.visible(runs, 40, None))
    for kernel in ("sdpa", "eager"):
        mask = make_mask(kernel, runs, 40, None, False, torch.bfloat16)  # type: ignore[arg-type]
        attended = attend(q * 8, k, v, mask)
        assert attended.dtype == torch.bfloat16
        error = float((attended.double() - expected).abs().mean())
        scores = (q * 8 @ k.repeat_interleave(2, dim=1).transpose(2, 3)).float() / 8**0.5
        rounded = scores.bfloat16().masked_fill(~masks.visible(runs, 40, None), float("-inf")).softmax(-1)
        worse = float(((rounded @ v.repeat_interleave(2, dim=1)).double() - expected).abs().mean())
        assert error < 0.6 * worse


CONFIG = ModelConfig(
    vocab_size=64,
    hidden_size=32,
    num_layers=3,
    num_heads=4,
    num_kv_heads=2,
    head_dim=64,
    num_experts=3,
    expert_size=24,
    router_size=8,
)
SMALL = CONFIG.model_copy(update={"head_dim": 8})


@pytest.mark.parametrize(
    ("asked", "device", "tokens", "cached", "chosen"),
    [
        ("auto", "cpu", 511, False, "sdpa"),
        ("auto", "cpu", 512, False, "tiled"),
        ("auto", "cpu", 512, True, "sdpa"),
        ("auto", "cuda", 512, False, "sdpa"),
        ("flex", "cuda", 127, False, "sdpa"),
        ("flex", "cuda", 128, False, "flex"),
        ("auto", "cuda", 512, True, "sdpa"),
        ("auto", "mps", 512, False, "sdpa"),
        ("flex", "cuda", 512, True, "sdpa"),
        ("sdpa", "cuda", 512, False, "sdpa"),
        ("sdpa", "cpu", 512, False, "sdpa"),
        ("eager", "cpu", 512, True, "eager"),
        ("tiled", "cpu", 1, False, "tiled"),
        ("tiled", "cpu", 1, True, "sdpa"),
    ],
)
def test_the_kernel_follows_device_length_and_cache(
    asked: str, device: str, tokens: int, cached: bool, chosen: str
) -> None:
    assert choose_kernel(asked, device, torch.float32, CONFIG, tokens, cached) == chosen


def test_half_precision_on_a_gpu_passes_over_what_is_hidden() -> None:
    assert choose_kernel("auto", "cuda", torch.bfloat16, CONFIG, 128, False) == "flex"
    assert choose_kernel("auto", "cuda", torch.bfloat16, CONFIG, 127, False) == "sdpa"
    assert choose_kernel("auto", "cuda", torch.bfloat16, CONFIG, 128, True) == "sdpa"
    assert choose_kernel("auto", "cuda", torch.bfloat16, SMALL, 128, False) == "sdpa"


def test_many_threads_and_bfloat16_share_the_fused_product(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_kernel("auto", "cpu", torch.bfloat16, CONFIG, 512, False) == "sdpa"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    assert choose_kernel("auto", "cpu", torch.float32, CONFIG, 512, False) == "sdpa"


def test_kernels_are_refused_where_they_cannot_be() -> None:
    with pytest.raises(ConfigError, match="no gradient on a CPU"):
        choose_kernel("flex", "cpu", torch.float32, CONFIG, 512, False)
    with torch.no_grad():
        assert choose_kernel("flex", "cpu", torch.float32, SMALL, 512, False) == "flex"
    with pytest.raises(ConfigError, match="larger heads"):
        choose_kernel("flex", "cuda", torch.float32, SMALL, 512, False)
    assert choose_kernel("auto", "cuda", torch.float32, SMALL, 512, False) == "sdpa"
    for device, dtype in (("cuda", torch.float32), ("cpu", torch.bfloat16)):
        with pytest.raises(ConfigError, match="float32 on a CPU"):
            choose_kernel("tiled", device, dtype, CONFIG, 512, False)


def test_flex_makes_blocks_alone() -> None:
    assert isinstance(make_mask("flex", torch.ones(1, 9, dtype=torch.int32), 9, None, False, torch.float32), Blocked)
