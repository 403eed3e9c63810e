"""The whole model: size, names, initialization, types, causality, and that it learns."""

import math
import re
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from midtrain.errors import ConfigError, RunError
from midtrain.trainer.models.config import ModelConfig, ZayaMoE
from midtrain.trainer.models.model import MoEModel
from midtrain.trainer.models.presets import resolve
from torch import Tensor

CONFIG = ModelConfig(
    vocab_size=64,
    hidden_size=32,
    num_layers=3,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    num_experts=4,
    expert_size=24,
    router_size=8,
)


def made(seed: int = 0, config: ModelConfig = CONFIG) -> MoEModel:
    model = MoEModel(config)
    model.init_weights(torch.Generator().manual_seed(seed))
    return model


def inputs(rows: int = 2, length: int = 20) -> tuple[Tensor, Tensor, Tensor]:
    """Two documents a row, then two padding tokens."""
    tokens = torch.randint(0, 64, (rows, length), generator=torch.Generator().manual_seed(9))
    segments = (torch.arange(length) >= 8).long()
    positions = torch.where(segments == 1, torch.arange(length) - 8, torch.arange(length))
    segments[-2:] = -1
    return tokens, positions.expand(rows, -1), segments.expand(rows, -1)


def test_the_published_model_has_the_published_size() -> None:
    with torch.device("meta"):
        model = MoEModel(resolve("zaya1-8b"))
    assert sum(parameter.numel() for parameter in model.parameters()) == 8_840_488_784
    assert model.embed_tokens.weight.numel() == 537_133_056
    assert sum(parameter.numel() for parameter in model.layers[1].parameters()) == 207_583_490 + 256


# The native state dict of ZAYA1-8B as transformers loads it, without the leading "model.".
WIDE = {"hidden_states_scale": (2048,), "hidden_states_bias": (2048,)}
RESIDUAL = WIDE | {"residual_scale": (2048,), "residual_bias": (2048,)}
LAYER: dict[str, tuple[int, ...]] = {
    "input_layernorm.weight": (2048,),
    "post_attention_layernorm.weight": (2048,),
    "self_attn.qkv_proj.q_proj.weight": (1024, 2048),
    "self_attn.qkv_proj.k_proj.weight": (256, 2048),
    "self_attn.qkv_proj.v_proj_current.weight": (128, 2048),
    "self_attn.qkv_proj.v_proj_delayed.weight": (128, 2048),
    "self_attn.qkv_proj.conv_qk_depthwise.weight": (1280, 1, 2),
    "self_attn.qkv_proj.conv_qk_depthwise.bias": (1280,),
    "self_attn.qkv_proj.conv_qk_grouped.weight": (1280, 128, 2),
    "self_attn.qkv_proj.conv_qk_grouped.bias": (1280,),
    "self_attn.qk_norm.temp": (2,),
    "self_attn.o_proj.weight": (2048, 1024),
    "mlp.gate.down_proj.weight": (256, 2048),
    "mlp.gate.down_proj.bias": (256,),
    "mlp.gate.router_states_scale": (256,),
    "mlp.gate.router_mlp.norm.weight": (256,),
    "mlp.gate.router_mlp.fc1.weight": (256, 256),
    "mlp.gate.router_mlp.fc1.bias": (256,),
    "mlp.gate.router_mlp.fc2.weight": (256, 256),
    "mlp.gate.router_mlp.fc2.bias": (256,),
    "mlp.gate.router_mlp.out_proj.weight": (17, 256),
    "mlp.gate.balancing_biases": (17,),
    "mlp.experts.gate_up_proj": (16, 4096, 2048),
    "mlp.experts.down_proj": (16, 2048, 2048),
    **{f"post_attention_residual_scale.{name}": shape for name, shape in RESIDUAL.items()},
    **{f"post_mlp_residual_scale.{name}": shape for name, shape in RESIDUAL.items()},
}


def test_names_and_shapes_are_those_of_the_published_checkpoint() -> None:
    with torch.device("meta"):
        model = MoEModel(resolve("zaya1-8b"))
    expected = {f"layers.{layer}.{name}": shape for layer in range(40) for name, shape in LAYER.items()}
    del expected["layers.0.mlp.gate.router_states_scale"]
    expected |= {"embed_tokens.weight": (262_272, 2048), "norm.weight": (2048,)}
    expected |= {f"input_{name}": shape for name, shape in WIDE.items()}
    assert {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} == expected
    assert len(expected) == 1283


@pytest.mark.parametrize("preset", ["zaya-small", "zaya-mini"])
def test_the_other_presets_can_be_built(preset: str) -> None:
    with torch.device("meta"):
        model = MoEModel(resolve(preset).with_vocab(32_768))
    assert model.embed_tokens.weight.shape[0] == 32_768


def test_a_model_needs_a_vocabulary() -> None:
    with pytest.raises(ConfigError, match="no vocabulary"):
        MoEModel(resolve("zaya-tiny"))


def test_a_seed_makes_a_model() -> None:
    one, same, other = made(1).state_dict(), made(1).state_dict(), made(2).state_dict()
    assert all(torch.equal(tensor, same[name]) for name, tensor in one.items())
    matrices = [name for name, tensor in one.items() if tensor.ndim > 1]
    assert len(matrices) == 1 + 3 * 13
    for name, tensor in one.items():
        if name in matrices:
            assert not torch.equal(tensor, other[name])
            assert abs(float(tensor.std()) / 0.02 - 1) < 0.3, name
        elif re.search(r"scale$|norm\.weight$|temp$", name):
            assert (tensor == 1).all(), name
        elif name.endswith("balancing_biases"):
            assert tensor.tolist() == [0, 0, 0, 0, -1]
        else:
            assert name.endswith("bias")
            assert not tensor.any(), name


