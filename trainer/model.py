"""The MoE++ language model of ZAYA1: token ids in, float32 logits and expert loads out.

Parameter names are those of transformers' Zaya without the leading `model.`, so that import and export rename nothing
else. Costs, for every token, the active parameters (753,608,528 of zaya1-8b) and the tied head; the compute type is
that of the weights.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError, RunError
from .attention import lay_out
from .block import Block
from .cache import Cache
from .norm import RMSNorm
from .presets import ModelConfig
from .router import Router

_ONES = ("norm.weight", "_scale", "temp")


@dataclass(frozen=True)
class Output:
    """Logits (float32), and how many tokens, padding apart, each layer sent to each class (int64; last is skip)."""

    logits_BTV: Tensor
    expert_counts_LE: Tensor


class MoEModel(nn.Module):
    """The decoder with tied embeddings.

    Types: matrix products run in the type of the weights, or in that of an enclosing torch.autocast; the residual
    stream, norm statistics, query-key mean and norm, rotary embeddings, router softmax and head are float32 in either
    case. So there are three ways to train in bfloat16: weights in bfloat16, float32 weights under autocast, and a
    sharding wrapper that casts the parameters (it must not cast the inputs of blocks: the stream would lose float32).
    """

    def __init__(self, config: ModelConfig) -> None:
        """Builds the model, initialized from torch's global generator; on the meta device it holds no values.

        Raises:
            ConfigError: the vocabulary is not set yet.
        """
        super().__init__()
        if config.vocab_size is None:
            raise ConfigError(
                "the model has no vocabulary", where="vocab_size", fix="ModelConfig.with_vocab(tokens of the shards)"
            )
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.input_hidden_states_scale = nn.Parameter(torch.ones(config.hidden_size))
        self.input_hidden_states_bias = nn.Parameter(torch.zeros(config.hidden_size))
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size, config.norm_eps)
        if not self.embed_tokens.weight.is_meta:
            self.init_weights(torch.default_generator)

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator) -> None:
        """Sets every parameter and buffer anew: matrices N(0, init_std), biases 0, scales, norms and temperatures 1.

        The numbers are drawn in float32 on the generator's device, so a seed gives the same model on every device. The
        published temperature of 0 would leave attention without a gradient at the first step.
        """
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif name.endswith(_ONES):
                parameter.fill_(1.0)
            else:
                drawn = torch.empty(parameter.shape, device=generator.device)
                parameter.copy_(drawn.normal_(0.0, self.config.init_std, generator=generator))
        for module in self.modules():
            if isinstance(module, Router):
                module.reset_biases()

    def forward(
        self,
        tokens_BT: Tensor,
        positions_BT: Tensor,
        segments_BT: Tensor,
        *,
        cache: Cache | None = None,
        rope_theta: float | None = None,
    ) -> Output:
        """Logits of the next token at every position.

        Args:
            tokens_BT: token ids below vocab_size.
            positions_BT: position of each token in its segment, from 0.
            segments_BT: number of each token's segment, no number twice in a row; -1 is padding. Tokens see earlier
                tokens of their own segment and nothing else.
            cache: filled with, and continued from, the tokens of earlier calls.
            rope_theta: base of the rotary embeddings, that of the config by default.

        Raises:
            RunError: shapes differ, or the cache cannot take the tokens.
        """
        if not tokens_BT.shape == positions_BT.shape == segments_BT.shape or tokens_BT.ndim != 2:
            raise RunError(
                "tokens, positions and segments differ in shape",
                where="MoEModel.forward",
                seen=f"{tuple(tokens_BT.shape)}, {tuple(positions_BT.shape)}, {tuple(segments_BT.shape)}",
                expected="three of [rows, tokens]",
            )
        theta = self.config.rope_theta if rope_theta is None else rope_theta
        layout = lay_out(positions_BT, segments_BT, self.config.rotary_dim, theta, cache)
        h_BTD = self.embed_tokens(tokens_BT).float() + self.input_hidden_states_bias.float()
        h_BTD = h_BTD * self.input_hidden_states_scale.float()
        state_BTR, counts = None, []
        for index, layer in enumerate(self.layers):
            cached = cache.layers[index] if cache else None
            h_BTD, state_BTR, counts_C = layer(h_BTD, state_BTR, layout, cached)
            counts.append(counts_C)
        if cache:
            cache.length += tokens_BT.shape[1]
        return Output(self._head(h_BTD), torch.stack(counts))

    def _head(self, h_BTD: Tensor) -> Tensor:
        """Logits in float32, also under autocast."""
        with torch.autocast(h_BTD.device.type, enabled=False):
            return F.linear(self.norm(h_BTD).float(), self.embed_tokens.weight.float())
