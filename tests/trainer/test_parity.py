"""The model against transformers' Zaya, with every parameter randomised: default values would hide most errors."""

import pytest
import torch
import torch.nn.functional as F
from midtrain.trainer.model import MoEModel
from midtrain.trainer.presets import ModelConfig
from midtrain.trainer.router import Router, Routing
from torch import Tensor

zaya = pytest.importorskip("transformers.models.zaya")

VOCAB = 97
CONFIG = ModelConfig(
    vocab_size=VOCAB,
    hidden_size=64,
    num_layers=3,
    num_heads=4,
    num_kv_heads=2,
    head_dim=16,
    num_experts=4,
    expert_size=48,
    router_size=16,
    rope_theta=1e4,
    skip_mode="zero",
)


def randomise(model: MoEModel, seed: int) -> None:
    """Every parameter and buffer away from its initial value, temperatures in [1, 1.3]."""
    generator = torch.Generator().manual_seed(seed)
    model.init_weights(generator)

    def noise(tensor: Tensor, scale: float) -> Tensor:
        return torch.randn(tensor.shape, generator=generator) * scale

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("temp"):
                parameter.copy_(1 + 0.3 * torch.rand(parameter.shape, generator=generator))
            elif parameter.ndim == 1:
                parameter.add_(noise(parameter, 0.1))
            else:
                # Wider in the router, or the balancing biases would send all tokens of a layer to one expert.
                parameter.copy_(noise(parameter, 0.5 if "router_mlp" in name else 0.15))
        for module in model.modules():
            if isinstance(module, Router):
                module.balancing_biases[:-1] = (torch.rand(CONFIG.num_experts, generator=generator) - 0.5) * 0.1


def reference_of(model: MoEModel, config: ModelConfig, attention: str) -> torch.nn.Module:
    """transformers' model with the same weights; only the prefix and the tied head differ in name."""
    rope = {"rope_type": "default", "rope_theta": config.rope_theta, "partial_rotary_factor": 0.5}
    reference = zaya.ZayaForCausalLM(
        zaya.ZayaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            num_key_value_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            num_experts=config.num_experts,
            moe_intermediate_size=config.expert_size,
            router_hidden_size=config.router_size,
            rms_norm_eps=config.norm_eps,
            rope_parameters={"hybrid": rope},
            layer_types=["hybrid"] * config.num_layers,
            attn_implementation=attention,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    ).eval()
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    loaded = reference.load_state_dict(weights, strict=False)
    assert loaded.missing_keys == ["lm_head.weight"]
    assert loaded.unexpected_keys == []
    reference.tie_weights()
    return reference


def tokens_of(length: int, rows: int = 2, seed: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tokens_BT = torch.randint(0, VOCAB, (rows, length), generator=generator)
    positions_BT = torch.arange(length).expand(rows, length)
    return tokens_BT, positions_BT, torch.zeros_like(tokens_BT)


def choices_of(model: torch.nn.Module) -> list[Tensor]:
    """A list that a forward pass fills with every router's choice, layer by layer."""
    choices: list[Tensor] = []

    def note(_module: object, _inputs: object, output: Routing) -> None:
        choices.append(output.class_BT)

    for layer in model.layers:
        layer.mlp.gate.register_forward_hook(note)
    return choices


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("length", [1, 2, 3, 40])
def test_logits_and_choices_are_those_of_transformers(attention: str, length: int) -> None:
    model = MoEModel(CONFIG)
    randomise(model, seed=1)
    reference = reference_of(model, CONFIG, attention)
    tokens_BT, positions_BT, segments_BT = tokens_of(length)
    choices = choices_of(model)
    with torch.no_grad():
        output = model(tokens_BT, positions_BT, segments_BT)
        theirs = reference(tokens_BT, use_cache=False, output_router_logits=True)
    assert output.logits_BTV.abs().max() > 1
    torch.testing.assert_close(output.logits_BTV, theirs.logits, atol=2e-5, rtol=0)
    for layer, router_logits in enumerate(theirs.router_logits):
        biases = model.layers[layer].mlp.gate.balancing_biases
        expected = (router_logits.softmax(-1) + biases).argmax(-1)
        assert torch.equal(choices[layer].flatten(), expected)
        assert torch.equal(output.expert_counts_LE[layer], torch.bincount(expected, minlength=5))
    if length == 40:
        assert (output.expert_counts_LE[:, :4] > 0).sum() >= 9


@pytest.mark.parametrize(
    ("heads", "kv_heads", "theta"), [(4, 1, 1e4), (2, 2, 1e6), (8, 4, 5e6)], ids=["one kv head", "no groups", "four"]
)
def test_other_head_counts_and_bases(heads: int, kv_heads: int, theta: float) -> None:
    config = CONFIG.model_copy(update={"num_heads": heads, "num_kv_heads": kv_heads, "rope_theta": theta})
    model = MoEModel(config)
    randomise(model, seed=2)
    reference = reference_of(model, config, "eager")
    tokens_BT, positions_BT, segments_BT = tokens_of(33)
    with torch.no_grad():
        ours = model(tokens_BT, positions_BT, segments_BT).logits_BTV
        theirs = reference(tokens_BT, use_cache=False).logits
        other_theta = model(tokens_BT, positions_BT, segments_BT, rope_theta=17.0).logits_BTV
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=0)
    assert (ours - other_theta).abs().max() > 1e-2