def test_initialization_sets_every_tensor_of_an_empty_model() -> None:
    """From meta, as a large model is made: nothing keeps what was in memory."""
    with torch.device("meta"):
        model = MoEModel(CONFIG)
    model.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.fill_(float("nan"))
    model.init_weights(torch.Generator().manual_seed(1))
    expected = made(1).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())


def test_a_new_model_predicts_nothing_and_attends() -> None:
    model = made()
    tokens, positions, segments = inputs()
    logits = model(tokens, positions, segments).logits_BTV
    loss = F.cross_entropy(logits.flatten(0, 1), tokens.roll(-1, 1).flatten())
    assert abs(loss.item() - math.log(64)) < 0.1
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        if "q_proj" in name or "k_proj" in name or "temp" in name:
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("mode", ["off", "zero", "identity"])
def test_every_token_but_padding_is_counted_once_a_layer(mode: str) -> None:
    output = made(config=CONFIG.model_copy(update={"moe": ZayaMoE(skip=mode)}))(*inputs(rows=3))
    assert output.routed.counts_LC.shape == (3, 5)
    assert output.routed.counts_LC.dtype == torch.int64
    assert output.routed.counts_LC.sum(dim=1).tolist() == [3 * 18] * 3


def test_no_token_sees_a_later_one_or_padding() -> None:
    model = made()
    tokens, positions, segments = inputs()
    changed = tokens.clone()
    changed[:, 14] = (changed[:, 14] + 1) % 64
    changed[:, 18:] = (changed[:, 18:] + 1) % 64
    with torch.no_grad():
        before = model(tokens, positions, segments).logits_BTV
        after = model(changed, positions, segments).logits_BTV
    torch.testing.assert_close(before[:, :14], after[:, :14], atol=1e-6, rtol=0)
    assert (before[:, 14:18] - after[:, 14:18]).abs().amax(-1).min() > 1e-6
    assert torch.isfinite(before).all()


def test_shapes_that_differ_are_refused() -> None:
    tokens, positions, segments = inputs()
    with pytest.raises(RunError, match="differ in shape"):
        made()(tokens, positions[:, :-1], segments)
    with pytest.raises(RunError, match="differ in shape"):
        made()(tokens[0], positions[0], segments[0])


@pytest.mark.parametrize("autocast", [False, True], ids=["bfloat16 weights", "autocast"])
def test_bfloat16_is_close_and_its_logits_are_float32(autocast: bool) -> None:
    model = made()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16())  # both computations from the same numbers
    batch = inputs()
    with torch.no_grad():
        exact = model(*batch)
    if not autocast:
        model.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        output = model(*batch)
    assert output.logits_BTV.dtype == torch.float32
    assert (output.logits_BTV - exact.logits_BTV).abs().max() < 0.05 * exact.logits_BTV.abs().max()
    output.logits_BTV[:, :18].square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.dtype == (torch.float32 if autocast else torch.bfloat16)
        assert torch.isfinite(parameter.grad).all(), name


def test_the_residual_stream_and_the_head_stay_float32_under_autocast() -> None:
    model = made()
    seen: list[tuple[torch.dtype, torch.dtype]] = []
    for layer in model.layers:
        layer.register_forward_hook(lambda _m, given, out: seen.append((given[0].dtype, out[0].dtype)))
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        output = model(*inputs())
        hidden = torch.randn(1, 3, 32)
        exact = F.linear(
            F.rms_norm(hidden, (32,), model.norm.weight, 1e-5).double(), model.embed_tokens.weight.double()
        )
        torch.testing.assert_close(model._head(hidden).double(), exact, atol=1e-6, rtol=1e-6)
    assert seen == [(torch.float32, torch.float32)] * 3
    assert output.logits_BTV.dtype == torch.float32


def test_it_overfits_a_batch() -> None:
    model = made()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    tokens, positions, segments = inputs()
    targets = torch.where(segments >= 0, tokens.roll(-1, 1), -100)
    losses = []
    for _ in range(31):
        logits = model(tokens, positions, segments).logits_BTV
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[0] > 4
    assert losses[30] < losses[0] / 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("autocast", [False, True])
def test_a_gpu_computes_the_same(autocast: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = False
    model, batch = made(), inputs()
    exact = model(*batch)
    exact.logits_BTV[:, :18].square().mean().backward()
    on_gpu = made().cuda()
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=autocast):
        output = on_gpu(*(tensor.cuda() for tensor in batch))
    output.logits_BTV[:, :18].square().mean().backward()
    close = 0.05 * float(exact.logits_BTV.abs().max()) if autocast else 1e-5
    torch.testing.assert_close(output.logits_BTV.cpu(), exact.logits_BTV, atol=close, rtol=0)
    for (name, ours), (_, theirs) in zip(model.named_parameters(), on_gpu.named_parameters(), strict=True):
        assert theirs.grad is not None, name
        if not autocast:
            torch.testing.assert_close(theirs.grad.cpu(), ours.grad, atol=1e-5, rtol=1e-3, msg=name)


def test_a_model_on_the_meta_device_imports_no_compiler() -> None:
    """A command that loads a checkpoint would wait .7 s for it."""
    program = """
import sys, torch
from midtrain.trainer.models.model import MoEModel
from midtrain.trainer.models.presets import resolve
with torch.device("meta"):
    model = MoEModel(resolve("zaya-tiny").with_vocab(9))
print(all(one.is_meta and one.requires_grad for one in model.parameters()), "torch._dynamo" in sys.modules)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["True", "False"]
