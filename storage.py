"""Files, local or remote: listing, streaming decompression, atomic writes.

Every reader and writer goes through these few functions, so that a crash never leaves a half-written file under its
final name and a path may be local or any fsspec address. Costs one rename and one fsync a file; decompression runs in
C (isal for gzip, about three times zlib; Arrow's zstandard, which tells a stream that was cut short).
"""

import contextlib
import fcntl
import fnmatch
import glob
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from .errors import ConfigError, RunError

COMPRESSIONS = (".gz", ".zst")
LOCK = ".lock"
ASK_AGAIN = (0.05, 0.1, 0.2)  # seconds


@dataclass(frozen=True)
class Listed:
    """A file as a listing shows it: address, size in bytes, and a stamp that changes when the file does.

    `relative` is the path below the folder above the pattern's first wildcard; `/` parts it. `real` is where the file
    lies when all links are followed.
    """

    path: str
    size: int
    stamp: str
    relative: str
    real: str


def is_remote(path: str) -> bool:
    """Whether a path is an fsspec address (`s3://…`) and not a local path."""
    return "://" in path


def list_files(pattern: str) -> list[Listed]:
    """The files that a path or glob names, sorted by path; an empty list where there is none.

    Raises:
        ConfigError: a link that the pattern names leads nowhere, or there is no reader for such an address.
    """
    if is_remote(pattern):
        filesystem, inside = _filesystem(pattern)
        found = filesystem.glob(inside, detail=True) if glob.has_magic(inside) else _one(filesystem, inside)
        listed = [
            Listed(address, int(info["size"]), _stamp(info), _below(name, glob_root(inside)), address)
            for name, info in found.items()
            if info["type"] == "file" and (address := filesystem.unstrip_protocol(name))
        ]
    elif Path(pattern).is_file() or not glob.has_magic(pattern):
        listed = _single(pattern)
    else:
        listed = list(_below_pattern(pattern))
    return sorted(listed, key=lambda entry: entry.path)


def _single(path: str) -> list[Listed]:
    _check_link(path)
    if not Path(path).is_file():
        return []
    status = Path(path).stat()
    below = path.rpartition("/")[2]
    return [Listed(path, status.st_size, str(status.st_mtime_ns), below, os.path.realpath(path))]


def _below_pattern(pattern: str) -> Iterator[Listed]:
    """The local files that a glob names; each folder is read once, which tells what its entries are without a stat."""
    above, _, name = pattern.rpartition("/")
    root = glob_root(pattern)
    if name == "**":  # folders at every depth and what is in them
        above, name = pattern, "*"
    folders = [above or pattern[: pattern.startswith("/")]]
    if glob.has_magic(above):
        here = [""] if above.startswith("**") else []  # which glob leaves out
        folders = list(dict.fromkeys([*here, *glob.iglob(f"{above}/", recursive=True)]))
    matches = re.compile(fnmatch.translate(name)).match
    hidden = name.startswith(".")
    for folder in folders:
        yield from _scan(folder, lambda entry: (hidden or entry[0] != ".") and bool(matches(entry)), root)


def _scan(folder: str, wanted: Callable[[str], bool], root: str) -> Iterator[Listed]:
    """The files of one local folder whose names are wanted."""
    above = folder if not folder or folder.endswith("/") else f"{folder}/"
    real = os.path.realpath(folder or ".").rstrip("/")
    try:
        entries = os.scandir(folder or ".")
    except (FileNotFoundError, NotADirectoryError):
        return
    except PermissionError as error:
        raise ConfigError(f"the folder cannot be read: {error.strerror}", where=folder, fix="give access") from None
    with entries:
        for entry in entries:
            if not wanted(entry.name):
                continue
            path = f"{above}{entry.name}"
            if linked := entry.is_symlink():
                _check_link(path)
            if entry.is_file():
                status = entry.stat()
                lies = os.path.realpath(path) if linked else f"{real}/{entry.name}"
                yield Listed(path, status.st_size, str(status.st_mtime_ns), _below(path, root), lies)


def _check_link(path: str) -> None:
    if Path(path).is_symlink() and not Path(path).exists():
        raise ConfigError("the link leads nowhere", where=path, seen=Path(path).readlink(), fix="mend or remove it")


def glob_root(pattern: str) -> str:
    """The folder above the first wildcard, below which the relative paths of a source's files are taken."""
    parts = pattern.split("/")
    fixed = []
    for part in parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return "/".join(fixed)


