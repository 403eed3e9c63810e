"""Generating with a cache against computing everything anew."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import RunError
from midtrain.trainer.models.cache import Cache
from midtrain.trainer.models.config import ModelConfig, ZayaMoE
from midtrain.trainer.models.model import MoEModel
from torch import Tensor

from .small import CONFIG


def randomised(config: ModelConfig = CONFIG) -> MoEModel:
    """A model none of whose parameters has its initial value."""
    model = MoEModel(config)
    generator = torch.Generator().manual_seed(8)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator) * (0.5 if "router_mlp" in name else 0.2)
            parameter.copy_(noise + (1 if name.endswith(("scale", "norm.weight", "temp")) else 0))
    return model


MODEL = randomised()
TOKENS = torch.randint(0, 64, (2, 16), generator=torch.Generator().manual_seed(5))


def positions_of(segments: list[int]) -> list[int]:
    """Positions from 0 in every run of equal segments."""
    positions: list[int] = []
    for t, segment in enumerate(segments):
        positions.append(positions[-1] + 1 if t and segments[t - 1] == segment else 0)
    return positions


def in_chunks(model: MoEModel, batch: tuple[Tensor, Tensor, Tensor], chunks: list[int]) -> Tensor:
    rows, length = batch[0].shape
    cache = Cache.empty(model.config, rows, length)
    pieces, start = [], 0
    for size in chunks:
        part = [tensor[:, start : start + size] for tensor in batch]
        pieces.append(model(*part, cache=cache).logits_BTV)
        start += size
        assert cache.length == start
    return torch.cat(pieces, dim=1)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=16), st.sampled_from(["one", "padded", "packed"]))
@torch.no_grad()
def test_any_chunks_give_the_logits_of_the_whole(sizes: list[int], kind: str) -> None:
    chunks, left = [], 16
    for size in [*sizes, 16]:
        if left:
            chunks.append(min(size, left))
            left -= chunks[-1]
    segments = {
        "one": [[0] * 16, [0] * 16],
        "padded": [[-1] * 5 + [0] * 11, [-1] * 2 + [0] * 14],
        "packed": [[0] * 3 + [1] + [2] * 7 + [3] * 5, [-1] * 3 + [4] * 9 + [1] * 2 + [-1] * 2],
    }[kind]
    batch = (TOKENS, torch.tensor([positions_of(row) for row in segments]), torch.tensor(segments))
    whole = MODEL(*batch).logits_BTV
    torch.testing.assert_close(in_chunks(MODEL, batch, chunks), whole, atol=1e-5, rtol=0)


@torch.no_grad()
def test_padded_prompts_decode_to_the_greedy_tokens_of_each_alone() -> None:
    """Prompts of length 1, 2, 3 and 7: the convolutions' edges at the first decoded token too."""
    prompts = [[3], [9, 11], [5, 5, 60], [1, 2, 3, 4, 5, 6, 7]]
    expected = []
    for prompt in prompts:
        tokens = list(prompt)
        for _ in range(8):
            row = torch.tensor([tokens])
            logits = MODEL(row, torch.arange(len(tokens))[None], torch.zeros_like(row)).logits_BTV
            tokens.append(int(logits[0, -1].argmax()))
        expected.append(tokens[len(prompt) :])

    width = max(len(prompt) for prompt in prompts)
    pads = [width - len(prompt) for prompt in prompts]
    tokens_BT = torch.tensor([[0] * pad + prompt for pad, prompt in zip(pads, prompts, strict=True)])
    segments_BT = torch.tensor([[-1] * pad + [0] * (width - pad) for pad in pads])
    positions_BT = (torch.arange(width) - torch.tensor(pads)[:, None]).clamp_min(0)
    cache = Cache.empty(CONFIG, 4, width + 8)
    decoded = []
    for _ in range(8):
        logits = MODEL(tokens_BT, positions_BT, segments_BT, cache=cache).logits_BTV
        tokens_BT = logits[:, -1:].argmax(dim=-1)
        positions_BT = positions_BT[:, -1:] + 1
        segments_BT = segments_BT[:, -1:]
        decoded.append(tokens_BT)
    assert torch.cat(decoded, dim=1).tolist() == expected
    assert len({tuple(reply) for reply in expected}) == 4


@torch.no_grad()
def test_one_key_head_and_skips_decode_too() -> None:
    model = randomised(CONFIG.model_copy(update={"num_kv_heads": 1, "moe": ZayaMoE(skip="identity")}))
    for layer in model.layers:
        layer.mlp.gate.balancing_biases[-1] = 0.1
    batch = (TOKENS, torch.arange(16).expand(2, 16), torch.zeros_like(TOKENS))
    whole = model(*batch)
    assert whole.routed.counts_LC[:, -1].sum() > 3
    torch.testing.assert_close(in_chunks(model, batch, [3] + [1] * 13), whole.logits_BTV, atol=1e-5, rtol=0)


@torch.no_grad()
def test_bfloat16_cache_and_weights() -> None:
    model = randomised().bfloat16()
    batch = (TOKENS, torch.arange(16).expand(2, 16), torch.zeros_like(TOKENS))
    cache = Cache.empty(CONFIG, 2, 16, dtype=torch.bfloat16)
    assert cache.layers[0].keys_BKSD.dtype == torch.bfloat16
    first = model(*(tensor[:, :15] for tensor in batch), cache=cache).logits_BTV
    torch.testing.assert_close(first, model(*batch).logits_BTV[:, :15], atol=0.2, rtol=0.05)
    assert model(*(tensor[:, 15:] for tensor in batch), cache=cache).logits_BTV.shape == (2, 1, 64)


def step(cache: Cache, tokens: Tensor, segments: Tensor) -> None:
    MODEL(tokens, torch.zeros_like(tokens), segments, cache=cache)


def test_what_a_cache_refuses() -> None:
    tokens, segments = TOKENS[:, :3], torch.zeros(2, 3, dtype=torch.int64)
    cache = Cache.empty(CONFIG, 2, 5)
    with pytest.raises(RunError, match="no gradient"):
        step(cache, tokens, segments)
    with torch.inference_mode():
        with pytest.raises(RunError, match="another batch"):
            step(cache, tokens[:1], segments[:1])
        step(cache, tokens, segments)
        with pytest.raises(RunError, match="3 cached and 3 new"):
            step(cache, tokens, segments)
        step(cache, tokens[:, :1], segments[:, :1] - 1)
        with pytest.raises(RunError, match="goes on after it ended"):
            step(cache, tokens[:, :1], segments[:, :1])