def test_forced_skip_is_the_zero_of_transformers() -> None:
    logits = {}
    for mode in ("zero", "identity", "off"):
        config = CONFIG.model_copy(update={"skip_mode": mode})
        model = MoEModel(config)
        randomise(model, seed=3)
        for layer in model.layers:
            layer.mlp.gate.balancing_biases[-1] = 2.0
        inputs = tokens_of(20)
        with torch.no_grad():
            output = model(*inputs)
            theirs = reference_of(model, config, "eager")(inputs[0], use_cache=False).logits
        assert int(output.expert_counts_LE[:, -1].sum()) == (0 if mode == "off" else 3 * 40)
        logits[mode] = (output.logits_BTV, theirs)
    torch.testing.assert_close(*logits["zero"], atol=2e-5, rtol=0)
    assert (logits["identity"][0] - logits["zero"][0]).abs().max() > 1e-2
    assert (logits["off"][0] - logits["zero"][0]).abs().max() > 1e-2


def test_mixed_skips_agree_too() -> None:
    """Some tokens skip and some do not: weights and gradients go to the right ones."""
    model = MoEModel(CONFIG)
    randomise(model, seed=4)
    for layer in model.layers:
        layer.mlp.gate.balancing_biases[-1] = 0.03
    inputs = tokens_of(50)
    reference = reference_of(model, CONFIG, "sdpa")
    output = model(*inputs)
    skipped = output.expert_counts_LE[:, -1].sum()
    assert 10 < skipped < 290
    compare_gradients(model, reference, output.logits_BTV, reference(inputs[0], use_cache=False).logits, inputs[0])


def test_gradients_are_those_of_transformers() -> None:
    model = MoEModel(CONFIG)
    randomise(model, seed=6)
    reference = reference_of(model, CONFIG, "eager")
    inputs = tokens_of(40)
    ours, theirs = model(*inputs).logits_BTV, reference(inputs[0], use_cache=False).logits
    compare_gradients(model, reference, ours, theirs, inputs[0])


def compare_gradients(
    model: MoEModel, reference: torch.nn.Module, ours_BTV: Tensor, theirs_BTV: Tensor, tokens_BT: Tensor
) -> None:
    for logits_BTV in (ours_BTV, theirs_BTV):
        F.cross_entropy(logits_BTV[:, :-1].flatten(0, 1), tokens_BT[:, 1:].flatten()).backward()
    expected = dict(reference.named_parameters())
    names = [name for name, _ in model.named_parameters()]
    assert any(name.endswith("temp") for name in names)
    assert any(name.endswith("router_states_scale") for name in names)
    for name, parameter in model.named_parameters():
        gradient = expected[f"model.{name}"].grad
        assert gradient is not None
        assert parameter.grad is not None
        assert gradient.abs().max() > 0, f"{name} has no gradient to compare"
        scale = float(gradient.abs().max())
        torch.testing.assert_close(parameter.grad, gradient, atol=2e-5 * max(scale, 0.05), rtol=1e-4, msg=name)
