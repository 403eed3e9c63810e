"""Training a run from its YAML: checks everything, makes or restores the state, hands it to the loop.

All that can be wrong is found before the first step and before anything is overwritten. Costs the model's construction
and, when resuming, one read of a checkpoint.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from ..config import Loaded
from ..errors import ConfigError, RunError
from ..mixtures.built import Built
from ..yaml_document import Document
from . import run_folder
from .checkpoints import checkpoint_folder, checkpoint_manifest
from .checkpoints.checkpoint_manifest import Checkpoint
from .evaluation.measure import evaluator
from .history import Position
from .metrics import Metrics
from .models.model import MoEModel
from .optimizers.balancing import Balancer
from .optimizers.optimizer import Optimizer
from .out_of_memory import OutOfMemory, naming
from .pace import TrainProgress
from .planned import open_shards
from .prepare import Prepared, here, prepare
from .run import RunConfig
from .session import Evaluate, Session
from .shard_dataset import Mixture
from .stopping import Stopper


@dataclass(frozen=True)
class TrainResult:
    """How a run ended: `loss` of its last step (None if it had none left), `stopped_by` the signal that ended it."""

    folder: Path
    step: int
    steps: int
    tokens: int
    seconds: float
    loss: float | None
    checkpoint: Path | None
    stopped_by: int | None

    @property
    def exit_code(self) -> int:
        """0, or 128 + the signal's number as shells have it: 143 for SIGTERM."""
        return 0 if self.stopped_by is None else 128 + self.stopped_by


def _silent(progress: TrainProgress) -> None:
    """Reports nothing."""


def train(
    config: Loaded[RunConfig] | RunConfig,
    *,
    resume: bool = False,
    overwrite: bool = False,
    report: Callable[[TrainProgress], None] = _silent,
    evaluate: Evaluate | None = None,
    built: Built | None = None,
) -> TrainResult:
    """Trains a run, or goes on with one.

    Args:
        config: the run file.
        resume: go on from the newest complete checkpoint of the run's folder; from the start where there is none.
        overwrite: remove a run that stands in the folder.
        report: is told of every step, evaluation, checkpoint and alarm.
        evaluate: what `evaluate:` in the run measures; by default held-out loss and tasks, see `measure.py`.
        built: the shards, opened from `shards:` by default.

    Returns:
        How it ended. A signal is no error: see `TrainResult.exit_code` and `stopping.py`.

    Raises:
        ConfigError: the run, its shards, its folder or its checkpoint cannot be right; nothing was started.
        RunError: the loss is not finite, shards or checkpoint are cut or altered, or memory ran out; where it did in an
            evaluation, a checkpoint of the steps before it is there.
    """
    run = config if isinstance(config, Loaded) else _without_file(config)
    mixture = built if built is not None else open_shards(run)
    device = here()
    found = checkpoint_folder.newest(run.value.output) if resume else None
    source = checkpoint_manifest.read(found) if found is not None else None
    if source is not None:
        _check_shards(source, mixture)
    prepared = prepare(run, mixture, device, source)
    if source is not None:
        checkpoint_manifest.require_same_model(source, prepared.run.model)
    measure = evaluate if evaluate is not None else evaluator(run, prepared.plans, mixture)
    extended = source is not None and source.contents.shards != mixture.fingerprint
    begun = source.contents.position.phase_index + 1 if source is not None and extended else None
    if prepared.run.threads is not None:
        torch.set_num_threads(prepared.run.threads)
    step = source.contents.position.step if source else 0
    wants_tensorboard = "tensorboard" in prepared.run.metrics
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(run_folder.opened(run, prepared.run, resume, overwrite, begun))
        if resume and checkpoint_folder.newest(folder) != found:
            raise RunError("the run went on until now", where=str(folder), fix="give the same command again")
        stopper = stack.enter_context(Stopper())
        metrics = stack.enter_context(Metrics(folder, wants_tensorboard, step))
        session = _session(prepared, source, mixture, folder, metrics, stopper, report, measure, device)
        if source is not None:
            session.restore(source)
        elif prepared.init is not None:
            session.begin_from(prepared.init)
        try:
            session.train()
        except OutOfMemory:  # in an evaluation, which changes nothing: the steps are good
            if session.saved is None:
                session.save()
            raise
    return TrainResult(
        folder=folder,
        step=session.position.step,
        steps=prepared.plans[-1].last_step,
        tokens=session.position.tokens,
        seconds=session.position.seconds,
        loss=session.loss,
        checkpoint=checkpoint_folder.newest(folder),
        stopped_by=None if session.finished else stopper.signal,
    )


def _check_shards(source: Checkpoint, mixture: Mixture) -> None:
    """Whether a run can go on with these shards: those that it was started on, or an extension of them."""
    for stretch in source.contents.history:
        stop = stretch.first_sequence + stretch.sequences
        if stretch.shards == mixture.fingerprint or mixture.extends(stretch.shards, stretch.phase, stop):
            continue
        if mixture.extends(stretch.shards, stretch.phase, 0):
            raise ConfigError(
                "the run stands beyond the place at which the shards were cut: what it saw there would come again",
                where=str(source.path),
                seen=f"sequence {stop:,} of phase {stretch.phase}",
                expected=f"at most {mixture.phases[stretch.phase].sequences:,}, where they were cut",
                fix="extend the shards where the run stands (midtrain extend --run), or go on from an older checkpoint",
            )
        raise ConfigError(
            "the shards are not those that the run was started on",
            where=str(source.path),
            seen=f"shards {mixture.fingerprint} in {mixture.root}",
            expected=f"shards {stretch.shards}, or an extension of them that has phase {stretch.phase}",
            fix="build them again as they were, or start a new run with init_from",
        )


def _session(
    prepared: Prepared,
    source: Checkpoint | None,
    mixture: Mixture,
    folder: Path,
    metrics: Metrics,
    stopper: Stopper,
    report: Callable[[TrainProgress], None],
    evaluate: Evaluate | None,
    device: torch.device,
) -> Session:
    """The state of a run before its first step; the weights are a function of the seed alone."""
    run = prepared.run
    torch.manual_seed(run.seed)
    with torch.device("meta"):
        model = MoEModel(run.model, run.kernels)
    model.to_empty(device=device)
    model.init_weights(torch.Generator().manual_seed(run.seed))
    # The optimizer must be that of the phase in which the run goes on: a checkpoint fills it in place.
    plan = prepared.plans[source.contents.position.phase_index if source else 0]
    return Session(
        run=run,
        plans=prepared.plans,
        folder=folder,
        mixture=mixture,
        model=model,
        optimizer=Optimizer(model, plan.optimizer),
        balancer=Balancer(model, plan.optimizer.balancing),
        position=Position(plan.name),
        metrics=metrics,
        stopper=stopper,
        report=report,
        evaluate=None if evaluate is None else _named(evaluate, run.name),
        bf16=run.precision == "bf16",
    )


def _named(evaluate: Evaluate, run: str) -> Evaluate:
    """An evaluation of which an error says what it was, where memory runs out in it."""
    fix = "measure less at once: evaluate, or micro_batch_tokens (--resume goes on with this evaluation)"

    def measure(model: MoEModel, step: int) -> Mapping[str, float]:
        with naming("the evaluation", f"step {step} of {run}", fix):
            return evaluate(model, step)

    return measure


def _without_file(run: RunConfig) -> Loaded[RunConfig]:
    return Loaded(run, Document(run.name, run.model_dump(mode="json"), {}))
