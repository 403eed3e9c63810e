"""Documents that break what judges them, put into workers and drivers of tests from outside.

As `sitecustomize` of the workers' Python, or imported by a driver's wrapper, it waits for the import of one filter
and changes what that does with marked texts; nothing of the product knows of it. Costs a pause a batch, without which a
small corpus would be done before anything could be broken.
"""

import ctypes
import importlib.abc
import importlib.machinery
import os
import sys
import time

FILTER = "midtrain.filters.gopher_quality"
MARK = "midtrain-test-poison-"
RAISES, CRASHES, EATS = MARK + "raises", MARK + "crashes", MARK + "eats"
PAUSE = 0.15  # seconds a batch
BITE = 16 << 20  # bytes at a time, slowly enough for whoever watches over the memory
BETWEEN_BITES = 0.04  # seconds
MOST = 3 << 30  # bytes: where no limit stops it, it stops by itself


class Poisoned(ValueError):
    """What a marked document raises."""


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the one filter as everybody would, and changes it when it has been loaded."""

    def __init__(self, harmless: bool, pause: float) -> None:
        self.harmless = harmless
        self.pause = pause

    def find_spec(self, fullname, path=None, target=None):
        if fullname != FILTER:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None:
            load = spec.loader.exec_module
            spec.loader.exec_module = lambda module: (load(module), self.change(module))[0]
        return spec

    def change(self, module) -> None:
        decide = module.GopherQuality.decide

        def poisonous(options, batch):
            time.sleep(self.pause)
            for text in batch.record_batch.column("text").to_pylist():
                if MARK in text:
                    _act(text, self.harmless)
            return decide(options, batch)

        module.GopherQuality.decide = poisonous


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
        pause: seconds that each batch takes longer.
    """
    sys.meta_path.insert(0, _Finder(harmless, pause))


if __name__ == "sitecustomize":
    install()
