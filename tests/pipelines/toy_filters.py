"""A filter that some documents make kill its process; a module, so that workers can import it.

As a program it curates the standard recipe of a workshop with that filter in front, for tests that kill it.
"""

import ctypes
import dataclasses
import os
import signal
import sys
from pathlib import Path

import numpy as np
from midtrain.errors import MidtrainError
from midtrain.filters.rules import Decision, Filter
from midtrain.pipelines import curate as curation
from midtrain.pipelines import inputs
from midtrain.pipelines import recipe as recipes
from midtrain.pipelines.processes import local
from midtrain.pipelines.recipe import Step
from midtrain.progress import Progress

SEGFAULT, KILL, TOGETHER = "deadly-segfault", "deadly-kill", "deadly-together"
SMALL_SPLIT = 4_000  # bytes


class Deadly(Filter):
    """Keeps all; a document with one of the words kills the process, or raises where `DEADLY=raise` stands."""

    scored = False

    @property
    def rules(self):
        return ()

    def decide(self, batch):
        texts = batch.record_batch.column("text").to_pylist()
        if os.environ.get("DEADLY") == "raise":
            if any("deadly" in text for text in texts):
                raise ValueError("deadly")
        elif any(SEGFAULT in text for text in texts):
            ctypes.string_at(0)
        elif any(KILL in text for text in texts) or sum(TOGETHER in text for text in texts) > 1:
            os.kill(os.getpid(), signal.SIGKILL)
        nothing = np.zeros(len(texts))
        return Decision(np.ones(len(texts), np.bool_), np.full(len(texts), -1, np.int16), nothing, nothing)


def curate(path, workers, last=False):
    """Runs a recipe file with the filter in front of its steps, or behind them, for source a."""
    loaded = recipes.load(path)
    step = Step("deadly", Deadly(), ("a",))
    deadly = dataclasses.replace(loaded, steps=(*loaded.steps, step) if last else (step, *loaded.steps))
    return curation.curate(deadly, local(workers) if isinstance(workers, int) else workers, Progress(shown=False))


if __name__ == "__main__":
    inputs.MIN_SPLIT = SMALL_SPLIT
    from toy_filters import curate as importable  # __main__ has another name in a worker

    try:
        importable(Path(sys.argv[1]), int(sys.argv[2]))
    except MidtrainError as error:
        print(error.render(), file=sys.stderr)
        sys.exit(error.exit_code)
