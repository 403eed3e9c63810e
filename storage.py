"""Files, local or remote: streaming decompression, random access, atomic writes.

Every reader and writer goes through these few functions, so that a crash never leaves a half-written file under its
final name and a path may be local or any fsspec address. Costs one rename and one fsync a file (or one upload);
decompression runs in C (isal for gzip, about three times zlib; Arrow's zstandard, which tells a stream cut short).
"""

import contextlib
import io
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from .errors import RunError
from .remote import RemotePath

Location = Path | RemotePath  # a file or a folder, on this machine or in a store

COMPRESSIONS = (".gz", ".zst")


def is_remote(path: str) -> bool:
    """Whether a path is an fsspec address (`s3://…`) and not a local path."""
    return "://" in path


def location(path: str | Location) -> Location:
    """A path as something to join names to: the one place that tells local from remote.

    `Path` itself would make a folder called `s3:` of an address.
    """
    if not isinstance(path, str):
        return path
    return RemotePath(path.rstrip("/")) if is_remote(path) else Path(path)


def open_input(path: str) -> BinaryIO:
    """Opens a file for reading as it lies, compressed or not.

    Raises:
        RunError: the file is gone or cannot be read.
    """
    try:
        if is_remote(path):
            from .remote_files import AHEAD, RemoteReader

            return cast(BinaryIO, io.BufferedReader(RemoteReader(path, AHEAD), 1 << 20))
        return open(path, "rb")
    except OSError as error:
        raise _cannot_be_opened(path, error) from None


def open_ranges(path: str | Location, ahead: int) -> BinaryIO:
    """Opens a file that is read here and there, its footer first.

    Args:
        path: the file.
        ahead: bytes that a request to a store brings beyond what was asked for; on this machine nothing is.

    Raises:
        RunError: the file is gone or cannot be read.
    """
    try:
        if is_remote(str(path)):
            from .remote_files import RemoteReader

            return cast(BinaryIO, RemoteReader(str(path), ahead, tail=True))
        return open(str(path), "rb")
    except OSError as error:
        raise _cannot_be_opened(str(path), error) from None


def _cannot_be_opened(path: str, error: OSError) -> RunError:
    return RunError(f"cannot be opened: {error.strerror or error}", where=path)


def open_stream(path: str) -> BinaryIO:
    """Opens a file as a stream of decompressed bytes, by its ending: `.gz`, `.zst`, `.lz4` (our own), or as it lies."""
    raw = open_input(path)
    if path.endswith(".gz"):
        from isal import igzip

        stream = igzip.open(raw, "rb")  # type: ignore[no-untyped-call]
        stream.myfileobj = raw  # gzip's own name for the file that it closes with itself
        return cast(BinaryIO, stream)
    if path.endswith((".zst", ".lz4")):
        import pyarrow as pa

        codec = "zstd" if path.endswith(".zst") else "lz4"
        return cast(BinaryIO, pa.CompressedInputStream(pa.PythonFile(raw, "r"), codec))
    return raw


def decompression_errors() -> tuple[type[Exception], ...]:
    """What a clipped or damaged compressed stream raises while it is read."""
    import zlib

    from isal import isal_zlib

    return (EOFError, OSError, zlib.error, cast(type[Exception], isal_zlib.error))


class OutputStream(io.BufferedWriter):
    """A file that is being written; it knows size and hash of what it will publish."""

    def __init__(self, path: str) -> None:
        super().__init__(io.FileIO(path, "wb"))
        self._path = path

    def measured(self) -> tuple[int, str]:
        """Bytes so far and their xxh3-128, from this machine's file: nothing is read back from a store."""
        self.flush()
        return Path(self._path).stat().st_size, hash_file(self._path)


