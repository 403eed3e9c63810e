"""The YAML schema of a training run, and the plan that it makes of the shards' phases.

A run that trains for hours must fail in its first second: every key, unit and size is checked here, against the shards
too, before torch is loaded. Costs one validation and one look at the shards' manifest.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from ..config import Loaded, LocalFolder, Section, did_you_mean, parse_count
from .history import Stretch
from .models.config import DenseFFN, Kernels, ModelConfig
from .models.presets import PRESETS, expanded
from .optimizers.settings import OptimizerConfig, ScheduleConfig

Positive = Annotated[int, BeforeValidator(parse_count), Field(gt=0)]
MOST_THREADS = 1_024
"""More than any machine has cores; OpenMP ends the process where it cannot start as many as it was asked for."""


def _preset(model: object) -> object:
    """A preset, or a preset with changes, to its sizes; a table of sizes goes on to ModelConfig."""
    try:
        return expanded(model)
    except KeyError as unknown:
        names = ", ".join(f"'{name}'" for name in PRESETS)
        name = str(unknown.args[0])
        hint = did_you_mean(name, list(PRESETS), "see the list")
        near = "" if isinstance(model, str) else f" {name}: {hint}"
        raise PydanticCustomError(
            "literal_error",
            "there is no such model preset{near}",
            {"near": near, "expected": f"{names}, or a table of sizes"},
        ) from None


def _named(init: object) -> object:
    """A path alone as the table that it stands for."""
    return {"path": init} if isinstance(init, str) else init


def _one_process(ways: int | str) -> int | str:
    if ways not in (1, "auto"):
        raise ValueError("training runs in one process: 1 is all that can stand here (or auto, for data)")
    return ways


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


class InitFrom(Section):
    """What a run starts from: a run's folder (its newest checkpoint), one of its checkpoints, or a transformers folder.

    The weights and the balancing biases alone, or with `optimizer: true` the moments of the optimizer and of the
    balancing too, which must be of the first phase's kinds. A path alone stands for a table of it.
    """

    path: str = Field(min_length=1)
    optimizer: bool = False


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

    `samples` problems of each of `tasks` (held out, with `steps` steps of solution) and of each file of `benchmarks`
    (by name), always the same ones. Questions are asked for the answer or the reasoning, or as plain text, which tasks
    cannot be. Each gets `n` replies drawn at `temperature`, from which pass@`k` is estimated.
    """

    every: Positive
    held_out: bool = True
    tasks: tuple[str, ...] = ()
    benchmarks: dict[Annotated[str, Field(pattern=r"^[\w-]+$")], str] = Field(default_factory=dict)
    samples: Positive = 200
    steps: tuple[Positive, ...] = (4, 5)
    prompt: Literal["answer", "reasoning", "plain"] = "reasoning"
    max_new_tokens: Positive = 128
    n: Positive = 1
    k: tuple[Positive, ...] = (1,)
    temperature: float = Field(0.0, ge=0, allow_inf_nan=False)
    top_p: float = Field(1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _draws(self) -> "EvaluateConfig":
        if not self.k or len(set(self.k)) < len(self.k) or max(self.k) > self.n:
            raise ValueError(f"pass@k is estimated from n replies: every k must be from 1 to n ({self.n}), none twice")
        if self.n > 1 and self.temperature == 0:
            raise ValueError("n replies at temperature 0 are one reply again and again: give a temperature (0.8, say)")
        if self.tasks and self.prompt == "plain":
            raise ValueError("tasks are asked in the template: prompt: answer or reasoning (plain is for benchmarks)")
        return self


class RunConfig(Section):
    """A run file. `threads` is the number of CPU threads, torch's own choice unless given."""

    name: str = Field(min_length=1)
    output: LocalFolder
    shards: str = Field(min_length=1)
    seed: int = Field(0, ge=0, lt=2**63)
    model: Annotated[ModelConfig, BeforeValidator(_preset)]
    init_from: Annotated[InitFrom, BeforeValidator(_named)] | None = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    parallel: ParallelConfig = ParallelConfig()
    threads: Annotated[Positive, Field(le=MOST_THREADS)] | None = None
    kernels: Kernels = Kernels()
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
        if self.init_from is not None and self.init_from.optimizer and settings.fresh:
            raise ValueError("init_from asks for the optimizer's moments, and the first phase has fresh: true")
        for phase in self.phases[1:]:
            follows = phase.optimizer or settings
            if follows.name != settings.name and not follows.fresh:
                raise ValueError(
                    f"the phase {phase.phase} changes from {settings.name} to {follows.name}, which cannot use its "
                    "moments: write fresh: true in its optimizer"
                )
            settings = follows
        self._balances()
        return self

    def _balances(self) -> None:
        """ValueError where biases are to be moved that the model does not have."""
        for index, phase in enumerate(self.phases):
            kind = self.optimizer_of(index).balancing.kind
            if kind in ("adamw", "sign") and isinstance(self.model.moe, DenseFFN):
                raise ValueError(f"the phase {phase.phase} balances by {kind}, and a dense model has no router")

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
    @property
    def planned_sequences(self) -> int: ...


@dataclass(frozen=True)
class PhasePlan:
    """A phase with everything that follows from the shards worked out; sizes are in sequences and steps.

    `fresh` is whether the optimizer's moments start anew; `first_step` is the number of steps of earlier phases. The
    schedule spans `schedule_steps`: more than `steps` where an extension of the shards has cut the phase short, so that
    what was trained before stays what it was.
    """

    name: str
    sequence_length: int
    sequences: int
    batch_sequences: int
    micro_sequences: int
    first_step: int
    steps: int
    schedule_steps: int
    optimizer: OptimizerConfig
    fresh: bool
    schedule: ScheduleConfig
    rope_theta: float

    @property
    def last_step(self) -> int:
        """Number of steps of the run when the phase is over."""
        return self.first_step + self.steps


def plan_phases(
    run: Loaded[RunConfig], built: Mapping[str, PhaseOfShards], trained: Sequence[Stretch] = ()
) -> tuple[PhasePlan, ...]:
    """The run's phases against those of the shards.

    Args:
        run: the run file.
        built: the phases of the shards.
        trained: what the run was trained on already, maybe in batches of another size.

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
        done = [stretch for stretch in trained if stretch.phase == phase.phase]
        plans.append(_plan_phase(run, index, built[phase.phase], plans[-1] if plans else None, done))
    return tuple(plans)


def _plan_phase(
    run: Loaded[RunConfig], index: int, shards: PhaseOfShards, before: PhasePlan | None, done: Sequence[Stretch]
) -> PhasePlan:
    phase = run.value.phases[index]
    batch = _sequences(run, index, "batch_tokens", phase.batch_tokens, shards.sequence_length)
    micro = min(phase.micro_batch_tokens or phase.batch_tokens, phase.batch_tokens)
    steps_done, sequences_done = sum(stretch.steps for stretch in done), sum(stretch.sequences for stretch in done)
    available = steps_done + math.ceil((shards.sequences - sequences_done) / batch)
    planned = steps_done + math.ceil((shards.planned_sequences - sequences_done) / batch)
    if phase.steps is not None and phase.steps > planned:
        raise run.error(
            ("phases", index, "steps"),
            f"more steps than the phase has batches: it has {shards.planned_sequences:,} sequences, "
            f"and a batch {batch:,}",
            expected=f"at most {planned:,}",
            fix=f"keep batch_tokens at {done[-1].batch_sequences * shards.sequence_length:,}, or make it smaller"
            if done and done[-1].batch_sequences != batch
            else "leave steps out to train on all of them, or give the mixture's phase more tokens",
        )
    theta = before.rope_theta if before else run.value.model.rope_theta
    steps = min(phase.steps or available, available)
    plan = PhasePlan(
        name=phase.phase,
        sequence_length=shards.sequence_length,
        sequences=min(shards.sequences, sequences_done + (steps - steps_done) * batch),
        batch_sequences=batch,
        micro_sequences=_sequences(run, index, "micro_batch_tokens", micro, shards.sequence_length),
        first_step=before.last_step if before else 0,
        steps=steps,
        schedule_steps=phase.steps or planned,
        optimizer=run.value.optimizer_of(index),
        fresh=before is None or (phase.optimizer is not None and phase.optimizer.fresh),
        schedule=phase.schedule,
        rope_theta=phase.rope_theta or theta,
    )
    if not steps_done:  # a phase that shards or batches made shorter on the way has the rates that it has
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
    steps = plan.schedule_steps
    needed = plan.schedule.warmup + plan.schedule.decay_steps(steps)
    if plan.schedule.warmup >= steps or needed > steps:
        raise run.error(
            ("phases", index, "schedule"),
            f"warm-up and decay take {max(needed, plan.schedule.warmup):,} steps, and the phase has {steps:,}: "
            "it would never reach its rate",
            fix="shorten warmup or decay, or train the phase for more steps",
        )
