"""When, and with how many threads, the kernels of this folder take the place of chains of torch's operations.

A chain of torch's pointwise operations passes over memory once each, forward and backward; a Numba kernel does it in
one pass each way. They are for a CPU alone: a GPU has torch.compile. Costs some seconds of compilation a kernel, once a
machine: Numba keeps them on disk.

All kernels go over a fixed number of parts of the tokens in parallel, and sums over tokens are kept by part, so that
results do not depend on the number of threads.
"""

from typing import Any

import numba
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]
"""float32 or float64, as the tensors are; bool where it says so."""

PARTS = 32
"""Parts of the tokens that threads take one by one."""

MOST_THREADS = numba.get_num_threads()
"""What NUMBA_NUM_THREADS allows, or the number of cores."""

FEW = 2**16
"""Numbers below which, without a gradient, torch's chain is as fast as a call of a kernel."""

kernel = numba.njit(cache=True, nogil=True, parallel=True)
"""Compiles a kernel, every operation rounded as it is written.

No fast math: a loop in parallel exists twice in a process that compiles it, optimized once and optimized again in its
caller, and only the latter goes to Numba's cache. With sums reordered or contracted at will the first run after an
installation would differ in the last bit from the next.
"""


@numba.njit(cache=True, nogil=True)
def inner(x_d: Array, y_d: Array) -> Any:
    """The inner product, in eight sums side by side that LLVM makes a vector of."""
    a = b = c = d = e = f = g = h = x_d.dtype.type(0)
    whole = len(x_d) // 8 * 8
    for i in range(0, whole, 8):
        a += x_d[i] * y_d[i]
        b += x_d[i + 1] * y_d[i + 1]
        c += x_d[i + 2] * y_d[i + 2]
        d += x_d[i + 3] * y_d[i + 3]
        e += x_d[i + 4] * y_d[i + 4]
        f += x_d[i + 5] * y_d[i + 5]
        g += x_d[i + 6] * y_d[i + 6]
        h += x_d[i + 7] * y_d[i + 7]
    for i in range(whole, len(x_d)):
        a += x_d[i] * y_d[i]
    return ((a + b) + (c + d)) + ((e + f) + (g + h))


def fuses(x: Tensor) -> bool:
    """Whether kernels take x; sets their threads to torch's."""
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64):
        return False
    if not torch.is_grad_enabled() and x.numel() < FEW:
        return False
    numba.set_num_threads(min(torch.get_num_threads(), MOST_THREADS))
    return True


def array(tensor: Tensor) -> Array:
    """The tensor's numbers as a contiguous array; nothing is copied where they are one."""
    return tensor.detach().contiguous().numpy()
