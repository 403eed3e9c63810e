"""Bias balancing: the routers' per-class biases follow the load, by an AdamW of their own or by its sign.

A balance loss bends the model's gradients; a bias on the selection alone does not (arXiv 2605.05365, eq. 5, and arXiv
2408.15664, with the decisions of docs/architecture.md: classes without a target, such as ZAYA1's skip, are left out,
biases are zero-mean over the others). Costs a few operations on layers x classes numbers a step; the load's entropy,
dead experts and dropped tokens are measured on the same counts.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import RunError
from ..models.model import MoEModel
from ..models.routing import Router
from .settings import BalancingConfig

BETAS = (0.9, 0.999)
EPS = 1e-8
ALARM_STEPS = 20
"""Steps without a single token after which an expert is reported dead, and with many dropped after which a layer is."""

MANY_DROPPED = 0.1
"""Share of a layer's assignments dropped beyond which a step counts for the alarm; a capacity of 1.1 drops 1 to 5 %."""


@dataclass(frozen=True)
class Load:
    """A batch's load per layer, [L] each: normalized entropy in [0, 1], and the largest expert's share."""

    entropy_L: Tensor
    max_share_L: Tensor


@dataclass(frozen=True)
class Alarms:
    """What has gone on for twenty steps with this batch: dead experts, bool [L, E]; layers that drop many, bool [L]."""

    dead_LE: Tensor
    dropping_L: Tensor


def shares(counts_LE: Tensor) -> Tensor:
    """Share, float32, of each class in what its layer's classes got together; 0 where they got nothing."""
    counts_LE = counts_LE.float()
    return counts_LE / counts_LE.sum(dim=1, keepdim=True).clamp_min(1.0)


def load(counts_LC: Tensor, experts: int) -> Load:
    """Entropy over that of the uniform load, H(f) / ln E (arXiv 2605.05365, Fig. 4), and the largest share.

    Both are of the first `experts` classes, those that compute, among themselves.
    """
    shares_LE = shares(counts_LC[:, :experts])
    if experts == 1:
        return Load(torch.ones_like(shares_LE[:, 0]), shares_LE[:, 0])
    entropy_L = torch.special.entr(shares_LE).sum(dim=1) / math.log(experts)
    return Load(entropy_L.clamp(max=1.0), shares_LE.amax(dim=1))  # rounding may pass 1


class Balancer:
    """Moves the balancing biases of all layers in place, and counts how long something has been wrong with the load.

    Of a class with load f and target t, over the global batch and the classes with a target: under `adamw` f - t is the
    gradient of its bias, consumed by AdamW with betas .9 and .999, eps 1e-8, no decay; under `sign` the bias moves by
    the rate towards t (arXiv 2408.15664, algorithm 1). Then the biases are made zero-mean over these classes. Those of
    the others, and all under `none`, are never moved.
    """

    def __init__(self, model: MoEModel, settings: BalancingConfig) -> None:
        routers = [module for module in model.modules() if isinstance(module, Router)]
        device = model.embed_tokens.weight.device
        self.experts = model.config.num_experts
        self._moe = model.config.moe
        self._biases = [router.balancing_biases for router in routers]
        targets_C = routers[0].target_shares() if routers else torch.zeros(1, device=device)
        self._classes_K = targets_C.nonzero().flatten()
        self._targets_K = targets_C[self._classes_K]
        self._idle_LE = torch.zeros(len(routers), self.experts, dtype=torch.int64, device=device)
        self._dropping_L = torch.zeros(len(routers), dtype=torch.int64, device=device)
        self.configure(settings)

    @property
    def routes(self) -> bool:
        """Whether the model has routers at all."""
        return bool(self._biases)

    def configure(self, settings: BalancingConfig) -> None:
        """Takes other settings; the biases stay, and so do the moments unless the kind is another."""
        kind = settings.kind_for(self._moe)
        if not self.routes and kind != "none":
            raise RunError(
                "the model has no router to balance", where="optimizer.balancing.kind", seen=kind, expected="none"
            )
        self.lr = settings.lr
        if getattr(self, "kind", None) == kind:
            return
        self.kind = kind
        self._moments: dict[str, Tensor] = {}
        if kind == "adamw":
            size = (len(self._biases), len(self._classes_K))
            shapes = {"exp_avg": size, "exp_avg_sq": size, "step": ()}
            self._moments = {name: self._targets_K.new_zeros(shape) for name, shape in shapes.items()}

    @torch.no_grad()
    def step(self, counts_LC: Tensor, scale: float) -> None:
        """One step at `scale` times the rate.

        Args:
            counts_LC: int64, assignments of each layer and class, summed over the global batch.
            scale: the schedule's factor.
        """
        if self.kind == "none":
            return
        gradient_LK = shares(counts_LC[:, self._classes_K]) - self._targets_K
        move_LK = gradient_LK.sign() if self.kind == "sign" else self._adamw(gradient_LK)
        biases_LC = torch.stack(self._biases)
        biases_LK = biases_LC[:, self._classes_K] - self.lr * scale * move_LK
        biases_LC[:, self._classes_K] = biases_LK - biases_LK.mean(dim=1, keepdim=True)
        torch._foreach_copy_(self._biases, list(biases_LC.unbind()))

    def _adamw(self, gradient_LK: Tensor) -> Tensor:
        """AdamW's direction; moves the moments."""
        first_LK, second_LK, step = (self._moments[name] for name in ("exp_avg", "exp_avg_sq", "step"))
        step += 1
        first_LK.lerp_(gradient_LK, 1 - BETAS[0])
        second_LK.lerp_(gradient_LK.square(), 1 - BETAS[1])
        return (first_LK / (1 - BETAS[0] ** step)) / ((second_LK / (1 - BETAS[1] ** step)).sqrt() + EPS)

    @torch.no_grad()
    def watch(self, counts_LC: Tensor, dropped_L: Tensor) -> Alarms:
        """Notes which experts had no token and which layers dropped many; names those for which this is the 20th step.

        Args:
            counts_LC: as of `step`.
            dropped_L: int64, assignments of each layer that were dropped.
        """
        if self.routes:
            self._idle_LE.add_(1).mul_(counts_LC[:, : self.experts] == 0)
            self._dropping_L.add_(1).mul_(dropped_L > MANY_DROPPED * counts_LC.sum(dim=1))
        return Alarms(self._idle_LE == ALARM_STEPS, self._dropping_L == ALARM_STEPS)

    def state_dict(self) -> dict[str, Tensor]:
        """Moments, if the kind has any, and how long what is watched has lasted; the biases are the model's buffers."""
        if not self.routes:
            return {}
        return self._moments | {"idle": self._idle_LE, "dropping": self._dropping_L}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copies the state of another balancer.

        Raises:
            RunError: it is that of another model or kind, or not complete.
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
