"""The YAML schema of a training run, and the plan that it makes of the shards' phases.

A run that trains for hours must fail in its first second: every key, unit and size is checked here, against the shards
too, before torch is loaded. Costs one validation and one look at the shards' manifest.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from ..config import Loaded, LocalFolder, Section, parse_count
from .presets import PRESETS, ModelConfig

Positive = Annotated[int, BeforeValidator(parse_count), Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


def _preset(model: object) -> object:
    """A preset's name to its sizes; a table of sizes goes on to ModelConfig."""
    if not isinstance(model, str):
        return model
    if model not in PRESETS:
        names = ", ".join(f"'{name}'" for name in PRESETS)
        raise PydanticCustomError(
            "literal_error", "there is no such model preset", {"expected": f"{names}, or a table of sizes"}
        )
    return PRESETS[model]


def _one_process(ways: int | str) -> int | str:
    if ways not in (1, "auto"):
        raise ValueError("training runs in one process: 1 is all that can stand here (or auto, for data)")
    return ways


class BalancingConfig(Section):
    """Bias balancing; the rate is on the scale of probabilities and falls with the phase's schedule."""

    lr: float = Field(1e-3, ge=0, lt=1)


class OptimizerConfig(Section):
    """Muon on matrices and AdamW on the rest, or AdamW on everything.

    `lr` is Muon's rate (AdamW's where `name: adamw`), `adamw_lr` that of what Muon leaves, equal to `lr` unless given.
    `clip` bounds the global gradient norm; null only measures it. `fresh: true` starts the moments anew at the phase
    that says so; without it a phase that writes an optimizer changes the settings and keeps the moments.
    """

    name: Literal["muon", "adamw"]
    lr: float = Field(gt=0)
    adamw_lr: float | None = Field(None, gt=0)
    weight_decay: float = Field(0.0, ge=0, lt=1)
    momentum: float = Field(0.95, ge=0, lt=1)
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.95)
    eps: float = Field(1e-8, gt=0)
    clip: float | None = Field(1.0, gt=0)
    balancing: BalancingConfig = BalancingConfig(lr=1e-3)
    fresh: bool = False

    @field_validator("adamw_lr")
    @classmethod
    def _beside_muon(cls, rate: float | None, info: Any) -> float | None:
        if rate is not None and info.data.get("name") == "adamw":
            raise ValueError("adamw_lr is the rate of what Muon leaves; under name: adamw write lr")
        return rate


class ScheduleConfig(Section):
    """The course of the learning rate over a phase, as a factor of the optimizer's rates.

    `warmup` in steps; `decay` is the share of the phase's steps in which wsd falls; `final` is the factor at the end.
    """

    name: Literal["wsd", "cosine", "linear", "constant"]
    warmup: Annotated[int, BeforeValidator(parse_count), Field(ge=0)] = 0
    decay: Share | None = None
    final: Share = 0.0

    @field_validator("decay")
    @classmethod
    def _of_wsd(cls, decay: float | None, info: Any) -> float | None:
        if decay is not None and info.data.get("name") != "wsd":
            raise ValueError("decay belongs to wsd; cosine and linear fall from the warm-up to the end")
        return decay

    def decay_steps(self, steps: int) -> int:
        """Steps of a phase of so many in which the factor falls; wsd falls in the last fifth unless told otherwise."""
        if self.name == "constant":
            return 0
        if self.name == "wsd":
            return round((0.2 if self.decay is None else self.decay) * steps)
        return max(steps - self.warmup, 0)


class PhaseConfig(Section):
    """One phase of the shards: its batch, its rates, its RoPE base.

    The first phase must give an optimizer; a later one without goes on with the settings and the moments of the phase
    before. `rope_theta` unset is the phase before's, in the first phase the model's (which then has to be that of the
    checkpoint in `init_from`). `steps` stops the phase early, and its schedule then spans these steps.
    """

    phase: str
    batch_tokens: Positive
    micro_batch_tokens: Positive | None = None
    steps: Positive | None = None
    optimizer: OptimizerConfig | None = None
    schedule: ScheduleConfig
    rope_theta: float | None = Field(None, gt=1)


class ParallelConfig(Section):
    """How the run is spread; there is one process, so every way is 1."""

    data: Annotated[int | Literal["auto"], AfterValidator(_one_process)] = "auto"
    expert: Annotated[int, AfterValidator(_one_process)] = 1
    context: Annotated[int, AfterValidator(_one_process)] = 1


class CheckpointConfig(Section):
    """A checkpoint every so many steps, of which the newest `keep` stay; that at the end of a phase always stays."""

    every: Positive = 1_000
    keep: Positive = 3


class EvaluateConfig(Section):
    """What is measured every so many steps, and at the end of every phase.

    `samples` held-out problems of each task with `steps` steps of solution, prompted for the answer or the reasoning.
    """

    every: Positive
    held_out: bool = True
    tasks: tuple[str, ...] = ()
    samples: Positive = 200
    steps: tuple[Positive, ...] = (4, 5)
    prompt: Literal["answer", "reasoning"] = "reasoning"
    max_new_tokens: Positive = 128


