"""What a run file says of optimizers, balancing and schedules.

Rates, decays and kinds are checked, with their lines, before torch is loaded. Costs nothing but pydantic.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from ...config import Section, parse_count
from ..models.config import DenseFFN, LinearMoE, MoEConfig, ZeroComputationMoE

Share = Annotated[float, Field(ge=0, le=1)]
BalancingKind = Literal["adamw", "sign", "none"]


class BalancingConfig(Section):
    """How the biases on the routers' selection follow the load; the rate falls with the phase's schedule.

    `adamw` is ZAYA1's (arXiv 2605.05365, eq. 5), `sign` that of loss-free balancing (arXiv 2408.15664), `none` leaves
    the biases where they are. Unset, it is `adamw`, and `none` where an auxiliary loss balances, or nothing routes.
    `lr` is on the scale of probabilities: 1e-2 evens the load in some hundred steps, where 1e-3, the published order of
    magnitude, needs more than 400 (docs/log.md).
    """

    kind: BalancingKind | None = None
    lr: float = Field(1e-2, ge=0, lt=1)

    def kind_for(self, moe: MoEConfig) -> BalancingKind:
        """The kind under a model's layer."""
        if self.kind is not None:
            return self.kind
        has_loss = isinstance(moe, LinearMoE | ZeroComputationMoE) and moe.balance_weight > 0
        return "none" if has_loss or isinstance(moe, DenseFFN) else "adamw"


class OptimizerConfig(Section):
    """Muon on matrices and AdamW on the rest, or AdamW on everything.

    `lr` is Muon's rate (AdamW's where `name: adamw`), `adamw_lr` that of what Muon leaves, equal to `lr` unless given;
    `momentum` is Muon's, 0.95 unless given.
    `clip` bounds the global gradient norm; null only measures it. `z_loss` is the weight of the mean of log^2 Z over
    the supervised tokens, Z the sum of the exponentials of a token's logits (arXiv 2204.02311, section 5). `fresh:
    true` starts the moments anew at the phase that says so; without it a phase that writes an optimizer changes the
    settings and keeps the moments. What a phase's optimizer leaves out has its default, not the phase before's value.
    """

    name: Literal["muon", "adamw"]
    lr: float = Field(gt=0)
    adamw_lr: float | None = Field(None, gt=0)
    weight_decay: float = Field(0.0, ge=0, lt=1)
    momentum: float | None = Field(None, ge=0, lt=1)
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.95)
    eps: float = Field(1e-8, gt=0)
    clip: float | None = Field(1.0, gt=0)
    z_loss: float = Field(0.0, ge=0, lt=1)
    balancing: BalancingConfig = BalancingConfig(lr=1e-2)
    fresh: bool = False

    @field_validator("adamw_lr", "momentum")
    @classmethod
    def _beside_muon(cls, value: float | None, info: Any) -> float | None:
        if value is None or info.data.get("name") != "adamw":
            return value
        if info.field_name == "momentum":
            raise ValueError("momentum is Muon's; under name: adamw it is the first of betas")
        raise ValueError("adamw_lr is the rate of what Muon leaves; under name: adamw write lr")


class ScheduleConfig(Section):
    """The course of the learning rate over a phase, as a factor of the optimizer's rates.

    `warmup` in steps; `decay` is the share of the phase's steps in which wsd falls; `final` is the factor at the end,
    0 unless given.
    """

    name: Literal["wsd", "cosine", "linear", "constant"]
    warmup: Annotated[int, BeforeValidator(parse_count), Field(ge=0)] = 0
    decay: Share | None = None
    final: Share | None = None

    @field_validator("decay")
    @classmethod
    def _of_wsd(cls, decay: float | None, info: Any) -> float | None:
        if decay is not None and info.data.get("name") != "wsd":
            raise ValueError("decay belongs to wsd; cosine and linear fall from the warm-up to the end")
        return decay

    @field_validator("final")
    @classmethod
    def _of_what_falls(cls, final: float | None, info: Any) -> float | None:
        if final is not None and info.data.get("name") == "constant":
            raise ValueError("final is where a schedule falls to; constant stays at 1")
        return final

    def decay_steps(self, steps: int) -> int:
        """Steps of a phase of so many in which the factor falls; wsd falls in the last fifth unless told otherwise."""
        if self.name == "constant":
            return 0
        if self.name == "wsd":
            return round((0.2 if self.decay is None else self.decay) * steps)
        return max(steps - self.warmup, 0)