@contextlib.contextmanager
def atomic_write(path: str | Location) -> Iterator[OutputStream]:
    """A binary file that appears under its name only when it is complete.

    The bytes go to a hidden name beside it (for a remote file, to this machine's temporary folder), are flushed to the
    disk, and the file is renamed (uploaded). If the block raises, or the process dies, nothing stands under the final
    name.

    Raises:
        RunError: the store failed again and again.
    """
    if is_remote(str(path)):
        from .remote_files import upload

        with tempfile.TemporaryDirectory(prefix="midtrain-") as folder:
            local = f"{folder}/{str(path).rpartition('/')[2]}"
            with OutputStream(local) as stream:
                yield stream
            upload(local, str(path))
        return
    final = Path(str(path))
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".{final.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        with OutputStream(str(temporary)) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(final)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_bytes(path: str | Location) -> bytes:
    """The whole file as it lies.

    Raises:
        RunError: the file is gone or cannot be read.
    """
    found = read_if_there(path)
    if found is None:
        raise RunError("cannot be opened: No such file or directory", where=str(path))
    return found


def read_if_there(path: str | Location) -> bytes | None:
    """The whole file as it lies, None where there is none; one request to a store.

    Raises:
        RunError: the file cannot be read.
    """
    try:
        if is_remote(str(path)):
            from . import remote_files

            return remote_files.read_bytes(str(path))
        return Path(str(path)).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _cannot_be_opened(str(path), error) from None


def read_all(paths: Sequence[Location]) -> list[bytes]:
    """Files that are there, in their order; from a store many at a time.

    Raises:
        RunError: one cannot be read.
    """
    if paths and is_remote(str(paths[0])):
        from . import remote_files

        try:
            return remote_files.read_all([str(path) for path in paths])
        except FileNotFoundError as error:
            raise _cannot_be_opened(str(error.filename), error) from None
    return [read_bytes(path) for path in paths]


def hash_file(path: str | Location) -> str:
    """xxh3-128 of the file's bytes as they lie, in hexadecimal."""
    import xxhash

    state = xxhash.xxh3_128()
    size = 64 << 10  # a small file is not worth a large buffer
    with open_input(str(path)) as stream:
        while block := stream.read(size):
            state.update(block)
            size = 4 << 20
    return state.hexdigest()


def exists(path: str | Location) -> bool:
    """Whether a file or folder stands at the path."""
    if is_remote(str(path)):
        from . import remote_files

        return remote_files.exists(str(path))
    return Path(str(path)).exists()


def names(folder: Location) -> list[str]:
    """The names of files and folders directly in a folder, sorted; none where there is no such folder."""
    if isinstance(folder, RemotePath):
        from . import remote_files

        return remote_files.names(str(folder))
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def make_folder(folder: Location) -> None:
    """Makes a folder and those above it; a store has none to make."""
    if isinstance(folder, Path):
        folder.mkdir(parents=True, exist_ok=True)


def remove(path: Location) -> None:
    """Removes a file; one that is not there is fine."""
    if isinstance(path, Path):
        path.unlink(missing_ok=True)
        return
    from . import remote_files

    remote_files.remove(str(path))


def remove_tree(path: str | Location) -> None:
    """Removes a folder of our own making and all below it; a folder that is not there is fine."""
    if is_remote(str(path)):
        from . import remote_files

        remote_files.remove_tree(str(path))
        return
    shutil.rmtree(str(path), ignore_errors=True)


def sweep_temporary(folder: str | Location) -> None:
    """Removes what killed processes left of their atomic writes below a folder; in a store they leave nothing."""
    if is_remote(str(folder)):
        return
    for place, folders, files in os.walk(str(folder)):  # which passes over what a dying process removes meanwhile
        for name in folders.copy():
            if _is_temporary(name):
                shutil.rmtree(Path(place, name), ignore_errors=True)
                folders.remove(name)
        for name in filter(_is_temporary, files):
            Path(place, name).unlink(missing_ok=True)


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(".tmp")


def bytes_below(folder: Path) -> int:
    """Bytes of all files below a local folder, in which others may write, rename and remove meanwhile."""
    size = 0
    for place, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                size += Path(place, name).stat().st_size
    return size