class RunConfig(Section):
    """A run file. `threads` is the number of CPU threads, torch's own choice unless given."""

    name: str = Field(min_length=1)
    output: LocalFolder
    shards: str = Field(min_length=1)
    seed: int = Field(0, ge=0, lt=2**63)
    model: Annotated[ModelConfig, BeforeValidator(_preset)]
    init_from: str | None = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    parallel: ParallelConfig = ParallelConfig()
    threads: Positive | None = None
    phases: tuple[PhaseConfig, ...] = Field(min_length=1)
    checkpoint: CheckpointConfig = CheckpointConfig()
    evaluate: EvaluateConfig | None = None
    metrics: tuple[Literal["tensorboard"], ...] = ()

    @model_validator(mode="after")
    def _phases_follow(self) -> "RunConfig":
        names = [phase.phase for phase in self.phases]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"the phase {twice} stands twice: its sequences would be trained on again")
        if self.phases[0].optimizer is None:
            raise ValueError(f"the first phase, {names[0]}, has no optimizer to begin with")
        settings = self.phases[0].optimizer
        for phase in self.phases[1:]:
            follows = phase.optimizer or settings
            if follows.name != settings.name and not follows.fresh:
                raise ValueError(
                    f"the phase {phase.phase} changes from {settings.name} to {follows.name}, which cannot use its "
                    "moments: write fresh: true in its optimizer"
                )
            settings = follows
        return self

    def optimizer_of(self, index: int) -> OptimizerConfig:
        """The settings that hold in a phase: its own, or those of the last phase before it that wrote any."""
        written = [phase.optimizer for phase in self.phases[: index + 1] if phase.optimizer is not None]
        return written[-1]


class PhaseOfShards(Protocol):
    """What is read of a built phase."""

    @property
    def sequence_length(self) -> int: ...
    @property
    def sequences(self) -> int: ...


@dataclass(frozen=True)
class PhasePlan:
    """A phase with everything that follows from the shards worked out; sizes are in sequences and steps.

    `fresh` is whether the optimizer's moments start anew; `first_step` is the number of steps of earlier phases.
    """

    name: str
    sequence_length: int
    sequences: int
    batch_sequences: int
    micro_sequences: int
    first_step: int
    steps: int
    optimizer: OptimizerConfig
    fresh: bool
    schedule: ScheduleConfig
    rope_theta: float

    @property
    def last_step(self) -> int:
        """Number of steps of the run when the phase is over."""
        return self.first_step + self.steps


def plan_phases(run: Loaded[RunConfig], built: Mapping[str, PhaseOfShards]) -> tuple[PhasePlan, ...]:
    """The run's phases against those of the shards.

    Raises:
        ConfigError: a phase that the shards lack, a batch that is no whole number of sequences, more steps than there
            are sequences for, or a schedule that does not fit into the phase; each with its line.
    """
    plans: list[PhasePlan] = []
    for index, phase in enumerate(run.value.phases):
        if phase.phase not in built:
            raise run.error(
                ("phases", index, "phase"), "the shards have no such phase", expected="one of " + ", ".join(built)
            )
        plans.append(_plan_phase(run, index, built[phase.phase], plans[-1] if plans else None))
    return tuple(plans)


def _plan_phase(run: Loaded[RunConfig], index: int, shards: PhaseOfShards, before: PhasePlan | None) -> PhasePlan:
    phase = run.value.phases[index]
    batch = _sequences(run, index, "batch_tokens", phase.batch_tokens, shards.sequence_length)
    micro = min(phase.micro_batch_tokens or phase.batch_tokens, phase.batch_tokens)
    available = math.ceil(shards.sequences / batch)
    if phase.steps is not None and phase.steps > available:
        raise run.error(
            ("phases", index, "steps"),
            f"more steps than the phase has batches: it has {shards.sequences:,} sequences, and a batch {batch:,}",
            expected=f"at most {available:,}",
            fix="leave steps out to train on all of them, or give the mixture's phase more tokens",
        )
    theta = before.rope_theta if before else run.value.model.rope_theta
    plan = PhasePlan(
        name=phase.phase,
        sequence_length=shards.sequence_length,
        sequences=min(shards.sequences, (phase.steps or available) * batch),
        batch_sequences=batch,
        micro_sequences=_sequences(run, index, "micro_batch_tokens", micro, shards.sequence_length),
        first_step=before.last_step if before else 0,
        steps=phase.steps or available,
        optimizer=run.value.optimizer_of(index),
        fresh=before is None or (phase.optimizer is not None and phase.optimizer.fresh),
        schedule=phase.schedule,
        rope_theta=phase.rope_theta or theta,
    )
    _check_schedule(run, index, plan)
    return plan


def _sequences(run: Loaded[RunConfig], index: int, key: str, tokens: int, length: int) -> int:
    if tokens % length:
        raise run.error(
            ("phases", index, key),
            f"not a multiple of the phase's sequence_length, {length:,}",
            expected=f"{max(tokens // length, 1) * length:,} or {(tokens // length + 1) * length:,}",
        )
    return tokens // length


def _check_schedule(run: Loaded[RunConfig], index: int, plan: PhasePlan) -> None:
    needed = plan.schedule.warmup + plan.schedule.decay_steps(plan.steps)
    if plan.schedule.warmup >= plan.steps or needed > plan.steps:
        raise run.error(
            ("phases", index, "schedule"),
            f"warm-up and decay take {max(needed, plan.schedule.warmup):,} steps, and the phase has {plan.steps:,}: "
            "it would never reach its rate",
            fix="shorten warmup or decay, or train the phase for more steps",
        )
