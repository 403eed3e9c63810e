"""What a checkpoint says of itself: the manifest that is written last and read first.

A checkpoint's tensors mean nothing without the model, the shards and the place in the order that they belong to, and
must not be opened before they are known to be whole. Costs a hash pass over the files, on writing and on reading;
torch is never imported here.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from ... import storage
from ...errors import ConfigError, RunError
from ...manifest import NAME, canonical, fingerprint
from .. import history
from ..history import Position, Stretch
from ..models.config import ModelConfig

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 4
_FREE = ("rope_theta", "init_std")
_FREE_OF_MOE = ("capacity", "tau", "balance_weight")
"""Keys of ModelConfig and of its `moe` that may differ between a checkpoint and a model: no tensor depends on them, and
no logit of an evaluation but by the RoPE base."""


@dataclass(frozen=True)
class Contents:
    """What a checkpoint holds beside its tensors.

    `model.rope_theta` is that of the phase it was written in, `shards` the shards' fingerprint, `tokenizer` the hash of
    their tokenizer, `optimizer` the optimizer's name and `balancing` the balancer's kind (empty where there is
    no state of one).
    """

    run: str
    model: ModelConfig
    shards: str
    tokenizer: str
    optimizer: str
    balancing: str
    position: Position
    history: tuple[Stretch, ...]
    end_of_phase: bool


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk whose manifest stands; `files` is name -> (bytes, xxh3-128), `tensors` name -> shape."""

    path: Path
    contents: Contents
    files: Mapping[str, tuple[int, str]]
    tensors: Mapping[str, tuple[int, ...]]


def write(folder: Path, tensors: "Mapping[str, Tensor]", contents: Contents) -> None:
    """Writes the manifest of a folder that holds all other files of a checkpoint."""
    files = {
        path.name: {"bytes": path.stat().st_size, "xxh3_128": storage.hash_file(path)}
        for path in sorted(folder.iterdir())
    }
    body = {
        "format": FORMAT,
        **{key: value for key, value in asdict(contents).items() if key != "model"},
        "model": contents.model.model_dump(mode="json"),
        "files": files,
        "tensors": {name: list(tensor.shape) for name, tensor in tensors.items()},
        "torch": version("torch"),
    }
    sealed = {"hash": fingerprint(body), **orjson.loads(canonical(body))}
    with storage.atomic_write(folder / NAME) as stream:
        stream.write(orjson.dumps(sealed, option=orjson.OPT_INDENT_2) + b"\n")


def read(path: str | Path) -> Checkpoint:
    """The checkpoint in a folder, its manifest checked; the other files are checked when they are read.

    Raises:
        RunError: the manifest is missing, is not ours, or was cut or altered.
    """
    file = Path(path) / NAME
    if not file.exists():
        raise RunError("the checkpoint is not complete", where=str(file), seen="no file", fix="use another checkpoint")
    try:
        body = orjson.loads(file.read_bytes())
        stated = body.pop("hash")
    except (orjson.JSONDecodeError, KeyError, AttributeError, TypeError):
        raise RunError(
            "the checkpoint's manifest was cut or altered", where=str(file), fix="use another checkpoint"
        ) from None
    if fingerprint(body) != stated:
        raise RunError(
            "the checkpoint's manifest was altered",
            where=str(file),
            seen=fingerprint(body),
            expected=stated,
            fix="use another checkpoint",
        )
    if body["format"] != FORMAT:
        raise RunError(
            "the checkpoint has a format of another version", where=str(file), seen=body["format"], expected=FORMAT
        )
    return Checkpoint(
        path=Path(path),
        contents=Contents(
            run=body["run"],
            model=ModelConfig.model_validate(body["model"]),
            shards=body["shards"],
            tokenizer=body["tokenizer"],
            optimizer=body["optimizer"],
            balancing=body["balancing"],
            position=Position(**body["position"]),
            history=history.stretches(body["history"]),
            end_of_phase=body["end_of_phase"],
        ),
        files={name: (entry["bytes"], entry["xxh3_128"]) for name, entry in body["files"].items()},
        tensors={name: tuple(shape) for name, shape in body["tensors"].items()},
    )


def verify(checkpoint: Checkpoint) -> None:
    """Compares size and hash of every file with the manifest.

    Raises:
        RunError: naming the first file that differs.
    """
    for name, (size, stated) in checkpoint.files.items():
        file = checkpoint.path / name
        found = file.stat().st_size if file.exists() else None
        seen = "no file" if found is None else f"{found:,} bytes"
        expected = f"{size:,} bytes"
        if found == size:
            seen, expected = storage.hash_file(file), stated
        if seen != expected:
            raise RunError(
                "the checkpoint's file was cut or altered",
                where=str(file),
                seen=seen,
                expected=f"{expected}, as {NAME} records",
                fix=f"use another checkpoint; --resume takes the one before when {checkpoint.path} is removed",
            )


def require_same_model(checkpoint: Checkpoint, config: ModelConfig) -> None:
    """Compares the sizes of a checkpoint's model with those wanted.

    Raises:
        ConfigError: naming the first size that differs.
    """
    require_same_sizes(checkpoint.contents.model, "checkpoint", checkpoint.path, config)


def _fixed(config: ModelConfig) -> dict[str, Any]:
    """What a model must share with a checkpoint of it."""
    found = {key: value for key, value in config.model_dump().items() if key not in _FREE}
    found["moe"] = {key: value for key, value in found["moe"].items() if key not in _FREE_OF_MOE}
    return found


def _yaml(value: object) -> str:
    """A value as the run file would have it, on one line."""
    return orjson.dumps(value).decode().replace(":", ": ").replace(",", ", ").replace('"', "")


def require_same_sizes(stored: ModelConfig, what: str, where: Path, config: ModelConfig) -> None:
    """Compares the sizes of a model that stands somewhere, in a checkpoint or a folder, with those wanted.

    Raises:
        ConfigError: naming the first size that differs.
    """
    found, needed = _fixed(stored), _fixed(config)
    for key, wanted in needed.items():
        if found[key] != wanted:
            raise ConfigError(
                f"the {what} is one of another model: {key} differs",
                where=str(where),
                seen=f"{key} {found[key]} in the {what}",
                expected=f"{key} {wanted}, as model says",
                fix=f"write {key}: {_yaml(found[key])} in the run's model, or take another {what}",
            )
