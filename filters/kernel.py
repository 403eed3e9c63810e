"""The two ways in which this package compiles Numba functions: `kernel` for what Python calls, `leaf` for what kernels call.

One place says how, so that a kernel cannot forget to let go of the interpreter's lock or to divide as numpy does.
Costs Numba's import (half a second), so modules that use it are imported where they are used.
"""

from numba import njit

# Kept on disk beside the module. Numba looks only at the stamp of the kernel's own file: after a leaf of another file
# was edited, remove the __pycache__ folders.
kernel = njit(cache=True, nogil=True, error_model="numpy")

# Compiled into each kernel that calls it, never kept on its own; LLVM decides what is put in place.
leaf = njit(nogil=True, error_model="numpy")

# A leaf that makes no array. Numba counts references to each array argument of a function that could make one, with
# atomic instructions that outweigh the work of a small leaf.
view_leaf = njit(nogil=True, error_model="numpy", _nrt=False)
