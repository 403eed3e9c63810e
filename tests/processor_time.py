"""Seconds of the processors that other processes take, which a busy machine changes less than those of the clock."""

import resource
import subprocess
import sys
from collections.abc import Callable


def of_children(action: Callable[[], object]) -> float:
    """What the processes took that were started, and waited for, in the action."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    action()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def of_loading() -> float:
    """What a process takes that loads the code of a curation and does nothing: a measure that the machine scales."""
    return of_children(lambda: subprocess.run([sys.executable, "-c", "import midtrain.pipelines.curate"], check=True))
