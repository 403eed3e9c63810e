"""Signals turned into an orderly end: finish the step, write a checkpoint, say by which signal.

Clusters take machines back with SIGTERM and a grace period; a run that dies in it loses all steps since its last
checkpoint. Costs one flag that is looked at after every step.

| signal | what happens | exit code of `midtrain train` |
|---|---|---|
| SIGTERM, first SIGINT | the step is finished, an evaluation is broken off, a checkpoint written | 143, 130 |
| second SIGINT | KeyboardInterrupt at once; resume goes on from the last checkpoint | 130 |
| SIGKILL | nothing; resume goes on from the last checkpoint | 137 |

The grace needed is one step and one checkpoint: of an evaluation nothing is waited for but the forward pass that is
under way, and its sandboxes are ended within 0.1 s. `--resume` goes on bitwise as if nothing had happened.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(Exception):
    """Breaks off an interruptible block when a signal comes."""


class Stopper:
    """Listens for signals while it is entered (in the main thread; elsewhere it hears none).

    `signal` is the number of the signal that came, None before.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._breakable = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Stopper":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._hear) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A block that a signal breaks off.

        Raises:
            Interrupted: a signal came, before the block or in it.
        """
        self._breakable = True
        try:
            if self.signal is not None:
                raise Interrupted
            yield
        finally:
            self._breakable = False

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number
        if self._breakable:
            raise Interrupted
