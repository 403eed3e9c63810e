"""What earlier runs learned of input files: `inputs.json`, from a file's place, size and stamp to its hash.

Hashing is the one time that a file is read before the tasks do, so a second run only compares stamps. Costs 100 bytes a
file on disk, one pass over what is new (xxh3, several GB/s), and about 15 µs a new file however small.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from .. import storage
from ..errors import ConfigError, RunError
from ..listing import Listed
from ..remote import THREADS as REMOTE_THREADS

THREADS = 4  # reading and hashing release the interpreter's lock
FOOTER = 1 << 20  # bytes that a request to a store brings beyond what was asked for, where a footer is read
CHUNK_FILES = 256  # of one job of a thread: handing over costs more than a small file
CHUNK_BYTES = 64 << 20
TICK = 20_000_000  # nanoseconds: two writes within a tick of a file system's clock (4 to 10 ms) leave the same stamp
SECONDS_TICK = 2_000_000_000  # where stamps are whole seconds

Entry = list[Any]  # size, stamp, hash, and for what was opened as Parquet the bytes of its row groups


@dataclass(frozen=True)
class Seen:
    """What a file holds: xxh3-128 of its bytes; for Parquet also the decompressed bytes of each row group."""

    hash: str
    row_groups: tuple[int, ...]


class KnownFiles:
    """The record of files, by folder and name.

    Raises:
        ConfigError: the record is damaged.
    """

    def __init__(self, path: storage.Location) -> None:
        self.path = path
        self._folders: dict[str, dict[str, Entry]] = _read(path)
        self._kept: dict[str, dict[str, Entry]] = {}

    def look(self, files: Sequence[tuple[Listed, bool]]) -> list[Seen]:
        """Hash and row groups of each file (asked for where the flag says Parquet); new ones are read.

        Raises:
            RunError: a file is gone, or is no Parquet file.
        """
        places = [listed.real.rpartition("/")[::2] for listed, _ in files]
        nothing: dict[str, Entry] = {}
        unknown: Entry = [-1, "", ""]
        entries = [self._folders.get(folder, nothing).get(name, unknown) for folder, name in places]
        new: dict[tuple[str, str], list[int]] = {}
        for number, ((listed, parquet), entry) in enumerate(zip(files, entries, strict=True)):
            known = listed.stamp and entry[0] == listed.size and entry[1] == listed.stamp
            if not known or (parquet and len(entry) == 3):
                new.setdefault(places[number], []).append(number)
        for numbers, entry in zip(new.values(), _first_looks(files, list(new.values())), strict=True):
            for number in numbers:
                entries[number] = entry
        for (folder, name), entry in zip(places, entries, strict=True):
            self._kept.setdefault(folder, {})[name] = entry
        pairs = zip(entries, files, strict=True)
        return [Seen(entry[2], tuple(entry[3]) if parquet else ()) for entry, (_, parquet) in pairs]

    def save(self) -> None:
        """Writes what was looked at, where it differs from the record.

        Raises:
            ConfigError: it cannot be written.
        """
        if self._kept == self._folders:
            return
        try:
            with storage.atomic_write(self.path) as stream:
                stream.write(orjson.dumps(self._kept, option=orjson.OPT_SORT_KEYS))
        except OSError as error:
            if isinstance(error, FileNotFoundError) and isinstance(self.path, Path) and self.path.parent.is_dir():
                return  # swept by a run that begins beside us, which looks at the same files
            what = f"the record of inputs cannot be written: {error.strerror}"
            fix = "choose another output, or give access to it"
            raise ConfigError(what, where=str(self.path), fix=fix) from None


def _first_looks(files: Sequence[tuple[Listed, bool]], groups: Sequence[Sequence[int]]) -> Iterator[Entry]:
    """The entries of files that are new, each named by its numbers in `files`: it may be wanted as two containers."""
    if not groups:
        return
    jobs = [(files[group[0]][0], any(files[number][1] for number in group)) for group in groups]
    remote = any(storage.is_remote(listed.path) for listed, _ in jobs)  # where a request waits far longer than it works
    with ThreadPoolExecutor(REMOTE_THREADS if remote else THREADS) as threads:
        for chunk in threads.map(lambda chunk: [_first_look(*job) for job in chunk], _chunks(jobs)):
            yield from chunk


def _chunks(jobs: Sequence[tuple[Listed, bool]]) -> Iterator[list[tuple[Listed, bool]]]:
    chunk: list[tuple[Listed, bool]] = []
    held = 0
    for job in jobs:
        chunk.append(job)
        held += job[0].size
        if len(chunk) == CHUNK_FILES or held >= CHUNK_BYTES:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


def _first_look(listed: Listed, parquet: bool) -> Entry:
    if not storage.is_remote(listed.path):
        _outwait(listed.path)
    entry = [listed.size, listed.stamp, storage.hash_file(listed.path)]
    return [*entry, _row_group_sizes(listed.path)] if parquet else entry


def _outwait(path: str) -> None:
    """Waits until whatever is written into a file from now on leaves another stamp than what it holds."""
    try:
        changed = Path(path).stat().st_ctime_ns
    except OSError:  # the hash says so
        return
    left = changed + (TICK if changed % 10**9 else SECONDS_TICK) - time.time_ns()
    if 0 < left <= SECONDS_TICK:  # another machine's clock may be far ahead
        time.sleep(left / 1e9)


def _row_group_sizes(path: str) -> list[int]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with storage.open_ranges(path, FOOTER) as stream:
            metadata = pq.ParquetFile(stream).metadata
            return [metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)]
    except (pa.ArrowInvalid, OSError) as error:
        raise RunError(f"is not a Parquet file: {error}", where=path, fix="remove or replace the file") from None


def _read(path: storage.Location) -> dict[str, dict[str, Entry]]:
    content = storage.read_if_there(path)
    if content is None:
        return {}
    try:
        folders = orjson.loads(content)
        if all(_right(entry) for names in folders.values() for entry in names.values()):
            return dict(folders)
    except (orjson.JSONDecodeError, AttributeError):
        pass
    raise ConfigError("is not the record of inputs that it should be", where=str(path), fix="remove it")


def _right(entry: object) -> bool:
    return isinstance(entry, list) and len(entry) in (3, 4) and isinstance(entry[2], str)