def _below(path: str, root: str) -> str:
    return path.removeprefix(root).lstrip("/")


def open_input(path: str) -> BinaryIO:
    """Opens a file for reading as it lies, compressed or not.

    Raises:
        RunError: the file is gone or cannot be read.
    """
    try:
        if is_remote(path):
            filesystem, inside = _filesystem(path)
            return cast(BinaryIO, filesystem.open(inside, "rb"))
        return open(path, "rb")
    except OSError as error:
        raise RunError(f"cannot be opened: {error.strerror or error}", where=path) from None


def open_stream(path: str) -> BinaryIO:
    """Opens a file as a stream of decompressed bytes, by its ending: `.gz`, `.zst`, or as it lies."""
    raw = open_input(path)
    if path.endswith(".gz"):
        from isal import igzip

        stream = igzip.open(raw, "rb")  # type: ignore[no-untyped-call]
        stream.myfileobj = raw  # gzip's own name for the file that it closes with itself
        return cast(BinaryIO, stream)
    if path.endswith(".zst"):
        import pyarrow as pa

        return cast(BinaryIO, pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd"))
    return raw


def decompression_errors() -> tuple[type[Exception], ...]:
    """What a clipped or damaged compressed stream raises while it is read."""
    import zlib

    from isal import isal_zlib

    return (EOFError, OSError, zlib.error, cast(type[Exception], isal_zlib.error))


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """A binary file that appears under its name only when it is complete.

    The bytes go to a hidden name beside it (for a remote file, to this machine's temporary folder), are flushed to the
    disk, and the file is renamed (uploaded). If the block raises, or the process dies, nothing stands under the final
    name.
    """
    target = str(path)
    if is_remote(target):
        filesystem, inside = _filesystem(target)
        with tempfile.NamedTemporaryFile(prefix="midtrain-") as local:  # a remote file is published when it closes,
            yield cast(BinaryIO, local)  # also after an error, so it is opened when all bytes are there
            local.flush()
            filesystem.put_file(local.name, inside)
        return
    final = Path(target)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".{final.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        with open(temporary, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(final)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_bytes(path: str | Path) -> bytes:
    """The whole file as it lies.

    Raises:
        RunError: the file is gone or cannot be read.
    """
    with open_input(str(path)) as stream:
        return stream.read()


def hash_file(path: str | Path) -> str:
    """xxh3-128 of the file's bytes as they lie, in hexadecimal."""
    import xxhash

    state = xxhash.xxh3_128()
    size = 64 << 10  # a small file is not worth a large buffer
    with open_input(str(path)) as stream:
        while block := stream.read(size):
            state.update(block)
            size = 4 << 20
    return state.hexdigest()


def exists(path: str | Path) -> bool:
    """Whether a file or folder stands at the path."""
    if is_remote(str(path)):
        filesystem, inside = _filesystem(str(path))
        return bool(filesystem.exists(inside))
    return Path(path).exists()


def remove_tree(path: str | Path) -> None:
    """Removes a folder of our own making and all below it; a folder that is not there is fine."""
    if is_remote(str(path)):
        filesystem, inside = _filesystem(str(path))
        if filesystem.exists(inside):
            filesystem.rm(inside, recursive=True)
        return
    shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other runs out of a local folder for the block; the system takes the lock back however the process ends.

    Raises:
        RunError: another run is at work in it.
        OSError: the folder is not there or must not be written.
    """
    with open(folder / LOCK, "ab") as lock:
        if not _taken(lock):
            raise RunError("another run is at work in the output folder", where=str(folder), fix="wait until it ends")
        yield


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


def sweep_temporary(folder: str | Path) -> None:
    """Removes what killed processes left of their atomic writes below a folder."""
    for leftover in Path(folder).rglob(".*.tmp"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _filesystem(path: str) -> tuple[Any, str]:
    import fsspec

    try:
        return cast(tuple[Any, str], fsspec.core.url_to_fs(path))
    except (ImportError, ValueError) as error:
        raise ConfigError(f"no reader for this address: {error}", where=path) from None


def _one(filesystem: Any, inside: str) -> dict[str, Any]:
    return {inside: filesystem.info(inside)} if filesystem.isfile(inside) else {}


def _stamp(info: dict[str, Any]) -> str:
    for key in ("ETag", "etag", "LastModified", "mtime", "created"):
        if key in info:
            return str(info[key])
    return ""
