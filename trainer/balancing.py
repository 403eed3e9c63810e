"""Bias balancing: the router's per-expert biases follow the load by an AdamW of their own.

A balance loss bends the model's gradients; a bias on the selection alone does not (arXiv 2605.05365, eq. 5, with the
decisions of docs/architecture.md: the skip class is left out, biases are zero-mean over the experts). Costs a few
operations on layers x experts numbers a step; the load's entropy and dead experts are measured on the same counts.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import RunError
from .router import Router

BETAS = (0.9, 0.999)
EPS = 1e-8
DEAD_STEPS = 20
"""Steps without a single token after which an expert is reported dead."""


@dataclass(frozen=True)
class Load:
    """A batch's load per layer, [L] each: normalized entropy in [0, 1], and the largest expert's share."""

    entropy_L: Tensor
    max_share_L: Tensor


def shares(counts_LC: Tensor) -> Tensor:
    """Shares [L, E], float32, of the experts among the tokens that reached one; the last class, skip, is left out."""
    counts_LE = counts_LC[:, :-1].float()
    return counts_LE / counts_LE.sum(dim=1, keepdim=True).clamp_min(1.0)


def load(counts_LC: Tensor) -> Load:
    """Entropy of the load over that of the uniform load, H(f) / ln E (arXiv 2605.05365, Fig. 4), and largest share."""
    shares_LE = shares(counts_LC)
    experts = shares_LE.shape[1]
    if experts == 1:
        return Load(torch.ones_like(shares_LE[:, 0]), shares_LE[:, 0])
    entropy_L = torch.special.entr(shares_LE).sum(dim=1) / math.log(experts)
    return Load(entropy_L.clamp(max=1.0), shares_LE.amax(dim=1))  # rounding may pass 1


class Balancer:
    """Moves the balancing biases of all layers in place, and counts how long each expert has had no token.

    The gradient of expert e's bias is f_e - 1/E, f over the global batch, consumed by AdamW with betas .9 and .999, eps
    1e-8, no decay. The bias of the skip class is never moved.
    """

    def __init__(self, model: nn.Module, lr: float) -> None:
        self.lr = lr
        self._biases = [module.balancing_biases for module in model.modules() if isinstance(module, Router)]
        if not self._biases:
            raise RunError("the model has no router to balance", where="Balancer")
        size = (len(self._biases), len(self._biases[0]) - 1)
        device = self._biases[0].device
        self._first_LE = torch.zeros(size, device=device)
        self._second_LE = torch.zeros(size, device=device)
        self._step = torch.zeros((), device=device)
        self._idle_LE = torch.zeros(size, dtype=torch.int64, device=device)

    @torch.no_grad()
    def step(self, counts_LC: Tensor, scale: float) -> None:
        """One step at `scale` times the rate.

        Args:
            counts_LC: int64, tokens of each layer and class, summed over the global batch; the last class is skip.
            scale: the schedule's factor.
        """
        gradient_LE = shares(counts_LC) - 1.0 / self._first_LE.shape[1]
        self._step += 1
        self._first_LE.lerp_(gradient_LE, 1 - BETAS[0])
        self._second_LE.lerp_(gradient_LE.square(), 1 - BETAS[1])
        first_LE = self._first_LE / (1 - BETAS[0] ** self._step)
        second_LE = self._second_LE / (1 - BETAS[1] ** self._step)
        biases_LE = torch.stack(self._biases)[:, :-1]
        biases_LE = biases_LE - self.lr * scale * first_LE / (second_LE.sqrt() + EPS)
        biases_LE = biases_LE - biases_LE.mean(dim=1, keepdim=True)
        torch._foreach_copy_([biases[:-1] for biases in self._biases], list(biases_LE.unbind()))

    @torch.no_grad()
    def watch(self, counts_LC: Tensor) -> Tensor:
        """Notes which experts had no token; returns, bool [L, E], those that died with this batch (the 20th such)."""
        idle_LE = counts_LC[:, :-1] == 0
        self._idle_LE.add_(1).mul_(idle_LE)
        return self._idle_LE == DEAD_STEPS

    def state_dict(self) -> dict[str, Tensor]:
        """Moments, step and idle counts; the biases themselves are the model's buffers."""
        return {
            "exp_avg": self._first_LE,
            "exp_avg_sq": self._second_LE,
            "step": self._step,
            "idle": self._idle_LE,
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copies the state of another balancer.

        Raises:
            RunError: it is that of another model, or not complete.
        """
        for name, own in self.state_dict().items():
            given = state.get(name)
            if given is None or given.shape != own.shape:
                raise RunError(
                    "the balancing state is not that of this model",
                    where=f"balancing.{name}",
                    seen="missing" if given is None else tuple(given.shape),
                    expected=tuple(own.shape),
                )
            own.copy_(given)
