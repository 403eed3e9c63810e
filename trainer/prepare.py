"""What a run needs before its first step: sizes, precision, phases and kernels checked, and what its weights come from.

All that can be wrong is found before anything is overwritten, by `midtrain train --dry-run` too. Costs one look at the
shards' manifest and at that of the checkpoint or folder in `init_from`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..config import Loaded
from ..errors import ConfigError
from .checkpoints import checkpoint_folder, checkpoint_manifest
from .checkpoints.checkpoint_manifest import Checkpoint
from .exchange import imported, weights
from .exchange.weights import ModelFolder
from .models import attend, dispatch
from .models.config import DenseFFN, ModelConfig
from .run import InitFrom, PhasePlan, RunConfig, plan_phases
from .shard_dataset import Mixture


@dataclass(frozen=True)
class Prepared:
    """A checked run: sizes and precision resolved, phases planned, the weights that it starts from found."""

    run: RunConfig
    plans: tuple[PhasePlan, ...]
    init: Checkpoint | ModelFolder | None


def prepare(
    run: Loaded[RunConfig], mixture: Mixture, device: torch.device, resumed: Checkpoint | None = None
) -> Prepared:
    """Checks a run against its shards and the checkpoint it starts from, and works out what it leaves open.

    Args:
        run: the run file.
        mixture: the shards.
        device: where it will train; decides the precision, if that is `auto`.
        resumed: the checkpoint of the run itself that it goes on from: `init_from` is not needed then.

    Raises:
        ConfigError: phases or vocabulary do not fit the shards, or the checkpoint is of another model or tokenizer.
        RunError: the checkpoint's manifest was cut or altered.
    """
    plans = plan_phases(run, mixture.phases, resumed.contents.history if resumed else ())
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
    _require_kernels(run, model, max(plan.sequence_length for plan in plans), device, precision == "bf16")
    start = run.value.init_from
    init = _initial(run, start, mixture) if resumed is None and start is not None else None
    if isinstance(init, ModelFolder):
        checkpoint_manifest.require_same_sizes(init.model, "folder", init.path, model)
        _require_same_theta(run, plans[0], init.model.rope_theta)
    elif init is not None:
        checkpoint_manifest.require_same_model(init, model)
        _require_same_theta(run, plans[0], init.contents.model.rope_theta)
    return Prepared(run.value.model_copy(update={"model": model, "precision": precision}), plans, init)


def _initial(run: Loaded[RunConfig], start: InitFrom, mixture: Mixture) -> Checkpoint | ModelFolder:
    """What the weights come from, and the moments where they are asked for: a checkpoint, or a transformers folder."""
    if weights.is_model_folder(start.path):
        folder = weights.open_folder(start.path)
        tokenizers = imported.tokenizer_hashes(folder.path)
        _require_same_tokenizer(run, "folder", tokenizers, mixture)
        if start.optimizer:
            raise run.error(
                ("init_from", "optimizer"), "a folder of transformers holds no moments", fix="take the weights alone"
            )
        return folder
    try:
        init = checkpoint_folder.find(start.path)
    except ConfigError as wrong:
        raise run.error(("init_from",), f"{wrong.what}: {wrong.seen}", expected=wrong.expected) from None
    _require_same_tokenizer(run, "checkpoint", (init.contents.tokenizer,), mixture)
    if start.optimizer:
        _require_same_optimizer(run, init)
    return init


def _require_same_tokenizer(run: Loaded[RunConfig], what: str, hashes: Sequence[str], mixture: Mixture) -> None:
    """Ids mean nothing to weights that were trained with another tokenizer."""
    found = " or ".join(hashes) or "none"
    if mixture.tokenizer_hash not in hashes:
        raise run.error(
            ("init_from",),
            f"the {what} was trained with another tokenizer than the shards'",
            expected=f"tokenizer {mixture.tokenizer_hash} of the shards; the {what}'s is {found}",
            fix=f"build the shards with the {what}'s tokenizer",
        )


def _require_same_optimizer(run: Loaded[RunConfig], init: Checkpoint) -> None:
    """Moments are of use to the optimizer, and to the balancing, that made them and to no other."""
    settings, contents = run.value.optimizer_of(0), init.contents
    wanted = (settings.name, settings.balancing.kind_for(run.value.model.moe))
    found = (contents.optimizer, contents.balancing)
    if wanted != found:
        seen = f"those of {found[0]}, balancing {found[1]}" if contents.optimizer else "none"
        raise run.error(
            ("init_from", "optimizer"),
            f"the moments in {init.path} are not what the first phase needs: {seen}",
            expected=f"those of {wanted[0]}, balancing {wanted[1]}",
            fix="take the weights alone (optimizer: false), or give the first phase the checkpoint's kinds",
        )


def _require_same_theta(run: Loaded[RunConfig], first: PhasePlan, before: float) -> None:
    """Another RoPE base than the weights were trained with is a decision, so it has to be written."""
    if run.value.phases[0].rope_theta is None and first.rope_theta != before:
        raise run.error(
            ("phases", 0, "rope_theta"),
            f"is not given, and the model's {first.rope_theta:g} is not what the weights in init_from were trained "
            f"with, {before:g}",
            fix=f"write rope_theta: {before:g} to keep it, or another base",
        )


def _require_kernels(run: Loaded[RunConfig], model: ModelConfig, length: int, device: torch.device, bf16: bool) -> None:
    """Whether the kernels that the run names can compute this model here."""
    dtype = torch.bfloat16 if bf16 else torch.float32
    kernels, sizes = run.value.kernels, (model.hidden_size, model.expert_size)
    try:
        attend.choose_kernel(kernels.attention, device.type, dtype, model, length, cached=False)
        if not isinstance(model.moe, DenseFFN):
            dispatch.choose_kernel(kernels.experts, device, dtype, sizes)
    except ConfigError as wrong:
        key = tuple(str(wrong.where).split("."))
        raise run.error(key, wrong.what, seen=wrong.seen, expected=wrong.expected, fix=wrong.fix) from None


def here() -> torch.device:
    """The device that this machine trains on."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
