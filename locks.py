"""The lock of an output folder: one run at a time, on this machine or in a store.

A local lock is the system's, which takes it back however the process ends; a store has no such thing, so there it is an
object that counts as long as it is renewed (`remote_lock.py`). Costs one open of a file.
"""

import contextlib
import fcntl
import time
from collections.abc import Iterator
from typing import IO, Protocol

from .errors import RunError
from .remote import RemotePath
from .storage import Location

LOCK = ".lock"
ASK_AGAIN = (0.05, 0.1, 0.2)  # seconds


class Lock(Protocol):
    """The lock of an output folder, held."""

    def check(self) -> None:
        """Raises RunError where another run has taken it over."""

    def still_held(self) -> None:
        """As `check`, from what is known already."""


class _LocalLock:
    """Nobody can take it while the process lives."""

    def check(self) -> None:
        """It is held."""

    def still_held(self) -> None:
        """It is held."""


@contextlib.contextmanager
def locked(folder: Location) -> Iterator[Lock]:
    """Keeps other runs out of a folder for the block.

    The system takes a local lock back however the process ends; a store's counts as long as it is renewed.

    Raises:
        RunError: another run is at work in it.
        ConfigError: there is no such bucket, or no access to it.
        OSError: the folder is not there or must not be written.
    """
    if isinstance(folder, RemotePath):
        from . import remote_lock

        with remote_lock.locked(folder) as remote:
            yield remote
        return
    with open(folder / LOCK, "ab") as lock:
        if not _taken(lock):
            raise RunError("another run is at work in the output folder", where=str(folder), fix="wait until it ends")
        yield _LocalLock()


def held(folder: Location) -> bool | None:
    """Whether a run is at work in a folder; None where none ever was.

    Of a local one it is asked for a moment, which a run that begins just then waits for.
    """
    if isinstance(folder, RemotePath):
        from . import remote_lock

        return remote_lock.held(folder)
    if not (folder / LOCK).exists():
        return None
    with open(folder / LOCK, "rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _taken(lock: IO[bytes]) -> bool:
    """Takes the lock; asks again for a moment, since `status` holds it for one while it looks."""
    for pause in (*ASK_AGAIN, None):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if pause is not None:
                time.sleep(pause)
    return False
