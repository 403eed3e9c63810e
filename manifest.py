"""Fingerprints and manifests: what a stage is, and the proof that it is done.

A stage's folder is named by the fingerprint of all that its result depends on, and its manifest is written last, so a
manifest that exists means that every file it lists is complete. Costs one hash pass over each output file.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson
import xxhash

from . import storage
from .errors import RunError
from .remote import RemotePath
from .storage import Location, OutputStream

NAME = "manifest.json"


def fingerprint(value: object) -> str:
    """xxh3-128 of a value's canonical JSON (sorted keys, UTF-8), in hexadecimal: 32 characters."""
    return xxhash.xxh3_128_hexdigest(canonical(value))


def canonical(value: object) -> bytes:
    """The value as JSON with sorted keys and no white space.

    Raises:
        TypeError: the value holds something that JSON cannot.
    """
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


@dataclass(frozen=True)
class OutputFile:
    """One file that a manifest vouches for: path relative to the manifest's folder, rows, bytes, xxh3-128.

    `source` names the source that all of its rows come from, where there is one.
    """

    path: str
    rows: int
    bytes: int
    hash: str
    source: str = ""

    @classmethod
    def of(cls, folder: str | Path, path: str, rows: int, source: str = "") -> "OutputFile":
        """The entry of a file of this machine that has just been written."""
        file = Path(folder) / path
        return cls(path, rows, file.stat().st_size, storage.hash_file(file), source)

    @classmethod
    def written(cls, path: str, stream: OutputStream, rows: int, source: str = "") -> "OutputFile":
        """The entry of a file whose bytes are complete but not yet published: read before they leave this machine."""
        size, digest = stream.measured()
        return cls(path, rows, size, digest, source)


@dataclass(frozen=True)
class Manifest:
    """What a stage produced. Holds no times, hosts or absolute paths: equal work gives equal bytes."""

    stage: str
    version: int
    fingerprint: str
    options: dict[str, Any] = field(default_factory=dict)
    parents: tuple[str, ...] = ()
    files: tuple[OutputFile, ...] = ()
    counts: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: str | Location) -> None:
        """Writes `manifest.json` into the folder, atomically."""
        with storage.atomic_write(storage.location(folder) / NAME) as stream:
            stream.write(orjson.dumps(asdict(self), option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2) + b"\n")

    @classmethod
    def read(cls, folder: str | Location) -> "Manifest":
        """Reads the manifest of a folder.

        Raises:
            RunError: there is none, or it is not one of ours.
        """
        path = storage.location(folder) / NAME
        return cls._parse(storage.read_bytes(path), path)

    @classmethod
    def find(cls, folder: str | Location) -> "Manifest | None":
        """The manifest of a folder, None where the folder has none yet."""
        path = storage.location(folder) / NAME
        data = storage.read_if_there(path)
        return None if data is None else cls._parse(data, path)

    @classmethod
    def _parse(cls, data: bytes, path: Location) -> "Manifest":
        try:
            content = orjson.loads(data)
            files = tuple(OutputFile(**entry) for entry in content.pop("files"))
            return cls(files=files, parents=tuple(content.pop("parents")), **content)
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            raise RunError("is not a manifest", where=str(path), fix="build the folder again") from None

    def check_sizes(self, folder: str | Location) -> None:
        """Compares the size of every listed file with the record; those in a store were whole when they appeared.

        Raises:
            RunError: a file is missing, cut short or longer than it was written.
        """
        folder = storage.location(folder)
        if isinstance(folder, RemotePath):
            return
        for entry in self.files:
            path = Path(folder) / entry.path
            size = path.stat().st_size if path.exists() else None
            if size != entry.bytes:
                raise RunError(
                    "the file is missing" if size is None else "the file was cut short or changed",
                    where=str(path),
                    seen="no file" if size is None else f"{size:,} bytes",
                    expected=f"{entry.bytes:,} bytes, as {NAME} records",
                    fix=f"remove {folder} and run again: the stage is made anew",
                )

    def check_hashes(self, folder: str | Location) -> None:
        """Compares size and hash of every listed file with the record.

        Raises:
            RunError: naming the first file that differs.
        """
        self.check_sizes(folder)
        for entry in self.files:
            seen = storage.hash_file(storage.location(folder) / entry.path)
            if seen != entry.hash:
                raise RunError(
                    "the file's bytes changed since it was written",
                    where=str(storage.location(folder) / entry.path),
                    seen=seen,
                    expected=entry.hash,
                    fix=f"remove {folder} and run again: the stage is made anew",
                )
