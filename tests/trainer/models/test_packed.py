"""Packed documents against the same documents one by one: logits and gradients, every kernel, CCA and GQA."""

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import ConfigError
from midtrain.trainer.models import cca, layout, masks
from midtrain.trainer.models.cca import shift_within_segments
from midtrain.trainer.models.config import Kernels, ModelConfig
from midtrain.trainer.models.layout import PADDING
from midtrain.trainer.models.model import MoEModel
from torch import Tensor

from .small import CONFIG

SLIDING = {"sliding_layers": (0, 2), "sliding_window": 3}
SHAPES: dict[str, dict[str, Any]] = {
    "cca": {},
    "cca, one key head": {"num_kv_heads": 1},
    "cca, sliding": SLIDING,
    "gqa": {"attention": "gqa"},
    "gqa, sliding": {"attention": "gqa"} | SLIDING,
}
LENGTHS = [4, 1, 2, 9, 3]
Rows = list[list[int]]


def made(changes: dict[str, Any], kernel: str = "auto", seed: int = 2) -> MoEModel:
    """A model none of whose parameters has its initial value."""
    model = MoEModel(ModelConfig.model_validate(CONFIG.model_dump() | changes), Kernels(attention=kernel))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = 0.5 if "router_mlp" in name else 0.2
            noise = torch.randn(parameter.shape, generator=generator) * scale
            parameter.copy_(noise + (1 if name.endswith(("scale", "norm.weight", "temp")) else 0))
    return model


def packed(rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, positions and segments of rows of documents of these lengths, padding behind the shorter rows."""
    width = max(sum(row) for row in rows)
    segments_BT = torch.full((len(rows), width), PADDING)
    positions_BT = torch.zeros_like(segments_BT)
    for b, row in enumerate(rows):
        segments_BT[b, : sum(row)] = torch.repeat_interleave(torch.arange(len(row)), torch.tensor(row))
        positions_BT[b, : sum(row)] = torch.cat([torch.arange(length) for length in row])
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 64, segments_BT.shape, generator=generator), positions_BT, segments_BT


def documents(tokens_BT: Tensor, rows: Rows) -> Iterable[Tensor]:
    """The documents of packed rows, in order, each [1, length]."""
    for b, row in enumerate(rows):
        yield from tokens_BT[b : b + 1, : sum(row)].split(row, dim=1)


def alone(model: MoEModel, document: Tensor) -> Tensor:
    """Logits [length, V] of a document by itself."""
    logits: Tensor = model(document, torch.arange(document.shape[1])[None], torch.zeros_like(document)).logits_BTV[0]
    return logits


def largest_leak(model: MoEModel, rows: Rows) -> float:
    """The largest difference of any logit between packed rows and their documents one by one."""
    tokens, positions, segments = packed(rows)
    with torch.no_grad():
        together = model(tokens, positions, segments).logits_BTV[segments != PADDING]
        apart = torch.cat([alone(model, document) for document in documents(tokens, rows)])
    return float((together - apart).abs().max())


@pytest.mark.parametrize("kernel", ["sdpa", "eager", "flex", "tiled"])
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_are_those_of_the_documents_alone(shape: str, kernel: str) -> None:
    assert largest_leak(made(SHAPES[shape], kernel), [LENGTHS, [2, 17], [1]]) < 1e-5


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=6), min_size=1, max_size=3),
    st.sampled_from(list(SHAPES)),
    st.sampled_from(["sdpa", "eager", "tiled"]),
)
def test_any_packing(rows: Rows, shape: str, kernel: str) -> None:
    assert largest_leak(made(SHAPES[shape], kernel), rows) < 1e-5


@pytest.mark.parametrize("attention", ["cca", "gqa"])
def test_blocks_of_flex_attention_in_long_rows(attention: str) -> None:
    """Documents that begin, end, fill and share blocks of 128 tokens, and a window of more than one."""
    changes = {"attention": attention, "num_layers": 2, "sliding_layers": (1,), "sliding_window": 140}
    assert largest_leak(made(changes, "flex"), [[128, 1, 127, 300], [500, 20], [56] * 9]) < 1e-5


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), min_size=1, max_size=2),
    st.sampled_from(list(SHAPES)),
    st.sampled_from(["sdpa", "eager", "tiled"]),
)
def test_gradients_are_those_of_the_documents_alone(rows: Rows, shape: str, kernel: str) -> None:
    """Of the sum of the cross entropy over the count of all tokens, as a step takes it; and the logits of that pass,
    which other kernels compute where a gradient is wanted."""
    model = made(SHAPES[shape], kernel)
    tokens, positions, segments = packed(rows)
    real = segments != PADDING
    logits = model(tokens, positions, segments).logits_BTV
    F.cross_entropy(logits[real], tokens[real], reduction="mean").backward()
    together = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    apart = [alone(model, document) for document in documents(tokens, rows)]
    torch.testing.assert_close(logits[real], torch.cat(apart), atol=1e-5, rtol=0)
    F.cross_entropy(torch.cat(apart), tokens[real], reduction="mean").backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(together[name], parameter.grad, atol=1e-5, rtol=0, msg=name)


def one_run(starts_BS: Tensor) -> Tensor:
    return torch.ones_like(starts_BS, dtype=torch.int32)


def without_reset(x_BTC: Tensor, starts_BT: Tensor, history: object) -> Tensor:
    only_first = torch.zeros_like(starts_BT)
    only_first[:, 0] = True
    return shift_within_segments(x_BTC, only_first, None)


@pytest.mark.parametrize("kernel", ["sdpa", "eager", "flex", "tiled"])
@pytest.mark.parametrize(
    ("room", "function", "leaky"),
    [
        (masks, "run_numbers", one_run),
        (cca, "depthwise_history", without_reset),
        (cca, "grouped_history", without_reset),
        (cca, "value_history", without_reset),
    ],
)
def test_each_cut_is_needed(
    monkeypatch: pytest.MonkeyPatch, room: ModuleType, function: str, leaky: Callable[..., Tensor], kernel: str
) -> None:
    """The tests above fail without any one of the four."""
    monkeypatch.setattr(room, function, leaky)
    assert largest_leak(made({}, kernel), [LENGTHS]) > 1e-2


def test_a_window_hides_what_lies_beyond_it() -> None:
    """Through one sliding layer a token sees three tokens, and two more by the convolutions before them."""
    model = made({"num_layers": 1, "sliding_layers": (0,), "sliding_window": 3})
    tokens, positions, segments = packed([[20]])
    changed = tokens.clone()
    changed[0, 9] = (tokens[0, 9] + 1) % 64
    with torch.no_grad():
        differs = model(tokens, positions, segments).logits_BTV != model(changed, positions, segments).logits_BTV
    assert differs[0].any(-1).nonzero().flatten().tolist() == [9, 10, 11, 12, 13]


def test_flex_is_refused_where_a_cpu_would_train() -> None:
    model = made({}, "flex")
    with pytest.raises(ConfigError, match="no gradient on a CPU"):
        model(*packed([LENGTHS]))


@pytest.mark.parametrize("changes", [{}, SLIDING], ids=["full", "both kinds"])
def test_masks_are_made_once_a_pass(monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]) -> None:
    """One for each kind of layer, however many layers there are."""
    windows: list[int | None] = []
    make = layout.make_mask

    def noted(*arguments: Any) -> Any:
        windows.append(arguments[3])
        return make(*arguments)

    monkeypatch.setattr(layout, "make_mask", noted)
    made(changes | {"num_layers": 5})(*packed([LENGTHS]))
    assert windows == ([None, 3] if changes else [None])
