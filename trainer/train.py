"""Training a run from its YAML: checks everything, makes or restores the state, hands it to the loop.

All that can be wrong is found before the first step and before anything is overwritten. Costs the model's construction
and, when resuming, one read of a checkpoint.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from .. import locks
from ..config import Loaded
from ..errors import ConfigError
from ..mixtures.built import Built
from ..yaml_document import Document
from . import checkpoint, checkpoint_manifest, run_folder
from .balancing import Balancer
from .checkpoint_manifest import Checkpoint, Position
from .loader import Mixture
from .measure import evaluator
from .metrics import Metrics
from .model import MoEModel
from .optimizers import Optimizer
from .pace import TrainProgress
from .planned import open_shards
from .run import PhasePlan, RunConfig, plan_phases
from .session import Evaluate, Session
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


@dataclass(frozen=True)
class Prepared:
    """A checked run: sizes and precision resolved, phases planned, the checkpoint that it starts from found."""

    run: RunConfig
    plans: tuple[PhasePlan, ...]
    init: Checkpoint | None


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
        RunError: the loss is not finite, shards or checkpoint are cut or altered.
    """
    run = config if isinstance(config, Loaded) else _without_file(config)
    mixture = built if built is not None else open_shards(run)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = checkpoint.newest(run.value.output) if resume else None
    prepared = prepare(run, mixture, device, initial=found is None)
    source = _resumed(found, prepared.run, mixture) if found is not None else None
    measure = evaluate if evaluate is not None else evaluator(run, prepared.plans, mixture)
    folder = run_folder.prepare(run, prepared.run, resume, overwrite)
    if prepared.run.threads is not None:
        torch.set_num_threads(prepared.run.threads)
    step = source.contents.position.step if source else 0
    wants_tensorboard = "tensorboard" in prepared.run.metrics
    with locks.locked(folder), Stopper() as stopper, Metrics(folder, wants_tensorboard, step) as metrics:
        session = _session(prepared, source, mixture, folder, metrics, stopper, report, measure, device)
        if source is not None:
            session.restore(source)
        elif prepared.init is not None:
            checkpoint.load(prepared.init, checkpoint.model_tensors(session.model))
        session.train()
    return TrainResult(
        folder=folder,
        step=session.position.step,
        steps=prepared.plans[-1].last_step,
        tokens=session.position.tokens,
        seconds=session.position.seconds,
        loss=session.loss,
        checkpoint=checkpoint.newest(folder),
        stopped_by=None if session.finished else stopper.signal,
    )


def prepare(run: Loaded[RunConfig], mixture: Mixture, device: torch.device, initial: bool = True) -> Prepared:
    """Checks a run against its shards and the checkpoint it starts from, and works out what it leaves open.

    Args:
        run: the run file.
        mixture: the shards.
        device: where it will train; decides the precision, if that is `auto`.
        initial: whether `init_from` is needed: a resumed run has weights of its own.

    Raises:
        ConfigError: phases or vocabulary do not fit the shards, or the checkpoint is of another model or tokenizer.
        RunError: the checkpoint's manifest was cut or altered.
    """
    plans = plan_phases(run, mixture.phases)
    model = run.value.model
    try:
        model = model.with_vocab(mixture.vocab_size)
    except ConfigError as wrong:
        raise run.error(
            ("model",),
            f"{wrong.what}: {wrong.seen} (hash {mixture.tokenizer_hash})",
            expected=wrong.expected,
            fix=wrong.fix,
        ) from None
    precision = run.value.precision
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" else "fp32"
    init = _initial(run, mixture) if initial and run.value.init_from is not None else None
    if init is not None:
        checkpoint_manifest.require_same_model(init, model)
        _require_same_theta(run, plans[0], init)
    return Prepared(run.value.model_copy(update={"model": model, "precision": precision}), plans, init)


def _initial(run: Loaded[RunConfig], mixture: Mixture) -> Checkpoint:
    """The checkpoint that the weights come from."""
    try:
        init = checkpoint.find(str(run.value.init_from))
    except ConfigError as wrong:
        raise run.error(("init_from",), f"{wrong.what}: {wrong.seen}", expected=wrong.expected) from None
    if init.contents.tokenizer != mixture.tokenizer_hash:
        raise run.error(
            ("init_from",),
            "the checkpoint was trained with another tokenizer than the shards'",
            expected=f"tokenizer {mixture.tokenizer_hash} of the shards; the checkpoint's is {init.contents.tokenizer}",
            fix="build the shards with the checkpoint's tokenizer",
        )
    return init


def _require_same_theta(run: Loaded[RunConfig], first: PhasePlan, init: Checkpoint) -> None:
    """Another RoPE base than the weights were trained with is a decision, so it has to be written."""
    before = init.contents.model.rope_theta
    if run.value.phases[0].rope_theta is None and first.rope_theta != before:
        raise run.error(
            ("phases", 0, "rope_theta"),
            f"is not given, and the model's {first.rope_theta:g} is not what the weights in init_from were trained "
            f"with, {before:g}",
            fix=f"write rope_theta: {before:g} to keep it, or another base",
        )


def _resumed(path: Path, run: RunConfig, mixture: Mixture) -> Checkpoint:
    """The checkpoint that a run goes on from."""
    source = checkpoint_manifest.read(path)
    checkpoint_manifest.require_same_model(source, run.model)
    if source.contents.shards != mixture.fingerprint:
        raise ConfigError(
            "the shards are not those that the run was started on",
            where=str(path),
            seen=f"shards {mixture.fingerprint} in {mixture.root}",
            expected=f"shards {source.contents.shards}",
            fix="build them again as they were, or start a new run with init_from",
        )
    return source


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
        model = MoEModel(run.model)
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
        balancer=Balancer(model, plan.optimizer.balancing.lr),
        position=Position(plan.name),
        metrics=metrics,
        stopper=stopper,
        report=report,
        evaluate=evaluate,
        bf16=run.precision == "bf16",
    )


def _without_file(run: RunConfig) -> Loaded[RunConfig]:
    return Loaded(run, Document(run.name, run.model_dump(mode="json"), {}))
