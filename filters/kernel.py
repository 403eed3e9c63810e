"""How Numba functions are compiled here: `kernel` for what Python calls, `leaf` and `view_leaf` for what kernels call.

One place says how, so that a kernel cannot forget to let go of the interpreter's lock or to divide as numpy does.
Costs Numba's import (half a second), so modules that use it are imported where they are used.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

# Kept on disk beside the module. Numba looks only at the stamp of the kernel's own file: after a leaf of another file
# was edited, remove the __pycache__ folders.
kernel = njit(cache=True, nogil=True, error_model="numpy")

# Compiled into each kernel that calls it, never kept on its own; LLVM decides what is put in place.
leaf = njit(nogil=True, error_model="numpy")

_Function = TypeVar("_Function", bound=Callable[..., Any])


def view_leaf(function: _Function) -> _Function:
    """A leaf that makes no array, nor calls what makes one.

    Numba counts references to each array argument of a function that could make an array, with atomic instructions
    that outweigh the work of a small leaf: spaCy's tokenizer took 590 ns per chunk with them and 130 without.
    """
    jit: Any = njit  # whose published signature leaves the option out
    compiled: _Function = jit(nogil=True, error_model="numpy", _nrt=False)(function)
    return compiled
