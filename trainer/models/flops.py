"""What a model computes and holds: floating point operations of a batch as it was routed and packed, and parameters.

A layer of zero-computation experts, a dropped token, a short document or a sliding window saves work that the usual
"6 x parameters x tokens" counts, so that models of different kinds can only be compared by what they really did. Costs
a few integer operations; torch is not imported.

Counted are matrix products (2 m n k), attention over the pairs that the mask shows, convolutions, router and head; not
norms, activations, rotary embeddings, softmax and other pointwise work, nor what padding and masked pairs cost a kernel
that does not skip them.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .config import CONV_KERNEL, DenseFFN, LinearMoE, ModelConfig, ZeroComputationMoE

if TYPE_CHECKING:
    from torch import Tensor

BACKWARD = 2
"""Backward passes compute, for every product, the gradients of both factors: twice the forward pass."""


@dataclass(frozen=True)
class Work:
    """What a batch gave the model to do, as ints or as 0-dimensional int64 tensors; all of it adds up over batches.

    `tokens`: those that are no padding. `head_rows`: positions whose logits are computed, in training the supervised
    ones. `pairs` and `sliding_pairs`: queries and the keys they see, in one layer of full and of sliding attention.
    `assignments`: tokens that an expert (or the dense network) computed, added over layers, dropped ones apart.
    """

    tokens: "int | Tensor"
    head_rows: "int | Tensor"
    pairs: "int | Tensor"
    sliding_pairs: "int | Tensor"
    assignments: "int | Tensor"


def work(
    config: ModelConfig, positions_BT: "Tensor", segments_BT: "Tensor", computed_LC: "Tensor", head_rows: "int | Tensor"
) -> Work:
    """The work of a batch, tensors of its device: nothing waits for it.

    Args:
        config: the model.
        positions_BT: position of each token in its segment, from 0 without a gap.
        segments_BT: -1 is padding.
        computed_LC: assignments of each layer and class, those dropped taken away.
        head_rows: positions whose logits are computed.
    """
    real_BT = segments_BT >= 0
    seen_BT = (positions_BT.long() + 1) * real_BT
    sliding_pairs: int | Tensor = 0
    if config.sliding_window is not None:
        sliding_pairs = seen_BT.clamp(max=config.sliding_window).sum()
    assignments = computed_LC[:, : _computing_classes(config)].sum()
    return Work(real_BT.sum(), head_rows, seen_BT.sum(), sliding_pairs, assignments)


def forward(config: ModelConfig, done: Work) -> "int | Tensor":
    """Floating point operations of a forward pass, in the kind of numbers that `done` holds."""
    sliding = len(config.sliding_layers)
    pairs = done.pairs * (config.num_layers - sliding) + done.sliding_pairs * sliding
    routers = sum(router(config, layer) + constants(config) for layer in range(config.num_layers))
    each_token = projections(config) * config.num_layers + routers
    head = 2 * config.hidden_size * _vocab(config) * done.head_rows
    products = expert(config) * done.assignments + each_token * done.tokens
    return products + 2 * 2 * config.num_heads * config.head_dim * pairs + head


def training(config: ModelConfig, done: Work) -> "int | Tensor":
    """Floating point operations of a forward and a backward pass; recomputed activations are not counted."""
    return (1 + BACKWARD) * forward(config, done)


def projections(config: ModelConfig) -> int:
    """Operations a token of one layer's attention but for the pairs: projections, and CCA's convolutions."""
    queries, keys = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    matrices = 2 * config.hidden_size * (2 * queries + 2 * keys)
    if config.attention == "gqa":
        return matrices
    depthwise, grouped = CONV_KERNEL[0], CONV_KERNEL[1] * config.head_dim
    return matrices + 2 * config.conv_channels * (depthwise + grouped)


def router(config: ModelConfig, layer: int) -> int:
    """Operations a token of one layer's router."""
    classes, hidden, size = config.num_classes, config.hidden_size, config.router_size
    if isinstance(config.moe, DenseFFN):
        return 0
    if _has_zaya_router(config):
        return 2 * (hidden * size + 2 * size * size + size * classes)
    return 2 * (hidden * classes + _residual(config, layer))


