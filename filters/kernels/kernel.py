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
_JIT: Any = numba.njit  # whose published signature leaves options out

_FILTERS: Final = Path(__file__).parents[1]
_SOURCES: Final = ((_FILTERS / "kernels", "*.py"), (_FILTERS / "english", "*.py"), (_FILTERS, "folding.py"))

_OPTIONS: Final = {"nogil": True, "error_model": "numpy"}
# Without the two wrappers for callers outside, each of which holds the function's code once more, to be optimized with
# it and again with whatever calls it: a quarter of the time that all kernels take to compile.
_OF_A_LEAF: Final = {**_OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def leaf(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function for kernels alone: compiled into each that calls it; LLVM decides what is put in place.

    Raises:
        TypeError: Python calls it, now or later.
    """
    return _leaf(function)


def inlined(function: _Function) -> _Function:
    """A leaf that is always put in place, for few instructions where a call that passes arrays would take longer.

    By LLVM: Numba's own inline="always" counts references to arrays.
    """
    return _leaf(function, forceinline=True)


# A function that is written as LLVM's instructions.
intrinsic: Final[_Decorator] = numba.extending.intrinsic


def kernel(function: _Function) -> _Function:
    """A function that Python calls, kept on disk beside its module once it is compiled.

    Numba looks only at the stamp of the function's own file, but leaves of other files are compiled into it: what is
    older than any file of kernels is forgotten, or a new release could go on with the code of an old one.
    """
    compiled: Any = _JIT(cache=True, no_cfunc_wrapper=True, **_OPTIONS)(function)
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
    return _leaf(function, _nrt=False)


def _leaf(function: _Function, **more: bool) -> _Function:
    compiled: Any = _JIT(**_OF_A_LEAF, **more)(function)
    # Python would jump to the wrapper that is not there: it is never told of what is compiled, and is refused.
    compiled._insert = lambda *_: None
    compiled._compile_for_args = functools.partial(_refuse, function.__qualname__)
    kept: _Function = compiled
    return kept


def _refuse(name: str, *_: object, **__: object) -> None:
    raise TypeError(f"{name} is called by kernels alone")
