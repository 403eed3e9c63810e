"""The lock of a remote output: an object that says who works there, renewed while they do.

No system takes it back when its holder dies, so it counts only while it is young, by the store's own clock: machines'
clocks differ by more than that. Made and replaced by conditional writes. Costs three small requests every ten seconds.
"""

import contextlib
import datetime
import email.utils
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from .errors import MidtrainError, RunError
from .remote import RemotePath, attempt
from .remote_files import read_bytes

NAME = ".lock"
EVERY = 10.0  # seconds between renewals
STALE = 60.0  # seconds without renewal after which a holder is taken for dead
PAUSE = 2.0  # seconds before a taker looks whether it won, for stores that ignore conditions


@dataclass(frozen=True)
class _Seen:
    """The lock as it stands: who holds it, its version where the store tells one, its age in seconds."""

    holder: str
    released: bool
    version: str
    age: float

    @property
    def free(self) -> bool:
        """Whether nobody is at work."""
        return self.released or self.age > STALE


class RemoteLock:
    """A lock that is held; a thread renews it. Make one with `locked`."""

    def __init__(self, folder: RemotePath) -> None:
        self._folder = folder
        self._address = str(folder / NAME)
        self._holder = uuid.uuid4().hex
        self._times = 0
        self._lost = False
        self._over = threading.Event()
        self._one_at_a_time = threading.Lock()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def take(self) -> None:
        """Makes the lock, or takes over that of a run that ended or died, and begins to renew it.

        Raises:
            RunError: another run is at work.
        """
        seen = _look(self._address)
        if seen is not None and not seen.free:
            raise self._refused()
        try:
            self._write(seen)
        except FileExistsError:
            self._check_winner()  # ours where only the answer was lost
        if seen is not None and not seen.released:
            time.sleep(PAUSE)
            self._check_winner()
        self._thread.start()

    def check(self) -> None:
        """Renews the lock now.

        Raises:
            RunError: another run has taken it over.
        """
        self._renew()

    def still_held(self) -> None:
        """Looks at what the renewing thread has found; asks the store for nothing.

        Raises:
            RunError: another run has taken it over.
        """
        if self._lost:
            raise RunError(
                "another run has taken over the output folder, since this one was not heard of for a minute",
                where=str(self._folder),
                fix="let the other one end: its result is this one's",
            )

    def release(self) -> None:
        """Ends the renewing and says in the lock that nobody is at work; another's lock is left alone."""
        self._over.set()
        self._thread.join()
        with contextlib.suppress(MidtrainError):  # it grows old by itself
            self._renew(released=True)

    def _keep(self) -> None:
        while not self._over.wait(EVERY):
            with contextlib.suppress(MidtrainError):  # the store may be back in time; a lost lock is noted
                self._renew()

    def _renew(self, released: bool = False) -> None:
        with self._one_at_a_time:
            self.still_held()
            seen = _look(self._address)
            if seen is not None and seen.holder == self._holder:
                try:
                    self._write(seen, released)
                except FileExistsError:
                    seen = _look(self._address)
            self._lost = seen is None or seen.holder != self._holder
        self.still_held()

    def _check_winner(self) -> None:
        seen = _look(self._address)
        if seen is None or seen.holder != self._holder:
            raise self._refused()

    def _write(self, instead_of: _Seen | None, released: bool = False) -> None:
        """Puts our lock in the place of what was seen, or of nothing.

        Raises:
            FileExistsError: something else stands there by now.
        """
        self._times += 1
        data = orjson.dumps({"holder": self._holder, "renewed": self._times, "released": released})
        if instead_of is None:
            attempt(self._address, lambda store, inside: store.pipe_file(inside, data, mode="create"))
        else:
            condition = {"IfMatch": instead_of.version} if instead_of.version else {}
            attempt(self._address, lambda store, inside: store.pipe_file(inside, data, **condition))

    def _refused(self) -> RunError:
        return RunError(
            "another run is at work in the output folder",
            where=str(self._folder),
            fix=f"wait until it ends; one that was killed counts as ended after {STALE:.0f} s",
        )


@contextlib.contextmanager
def locked(folder: RemotePath) -> Iterator[RemoteLock]:
    """Keeps other runs out of a remote folder for the block.

    Raises:
        RunError: another run is at work in it.
        ConfigError: there is no such bucket, or no access to it.
    """
    lock = RemoteLock(folder)
    lock.take()
    try:
        yield lock
    finally:
        lock.release()


def held(folder: RemotePath) -> bool | None:
    """Whether a run is at work in a remote folder; None where none ever was."""
    seen = _look(str(folder / NAME))
    return None if seen is None else not seen.free


def _look(address: str) -> _Seen | None:
    """The lock as it stands, None where there is none. Its version is never younger than what it says."""
    try:
        version, age = attempt(address, _version_and_age)
        content = orjson.loads(read_bytes(address))
        return _Seen(str(content["holder"]), bool(content["released"]), version, age)
    except FileNotFoundError:
        return None
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise RunError("is not the lock that it should be", where=address, fix="remove it") from None


def _version_and_age(store: Any, inside: str) -> tuple[str, float]:
    """By S3's own Date of one answer; where a store tells none, by an object that is made beside it."""
    if hasattr(store, "call_s3"):
        bucket, key, _ = store.split_path(inside)
        answer = store.call_s3("head_object", Bucket=bucket, Key=key)
        now = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        if now is not None:
            seconds = (email.utils.parsedate_to_datetime(now) - answer["LastModified"]).total_seconds()
            return str(answer["ETag"]), seconds
    written = store.modified(inside)
    clock = f"{inside}.clock-{uuid.uuid4().hex[:12]}"
    store.pipe_file(clock, b"")
    try:
        age: datetime.timedelta = store.modified(clock) - written
    finally:
        store.rm_file(clock)
    return "", age.total_seconds()
