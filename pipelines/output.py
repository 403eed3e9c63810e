"""An output folder: one result at a time, replaced only when asked to.

The folder's `manifest.json` is written last, so it stands only beside a complete result; a run that kept nothing leaves
`empty.json`, which tells what became of its documents and which nothing can be built from. A run holds a lock on the
folder, which the system takes back when the process ends however it ends (a store: a minute later). Costs a listing of
the folder when opened.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .. import locks, storage
from ..errors import ConfigError
from ..manifest import EMPTY, NAME, Manifest
from ..progress import Events
from ..remote import RemotePath
from ..storage import Location

EVENTS = "events.jsonl"
FOLDERS = ("stages", "tokens", "packs", "order", "history")  # all that stages and plans write below an output
HALF_WRITTEN = ".*.json." + "[0-9a-f]" * 12 + ".tmp"  # beside them: of manifest, table and inputs


@dataclass
class Output:
    """The folder of one verb's result.

    Args:
        folder: where it is.
        verb: `curate` or `build`: what the manifest must be of.
        lock: held while it is open.
    """

    folder: Location
    verb: str
    lock: locks.Lock | None = None

    @contextlib.contextmanager
    def opened(self) -> Iterator[Events]:
        """Makes the folder, and keeps other runs out of it for the block; what killed runs half wrote is removed.

        Yields:
            Where the run's events go.

        Raises:
            ConfigError: a file stands in its place, or it cannot be written; of a store: no bucket, or no access.
            RunError: another run is at work in it, or took it over while this one was not heard of.
        """
        with contextlib.ExitStack() as stack:
            try:
                storage.make_folder(self.folder)
                self.lock = stack.enter_context(locks.locked(self.folder))
            except OSError as error:
                raise ConfigError(
                    f"the output folder cannot be made: {error.strerror}",
                    where=str(self.folder),
                    fix="choose another output",
                ) from None
            self._sweep()
            yield stack.enter_context(self._events(self.lock))

    @contextlib.contextmanager
    def _events(self, lock: locks.Lock) -> Iterator[Events]:
        if not isinstance(self.folder, RemotePath):
            yield Events(self.folder / EVENTS)
            return
        from .. import remote_events

        with remote_events.collected(self.folder, lock.still_held) as events:
            yield events

    def _sweep(self) -> None:
        """The folder may hold more than ours: only what our writes leave, where they leave it, is removed."""
        if not isinstance(self.folder, Path):
            return
        for leftover in self.folder.glob(HALF_WRITTEN):
            leftover.unlink(missing_ok=True)
        for name in FOLDERS:
            storage.sweep_temporary(self.folder / name)

    def record(self, name: str, text: str, given: str) -> None:
        """Writes the resolved configuration beside the result, unless it was read from that very file.

        Args:
            name: the record's.
            text: the configuration with every default written out.
            given: the file that it was read from: a person's own, where it lies in the output folder.
        """
        target = self.folder / name
        if isinstance(target, RemotePath):
            with storage.atomic_write(target) as stream:
                stream.write(text.encode())
        elif not (target.exists() and Path(given).exists() and target.samefile(given)):
            target.write_text(text, encoding="utf-8")

    def claim(self, fingerprint: str, overwrite: bool) -> Manifest | None:
        """Makes sure that the folder is free, or holds this very result, or may be overwritten.

        What an earlier run without a result told is removed.

        Returns:
            What stands there: this very result, or another that may be overwritten; it stands on.

        Raises:
            ConfigError: another result stands in it.
        """
        found = Manifest.find(self.folder)
        if found is None or found.fingerprint == fingerprint:
            storage.remove(self.folder / EMPTY)
            return found
        if found.stage != self.verb or not overwrite:
            raise ConfigError(
                f"the folder holds another result of {found.stage}: its options or inputs were different",
                where=str(self.folder),
                seen=found.fingerprint,
                expected=fingerprint,
                fix="choose another output"
                + (
                    ", or pass --overwrite (what is still right is kept); midtrain plan --why says what changed"
                    if found.stage == self.verb
                    else ""
                ),
            )
        return found

    def withdraw(self, fingerprint: str) -> None:
        """Removes the manifest of another result, of which the next one leaves no more than parts."""
        found = Manifest.find(self.folder)
        if found is not None and found.fingerprint != fingerprint:
            storage.remove(self.folder / NAME)

    def publish(self, manifest: Manifest) -> None:
        """Writes the manifest, unless the same bytes stand there already.

        Raises:
            RunError: another run has taken the folder over.
        """
        self._write(manifest, NAME)

    def tell_empty(self, manifest: Manifest) -> None:
        """Writes what became of all documents of a run that kept none; it is no result.

        Raises:
            RunError: another run has taken the folder over.
        """
        self._write(manifest, EMPTY)

    def _write(self, manifest: Manifest, name: str) -> None:
        if Manifest.find(self.folder, name) == manifest:
            return
        if self.lock is not None:
            self.lock.check()
        manifest.write(self.folder, name)
