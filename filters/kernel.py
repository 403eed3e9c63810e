"""How this package compiles Numba functions: `kernel` is for what Python calls, `leaf` and `inlined` for what it calls.

One place says how, so that a kernel cannot forget to let go of the interpreter's lock or to divide as numpy does.
Costs Numba's import (half a second), so modules that use it are imported where they are used.
"""

from collections.abc import Callable
from typing import Any, Final

import numba
import numba.extending

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

# Kept on disk beside the module. Numba looks only at the stamp of the kernel's own file: after a leaf of another file
# was edited, remove the __pycache__ folders.
kernel: Final[_Decorator] = numba.njit(cache=True, nogil=True, error_model="numpy")

# Compiled into each kernel that calls it, never kept on its own; LLVM decides what is put in place.
leaf: Final[_Decorator] = numba.njit(nogil=True, error_model="numpy")

# Put in place wherever it is called, by LLVM (Numba's own inline="always" adds reference counts of arrays): for few
# instructions on a hot path, where a call that passes arrays would take longer than they do.
inlined: Final[_Decorator] = numba.njit(nogil=True, error_model="numpy", forceinline=True)

# A function that is written as LLVM's instructions.
intrinsic: Final[_Decorator] = numba.extending.intrinsic
