"""Which files of a folder hold a model's tensors: one file of safetensors, or shards that an index names.

A folder that was copied in part must not become a model in part, so the index, the shards and their headers are held
against one another before a tensor is read. Costs the headers; no tensor is read.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import orjson
from torch import Tensor

from ... import storage
from ...errors import ConfigError, RunError
from . import safetensors_files
from .safetensors_files import Entry

SINGLE: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
_SHOWN: Final = 5
_PICKLED: Final = (".bin", ".pt", ".pth", ".ckpt")


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def entries(folder: Path) -> dict[str, Entry]:
    """The tensors of a folder, by name.

    Raises:
        ConfigError: there are none, or only pickled ones; a type that cannot be taken.
        RunError: a shard is missing or cut, or index and shards contradict one another.
    """
    if (folder / INDEX).is_file():
        return _indexed(folder)
    if (folder / SINGLE).is_file():
        return safetensors_files.read_header(folder / SINGLE)
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLED)
    if pickled:
        raise ConfigError(
            "pickled weights are not opened: they can run any code",
            where=str(folder),
            seen=listed(pickled),
            expected=f"{SINGLE}, or shards of it with {INDEX}",
            fix="take the model's files of safetensors",
        )
    raise ConfigError("no weights are here", where=str(folder), expected=f"{SINGLE}, or shards of it with {INDEX}")


def _indexed(folder: Path) -> dict[str, Entry]:
    index = folder / INDEX
    try:
        weight_map: Any = orjson.loads(index.read_bytes())["weight_map"]
        files = sorted(set(weight_map.values()))
        named = [file for file in files if Path(file).name == file and file.endswith(".safetensors")]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        raise RunError(
            "not an index of shards", where=str(index), expected='{"weight_map": {"tensor": "file.safetensors", …}}'
        ) from None
    if len(named) < len(files):
        outside = [str(file) for file in files if file not in named]
        raise ConfigError(
            "the index names what is no file of safetensors in its folder", where=str(index), seen=outside
        )
    absent = [file for file in files if not (folder / file).is_file()]
    if absent:
        raise RunError(
            "the index names files that are not there",
            where=str(index),
            seen=listed(absent),
            expected=f"{len(files)} shards in the folder",
            fix="copy or download the missing shards",
        )
    found: dict[str, Entry] = {}
    for file in files:
        held = safetensors_files.read_header(folder / file)
        wanted = {name for name, where in weight_map.items() if where == file}
        if wanted != held.keys():
            missing, extra = sorted(wanted - held.keys()), sorted(held.keys() - wanted)
            raise RunError(
                "the shard does not hold the tensors that the index says",
                where=str(folder / file),
                seen=f"missing: {listed(missing) or 'none'}; not in the index: {listed(extra) or 'none'}",
                fix="copy or download shards and index of one version",
            )
        found |= held
    return found


def write(
    folder: Path, tensors: Sequence[tuple[str, Tensor]], get: Callable[[str], Tensor], shard_bytes: int
) -> list[str]:
    """Writes tensors as one file, or where they take more than `shard_bytes` as shards with an index.

    Args:
        folder: where the files go.
        tensors: names, and tensors of their shapes and types; they may be on the meta device.
        get: gives a tensor by its name; called once each.
        shard_bytes: of tensors in one shard; a larger tensor has one of its own.

    Returns:
        The names of the files.
    """
    shards: list[list[tuple[str, Tensor]]] = [[]]
    filled = 0
    for name, tensor in tensors:
        size = tensor.numel() * tensor.dtype.itemsize
        if shards[-1] and filled + size > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append((name, tensor))
        filled += size
    if len(shards) == 1:
        safetensors_files.write(folder / SINGLE, shards[0], get)
        return [SINGLE]
    count = len(shards)
    files = [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]
    for file, shard in zip(files, shards, strict=True):
        safetensors_files.write(folder / file, shard, get)
    total = sum(tensor.numel() * tensor.dtype.itemsize for _, tensor in tensors)
    body = {
        "metadata": {"total_size": total},
        "weight_map": {name: file for file, shard in zip(files, shards, strict=True) for name, _ in shard},
    }
    with storage.atomic_write(folder / INDEX) as stream:
        stream.write(orjson.dumps(body, option=orjson.OPT_INDENT_2) + b"\n")
    return [*files, INDEX]
