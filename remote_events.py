"""The events of a remote output: segments `events/NNNNN.jsonl`, since no object can be appended to.

What was written is uploaded every few seconds, into the segment that is still growing, so that there are few of them
and `status` sees a run that works; a driver that is killed loses its last seconds. Costs one upload every five seconds.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from .errors import MidtrainError
from .progress import Events
from .remote import RemotePath, attempt
from .remote_files import names, read_all

FOLDER = "events"
EVERY = 5.0  # seconds between uploads
SEGMENT = 1 << 20  # bytes after which the next segment is begun


class RemoteEvents(Events):
    """Collects events and uploads them from a thread.

    Args:
        root: the output.
        check: called at each event; ends a run that may not go on.
    """

    def __init__(self, root: RemotePath, check: Callable[[], None]) -> None:
        super().__init__(None)
        self._folder = root / FOLDER
        self._check = check
        self._lines: list[bytes] = []  # of the segment that is growing
        self._uploaded = 0  # lines of them
        self._number: int | None = None
        self._changing = threading.Lock()
        self._uploading = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def write(self, event: str, fields: Mapping[str, Any]) -> None:
        """Takes one event, with the time in seconds since the epoch.

        Raises:
            RunError: the run may not go on.
        """
        self._check()
        line = orjson.dumps({"time": round(time.time(), 3), "event": event, **fields}) + b"\n"
        with self._changing:
            self._lines.append(line)

    def upload(self) -> None:
        """Publishes what came since the last upload.

        Raises:
            RunError: the store failed; the events are kept for the next time.
        """
        with self._uploading:
            with self._changing:
                lines = list(self._lines)
            if len(lines) == self._uploaded:
                return
            if self._number is None:
                known = [int(name.partition(".")[0]) for name in names(str(self._folder)) if name[:1].isdigit()]
                self._number = max(known, default=-1) + 1
            data = b"".join(lines)
            address = str(self._folder / f"{self._number:05d}.jsonl")
            attempt(address, lambda store, inside: store.pipe_file(inside, data))
            self._uploaded = len(lines)
            if len(data) >= SEGMENT:
                with self._changing:
                    self._lines = self._lines[len(lines) :]
                self._uploaded = 0
                self._number += 1

    def close(self) -> None:
        """Ends the thread and publishes the rest."""
        self._over.set()
        self._thread.join()
        self.upload()

    def _keep(self) -> None:
        while not self._over.wait(EVERY):
            with contextlib.suppress(MidtrainError):  # kept for the next time
                self.upload()


@contextlib.contextmanager
def collected(root: RemotePath, check: Callable[[], None]) -> Iterator[RemoteEvents]:
    """The events of a run for the block; what it left is published also where it fails."""
    events = RemoteEvents(root, check)
    try:
        yield events
    except BaseException:
        with contextlib.suppress(MidtrainError):  # the run's own error is the one to tell
            events.close()
        raise
    events.close()


def read(root: RemotePath) -> Iterator[dict[str, Any]]:
    """All events of an output, in the order of their segments."""
    folder = root / FOLDER
    for data in read_all([str(folder / name) for name in names(str(folder))]):
        for line in data.splitlines():
            yield orjson.loads(line)
