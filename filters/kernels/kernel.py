"""How Numba functions are compiled: `kernel` is for what Python calls; `leaf`, `view_leaf`, `inlined` are for kernels.

One place says how, so that a kernel cannot forget to let go of the interpreter's lock or to divide as numpy does.
Costs Numba's import (half a second), so modules that use it are imported where they are used.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import numba
import numba.extending

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

# Kept on disk beside the module. Numba looks only at the stamp of the kernel's own file: after a leaf of another file
# was edited, remove the __pycache__ folders.
kernel: Final[_Decorator] = numba.njit(cache=True, nogil=True, error_model="numpy")

# Compiled into each kernel that calls it, never kept on its own; LLVM decides what is put in place.
leaf: Final[_Decorator] = numba.njit(nogil=True, error_model="numpy")

# A leaf that is always put in place (by LLVM: Numba's own inline="always" counts references to arrays): for few
# instructions on a hot path, where a call that passes arrays would take longer than they do.
inlined: Final[_Decorator] = numba.njit(nogil=True, error_model="numpy", forceinline=True)

# A function that is written as LLVM's instructions.
intrinsic: Final[_Decorator] = numba.extending.intrinsic


def view_leaf(function: _Function) -> _Function:
    """A leaf that makes no array, nor calls what makes one.

    Numba counts references to each array argument of a function that could make an array, with atomic instructions
    that outweigh the work of a small leaf: spaCy's tokenizer took 590 ns per chunk with them and 130 without.
    """
    jit: Any = numba.njit  # whose published signature leaves the option out
    compiled: _Function = jit(nogil=True, error_model="numpy", _nrt=False)(function)
    return compiled
