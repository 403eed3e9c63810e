"""Read-only memory maps of the files of parts, a bounded number at a time.

A mixture may have a million parts, and a process only so many maps and open files: the parts that were used least
recently go, and none keeps its file open. What they gave out stays mapped as long as somebody holds it: readers of
batches do, and bound that themselves (`windows.py`). Costs a lock and two look-ups a use, 20 µs for a file that is not
mapped.
"""

import errno
import itertools
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..errors import RunError
from .repair import mending_of

MAPPED_PARTS = 4096  # of all shards and packs of the process, up to 3 maps each; Linux allows a process 65,530
_NO_MEMORY = os.strerror(errno.ENOMEM)  # pyarrow gives no number where mapping fails, only this

Array = npt.NDArray[Any]


def map_file(path: Path, dtype: np.dtype[Any], fix: str = "") -> Array:
    """A file as a read-only array of its records; unmapped when the last view of it is gone. Keeps no file open.

    Args:
        path: of the file.
        dtype: of a record.
        fix: what to do about a file that is missing or cut short; without it, as for one of a built mixture.

    Raises:
        RunError: there is no such file, or it does not hold whole records.
    """
    try:
        size = path.stat().st_size
        if size == 0:
            return np.empty(0, dtype)
        with pa.memory_map(str(path)) as file:
            data = file.read_buffer(size)
    except OSError as error:
        raise RunError(
            f"cannot be opened: {error.strerror or error}", where=str(path), fix=_fix(path, error, fix)
        ) from None
    if size % dtype.itemsize:
        raise RunError(
            "the file does not hold whole records",
            where=str(path),
            seen=f"{size:,} bytes",
            expected=f"a multiple of {dtype.itemsize}",
            fix=fix or mending_of(path),
        )
    return np.frombuffer(data, dtype)


def _fix(path: Path, error: OSError, missing: str) -> str:
    """What to do about a file that cannot be mapped: it is made anew only where it is not there."""
    if isinstance(error, FileNotFoundError):
        return missing or mending_of(path)
    if _NO_MEMORY in str(error):
        return (
            "the file is not to blame: the process has as many maps or as much address space as it may, so raise "
            "vm.max_map_count (sysctl) or the limit of address space (ulimit -v)"
        )
    return "the file is not to blame: mend what the system says of it, and run again"


class MappedParts:
    """What is mapped of each part, by owner and part number; one for the process."""

    def __init__(self, limit: int = MAPPED_PARTS) -> None:
        self.limit = limit
        self._parts: OrderedDict[tuple[int, int], dict[str, Array]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, owner: int, part: int, file: str, make: Callable[[], Array]) -> Array:
        """A file's map, made by `make` where it is not there.

        Args:
            owner: a number from `owners`.
            part: number of the part.
            file: which file of the part.
            make: maps it.
        """
        key = owner, part
        with self._lock:
            files = self._parts.get(key)
            if files is not None:
                self._parts.move_to_end(key)
                if file in files:
                    return files[file]
        made = make()
        with self._lock:
            self._parts.setdefault(key, {})[file] = made
            self._parts.move_to_end(key)
            while len(self._parts) > self.limit:
                self._parts.popitem(last=False)
        return made

    def unlock(self) -> None:
        """For a forked process: the thread that held the lock, if one did, is not in it. The maps are shared."""
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._parts)


MAPPED = MappedParts()
owners = itertools.count()  # a number for each set of parts of the process
os.register_at_fork(after_in_child=MAPPED.unlock)
