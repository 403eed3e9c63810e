"""A run of three steps on small shards, and models of which every parameter is random."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch
from midtrain.trainer.exchange import model_files, names, transformers_config
from midtrain.trainer.models.config import ModelConfig, ZayaMoE
from midtrain.trainer.models.model import MoEModel
from torch import Tensor

from ..tiny_run import tiny_run

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 64,
    "num_layers": 3,
    "num_heads": 4,
    "num_kv_heads": 2,
    "head_dim": 16,
    "num_experts": 4,
    "expert_size": 48,
    "router_size": 16,
    "rope_theta": 1e6,
    "moe": ZayaMoE(skip="zero"),
}


@pytest.fixture(scope="session")
def root(built_workshop: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with built shards and a run of three steps on them; not to be changed."""
    root: Path = tmp_path_factory.mktemp("exchange")
    tiny_run(built_workshop.root / "shards", root)
    return root


@pytest.fixture
def random_model() -> Callable[..., MoEModel]:
    """Makes a model of which every parameter and buffer is away from its initial value."""

    def make(seed: int = 0, **changed: Any) -> MoEModel:
        config = ModelConfig(**{**SIZES, **changed})
        with torch.device("meta"):
            model = MoEModel(config)
        model.to_empty(device="cpu")
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                near = 1.0 if name.endswith(("_scale", "norm.weight", "temp")) else 0.0
                wide = 0.5 if "router_mlp" in name and tensor.ndim > 1 else 0.1
                tensor.copy_(near + wide * torch.randn(tensor.shape, generator=generator))
        return model.eval()

    return make


@pytest.fixture
def write_native() -> Callable[..., Path]:
    """Writes a model as transformers does."""

    def write(model: MoEModel, folder: Path, shard_bytes: int = 10**9, **changed: Any) -> Path:
        weights = {names.PREFIX + name: tensor for name, tensor in model.state_dict().items()}
        config = transformers_config.contents(model.config, 512, "float32", (0, 3))
        return _write(folder, weights, {**config, **changed}, shard_bytes)

    return write


@pytest.fixture
def write_legacy() -> Callable[..., Path]:
    """Writes a model as Zyphra's own code does: its names, its config; written from the layout's description alone."""

    def write(model: MoEModel, folder: Path, shard_bytes: int = 10**9, **changed: Any) -> Path:
        config = model.config
        body = {
            "architectures": ["ZayaForCausalLM"],
            "model_type": "zaya",
            "cca": True,
            "rope_scaling": False,
            "vocab_size": config.vocab_size,
            "hidden_size": config.hidden_size,
            "head_dim": config.head_dim,
            "num_hidden_layers": 2 * config.num_layers,
            "ffn_hidden_size": 2 * config.expert_size,
            "num_attention_heads": config.num_heads,
            "num_query_groups": config.num_kv_heads,
            "num_experts": config.num_experts,
            "moe_router_topk": 1,
            "activation_func": "swiglu",
            "zaya_mlp_expansion": [0, config.router_size] * config.num_layers,
            "norm_epsilon": config.norm_eps,
            "rope_theta": int(config.rope_theta),
            "max_position_embeddings": 512,
            "tie_word_embeddings": True,
            "zaya_use_mod": True,
            "zaya_use_eda": True,
            "zaya_high_prec": True,
            "scale_residual_merge": True,
            "swa_layers": None,
            "clamp_temp": False,
            "normalization": "RMSNorm",
            "torch_dtype": "float32",
        }
        return _write(folder, legacy_weights(model), {**body, **changed}, shard_bytes)

    return write


def legacy_weights(model: MoEModel) -> dict[str, Tensor]:
    """The tensors as Zyphra's layout has them, sublayer by sublayer."""
    state = model.state_dict()
    depth = model.config.num_layers
    scales = ("hidden_states_scale", "hidden_states_bias", "residual_scale", "residual_bias")
    found = {"model.embed_tokens.weight": state["embed_tokens.weight"], "model.final_norm.weight": state["norm.weight"]}
    for name in scales[:2]:
        found[f"model.layers.0.res_scale.{name}"] = state[f"input_{name}"]
    for layer in range(depth):
        ours, even, odd = f"layers.{layer}.", f"model.layers.{2 * layer}.", f"model.layers.{2 * layer + 1}."
        found[f"{even}input_norm.weight"] = state[f"{ours}input_layernorm.weight"]
        found[f"{odd}input_norm.weight"] = state[f"{ours}post_attention_layernorm.weight"]
        attention = f"{ours}self_attn."
        found[f"{even}self_attn.qkv.linear_q.weight"] = state[f"{attention}qkv_proj.q_proj.weight"]
        found[f"{even}self_attn.qkv.linear_k.weight"] = state[f"{attention}qkv_proj.k_proj.weight"]
        found[f"{even}self_attn.qkv.val_proj1.weight"] = state[f"{attention}qkv_proj.v_proj_current.weight"]
        found[f"{even}self_attn.qkv.val_proj2.weight"] = state[f"{attention}qkv_proj.v_proj_delayed.weight"]
        for kind in ("weight", "bias"):
            found[f"{even}self_attn.qkv.conv_qk.0.{kind}"] = state[f"{attention}qkv_proj.conv_qk_depthwise.{kind}"]
            found[f"{even}self_attn.qkv.conv_qk.1.{kind}"] = state[f"{attention}qkv_proj.conv_qk_grouped.{kind}"]
            found[f"{odd}zaya_block.router.down_proj.{kind}"] = state[f"{ours}mlp.gate.down_proj.{kind}"]
            for place, linear in ((0, "fc1"), (2, "fc2")):
                old = f"{odd}zaya_block.router.router_mlp.{place}.{kind}"
                found[old] = state[f"{ours}mlp.gate.router_mlp.{linear}.{kind}"]
        found[f"{even}self_attn.qkv.temp"] = state[f"{attention}qk_norm.temp"]
        found[f"{even}self_attn.o_proj.weight"] = state[f"{attention}o_proj.weight"]
        found[f"{odd}zaya_block.router.rmsnorm_eda.weight"] = state[f"{ours}mlp.gate.router_mlp.norm.weight"]
        found[f"{odd}zaya_block.router.router_mlp.4.weight"] = state[f"{ours}mlp.gate.router_mlp.out_proj.weight"]
        found[f"{odd}zaya_block.router.balancing_biases"] = state[f"{ours}mlp.gate.balancing_biases"]
        if layer:
            found[f"{odd}zaya_block.router.router_states_scale"] = state[f"{ours}mlp.gate.router_states_scale"]
        for expert in range(model.config.num_experts):
            old = f"{odd}zaya_block.experts.local_experts.{expert}"
            found[f"{old}.linear_fc1.weight"] = state[f"{ours}mlp.experts.gate_up_proj"][expert]
            found[f"{old}.linear_fc2.weight"] = state[f"{ours}mlp.experts.down_proj"][expert]
        for name in scales:
            behind = f"model.layers.{2 * layer + 2}." if layer < depth - 1 else "model."
            found[f"{odd}res_scale.{name}"] = state[f"{ours}post_attention_residual_scale.{name}"]
            found[f"{behind}res_scale.{name}"] = state[f"{ours}post_mlp_residual_scale.{name}"]
    return found


def _write(folder: Path, weights: Mapping[str, Tensor], config: Mapping[str, Any], shard_bytes: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    model_files.write(folder, list(weights.items()), weights.__getitem__, shard_bytes)
    (folder / transformers_config.NAME).write_bytes(orjson.dumps(config))
    return folder
