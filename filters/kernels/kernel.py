"""How Numba functions are compiled: `kernel` is for what Python calls; `leaf`, `view_leaf`, `inlined` are for kernels.

One place says how, so that a kernel cannot forget to let go of the interpreter's lock or to divide as numpy does.
Costs Numba's import (half a second), so modules that use it are imported where they are used.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import numba
import numba.extending
import numpy as np
import numpy.typing as npt

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Item = TypeVar("_Item", bound=np.generic)
_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_FILTERS: Final = Path(__file__).parents[1]
_SOURCES: Final = ((_FILTERS / "kernels", "*.py"), (_FILTERS / "english", "*.py"), (_FILTERS, "folding.py"))

# Compiled into each kernel that calls it, never kept on its own; LLVM decides what is put in place.
leaf: Final[_Decorator] = numba.njit(nogil=True, error_model="numpy")

# A leaf that is always put in place (by LLVM: Numba's own inline="always" counts references to arrays): for few
# instructions on a hot path, where a call that passes arrays would take longer than they do.
inlined: Final[_Decorator] = numba.njit(nogil=True, error_model="numpy", forceinline=True)

# A function that is written as LLVM's instructions.
intrinsic: Final[_Decorator] = numba.extending.intrinsic


def kernel(function: _Function) -> _Function:
    """A function that Python calls, kept on disk beside its module once it is compiled.

    Numba looks only at the stamp of the function's own file, but leaves of other files are compiled into it: what is
    older than any file of kernels is forgotten, or a new release could go on with the code of an old one.
    """
    compiled: Any = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    module = function.__module__.rpartition(".")[2]
    forget_stale(Path(compiled.stats.cache_path), f"{module}.{function.__qualname__}-", _newest_source())
    kept: _Function = compiled
    return kept


def fixed(array: npt.NDArray[_Item]) -> npt.NDArray[_Item]:
    """The array as one that is contiguous and cannot be written: a kernel is compiled anew for every other kind."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


def forget_stale(folder: Path, prefix: str, newest: float) -> None:
    """Removes the indexes of compiled code in the folder whose names begin so, if they are older than `newest` (s)."""
    for index in folder.glob(f"{prefix}*.nbi"):
        try:
            if index.stat().st_mtime <= newest:
                index.unlink()
        except FileNotFoundError:  # another process was faster
            continue


@functools.cache
def _newest_source() -> float:
    return max(path.stat().st_mtime for folder, names in _SOURCES for path in folder.glob(names))


def view_leaf(function: _Function) -> _Function:
    """A leaf that makes no array, nor calls what makes one.

    Numba counts references to each array argument of a function that could make an array, with atomic instructions
    that outweigh the work of a small leaf: spaCy's tokenizer took 590 ns per chunk with them and 130 without.
    """
    jit: Any = numba.njit  # whose published signature leaves the option out
    compiled: _Function = jit(nogil=True, error_model="numpy", _nrt=False)(function)
    return compiled
