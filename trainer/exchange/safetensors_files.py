"""Files of safetensors, read and written one tensor at a time.

The library maps a file and counts what was touched of it as memory, and writes a file from tensors that are all there;
a model of many gigabytes is to pass through one tensor's memory, and a hostile or cut file is to be an error that names
what is wrong. The format is a length, a JSON header and the bytes. Costs one copy of each tensor.
"""

import ctypes
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import torch
from torch import Tensor

from ... import storage
from ...errors import ConfigError, RunError

DTYPES: Final[Mapping[str, torch.dtype]] = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
"""The types of weights, by their names in a header."""

_NAMES: Final = {dtype: name for name, dtype in DTYPES.items()}
_LENGTH: Final = 8
_MOST_HEADER: Final = 100_000_000  # bytes; the library's own limit
_FIX: Final = "copy or download the file again"


@dataclass(frozen=True)
class Entry:
    """Where a tensor stands: `offset` in bytes from the file's first."""

    path: Path
    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(path: Path) -> dict[str, Entry]:
    """The tensors of a file, by name; the file's size is checked against them.

    Raises:
        ConfigError: a tensor is of a type that is none of DTYPES.
        RunError: the file cannot be read, was cut, or its header contradicts itself.
    """
    with open(path, "rb") as stream:
        size = path.stat().st_size
        length = int.from_bytes(stream.read(_LENGTH), "little")
        if size < _LENGTH or length > min(size - _LENGTH, _MOST_HEADER):
            expected = f"a header of {length:,} bytes behind the first {_LENGTH}" if size >= _LENGTH else "a header"
            raise RunError(
                "not a file of safetensors, or it was cut",
                where=str(path),
                seen=f"{size:,} bytes",
                expected=expected,
                fix=_FIX,
            )
        header = stream.read(length)
    try:
        tensors = orjson.loads(header)
        tensors.pop("__metadata__", None)
        ordered = sorted(tensors.items(), key=lambda item: item[1]["data_offsets"])
        entries = [_entry(path, _LENGTH + length, name, record) for name, record in ordered]
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"the header is none of safetensors: {error!r}", where=str(path), fix=_FIX) from None
    end = _LENGTH + length
    for entry in entries:
        if entry.offset != end:
            raise RunError(
                "tensors overlap or leave bytes out",
                where=f"{path}: {entry.name}",
                seen=f"begins at byte {entry.offset:,}",
                expected=f"byte {end:,}, where the one before it ends",
                fix=_FIX,
            )
        end += entry.size
    if size != end:
        raise RunError(
            "the file was cut" if size < end else "the file is longer than its tensors",
            where=str(path),
            seen=f"{size:,} bytes",
            expected=f"{end:,} bytes, as its header says",
            fix=_FIX,
        )
    return {entry.name: entry for entry in entries}


def _entry(path: Path, begin: int, name: str, record: Mapping[str, Any]) -> Entry:
    """One tensor of a header. ValueError and the like where the record is none."""
    named = record["dtype"]
    if named not in DTYPES:
        raise ConfigError(
            f"a tensor of the type {named} cannot be taken",
            where=f"{path}: {name}",
            seen=named,
            expected=" or ".join(DTYPES),
            fix="name the model's folder in bfloat16 or float32; quantized weights have lost what training needs",
        )
    shape = tuple(record["shape"])
    start, stop = record["data_offsets"]
    if not all(isinstance(number, int) and number >= 0 for number in (*shape, start, stop)):
        raise ValueError(f"{name} has the shape {shape} and stands at {start} to {stop}")
    entry = Entry(path, name, DTYPES[named], shape, begin + start)
    if stop - start != entry.size:
        raise ValueError(f"{name} of shape {shape} and type {named} takes {entry.size:,} bytes, not {stop - start:,}")
    return entry


def read_into(entry: Entry, tensor: Tensor) -> None:
    """Fills a contiguous tensor of the CPU, of the entry's shape and type, with what stands in the file.

    Raises:
        RunError: the file ends before the tensor does.
    """
    if not tensor.numel():
        return
    # Not through numpy, which would keep the tensor's memory from ever being let go.
    target = memoryview((ctypes.c_ubyte * entry.size).from_address(tensor.data_ptr())).cast("B")
    with open(entry.path, "rb", buffering=0) as stream:
        stream.seek(entry.offset)
        while len(target):
            count = stream.readinto(target)
            if not count:
                raise RunError("the file was cut while it was read", where=f"{entry.path}: {entry.name}", fix=_FIX)
            target = target[count:]


def read(entry: Entry) -> Tensor:
    """A tensor, on the CPU.

    Raises:
        RunError: as `read_into`.
    """
    tensor = torch.empty(entry.shape, dtype=entry.dtype)
    read_into(entry, tensor)
    return tensor


def write(path: Path, tensors: Sequence[tuple[str, Tensor]], get: Callable[[str], Tensor]) -> None:
    """Writes a file, atomically.

    Args:
        path: the file.
        tensors: names, and tensors of their shapes and types in the order of the file; they may be on the meta device.
        get: gives a tensor by its name, on any device; called once each, in order.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}  # transformers reads no other format
    end = 0
    for name, tensor in tensors:
        size = tensor.numel() * tensor.dtype.itemsize
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [end, end + size],
        }
        end += size
    encoded = orjson.dumps(header)
    encoded += b" " * (-len(encoded) % _LENGTH)
    with storage.atomic_write(path) as stream:
        stream.write(len(encoded).to_bytes(_LENGTH, "little") + encoded)
        for name, expected in tensors:
            found = get(name).detach().cpu().contiguous()
            if (found.shape, found.dtype) != (expected.shape, expected.dtype):
                raise ValueError(f"{name} is {found.dtype} {tuple(found.shape)}, not {expected.dtype}")
            if found.numel():
                stream.write(found.view(-1).view(torch.uint8).numpy().data)
