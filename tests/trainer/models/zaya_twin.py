"""A model of ours and transformers' Zaya with the same random weights, no parameter left at its initial value."""

import torch
from midtrain.trainer.models.config import ModelConfig, ZayaMoE
from midtrain.trainer.models.model import MoEModel
from midtrain.trainer.models.routing import Router
from torch import Tensor
from transformers.models import zaya

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
    rope_theta=1e6,
    moe=ZayaMoE(skip="zero"),
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
                parameter.copy_(noise(parameter, 0.5 if "router_mlp" in name else 0.1))
        for module in model.modules():
            if isinstance(module, Router):
                spread = torch.rand(len(module.balancing_biases) - 1, generator=generator) - 0.5
                module.balancing_biases[:-1] = spread * 0.1


def config_of(config: ModelConfig, attention: str) -> zaya.ZayaConfig:
    """The same sizes as transformers writes them."""
    bases = {"hybrid": config.rope_theta, "hybrid_sliding": config.sliding_rope_theta}
    rope = {"rope_type": "default", "partial_rotary_factor": config.partial_rotary_factor}
    kinds = ["hybrid_sliding" if n in config.sliding_layers else "hybrid" for n in range(config.num_layers)]
    return zaya.ZayaConfig(
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
        rope_parameters={kind: rope | {"rope_theta": base} for kind, base in bases.items()},
        layer_types=kinds,
        sliding_window=config.sliding_window,
        attn_implementation=attention,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


def twin_of(model: MoEModel, attention: str) -> torch.nn.Module:
    """transformers' model with the same weights; only the prefix and the tied head differ in name."""
    twin = zaya.ZayaForCausalLM(config_of(model.config, attention)).eval()
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    loaded = twin.load_state_dict(weights, strict=False)
    assert loaded.missing_keys == ["lm_head.weight"]
    assert loaded.unexpected_keys == []
    twin.tie_weights()
    return twin


def tokens_of(length: int, rows: int = 2, seed: int = 5) -> Tensor:
    """Random tokens [rows, length]."""
    return torch.randint(0, VOCAB, (rows, length), generator=torch.Generator().manual_seed(seed))


def padded(length: int, pads: list[int]) -> tuple[Tensor, Tensor]:
    """Positions and segments [len(pads), length] of rows with so much padding on their left."""
    places_BT = torch.arange(length) - torch.tensor(pads)[:, None]
    return places_BT.clamp_min(0), torch.where(places_BT < 0, -1, 0)
