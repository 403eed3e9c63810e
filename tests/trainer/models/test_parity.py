"""Logits, choices and gradients against transformers' Zaya, with every parameter randomised.

Default values would hide most errors. Logits are of magnitude 3 and agree to 5e-6: both are some 1.5e-6 from the same
model in float64. Gradients are those of the mean cross entropy, and agree to 5e-6, or to 5e-6 of the model's largest
where that is above 1.
"""

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from midtrain.trainer.models.config import Kernels, ModelConfig, ZayaMoE
from midtrain.trainer.models.model import MoEModel
from midtrain.trainer.models.presets import PRESETS
from midtrain.trainer.models.routing import Routing
from torch import Tensor

zaya = pytest.importorskip("transformers.models.zaya")
TWIN = runpy.run_path(str(Path(__file__).with_name("zaya_twin.py")))
CONFIG, randomise, twin_of, tokens_of, padded = (
    TWIN[name] for name in ("CONFIG", "randomise", "twin_of", "tokens_of", "padded")
)
TOLERANCE = 5e-6

SHAPES: dict[str, dict[str, Any]] = {
    "four and two heads": {},
    "one key head": {"num_kv_heads": 1},
    "no groups": {"num_heads": 2, "num_kv_heads": 2},
    "eight and four": {"num_heads": 8, "num_kv_heads": 4},
    "eight and two": {"num_heads": 8, "num_kv_heads": 2},
    "six and three": {"num_heads": 6, "num_kv_heads": 3},
    "wide heads": {"head_dim": 64},
    "one layer, without EDA": {"num_layers": 1},
    "sliding": {"sliding_layers": (0, 1, 2), "sliding_window": 5, "sliding_rope_theta": 17.0},
    "mixed": {"sliding_layers": (0, 2), "sliding_window": 9},
    "a window of two": {"sliding_layers": (1,), "sliding_window": 2},
    "a window longer than the row": {"sliding_layers": (1,), "sliding_window": 64},
}


def made(changes: dict[str, Any], seed: int = 1, kernel: str = "auto") -> MoEModel:
    model = MoEModel(ModelConfig.model_validate(CONFIG.model_dump() | changes), Kernels(attention=kernel))
    randomise(model, seed)
    return model


def run(model: MoEModel, tokens_BT: Tensor, pads: list[int] | None = None) -> Any:
    positions_BT, segments_BT = padded(tokens_BT.shape[1], pads or [0] * len(tokens_BT))
    return model(tokens_BT, positions_BT, segments_BT)


def run_twin(twin: torch.nn.Module, tokens_BT: Tensor, pads: list[int] | None = None) -> Any:
    positions_BT, segments_BT = padded(tokens_BT.shape[1], pads or [0] * len(tokens_BT))
    mask = {"attention_mask": segments_BT + 1, "position_ids": positions_BT} if pads else {}
    return twin(tokens_BT, use_cache=False, output_router_logits=True, **mask)


def choices_of(model: MoEModel) -> list[Tensor]:
    """A list that a forward pass fills with every router's choice, layer by layer."""
    choices: list[Tensor] = []

    def note(_module: object, _inputs: object, output: Routing) -> None:
        choices.append(output.class_BTK[..., 0])

    for layer in model.layers:
        layer.mlp.gate.register_forward_hook(note)
    return choices


def assert_same_logits(ours_BTV: Tensor, theirs_BTV: Tensor, real_BT: Tensor) -> None:
    assert ours_BTV[real_BT].abs().max() > 1
    torch.testing.assert_close(ours_BTV[real_BT], theirs_BTV[real_BT], atol=TOLERANCE, rtol=0)


def assert_same_gradients(
    model: MoEModel, twin: torch.nn.Module, ours_BTV: Tensor, theirs_BTV: Tensor, tokens_BT: Tensor, real_BT: Tensor
) -> None:
    """Of the mean cross entropy of the tokens after real ones; of every parameter of the model."""
    for logits_BTV in (ours_BTV, theirs_BTV):
        F.cross_entropy(logits_BTV[:, :-1][real_BT[:, :-1]], tokens_BT[:, 1:][real_BT[:, :-1]]).backward()
    theirs = {name.removeprefix("model."): p.grad for name, p in twin.named_parameters()}
    ours = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert ours.keys() == theirs.keys()
    largest = max(float(gradient.abs().max()) for gradient in theirs.values() if gradient is not None)
    for name, gradient in theirs.items():
        assert gradient is not None
        assert gradient.any(), f"{name} has no gradient to compare"
        torch.testing.assert_close(ours[name], gradient, atol=TOLERANCE * max(largest, 1), rtol=0, msg=name)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_choices_and_gradients(shape: str, attention: str) -> None:
    model = made(SHAPES[shape])
    twin = twin_of(model, attention)
    tokens_BT = tokens_of(40)
    choices = choices_of(model)
    ours, theirs = run(model, tokens_BT), run_twin(twin, tokens_BT)
    real_BT = torch.ones_like(tokens_BT, dtype=torch.bool)
    assert_same_logits(ours.logits_BTV, theirs.logits, real_BT)
    assert len(choices) == len(theirs.router_logits) == model.config.num_layers
    for layer, router_logits in enumerate(theirs.router_logits):
        expected = (router_logits.softmax(-1) + model.layers[layer].mlp.gate.balancing_biases).argmax(-1)
        assert torch.equal(choices[layer].flatten(), expected)
        assert torch.equal(ours.routed.counts_LC[layer], torch.bincount(expected, minlength=5))
    assert (ours.routed.counts_LC[:, :4] > 0).sum() >= 2 * model.config.num_layers
    assert_same_gradients(model, twin, ours.logits_BTV, theirs.logits, tokens_BT, real_BT)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize("shape", ["four and two heads", "one key head", "mixed", "a window of two"])
