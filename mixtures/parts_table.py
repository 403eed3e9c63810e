"""The table of a source's parts: one small record for each, so that a million of them open at once.

The sizes of all files of a part follow from its record, so nothing else has to be listed, or read, before the first
token. Costs 33 bytes a part.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .. import storage
from ..errors import RunError
from ..manifest import OutputFile
from .maps import map_file
from .repair import mending_of

Kind = Literal["part", "held_out"]
Table = npt.NDArray[np.void]

MAX_TOKENS = 2**28  # of a part
PART = np.dtype(
    [
        ("tokens", "<u8"),
        ("documents", "<u8"),
        ("masked", "u1"),  # whether a loss mask stands beside the tokens
        ("documents_bytes", "<u8"),  # size of the documents' Parquet file
        ("first_high", "<u8"),  # upper half of xxh3-128(id) of the first document: parts are ranges of it
    ]
)
TABLES: dict[Kind, str] = {"part": "parts", "held_out": "held_out.parts"}


@dataclass(frozen=True)
class Part:
    """One part: the stem of its files, its tokens and documents, and whether a loss mask stands beside them."""

    stem: str
    tokens: int
    documents: int
    masked: bool


def stem_of(kind: Kind, number: int) -> str:
    """`part-00000`: at least five digits."""
    return f"{kind}-{number:05d}"


class Parts(Sequence[Part]):
    """The parts of a table, made when they are asked for."""

    def __init__(self, kind: Kind, table: Table) -> None:
        self.kind = kind
        self.table = table

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, number: Any) -> Any:
        """Part number i, or the parts of a slice."""
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        row = self.table[number]
        number = int(number) % len(self.table)
        return Part(stem_of(self.kind, number), int(row["tokens"]), int(row["documents"]), bool(row["masked"]))


def open_table(folder: Path, kind: Kind) -> Table:
    """The table of a folder's parts, mapped: PART[parts].

    Raises:
        RunError: it is missing, cut short, or lists a part that cannot be.
    """
    path = folder / TABLES[kind]
    if not path.exists():
        raise RunError("there are no shards: their table is missing", where=str(path), fix=mending_of(path))
    table = map_file(path, PART)
    empty = np.flatnonzero((table["tokens"] == 0) | (table["documents"] == 0) | (table["tokens"] > MAX_TOKENS))
    if len(empty):
        row = table[empty[0]]
        raise RunError(
            "the table lists a part of a size that none has",
            where=f"{path}, part {int(empty[0]):,}",
            seen=f"{int(row['tokens']):,} tokens, {int(row['documents']):,} documents",
            expected=f"1 to {MAX_TOKENS:,} tokens, at least one document",
            fix=mending_of(path),
        )
    return table


def check_sizes(folder: Path, sizes: dict[str, int]) -> None:
    """Compares the sizes of files with what they must be.

    Raises:
        RunError: a file is missing, cut short or grown.
    """
    for name, expected in sizes.items():
        path = folder / name
        try:
            seen = path.stat().st_size
        except FileNotFoundError:
            seen = None
        if seen != expected:
            raise RunError(
                "shard missing" if seen is None else "shard cut short" if seen < expected else "shard grown",
                where=str(path),
                seen="no file" if seen is None else f"{seen:,} bytes",
                expected=f"{expected:,} bytes, as recorded",
                fix=mending_of(path),
            )


def write_table(folder: Path, kind: Kind, records: Table) -> Path:
    """Writes the table of a folder's parts, the last of its files but the manifest; equal records give equal bytes."""
    path = folder / TABLES[kind]
    with storage.atomic_write(path) as stream:
        stream.write(np.ascontiguousarray(records, dtype=PART).tobytes())
    return path


def part_records(kind: Kind, files: Iterable[OutputFile], first_high: Mapping[str, int], itemsize: int) -> Table:
    """The records of parts that were written: PART[parts].

    Args:
        kind: of the parts.
        files: all that was written, of any kind.
        first_high: of each part, by its number in digits.
        itemsize: bytes a token.

    Raises:
        RunError: the files are not those of parts numbered from 0 on.
    """
    table = np.zeros(len(first_high), PART)
    numbers = sorted(map(int, first_high))
    by_name = {file.path: file for file in files}
    for number, high in ((int(key), high) for key, high in first_high.items()):
        stem = stem_of(kind, number)
        missing = [end for end in ("tokens", "ends", "documents.parquet") if f"{stem}.{end}" not in by_name]
        if missing or numbers[-1] != len(numbers) - 1:
            raise RunError(
                f"parts of {kind} were written but not {stem}.{missing[0]}" if missing else "parts have gaps",
                seen=f"parts {numbers[0]} to {numbers[-1]}, {len(numbers)} of them",
                fix="this is a fault of midtrain: please report it",
            )
        tokens, documents = by_name[f"{stem}.tokens"], by_name[f"{stem}.documents.parquet"]
        masked = f"{stem}.loss" in by_name
        table[number] = (tokens.bytes // itemsize, documents.rows, masked, documents.bytes, high)
    return table
