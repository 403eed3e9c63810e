"""Memory that ran out, said as an error of ours: what was being done, and what makes it smaller.

torch raises one type on a card and another on a CPU, and neither says which of a run's settings is to blame. Costs
nothing.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..errors import RunError

_CPU = "DefaultCPUAllocator: "


class OutOfMemory(RunError):
    """The memory did not hold what was asked for; the model and its weights are as they were."""


@contextmanager
def naming(what: str, where: str, fix: str) -> Iterator[None]:
    """A block of which an error says what it was, where memory runs out in it.

    Args:
        what: what was being done: "an evaluation".
        where: its name.
        fix: what to lower.

    Raises:
        OutOfMemory: the device's memory, or the machine's, ran out.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _named(error, what, where, fix) from None
    except RuntimeError as error:
        if _CPU not in str(error):
            raise
        raise _named(error, what, where, fix) from None


def _named(error: Exception, what: str, where: str, fix: str) -> OutOfMemory:
    # The frames hold what filled the memory, and a checkpoint may be written next.
    traceback.clear_frames(error.__traceback__)
    seen = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return OutOfMemory(f"there is too little memory for {what}", where=where, seen=seen[:200], fix=fix)