@pytest.mark.parametrize("training", [False, True])
def test_the_edges_of_the_convolutions(training: bool, shape: str, length: int, attention: str) -> None:
    """With and without a gradient, for which there are kernels of their own."""
    model = made(SHAPES[shape])
    tokens_BT = tokens_of(length)
    with torch.set_grad_enabled(training):
        ours, theirs = run(model, tokens_BT), run_twin(twin_of(model, attention), tokens_BT)
    assert_same_logits(ours.logits_BTV, theirs.logits, torch.ones_like(tokens_BT, dtype=torch.bool))


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("kernel", ["eager", "sdpa", "tiled"])
@pytest.mark.parametrize("shape", ["four and two heads", "one key head", "sliding", "mixed"])
def test_left_padding(shape: str, kernel: str, attention: str) -> None:
    """Rows of 24, 1, 2 and 17 tokens after padding."""
    model = made(SHAPES[shape], seed=2, kernel=kernel)
    twin = twin_of(model, attention)
    tokens_BT, pads = tokens_of(24, rows=4), [0, 23, 22, 7]
    ours, theirs = run(model, tokens_BT, pads).logits_BTV, run_twin(twin, tokens_BT, pads).logits
    real_BT = padded(24, pads)[1] == 0
    assert_same_logits(ours, theirs, real_BT)
    assert_same_gradients(model, twin, ours, theirs, tokens_BT, real_BT)


def test_the_base_of_the_rotary_embeddings_can_be_changed() -> None:
    """That of layers that see everything; sliding ones keep their own."""
    model, tokens_BT = made(SHAPES["mixed"]), tokens_of(33)
    longer = made(SHAPES["mixed"] | {"rope_theta": 17.0})
    positions_BT, segments_BT = padded(33, [0, 0])
    with torch.no_grad():
        changed = model(tokens_BT, positions_BT, segments_BT, rope_theta=17.0).logits_BTV
        theirs = run_twin(twin_of(longer, "eager"), tokens_BT).logits
        assert (changed - run(model, tokens_BT).logits_BTV).abs().max() > 1e-2
    torch.testing.assert_close(changed, theirs, atol=TOLERANCE, rtol=0)


def test_forced_skip_is_the_zero_of_transformers() -> None:
    logits = {}
    for mode in ("zero", "identity", "off"):
        model = made({"moe": ZayaMoE(skip=mode).model_dump()}, seed=3)
        for layer in model.layers:
            layer.mlp.gate.balancing_biases[-1] = 2.0
        tokens_BT = tokens_of(20)
        with torch.no_grad():
            output = run(model, tokens_BT)
            theirs = run_twin(twin_of(model, "eager"), tokens_BT).logits
        assert int(output.routed.counts_LC[:, -1].sum()) == (0 if mode == "off" else 3 * 40)
        logits[mode] = (output.logits_BTV, theirs)
    torch.testing.assert_close(*logits["zero"], atol=TOLERANCE, rtol=0)
    assert (logits["identity"][0] - logits["zero"][0]).abs().max() > 1e-2
    assert (logits["off"][0] - logits["zero"][0]).abs().max() > 1e-2


def test_mixed_skips_agree_too() -> None:
    """Some tokens skip and some do not: weights and gradients go to the right ones."""
    model = made({}, seed=4)
    for layer in model.layers:
        layer.mlp.gate.balancing_biases[-1] = 0.03
    tokens_BT, twin = tokens_of(50), twin_of(model, "sdpa")
    ours, theirs = run(model, tokens_BT), run_twin(twin, tokens_BT).logits
    assert 10 < ours.routed.counts_LC[:, -1].sum() < 290
    real_BT = torch.ones_like(tokens_BT, dtype=torch.bool)
    assert_same_logits(ours.logits_BTV, theirs, real_BT)
    assert_same_gradients(model, twin, ours.logits_BTV, theirs, tokens_BT, real_BT)


def test_the_released_model_has_the_tensors_of_transformers() -> None:
    with torch.device("meta"):
        ours = MoEModel(PRESETS["zaya1-8b"])
        theirs = zaya.ZayaForCausalLM(zaya.ZayaConfig())
    assert sum(parameter.numel() for parameter in ours.parameters()) == 8_840_488_784
    assert sum(parameter.numel() for parameter in theirs.model.parameters()) == 8_840_488_784
    shapes = {f"model.{name}": tensor.shape for name, tensor in ours.state_dict().items()}
    expected = {name: tensor.shape for name, tensor in theirs.state_dict().items() if name != "lm_head.weight"}
    assert len(shapes) == 1283
    assert shapes == expected
    assert {name for name, _ in ours.named_buffers()} == {f"layers.{n}.mlp.gate.balancing_biases" for n in range(40)}
