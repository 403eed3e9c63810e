"""Checkpoints: torch distributed checkpoints that are whole or not there, and proven before they are read.

A run may be killed at any moment, so a checkpoint is written under a hidden name, its manifest last, then renamed; and
since pickled metadata runs code when it is opened, that is done only when its hash stands in our manifest. Costs one
hash pass over the files each way, beside the disk's time.

`checkpoints/step-00000100/`: `.metadata` and `*.distcp` (tensors under `model/`, `optimizer/`, `balancing/`, `rng/`),
and `manifest.json` (`checkpoint_manifest.py`).
"""

import os
import re
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.state_dict_loader import load as load_distributed
from torch.distributed.checkpoint.state_dict_saver import save as save_distributed

from .. import storage
from ..errors import ConfigError, RunError
from ..manifest import NAME as MANIFEST
from . import checkpoint_manifest
from .checkpoint_manifest import Checkpoint, Contents
from .model import MoEModel

FOLDER = "checkpoints"
_STEP = re.compile(r"step-(\d{8,})")


def save(run_folder: Path, tensors: Mapping[str, Tensor], contents: Contents, keep: int) -> Path:
    """Writes `checkpoints/step-NNNNNNNN`, then removes the oldest ones beyond `keep` (ends of phases stay).

    Returns:
        The checkpoint's folder. Killed at any moment, it either stands complete under this name or not at all.

    Raises:
        RunError: the disk is full, or the system refuses a file.
    """
    folder = run_folder / FOLDER
    final = folder / f"step-{contents.position.step:08d}"
    temporary = folder / f".{final.name}.{uuid.uuid4().hex[:12]}.tmp"
    temporary.mkdir(parents=True)
    try:
        with _one_process("written", temporary):
            save_distributed(dict(tensors), storage_writer=FileSystemWriter(temporary), no_dist=True)
        checkpoint_manifest.write(temporary, tensors, contents)
        if final.exists():
            _remove(final)
        temporary.rename(final)
        _sync(folder)
    except BaseException:
        storage.remove_tree(temporary)
        raise
    _prune(run_folder, keep)
    return final


def newest(run_folder: str | Path) -> Path | None:
    """The complete checkpoint of the highest step in a run's folder, None where there is none."""
    complete = _complete(Path(run_folder))
    return complete[-1] if complete else None


def find(path: str | Path) -> Checkpoint:
    """The checkpoint that a person names: its folder, or a run's folder for its newest.

    Raises:
        ConfigError: neither is there.
        RunError: its manifest was cut or altered.
    """
    folder = Path(path)
    if _STEP.fullmatch(folder.resolve().name) and folder.is_dir():
        return checkpoint_manifest.read(folder)
    inside = newest(folder)
    if inside is None:
        raise ConfigError(
            "no checkpoint is here",
            where=str(path),
            seen="no complete checkpoint" if folder.exists() else "no such folder",
            expected=f"a run's folder, or one of its {FOLDER}/step-NNNNNNNN",
        )
    return checkpoint_manifest.read(inside)


def load(checkpoint: Checkpoint, tensors: Mapping[str, Tensor]) -> None:
    """Fills tensors in place from a checkpoint, after checking every file of it.

    Args:
        checkpoint: what `find` gave.
        tensors: by name, of the shapes that were saved; on any device and, converted, of any float type.

    Raises:
        RunError: a file is missing, cut or altered, or a tensor is missing or has another shape.
    """
    for name, tensor in tensors.items():
        if checkpoint.tensors.get(name) != tuple(tensor.shape):
            raise RunError(
                f"the checkpoint does not hold {name} as it is needed",
                where=str(checkpoint.path),
                seen=checkpoint.tensors.get(name, "missing"),
                expected=tuple(tensor.shape),
            )
    checkpoint_manifest.verify(checkpoint)
    with _one_process("read", checkpoint.path):
        load_distributed(dict(tensors), storage_reader=FileSystemReader(checkpoint.path), no_dist=True)


def model_tensors(model: MoEModel) -> dict[str, Tensor]:
    """Every parameter and buffer under the name that it has in a checkpoint."""
    return {f"model/{name}": tensor for name, tensor in model.state_dict().items()}


def load_model(checkpoint: Checkpoint, device: torch.device | str = "cpu") -> MoEModel:
    """The model of a checkpoint, float32, with the RoPE base of the phase that it was written in.

    Raises:
        RunError: a file is missing, cut or altered.
    """
    with torch.device("meta"):
        model = MoEModel(checkpoint.contents.model)
    model.to_empty(device=device)
    load(checkpoint, model_tensors(model))
    return model


def rng_tensors(device: torch.device) -> dict[str, Tensor]:
    """The states of torch's random number generators, of the CPU and of the device."""
    states = {"rng/cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["rng/cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_rng(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Sets the generators whose states are given."""
    if "rng/cpu" in states:
        torch.set_rng_state(states["rng/cpu"])
    if "rng/cuda" in states:
        torch.cuda.set_rng_state(states["rng/cuda"], device)


def _complete(run_folder: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    folder = run_folder / FOLDER
    found = [path for path in folder.iterdir() if _STEP.fullmatch(path.name)] if folder.is_dir() else []
    complete = [path for path in found if (path / MANIFEST).exists()]
    return sorted(complete, key=lambda path: int(path.name.removeprefix("step-")))


def _prune(run_folder: Path, keep: int) -> None:
    for path in _complete(run_folder)[:-keep]:
        try:
            kept = checkpoint_manifest.read(path).contents.end_of_phase
        except RunError:
            kept = True  # damaged: not ours to remove, and no reason to stop a run
        if not kept:
            _remove(path)


def _remove(path: Path) -> None:
    """Removes a checkpoint, its manifest first: what a kill leaves of it counts as incomplete."""
    (path / MANIFEST).unlink(missing_ok=True)
    storage.remove_tree(path)


def _sync(folder: Path) -> None:
    """Puts a rename on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _one_process(done: str, folder: Path) -> Iterator[None]:
    """Calls of torch's checkpointing without process groups; what it wraps up for all ranks is unwrapped for one."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            yield
    except CheckpointException as wrapped:
        cause = next(iter(wrapped.failures.values()))[0]
        if not isinstance(cause, Exception):
            raise cause from None  # Ctrl-C
        raise RunError(
            f"the checkpoint cannot be {done}: {cause}",
            where=str(folder),
            fix="make room or give access, and go on with --resume: earlier checkpoints are kept",
        ) from None
