"""Decoding with a cache against transformers' Zaya with its own cache: token by token, in chunks, padded, sliding."""

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.trainer.models.cache import Cache
from midtrain.trainer.models.config import Kernels, ModelConfig
from midtrain.trainer.models.model import MoEModel
from torch import Tensor

pytest.importorskip("transformers.models.zaya")
transformers = pytest.importorskip("transformers")
TWIN = runpy.run_path(str(Path(__file__).with_name("zaya_twin.py")))
CONFIG, randomise, twin_of, tokens_of, padded = (
    TWIN[name] for name in ("CONFIG", "randomise", "twin_of", "tokens_of", "padded")
)
pytestmark = pytest.mark.filterwarnings("ignore:.past_key_values. is deprecated:FutureWarning")
TOLERANCE = 5e-6
LENGTH = 24
PADS = [0, 23, 22, 7]
CHUNKS = {"token by token": [1] * 24, "a prompt, then tokens": [9] + [1] * 15, "chunks": [2, 7, 1, 11, 3]}
SHAPES: dict[str, dict[str, Any]] = {
    "full": {},
    "one key head": {"num_kv_heads": 1},
    "sliding": {"sliding_layers": (0, 1, 2), "sliding_window": 5},
    "mixed": {"sliding_layers": (0, 2), "sliding_window": 9, "sliding_rope_theta": 17.0},
    "a window of two": {"sliding_layers": (1,), "sliding_window": 2},
}


def made(shape: str, kernel: str = "auto") -> MoEModel:
    model = MoEModel(ModelConfig.model_validate(CONFIG.model_dump() | SHAPES[shape]), Kernels(attention=kernel))
    randomise(model, seed=1)
    return model


def decoded(model: MoEModel, tokens_BT: Tensor, pads: list[int], chunks: list[int]) -> Tensor:
    positions_BT, segments_BT = padded(tokens_BT.shape[1], pads)
    cache = Cache.empty(model.config, *tokens_BT.shape)
    parts = zip(*(x.split(chunks, dim=1) for x in (tokens_BT, positions_BT, segments_BT)), strict=True)
    return torch.cat([model(*part, cache=cache).logits_BTV for part in parts], dim=1)


def decoded_by_twin(twin: torch.nn.Module, tokens_BT: Tensor, pads: list[int], chunks: list[int]) -> Tensor:
    positions_BT, segments_BT = padded(tokens_BT.shape[1], pads)
    cache = transformers.DynamicCache(config=twin.config)
    logits, start = [], 0
    for size in chunks:
        part = slice(start, start + size)
        start += size
        mask = segments_BT[:, :start] + 1 if any(pads) else None
        output = twin(
            tokens_BT[:, part],
            position_ids=positions_BT[:, part],
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
        )
        logits.append(output.logits)
    return torch.cat(logits, dim=1)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("shape", SHAPES)
@torch.no_grad()
def test_cached_logits_are_those_of_transformers(shape: str, chunks: str, attention: str) -> None:
    model, tokens_BT = made(shape), tokens_of(LENGTH)
    ours = decoded(model, tokens_BT, [0, 0], CHUNKS[chunks])
    theirs = decoded_by_twin(twin_of(model, attention), tokens_BT, [0, 0], CHUNKS[chunks])
    torch.testing.assert_close(ours, theirs, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("kernel", ["eager", "sdpa", "flex"])
@pytest.mark.parametrize("shape", ["full", "sliding", "mixed"])
@torch.no_grad()
def test_prompts_of_different_length_are_those_of_transformers(shape: str, kernel: str) -> None:
    """Prompts of 1, 2, 17 and 24 tokens, padded on the left, and the same cache for all."""
    model, tokens_BT = made(shape, kernel), tokens_of(LENGTH + 4, rows=4)
    chunks = [LENGTH, 1, 1, 1, 1]
    ours = decoded(model, tokens_BT, PADS, chunks)
    theirs = decoded_by_twin(twin_of(model, "sdpa"), tokens_BT, PADS, chunks)
    real_BT = padded(LENGTH + 4, PADS)[1] == 0
    torch.testing.assert_close(ours[real_BT], theirs[real_BT], atol=TOLERANCE, rtol=0)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 8), min_size=1, max_size=24), st.sampled_from(list(SHAPES)))
@torch.no_grad()
def test_any_chunks_are_the_whole_of_transformers(sizes: list[int], shape: str) -> None:
    chunks: list[int] = []
    for size in [*sizes, LENGTH]:
        chunks.append(min(size, LENGTH - sum(chunks)))
    chunks = [size for size in chunks if size]
    model, tokens_BT = made(shape), tokens_of(LENGTH)
    whole = twin_of(model, "eager")(tokens_BT, use_cache=False).logits
    torch.testing.assert_close(decoded(model, tokens_BT, [0, 0], chunks), whole, atol=TOLERANCE, rtol=0)