def constants(config: ModelConfig) -> int:
    """Operations a token of one layer's constant experts, which are computed for all tokens: a x + b v."""
    return 2 * 3 * config.hidden_size * _constants(config)


def expert(config: ModelConfig) -> int:
    """Operations an assignment: gate, up and down."""
    return 2 * 3 * config.hidden_size * config.expert_size


def total_parameters(config: ModelConfig) -> int:
    """Numbers that training moves, the tied embedding included; balancing biases are buffers and not among them."""
    return _outside(config) + _each_layer(config) + _expert_parameters(config, _computing_classes(config))


def embedding_parameters(config: ModelConfig) -> int:
    """Numbers of the tied embedding."""
    return _vocab(config) * config.hidden_size


def active_parameters(config: ModelConfig) -> int:
    """Numbers that take part in computing one token, the embedding apart.

    A token is taken to go to `top_k` experts that compute; with zero-computation experts that is the most.
    """
    moe = config.moe
    top_k = moe.top_k if isinstance(moe, LinearMoE | ZeroComputationMoE) else 1
    experts = min(top_k, _computing_classes(config))
    return _outside(config) - embedding_parameters(config) + _each_layer(config) + _expert_parameters(config, experts)


def _outside(config: ModelConfig) -> int:
    """Embedding, the scale and bias behind it, and the last norm."""
    return embedding_parameters(config) + 3 * config.hidden_size


def _each_layer(config: ModelConfig) -> int:
    """All layers but their experts: attention, two norms, eight vectors of residual scaling, router."""
    fixed = _attention_parameters(config) + (2 + 8) * config.hidden_size + _constants(config) * 3 * config.hidden_size
    return sum(fixed + _router_parameters(config, layer) for layer in range(config.num_layers))


def _attention_parameters(config: ModelConfig) -> int:
    queries, keys = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    matrices = config.hidden_size * (2 * queries + 2 * keys)
    if config.attention == "gqa":
        return matrices
    depthwise, grouped = CONV_KERNEL[0], CONV_KERNEL[1] * config.head_dim
    return matrices + config.conv_channels * (depthwise + 1 + grouped + 1) + config.num_kv_heads


def _router_parameters(config: ModelConfig, layer: int) -> int:
    classes, hidden, size = config.num_classes, config.hidden_size, config.router_size
    if isinstance(config.moe, DenseFFN):
        return 0
    if _has_zaya_router(config):
        down, mlp = hidden * size + size, size + 2 * (size * size + size) + size * classes
        return down + mlp + (size if layer else 0)
    return hidden * classes + _residual(config, layer)


def _expert_parameters(config: ModelConfig, experts: int) -> int:
    return config.num_layers * experts * 3 * config.hidden_size * config.expert_size


def _residual(config: ModelConfig, layer: int) -> int:
    """Numbers of Skywork's W_g."""
    moe = config.moe
    gated = isinstance(moe, ZeroComputationMoE) and moe.router == "linear" and moe.gating_residual
    return config.num_classes**2 if gated and layer else 0


def _constants(config: ModelConfig) -> int:
    return config.moe.constants(config.num_experts) if isinstance(config.moe, ZeroComputationMoE) else 0


def _has_zaya_router(config: ModelConfig) -> bool:
    return config.moe.kind == "zaya" or (isinstance(config.moe, ZeroComputationMoE) and config.moe.router == "zaya")


def _computing_classes(config: ModelConfig) -> int:
    return 1 if isinstance(config.moe, DenseFFN) else config.num_experts


def _vocab(config: ModelConfig) -> int:
    """The vocabulary's size; ValueError where the shards have not set it yet."""
    if config.vocab_size is None:
        raise ValueError("the model has no vocabulary yet: ModelConfig.with_vocab(tokens of the shards)")
    return config.vocab_size
