"""The MoE++ language model of ZAYA1: token ids in, float32 logits and expert loads out.

Parameter names are those of transformers' Zaya without the leading `model.`, so that import and export rename nothing
else. Costs, for every token, the active parameters (753,608,528 of zaya1-8b) and the tied head; the compute type is
that of the weights.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...errors import ConfigError, RunError
from .block import Block
from .cache import Cache
from .config import Kernels, ModelConfig
from .head import losses, nats
from .layout import lay_out
from .norm import RMSNorm
from .products import compute_type, linear
from .routing import Router

UNSUPERVISED = -100
"""Target of a position that is not trained; what torch's cross entropy ignores by default."""

_ONES = ("norm.weight", "_scale", "temp")
_UNIT = ("constants.vectors",)


@dataclass(frozen=True)
class Routed:
    """What the routers of all layers did, padding apart.

    `counts_LC` int64: assignments of tokens to each class (`ModelConfig.num_classes`). `dropped_LC` int64: those of
    them that were dropped for capacity. `balance` float32 scalar: the auxiliary losses of all layers, weighted.
    """

    counts_LC: Tensor
    dropped_LC: Tensor
    balance: Tensor


@dataclass(frozen=True)
class Output:
    """Logits (float32), and what the routers did."""

    logits_BTV: Tensor
    routed: Routed


@dataclass(frozen=True)
class Losses:
    """Sums over the supervised targets, float32 scalars: nats of cross entropy, and squares of log Z for the z-loss."""

    cross_entropy: Tensor
    log_z_squared: Tensor
    routed: Routed


def _embedding(rows: int, columns: int) -> nn.Embedding:
    """nn.Embedding, which on the meta device would import torch's compiler, .7 s, to draw what is not there."""
    on_meta = torch.empty(0).is_meta
    return nn.Embedding(rows, columns, _weight=torch.empty(rows, columns) if on_meta else None)


class MoEModel(nn.Module):
    """The decoder with tied embeddings.

    Types: matrix products run in the type of the weights, or in that of an enclosing torch.autocast; the residual
    stream, norm statistics, query-key mean and norm, rotary embeddings, router softmax and head are float32 in either
    case. So there are three ways to train in bfloat16: weights in bfloat16, float32 weights under autocast, and a
    sharding wrapper that casts the parameters (it must not cast the inputs of blocks: the stream would lose float32).
    """

    def __init__(self, config: ModelConfig, kernels: Kernels = Kernels()) -> None:  # noqa: B008 (frozen)
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
        self.kernels = kernels
        self.embed_tokens = _embedding(config.vocab_size, config.hidden_size)
        self.input_hidden_states_scale = nn.Parameter(torch.ones(config.hidden_size))
        self.input_hidden_states_bias = nn.Parameter(torch.zeros(config.hidden_size))
        self.layers = nn.ModuleList(Block(config, layer, kernels) for layer in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size, config.norm_eps)
        if not self.embed_tokens.weight.is_meta:
            self.init_weights(torch.default_generator)

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator) -> None:
        """Sets every parameter and buffer anew: matrices N(0, init_std), biases 0, scales, norms and temperatures 1.

        The vectors of constant experts are N(0, 1), as large as the normed inputs they stand in for.
        The numbers are drawn in float32 on the generator's device, so a seed gives the same model on every device. The
        published temperature of 0 would leave attention without a gradient at the first step.
        """
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif name.endswith(_ONES):
                parameter.fill_(1.0)
            else:
                std = 1.0 if name.endswith(_UNIT) else self.config.init_std
                drawn = torch.empty(parameter.shape, device=generator.device)
                parameter.copy_(drawn.normal_(0.0, std, generator=generator))
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
        h_BTD, routed = self._hidden(tokens_BT, positions_BT, segments_BT, cache, rope_theta)
        return Output(self._head(h_BTD), routed)

    def loss(
        self,
        tokens_BT: Tensor,
        positions_BT: Tensor,
        segments_BT: Tensor,
        targets_BT: Tensor,
        *,
        rope_theta: float | None = None,
    ) -> Losses:
        """What training makes small; arguments as of `forward`, and targets int64, -100 where nothing is trained."""
        h_BTD, routed = self._hidden(tokens_BT, positions_BT, segments_BT, None, rope_theta)
        with torch.autocast(h_BTD.device.type, enabled=False):
            cross_entropy, log_z_squared = losses(*self._asked(h_BTD, targets_BT))
        return Losses(cross_entropy, log_z_squared, routed)

    @torch.no_grad()
    def nats(
        self,
        tokens_BT: Tensor,
        positions_BT: Tensor,
        segments_BT: Tensor,
        targets_BT: Tensor,
        *,
        rope_theta: float | None = None,
    ) -> Tensor:
        """Nats of each target, float32 [N], row by row: no logits but a chunk's are held. Arguments as of `loss`."""
        h_BTD, _ = self._hidden(tokens_BT, positions_BT, segments_BT, None, rope_theta)
        with torch.autocast(h_BTD.device.type, enabled=False):
            return nats(*self._asked(h_BTD, targets_BT))

    def _asked(self, h_BTD: Tensor, targets_BT: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the head needs of the supervised positions: hidden states, its own rows, and targets."""
        supervised_BT = targets_BT != UNSUPERVISED
        hidden_ND = self.norm(h_BTD[supervised_BT]).float()
        return hidden_ND, self.embed_tokens.weight.float(), targets_BT[supervised_BT]

    def _hidden(
        self,
        tokens_BT: Tensor,
        positions_BT: Tensor,
        segments_BT: Tensor,
        cache: Cache | None,
        rope_theta: float | None,
    ) -> tuple[Tensor, Routed]:
        """The residual stream behind the last block."""
        layout = lay_out(
            positions_BT,
            segments_BT,
            self.config,
            kernel=self.kernels.attention,
            dtype=compute_type(self.embed_tokens.weight),
            rope_theta=rope_theta,
            cache=cache,
        )
        h_BTD = self.embed_tokens(tokens_BT).float() + self.input_hidden_states_bias.float()
        h_BTD = h_BTD * self.input_hidden_states_scale.float()
        state_BTS, layers = None, []
        for index, layer in enumerate(self.layers):
            cached = cache.layers[index] if cache else None
            h_BTD, state_BTS, routed = layer(h_BTD, state_BTS, layout, cached)
            layers.append(routed)
        if cache:
            cache.length += tokens_BT.shape[1]
        counts_LC = torch.stack([routed.counts_C for routed in layers])
        dropped_LC = torch.stack([routed.dropped_C for routed in layers])
        return h_BTD, Routed(counts_LC, dropped_LC, torch.stack([routed.balance for routed in layers]).sum())

    def _head(self, h_BTD: Tensor) -> Tensor:
        """Logits in float32, also under autocast."""
        with torch.autocast(h_BTD.device.type, enabled=False):
            return linear(self.norm(h_BTD).float(), self.embed_tokens.weight.float())
