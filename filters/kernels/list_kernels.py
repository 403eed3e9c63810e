"""Lists of numbers in another order: each copied to its place in one long array.

What is exchanged between tasks lies in many files, and sets have to stand in the order in which documents are compared.
Costs one pass over the numbers.
"""

import numpy as np
import numpy.typing as npt

from .kernel import kernel

Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]


@kernel
def place_lists(values: UInt64, ends: Int64, starts: Int64, placed: UInt64) -> None:
    """Copies n lists into `placed`.

    Args:
        values: uint64[...], the lists one after the other.
        ends: int64[n], for each list one past its last value.
        starts: int64[n], where each one's first value goes.
        placed: uint64[...], written.
    """
    start = np.uint64(0)
    for number in range(len(ends)):
        stop, to = np.uint64(ends[number]), np.uint64(starts[number])
        for place in range(start, stop):
            placed[to + (np.uint64(place) - start)] = values[place]
        start = stop
