"""The loop: phases, steps, checkpoints and evaluations of one run, from any position on.

Everything that a step depends on is in the state that a checkpoint holds and in the plan, so a run that was killed goes
on as if it had not been. Costs nothing of note beside the steps; rows, checkpoints and evaluations are written between
them.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from . import history
from .batch import Batch
from .checkpoints import checkpoint
from .checkpoints.checkpoint_manifest import Checkpoint, Contents
from .exchange.weights import ModelFolder
from .history import History, Position, Stretch
from .loader import batches
from .metrics import Metrics
from .models.model import MoEModel
from .optimizers.balancing import Balancer
from .optimizers.optimizer import Optimizer
from .optimizers.schedule import factor
from .pace import Pace, TrainProgress, timed
from .run import PhasePlan, RunConfig
from .shard_dataset import Mixture
from .step import StepResult, train_step
from .stopping import Interrupted, Stopper

Evaluate = Callable[[MoEModel, int], Mapping[str, float]]
"""Measures a model after a step: numbers by name. May leave the model in eval mode; must not change it."""


@dataclass
class Session:
    """A run in motion; `bf16` is the type of matrix products.

    `history` holds the stretches that are over; the one that goes on began behind step and at sequence `began`.
    """

    run: RunConfig
    plans: tuple[PhasePlan, ...]
    folder: Path
    mixture: Mixture
    model: MoEModel
    optimizer: Optimizer
    balancer: Balancer
    position: Position
    metrics: Metrics
    stopper: Stopper
    report: Callable[[TrainProgress], None]
    evaluate: Evaluate | None
    bf16: bool
    history: tuple[Stretch, ...] = ()
    began: tuple[int, int] = (0, 0)
    loss: float | None = None
    saved: Path | None = None
    evaluation_pending: bool = False
    pace: Pace = field(default_factory=Pace)

    @property
    def plan(self) -> PhasePlan:
        """The phase that the run stands in."""
        return self.plans[self.position.phase_index]

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.embed_tokens.weight.device

    @property
    def finished(self) -> bool:
        """Whether nothing of the run is left to do."""
        return self.position.step == self.plans[-1].last_step and not self.evaluation_pending

    def train(self) -> None:
        """Trains to the end of the last phase, or until a signal comes.

        Raises:
            RunError: the loss is not finite, or a batch has no trained token.
        """
        self._set_theta()
        self._write_history()
        if self.position.step and self._evaluation_due() and not self.metrics.evaluated(self.position.step):
            self._evaluate()  # the run was stopped before it was done with this one
        for index in range(self.position.phase_index, len(self.plans)):
            if self.stopper.signal is not None:
                return
            if index > self.position.phase_index:
                self._begin(index)
            self._train_phase()

    def _begin(self, index: int) -> None:
        """Goes from the end of a phase to the start of the next."""
        self.history = self._so_far()
        plan = self.plans[index]
        self.position = replace(
            self.position, phase=plan.name, phase_index=index, phase_step=0, sequence=0, step=plan.first_step
        )
        if plan.fresh:
            self.optimizer = Optimizer(self.model, plan.optimizer)
            self.balancer = Balancer(self.model, plan.optimizer.balancing)
        else:
            self.optimizer.configure(plan.optimizer)
            self.balancer.configure(plan.optimizer.balancing)
        self.began = (plan.first_step, 0)
        self._set_theta()
        self._write_history()

    def _set_theta(self) -> None:
        # In the config, so that evaluation, generation and the checkpoint's readers use the phase's base too.
        self.model.config = self.model.config.model_copy(update={"rope_theta": self.plan.rope_theta})

    def _train_phase(self) -> None:
        plan = self.plan
        read = batches(
            self.mixture,
            plan.name,
            self.position.sequence,
            plan.batch_sequences,
            end=plan.sequences,
            device=self.device,
        )
        with contextlib.closing(read):
            for batch, started in timed(read):
                self._step(batch, started)
                if self.stopper.signal is not None:
                    if self.saved is None:  # it came in the evaluation, or behind the last look
                        self.save()
                    return

    def _step(self, batch: Batch, started: float) -> None:
        plan, before = self.plan, self.position
        scale = factor(plan.schedule, before.phase_step, plan.schedule_steps)
        result = train_step(
            self.model,
            self.optimizer,
            self.balancer,
            batch,
            micro_sequences=plan.micro_sequences,
            scale=scale,
            bf16=self.bf16,
            name=f"step {before.step + 1} of {self.run.name}, phase {plan.name}",
        )
        seconds = time.perf_counter() - started
        self.loss = result.loss
        self.pace.step(seconds, batch.tokens_BT.numel())
        self.position = replace(
            before,
            phase_step=before.phase_step + 1,
            sequence=before.sequence + len(batch),
            step=before.step + 1,
            tokens=before.tokens + batch.real,
            supervised_tokens=before.supervised_tokens + batch.supervised,
            seconds=before.seconds + seconds,
        )
        self._write_rows(batch, result, plan.optimizer.lr * scale, batch.real / seconds)
        self._after_step(batch.real / seconds)

    def _write_rows(self, batch: Batch, result: StepResult, lr: float, tokens_per_second: float) -> None:
        position = self.position
        self.metrics.step(
            {
                "step": position.step,
                "phase": position.phase,
                "phase_step": position.phase_step,
                "first_sequence": batch.first_index,
                "batch": batch.digest,
                **result.measures(),
                "tokens": position.tokens,
                "supervised_tokens": position.supervised_tokens,
                "lr": lr,
                "tokens_per_second": round(tokens_per_second, 1),
                "seconds": round(position.seconds, 3),
            }
        )
        for message in result.alarms():
            self.metrics.alarm(position.step, position.phase, message)
            self.report(replace(self._progress(tokens_per_second), alarm=message))

    def _after_step(self, tokens_per_second: float) -> None:
        """Checkpoint and evaluation where they are due; a signal asks for the one and breaks off the other.

        A signal that comes later than the look at it here is answered by the loop.
        """
        step, ended = self.position.step, self._phase_ended()
        self.saved = None
        if ended or step % self.run.checkpoint.every == 0 or self.stopper.signal is not None:
            self.save()
        due = self._evaluation_due()
        self.report(replace(self._progress(tokens_per_second, due), checkpoint=self.saved))
        if due:
            self._evaluate()

    def _phase_ended(self) -> bool:
        return self.position.phase_step == self.plan.steps

    def _evaluation_due(self) -> bool:
        if self.evaluate is None:
            return False
        every = self.run.evaluate.every if self.run.evaluate else None
        return self._phase_ended() or (every is not None and self.position.step % every == 0)

    def _evaluate(self) -> None:
        if self.evaluate is None:
            return
        started = time.perf_counter()
        devices = [self.device] if self.device.type == "cuda" else []
        self.model.eval()
        try:
            with self.stopper.interruptible(), torch.random.fork_rng(devices), torch.no_grad(), self._precision():
                values = dict(self.evaluate(self.model, self.position.step))
        except Interrupted:
            self.evaluation_pending = True  # without a row: the resumed run begins with it
            return
        finally:
            self.model.train()
        self.pace.evaluation(time.perf_counter() - started)
        self.metrics.evaluation(self.position.step, self.position.phase, values)
        self.report(replace(self._progress(0.0), evaluation=values))

    def _precision(self) -> torch.autocast:
        """Evaluation's matrix products in the type of training's."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    def _progress(self, tokens_per_second: float, evaluation_due: bool = False) -> TrainProgress:
        steps = self.plans[-1].last_step
        loss = float("nan") if self.loss is None else self.loss
        every = None if self.evaluate is None else (self.run.evaluate.every if self.run.evaluate else steps)
        left = self.pace.seconds_left(self.plans, self.position, every, evaluation_due)
        return TrainProgress(self.position.phase, self.position.step, steps, loss, tokens_per_second, left)

    def _so_far(self) -> tuple[Stretch, ...]:
        """The stretches up to this position."""
        now = history.stretch(
            self.plan, self.mixture.fingerprint, self.began, self.position.step, self.position.sequence
        )
        return (*self.history, now) if now.steps else self.history

    def _write_history(self) -> None:
        """Puts what was trained on, and what the plan goes on with, beside the run's record."""
        ahead = history.ahead(self.plans[self.position.phase_index :], self.mixture.fingerprint, self.began)
        history.write(self.folder, History(self.run.name, self.run.shards, (*self.history, *ahead)))

    def tensors(self) -> dict[str, Tensor]:
        """All tensors of the run's state by name: those of the objects themselves, to save and load in place."""
        result = checkpoint.model_tensors(self.model)
        for kind, named in self.optimizer.state_dict().items():
            result |= {f"optimizer/{kind}/{name}": tensor for name, tensor in named.items()}
        return result | {f"balancing/{name}": tensor for name, tensor in self.balancer.state_dict().items()}

    def save(self) -> None:
        """Writes a checkpoint of this position."""
        contents = Contents(
            run=self.run.name,
            model=self.model.config,
            shards=self.mixture.fingerprint,
            tokenizer=self.mixture.tokenizer_hash,
            optimizer=self.optimizer.settings.name,
            balancing=self.balancer.kind,
            position=self.position,
            history=self._so_far(),
            end_of_phase=self._phase_ended(),
        )
        tensors = self.tensors() | checkpoint.rng_tensors(self.device)
        self.saved = checkpoint.save(self.folder, tensors, contents, self.run.checkpoint.keep)

    def begin_from(self, source: Checkpoint | ModelFolder) -> None:
        """Takes the weights of a folder, or those of another run's checkpoint, and its moments if `init_from` asks.

        Raises:
            RunError: a file of it is missing, cut or altered, or it lacks part of the state.
        """
        if isinstance(source, ModelFolder):
            source.load(self.model)
            return
        moments = self.run.init_from is not None and self.run.init_from.optimizer
        checkpoint.load(source, self.tensors() if moments else checkpoint.model_tensors(self.model))

    def restore(self, source: Checkpoint) -> None:
        """Takes the state of a checkpoint of this run: weights, moments, position, random numbers, history.

        Raises:
            RunError: a file of it is missing, cut or altered, or it lacks part of the state.
        """
        rng = {name: tensor for name, tensor in checkpoint.rng_tensors(self.device).items() if name in source.tensors}
        checkpoint.load(source, self.tensors() | rng)
        checkpoint.set_rng(rng, self.device)
        self.position = source.contents.position
        self.history, self.began = history.go_on(
            source.contents.history, self.position, self.mixture.fingerprint, self.plan.batch_sequences
        )
        self.saved = source.path
