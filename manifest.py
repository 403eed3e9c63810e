"""Fingerprints and manifests: what a stage is, and the proof that it is done.

A stage's folder is named by the fingerprint of all that its result depends on, and its manifest is written last, so a
manifest that exists means that every file it lists is complete. Costs one hash pass over each output file.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import xxhash

from . import storage
from .errors import RunError
from .remote import RemotePath
from .storage import Location, OutputStream

NAME = "manifest.json"
EMPTY = "empty.json"  # in its place where nothing came of the work: tells of it, and is no result
REPAIR = "bring the file back from a copy, or remove it and run what wrote it again"
RESULTS = ("build", "curate")  # stages whose manifests are those of a whole output
_SEAL = b'{\n  "seal": "'  # how a manifest begins: 32 digits follow, then the rest
_DIGITS = 32


def fingerprint(value: object) -> str:
    """xxh3-128 of a value's canonical JSON (sorted keys, UTF-8), in hexadecimal: 32 characters."""
    return xxhash.xxh3_128_hexdigest(canonical(value))


def canonical(value: object) -> bytes:
    """The value as JSON with sorted keys and no white space.

    Raises:
        TypeError: the value holds something that JSON cannot.
    """
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def unit_of(path: str) -> str:
    """What is made anew with a file of an output: the folder of its stage, `tokens/web-0123456789abcdef`, or itself."""
    top, _, below = path.partition("/")
    name, inside, _ = below.partition("/")
    return f"{top}/{name}" if inside else path


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
    """What a stage produced. Holds no times, hosts or absolute paths: equal work gives equal bytes.

    Its file begins with a seal, the xxh3-128 of all that stands behind it: no byte of it changes unseen.
    """

    stage: str
    version: int
    fingerprint: str
    options: dict[str, Any] = field(default_factory=dict)
    parents: tuple[str, ...] = ()
    files: tuple[OutputFile, ...] = ()
    counts: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: str | Location, name: str = NAME) -> None:
        """Writes `manifest.json` into the folder, atomically."""
        with storage.atomic_write(storage.location(folder) / name) as stream:
            stream.write(self.rendered())

    def rendered(self) -> bytes:
        """The bytes of its file: sorted keys, the seal in front."""
        rest = orjson.dumps(self, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2)[1:] + b"\n"
        return _SEAL + xxhash.xxh3_128_hexdigest(rest).encode() + b'",' + rest

    @classmethod
    def read(cls, folder: str | Location) -> "Manifest":
        """Reads the manifest of a folder.

        Raises:
            RunError: there is none, or it is not one of ours.
        """
        path = storage.location(folder) / NAME
        return cls.parse(storage.read_bytes(path), path)

    @classmethod
    def find(cls, folder: str | Location, name: str = NAME, fix: str = REPAIR) -> "Manifest | None":
        """The manifest of a folder, None where the folder has none yet; `fix` as for `parse`."""
        path = storage.location(folder) / name
        data = storage.read_if_there(path)
        return None if data is None else cls.parse(data, path, fix)

    @classmethod
    def parse(cls, data: bytes, path: Location, fix: str = REPAIR) -> "Manifest":
        """The manifest that a file's bytes hold.

        Args:
            data: the bytes.
            path: the file, for errors.
            fix: what to do about one that is damaged.

        Raises:
            RunError: it is none of ours, or its bytes are not those that were written.
        """
        seal, rest = data[len(_SEAL) : len(_SEAL) + _DIGITS], data[len(_SEAL) + _DIGITS :]
        if not data.startswith(_SEAL):
            raise RunError("is not a manifest", where=str(path), seen=f"{len(data):,} bytes without a seal", fix=fix)
        seen = xxhash.xxh3_128_hexdigest(rest[2:])
        if seen.encode() != seal or not rest.startswith(b'",'):
            raise RunError(
                "the manifest's bytes changed since it was written",
                where=str(path),
                seen=seen,
                expected=f"{seal.decode(errors='replace')}, its seal",
                fix=fix,
            )
        try:
            content = orjson.loads(data)
            del content["seal"]
            files = tuple(OutputFile(**entry) for entry in content.pop("files"))
            return cls(files=files, parents=tuple(content.pop("parents")), **content)
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise RunError("is not a manifest", where=str(path), fix=fix) from None

    def mending(self, folder: str | Location, path: str) -> str:
        """What brings back a file that it lists: of a stage the whole of it, of a result the stage or file alone.

        Args:
            folder: the manifest's.
            path: the file's, relative to the folder.
        """
        if self.stage not in RESULTS:
            return f"remove {folder} and run again: the stage is made anew"
        unit = unit_of(path)
        both = unit if unit == NAME else f"{unit} and {NAME}"
        command = f"run midtrain {self.stage} again"
        if self.options.get("history"):
            command = "run midtrain build of the mixture that was extended, then midtrain extend again"
        return f"remove {both} below {folder}, and {command}: what is whole is kept"

    def check_sizes(self, folder: str | Location, fix: str = "") -> None:
        """Compares the size of every listed file with the record; those in a store were whole when they appeared.

        Args:
            folder: the manifest's.
            fix: what to do where one differs; without it, as `mending`.

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
                    fix=fix or self.mending(folder, entry.path),
                )

    def check_hashes(self, folder: str | Location, fix: str = "") -> None:
        """Compares size and hash of every listed file with the record; arguments as for `check_sizes`.

        Raises:
            RunError: naming the first file that differs.
        """
        self.check_sizes(folder, fix)
        for entry in self.files:
            seen = storage.hash_file(storage.location(folder) / entry.path)
            if seen != entry.hash:
                raise RunError(
                    "the file's bytes changed since it was written",
                    where=str(storage.location(folder) / entry.path),
                    seen=seen,
                    expected=entry.hash,
                    fix=fix or self.mending(folder, entry.path),
                )
