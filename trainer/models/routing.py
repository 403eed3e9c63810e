"""What every router has in common: it chooses by biased, and weighs by unbiased, probabilities.

Routers differ in how they make logits and in what they hand to the next layer; choosing, the biases of the balancer and
the shares it aims at are one. The products of a router run in the compute type; its softmax, the scores it chooses by
and the weights are float32 whatever that is (arXiv 2605.05365, section IV-D). Costs a softmax and a top-k over the
classes, a few dozen numbers a token.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .config import LinearMoE, ModelConfig, ZayaMoE, ZeroComputationMoE

SKIP_BIAS = -1.0
"""Balancing bias of the skip class at the start, on the scale of probabilities: it is then practically never chosen."""


@dataclass(frozen=True)
class Routing:
    """The classes chosen for each token (int64 [B, T, K], the best first) and their weights, float32.

    `probability_BTC` holds those of all classes, for the balance loss; `state_BTS` goes to the next layer's router.
    """

    class_BTK: Tensor
    weight_BTK: Tensor
    probability_BTC: Tensor
    state_BTS: Tensor | None


@dataclass(frozen=True)
class LayerRouted:
    """What one layer's router did, padding apart.

    `counts_C` int64: assignments to each class; `dropped_C` int64: those of them dropped for capacity. `balance`
    float32 scalar: the auxiliary loss of the layer, weighted; 0 where the kind has none.
    """

    counts_C: Tensor
    dropped_C: Tensor
    balance: Tensor


def wide(x: Tensor) -> Tensor:
    """x in float32, or in float64 where it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def shares(config: ModelConfig) -> tuple[float, ...]:
    """The share of a layer's assignments that balance means for each class; 0 where a class has no part in it.

    1/E for each of E experts; with zero-computation experts, Z of them, tau/(tau E + Z) for those that compute and
    1/(tau E + Z) for the others (arXiv 2410.07348, eq. 9).
    """
    experts, others = config.num_experts, config.num_classes - config.num_experts
    if not isinstance(config.moe, ZeroComputationMoE):
        return (1 / experts,) * experts + (0.0,) * others
    tau = config.moe.tau
    whole = tau * experts + others
    return (tau / whole,) * experts + (1 / whole,) * others


class Router(nn.Module):
    """Chooses `top_k` classes for every token; a kind of router says how logits and state come about.

    `balancing_biases` is a float32 buffer that the trainer moves in place; it stays float32 when the model is cast,
    since bfloat16 rounds -1 + 0.001 back to -1.
    """

    balancing_biases: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        moe = config.moe
        self.top_k = moe.top_k if isinstance(moe, LinearMoE | ZeroComputationMoE) else 1
        self.has_skip = isinstance(moe, ZayaMoE)
        self.choosable = config.num_experts if isinstance(moe, ZayaMoE) and moe.skip == "off" else config.num_classes
        self._shares = shares(config)
        self.register_buffer("balancing_biases", torch.zeros(config.num_classes, dtype=torch.float32))
        self.reset_biases()

    def reset_biases(self) -> None:
        """Zero, and -1 for ZAYA1's skip class."""
        self.balancing_biases.zero_()
        if self.has_skip:
            self.balancing_biases[-1] = SKIP_BIAS

    def target_shares(self) -> Tensor:
        """Float32 [num_classes]: the share of each class where the load is balanced; 0 is left out of balancing."""
        return torch.tensor(self._shares, device=self.balancing_biases.device)

    def logits(self, x_BTD: Tensor, before_BTS: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Logits [B, T, num_classes], and the state passed on."""
        raise NotImplementedError

    def forward(self, x_BTD: Tensor, before_BTS: Tensor | None) -> Routing:
        """Routes x; `before_BTS` is the state of the layer above, None in the first."""
        logits_BTC, state_BTS = self.logits(x_BTD, before_BTS)
        probability_BTC = wide(logits_BTC).softmax(dim=-1)
        scores_BTC = (probability_BTC.detach() + self.balancing_biases)[..., : self.choosable]
        if self.top_k == 1:
            class_BTK = scores_BTC.argmax(dim=-1, keepdim=True)
        else:
            class_BTK = scores_BTC.topk(self.top_k, dim=-1).indices
        return Routing(class_BTK, probability_BTC.gather(-1, class_BTK), probability_BTC, state_BTS)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Router":
        biases = self.balancing_biases
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.balancing_biases.dtype != torch.float32:
            self.balancing_biases = biases.to(self.balancing_biases.device)
        return self
