"""Checkpoints: torch distributed checkpoints that are whole or not there, and proven before they are read.

A run may be killed at any moment, so a checkpoint is written under a hidden name, its manifest last, then renamed; and
since pickled metadata runs code when it is opened, that is done only when its hash stands in our manifest. Costs one
hash pass over the files each way, beside the disk's time.

`checkpoints/step-00000100/`: `.metadata` and `*.distcp` (tensors under `model/`, `optimizer/`, `balancing/`, `rng/`),
and `manifest.json` (`checkpoint_manifest.py`).
"""

import os
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.planner import WriteItem
from torch.distributed.checkpoint.state_dict_loader import load as load_distributed
from torch.distributed.checkpoint.state_dict_saver import save as save_distributed

from ... import storage
from ...errors import RunError
from ...manifest import NAME as MANIFEST
from ..models.model import MoEModel
from . import checkpoint_manifest
from .checkpoint_folder import FOLDER, complete
from .checkpoint_manifest import Checkpoint, Contents


class _OneByOne(DefaultSavePlanner):
    """Reads each tensor when it is written, and lets it go when the next is asked for.

    The writer holds on to all that it has written; so what it holds is emptied.
    """

    def __init__(self, read: Callable[[str], Tensor]) -> None:
        super().__init__(flatten_state_dict=False, flatten_sharded_tensors=False)
        self._read = read
        self._written: Tensor | None = None

    def resolve_data(self, write_item: WriteItem) -> Tensor:
        if self._written is not None:
            self._written.untyped_storage().resize_(0)
        self._written = self._read(write_item.index.fqn)
        return self._written


def save(
    run_folder: Path,
    tensors: Mapping[str, Tensor],
    contents: Contents,
    keep: int,
    read: Callable[[str], Tensor] | None = None,
) -> Path:
    """Writes `checkpoints/step-NNNNNNNN`, then removes the oldest ones beyond `keep` (ends of phases stay).

    Args:
        run_folder: the run's folder.
        tensors: by name.
        contents: what the manifest says of them.
        keep: how many checkpoints stay.
        read: gives each tensor when it is written, one at a time in memory; `tensors` may then be on the meta device.

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
            if read is None:
                save_distributed(dict(tensors), storage_writer=FileSystemWriter(temporary), no_dist=True)
            else:
                writer = FileSystemWriter(temporary, per_thread_copy_ahead=0)  # reads nothing before its turn
                save_distributed(dict(tensors), storage_writer=writer, planner=_OneByOne(read), no_dist=True)
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


def _prune(run_folder: Path, keep: int) -> None:
    for path in complete(run_folder)[:-keep]:
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
