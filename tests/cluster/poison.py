"""Documents that break what judges them, put into workers and drivers of tests from outside.

Named by a .pth of the workers' Python, or imported by a driver's wrapper, it waits for the import of a filter
and changes what that does with marked texts; nothing of the product knows of it. Costs a pause a task, without which a
small corpus would be done before anything could be broken.
"""

import ctypes
import importlib.abc
import importlib.machinery
import os
import sys
import time

MARK = "midtrain-test-poison-"
RAISES, CRASHES, EATS = MARK + "raises", MARK + "crashes", MARK + "eats"
PAUSE = 0.2  # seconds a task
BITE = 16 << 20  # bytes at a time, slowly enough for whoever watches over the memory
BETWEEN_BITES = 0.04  # seconds
MOST = 3 << 30  # bytes: where no limit stops it, it stops by itself


class Poisoned(ValueError):
    """What a marked document raises."""


class _Finder(importlib.abc.MetaPathFinder):
    """Finds modules as everybody would, and changes some when they have been loaded."""

    def __init__(self, harmless: bool, pause: float) -> None:
        self.changes = {
            "midtrain.filters.gopher_quality": lambda found: _poison(found.GopherQuality, harmless),
            "midtrain.pipelines.documents": lambda found: _slow_down(found.DocumentStage, pause),
            "midtrain.pipelines.duplicates.exact": lambda found: _slow_down(found.WriteKeys, pause),
        }

    def find_spec(self, fullname, path=None, target=None):
        change = self.changes.get(fullname)
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target) if change else None
        if spec is not None:
            load = spec.loader.exec_module
            spec.loader.exec_module = lambda module: (load(module), change(module))[0]
        return spec


def _slow_down(stage: type, pause: float) -> None:
    run = stage.run

    def slowly(self, task):
        time.sleep(pause)
        return run(self, task)

    stage.run = slowly


def _poison(step: type, harmless: bool) -> None:
    decide = step.decide

    def poisonous(self, batch):
        for text in batch.record_batch.column("text").to_pylist():
            if MARK in text:
                _act(text, harmless)
        return decide(self, batch)

    step.decide = poisonous


def _act(text: str, harmless: bool) -> None:
    if harmless or RAISES in text:
        raise Poisoned("a marked document")
    if CRASHES in text:
        ctypes.string_at(0)
    pieces: list[bytearray] = []
    while EATS in text and len(pieces) * BITE < MOST:
        pieces.append(bytearray(os.urandom(4096) * (BITE // 4096)))
        time.sleep(BETWEEN_BITES)
    raise MemoryError("nothing stopped it")


def install(harmless: bool = False, pause: float = PAUSE) -> None:
    """Changes the filter when it is imported.

    Args:
        harmless: a marked document raises, whatever it is marked for.
        pause: seconds that each task takes longer.
    """
    sys.meta_path.insert(0, _Finder(harmless, pause))
