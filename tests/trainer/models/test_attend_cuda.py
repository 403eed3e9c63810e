"""The attention kernels against each other on a GPU: documents, windows, groups of heads, both types, and the model."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from midtrain.trainer.models import masks
from midtrain.trainer.models.attend import Blocked, Fused, Kernel, attend, make_mask
from midtrain.trainer.models.cache import Cache
from midtrain.trainer.models.config import Kernels, ModelConfig
from midtrain.trainer.models.layout import segment_starts
from midtrain.trainer.models.model import MoEModel
from torch import Tensor

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

DTYPES = [torch.float32, torch.bfloat16]
DOCUMENTS = {
    "one": [[1000], [1000]],
    "some": [[300, 1, 2, 384, 313], [128, 128, 500, 244]],
    "many": [[20] * 50, [7] * 142 + [6]],
}


@pytest.fixture(autouse=True)
def _exact_products() -> Iterator[None]:
    """Float32 products in float32, not in TF32."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


def segments_of(rows: list[list[int]]) -> Tensor:
    return torch.stack([torch.repeat_interleave(torch.arange(len(row)), torch.tensor(row)) for row in rows]).cuda()


def heads_of(rows: int, tokens: int, heads: tuple[int, int], d: int, dtype: torch.dtype) -> list[Tensor]:
    """Queries, keys and values as the projections leave them, [B, T, heads, d] in memory."""
    generator = torch.Generator("cuda").manual_seed(0)

    def drawn(count: int) -> Tensor:
        return torch.randn(rows, tokens, count, d, generator=generator, device="cuda").to(dtype).transpose(1, 2)

    return [drawn(heads[0]), drawn(heads[1]), drawn(heads[1])]


def computed(kernel: Kernel, inputs: list[Tensor], segments_BT: Tensor, window: int | None) -> list[Tensor]:
    """Output and gradients of a kernel."""
    starts_BT = segment_starts(segments_BT)
    causal = kernel != "flex" and masks.is_causal(starts_BT, segments_BT < 0)
    tokens = segments_BT.shape[1]
    mask = make_mask(kernel, masks.run_numbers(starts_BT), tokens, window, causal, inputs[0].dtype)
    leaves = [x.detach().requires_grad_() for x in inputs]
    output = attend(*leaves, mask)
    generator = torch.Generator("cuda").manual_seed(1)
    weights = torch.randn(output.shape, generator=generator, device="cuda")
    return [output, *torch.autograd.grad((output.float() * weights).sum(), leaves)]


@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "bfloat16"])
@pytest.mark.parametrize("window", [None, 1, 200], ids=["full", "window of 1", "window of 200"])
@pytest.mark.parametrize("heads", [(4, 2), (4, 1), (2, 2)], ids=["4/2", "4/1", "2/2"])
@pytest.mark.parametrize("documents", DOCUMENTS)
def test_kernels_agree(documents: str, heads: tuple[int, int], window: int | None, dtype: torch.dtype) -> None:
    """All are as near to eager attention in float32 as rounding to the type allows."""
    segments_BT = segments_of(DOCUMENTS[documents])
    inputs = heads_of(2, 1000, heads, 64, dtype)
    truth = computed("eager", [x.float() for x in inputs], segments_BT, window)
    limit = 1e-5 if dtype == torch.float32 else 1.5e-2
    for kernel in ("eager", "sdpa", "flex"):
        for ours, true in zip(computed(kernel, inputs, segments_BT, window), truth, strict=True):  # type: ignore[arg-type]
            assert ours.dtype == dtype
            error = float((ours.float() - true).abs().max()) / max(float(true.abs().max()), 1.0)
            assert error < limit, f"{kernel}: {error:.1e}"


@pytest.mark.parametrize("tokens", [128, 129, 640, 2048])
def test_flex_takes_rows_of_a_block_or_more(tokens: int) -> None:
    segments_BT = torch.arange(tokens, device="cuda").div(50, rounding_mode="floor").expand(3, tokens)
    inputs = heads_of(3, tokens, (4, 1), 128, torch.bfloat16)
    for flex, true in zip(
        computed("flex", inputs, segments_BT, None), computed("eager", inputs, segments_BT, None), strict=True
    ):
        torch.testing.assert_close(flex, true, atol=4e-2, rtol=2e-2)


CONFIG = ModelConfig(
    vocab_size=256,
    hidden_size=128,
    num_layers=3,
    num_heads=4,
    num_kv_heads=2,
    head_dim=32,
    num_experts=4,
    expert_size=128,
    router_size=32,
)
SLIDING = {"sliding_layers": (0, 2), "sliding_window": 100}


