"""The bytes of files against what manifests record of them, and the counts of tokens from the same bytes.

A part of tokens is read once: its hash is taken and what is in it counted block by block, while the block is in the
processor's cache. Costs the disk's time; from page cache several GB a second of one core.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from ... import storage
from ...errors import RunError
from ...mixtures.part_checks import CHECKED, PartCheck
from .vouched import Problem, Vouched, repaired

BLOCK = 4 << 20  # bytes read at a time: whole tokens of either width
ENDINGS = ("ends", "tokens", "loss", "documents.parquet")  # in the order in which a part is looked at

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class PartFound:
    """What a part of tokens came to; `first` and `last` are xxh3-128 of its outer ids."""

    stem: str
    check: PartCheck
    problems: tuple[Problem, ...]
    bytes: int


def blocks(found: Vouched, path: str) -> Iterator[Bytes]:
    """A file of the output, block by block; each is overwritten by the next.

    Raises:
        RunError: the file is gone or cannot be read.
    """
    buffer = np.empty(min(found.records[path].bytes + 1, BLOCK), np.uint8)
    with storage.open_input(str(found.root / path)) as stream:
        while size := stream.readinto(buffer):  # type: ignore[attr-defined]
            yield buffer[:size]


def check_file(found: Vouched, path: str, look: Callable[[Bytes], object] | None = None) -> list[Problem]:
    """Compares a file's hash with its record.

    Args:
        found: the output.
        path: the file's, in it.
        look: is shown every block.
    """
    digest = xxhash.xxh3_128()
    try:
        for block in blocks(found, path):
            digest.update(block.data)
            if look is not None:
                look(block)
    except (RunError, OSError) as error:
        return [Problem(path, f"cannot be read: {error}", fix=repaired(found, path))]
    seen, expected = digest.hexdigest(), found.records[path].hash
    if seen == expected:
        return []
    return [Problem(path, "the file's bytes changed since it was written", seen, expected, repaired(found, path))]


def check_part(found: Vouched, folder: str, stem: str, masked: bool, check: PartCheck) -> PartFound:
    """Compares the files of a part of tokens with their records, and counts what is in them.

    What a file holds is only told of files whose bytes are those that were written: of another, the hash says enough.
    """
    problems: list[Problem] = []
    size = 0
    for ending in ENDINGS:
        path = f"{folder}/{stem}.{ending}"
        if ending == "loss" and not masked:
            continue
        record = found.records.get(path)
        if record is None:
            what = "no manifest lists this file of a part that the table of parts has"
            problems.append(Problem(path, what, fix=repaired(found, path)))
            continue
        if found.listing.get(path) != record.bytes:
            continue  # told when the sizes were compared
        size += record.bytes
        wrong = len(check.wrong)
        problems += check_file(found, path, _looker(check, ending, record.bytes))
        if ending == "tokens" and not problems:
            check.end_of_tokens()
        if problems:
            del check.wrong[wrong:]
    for one in check.wrong:
        path = f"{folder}/{stem}.{one.ending}"
        problems.append(Problem(path, one.what, one.seen, one.expected, repaired(found, path)))
    return PartFound(stem, check, tuple(problems), size)


def _looker(check: PartCheck, ending: str, size: int) -> Callable[[Bytes], object]:
    if ending == "tokens":
        return check.take
    return _Whole(check, ending, size).take


class _Whole:
    """Collects the blocks of a file that is looked at as a whole, and shows it when it is complete."""

    def __init__(self, check: PartCheck, ending: str, size: int) -> None:
        self.check, self.ending = check, ending
        self.data = np.empty(size, np.uint8)
        self.size = 0

    def take(self, block: Bytes) -> None:
        """The next block."""
        block = block[: len(self.data) - self.size]  # the file may have grown meanwhile
        self.data[self.size : self.size + len(block)] = block
        self.size += len(block)
        if self.size == len(self.data):
            self._show()

    def _show(self) -> None:
        if self.ending == "ends":
            self.check.ends(self.data)
        elif self.ending == "loss":
            self.check.loss(self.data)
        else:
            self._show_table()

    def _show_table(self) -> None:
        source: Any = pa.BufferReader(pa.py_buffer(self.data))
        try:
            file = pq.ParquetFile(source)
            seen, table = file.schema_arrow, file.read(columns=list(CHECKED))
        except (pa.ArrowException, OSError) as error:
            raise RunError(f"the table cannot be read: {error}") from None
        self.check.table(table, seen)