def made(changes: dict[str, Any], kernel: str, dtype: torch.dtype) -> MoEModel:
    model = MoEModel(ModelConfig.model_validate(CONFIG.model_dump() | changes), Kernels(attention=kernel))
    model.init_weights(torch.Generator().manual_seed(0))
    return model.cuda().to(dtype)


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, positions and segments of rows of several documents, padding behind them."""
    segments_BT = segments_of(DOCUMENTS["some"])
    segments_BT[:, 980:] = -1
    places_T = torch.arange(1000, device="cuda")
    starts_BT = torch.where(segment_starts(segments_BT), places_T, 0).cummax(dim=1).values
    tokens_BT = torch.randint(0, 256, (2, 1000), generator=torch.Generator().manual_seed(3)).cuda()
    return tokens_BT, places_T - starts_BT, segments_BT


def gradients(model: MoEModel) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits of real tokens, and the gradients of the mean cross entropy."""
    tokens_BT, positions_BT, segments_BT = batch()
    logits_NV = model(tokens_BT, positions_BT, segments_BT).logits_BTV[segments_BT >= 0]
    F.cross_entropy(logits_NV, tokens_BT[segments_BT >= 0]).backward()
    return logits_NV.detach(), {name: p.grad.float() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("changes", [{}, SLIDING, {"attention": "gqa"} | SLIDING], ids=["cca", "sliding", "gqa"])
@pytest.mark.parametrize("kernel", ["auto", "sdpa", "flex"])
def test_the_model_is_the_same_with_every_kernel(kernel: str, changes: dict[str, Any]) -> None:
    logits, found = gradients(made(changes, kernel, torch.float32))
    expected_logits, expected = gradients(made(changes, "eager", torch.float32))
    torch.testing.assert_close(logits, expected_logits, atol=1e-4, rtol=0)
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-4 * largest, rtol=0, msg=name)


@pytest.mark.parametrize("kernel", ["auto", "sdpa", "eager"])
@pytest.mark.parametrize("how", ["weights", "autocast"])
def test_bfloat16_is_near_float32(how: str, kernel: str) -> None:
    """Attention's own gradients too: whatever kernel it is, the angle to those of float32 is small."""
    _, expected = gradients(made({}, "eager", torch.float32))
    model = made({}, kernel, torch.bfloat16 if how == "weights" else torch.float32)
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=how == "autocast"):
        _, found = gradients(model)
    for name in ("layers.0.self_attn.qkv_proj.v_proj_current.weight", "layers.2.self_attn.o_proj.weight"):
        cosine = F.cosine_similarity(found[name].flatten(), expected[name].flatten(), dim=0)
        assert cosine > 0.99, f"{name}: {float(cosine):.4f}"


@torch.no_grad()
def test_decoding_continues_the_row() -> None:
    model = made(SLIDING, "auto", torch.float32)
    tokens_BT = batch()[0][:, :300]
    positions_BT, segments_BT = torch.arange(300, device="cuda").expand(2, 300), torch.zeros_like(tokens_BT)
    whole = model(tokens_BT, positions_BT, segments_BT).logits_BTV
    cache = Cache.empty(model.config, 2, 300, device="cuda")
    parts = zip(*(x.split([200, 97, 1, 1, 1], dim=1) for x in (tokens_BT, positions_BT, segments_BT)), strict=True)
    logits = torch.cat([model(*part, cache=cache).logits_BTV for part in parts], dim=1)
    torch.testing.assert_close(logits, whole, atol=1e-4, rtol=0)


def test_no_mask_of_all_pairs_is_made() -> None:
    """At 2 x 32,768 tokens it would take 2 GiB; blocks and the plain causal product take a few MiB."""
    runs_BT = torch.ones(2, 32_768, dtype=torch.int32, device="cuda")
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    blocks = make_mask("flex", runs_BT, 32_768, None, False, torch.bfloat16)
    plain = make_mask("sdpa", runs_BT, 32_768, None, True, torch.bfloat16)
    assert isinstance(blocks, Blocked)
    assert plain == Fused(None)
    assert torch.cuda.max_memory_allocated() - before < 2**26


@pytest.mark.parametrize("tokens", [64, 128, 300])
@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "bfloat16"])
def test_rows_of_any_length_are_computed_with_large_heads(tokens: int, dtype: torch.dtype) -> None:
    """As an export's proof and an evaluation meet them: one row, no gradient, heads of 128."""
    config = ModelConfig(
        vocab_size=64,
        hidden_size=64,
        num_layers=2,
        num_heads=4,
        num_kv_heads=1,
        head_dim=128,
        num_experts=2,
        expert_size=32,
        router_size=8,
    )
    model = MoEModel(config).cuda().to(dtype).eval()
    rows = torch.arange(tokens, device="cuda")[None]
    with torch.no_grad():
        found = model(rows % 64, rows, torch.zeros_like(rows)).logits_BTV
        model.kernels = Kernels(attention="eager")
        plain = model(rows % 64, rows, torch.zeros_like(rows)).logits_BTV
    torch.testing.assert_close(found, plain, atol=1e-4 if dtype == torch.float32 else 0.05, rtol=0)
