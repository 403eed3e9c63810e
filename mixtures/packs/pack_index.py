"""Pack indexes, reading side: which spans of which documents make a sequence, for any number of sequences.

A source is packed part by part, so that one of any size is packed in bounded memory and opened at once; sequences are
numbered through the parts. An index is either computed from the ends of documents (`chunk_index.py`) or lies in files
(here). Costs 72 bytes a part, 20 a span and 8 a sequence of disk, and two maps of each part that is looked into.

All little-endian, in `OUT/packs/<source>-<length>-<policy>-<fingerprint>/`:

    parts                 PACK_PART, a record for each part of the tokens
    part-00000.spans      SPAN, the spans of the part's sequences, one sequence behind the other
    part-00000.sequences  uint64, each sequence's exclusive end among the part's spans
"""

from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ...errors import RunError
from ..maps import MAPPED, map_file, owners
from ..parts_table import check_sizes, stem_of
from ..repair import mending_of
from ..shards import CHECKED_PARTS
from .packing import SPAN, Int64s, Spans, UInt64s

PACK_PART = np.dtype(
    [
        ("sequences", "<u8"),
        ("spans", "<u8"),
        ("tokens", "<u8"),  # that are not padding
        ("dropped_documents", "<u8"),  # longer than a sequence
        ("dropped_tokens", "<u8"),
        ("cut_documents", "<u8"),  # whose tokens lie in more than one sequence
        ("trimmed_documents", "<u8"),  # that stand without a part of their reasoning
        ("trimmed_tokens", "<u8"),  # of these, that are left out
        ("kept_reasoning", "<f8"),  # over these, the sum of the shares of their reasoning that stand
    ]
)
PACK_TABLE = "parts"


class Totals(NamedTuple):
    """What became of all tokens that an index was made of: `tokens` stand in its sequences, the rest is lost."""

    sequences: int
    tokens: int
    dropped_documents: int  # longer than a sequence
    dropped_tokens: int
    trimmed_documents: int = 0  # that stand without a part of their reasoning
    trimmed_tokens: int = 0
    kept_reasoning: float = 0.0  # over these, the sum of the shares of their reasoning that stand

    @property
    def accounted(self) -> int:
        """All tokens that came in."""
        return self.tokens + self.dropped_tokens + self.trimmed_tokens


class PackIndex(ABC):
    """The sequences of a source, numbered through its parts.

    Attributes:
        sequence_length: tokens that a sequence holds, padding included.
        part_sequences: uint64[parts + 1], how many sequences stand before each part; the last is their number.
    """

    sequence_length: int
    part_sequences: UInt64s

    @property
    def sequences(self) -> int:
        """How many there are."""
        return int(self.part_sequences[-1])

    def __len__(self) -> int:
        return self.sequences

    def sequence(self, index: int) -> Spans:
        """The spans of one sequence in the order in which they stand in it: SPAN[m].

        Raises:
            IndexError: there is no such sequence.
            RunError: the files behind it are damaged.
        """
        part, number = self._located(np.array([index]))
        return self._sequence(int(part[0]), int(number[0]))

    @abstractmethod
    def _sequence(self, part: int, number: int) -> Spans:
        """The spans of a part's sequence."""

    @abstractmethod
    def tokens_of(self, indices: Int64s) -> Int64s:
        """How many tokens of these sequences are not padding: int64[n] for int64[n]."""

    @abstractmethod
    def spans_of_part(self, part: int) -> tuple[Spans, UInt64s]:
        """A part's sequences: SPAN[m], and uint64[n] exclusive ends into them."""

    @property
    @abstractmethod
    def totals(self) -> Totals:
        """What became of all tokens; from the tables alone."""

    @abstractmethod
    def cut_documents(self) -> int:
        """How many documents have tokens in more than one sequence; looks at all parts."""

    def _located(self, indices: Int64s) -> tuple[Int64s, Int64s]:
        """Part and number within the part of each sequence."""
        if indices.size and not 0 <= indices.min() <= indices.max() < self.sequences:
            raise IndexError(f"sequences {indices.min()} to {indices.max()} of {self.sequences} in {self}")
        starts = self._starts
        part = np.searchsorted(starts, indices, side="right") - 1
        return part, indices - starts[part]

    @cached_property
    def _starts(self) -> Int64s:
        return self.part_sequences.astype(np.int64)


class PackedIndex(PackIndex):
    """A packing on disk. Open it with `PackedIndex.open`."""

    def __init__(self, folder: Path, sequence_length: int, table: npt.NDArray[np.void]) -> None:
        self.folder = folder
        self.sequence_length = sequence_length
        self.table = table
        self.part_sequences = np.concatenate([np.zeros(1, np.uint64), np.cumsum(table["sequences"], dtype=np.uint64)])
        self._owner = next(owners)
        self._checked_at_open = len(table) <= CHECKED_PARTS

    def __repr__(self) -> str:
        return str(self.folder)

    @classmethod
    def open(cls, folder: str | Path, sequence_length: int) -> "PackedIndex":
        """Opens an index.

        Args:
            folder: where its files lie.
            sequence_length: of its sequences, in tokens.

        Raises:
            RunError: there is none, it is not of this length, or a file was cut short or changed its size.
        """
        path = Path(folder) / PACK_TABLE
        found = cls(Path(folder), sequence_length, map_file(path, PACK_PART))
        most = int(found.table["tokens"].sum())
        if most > found.sequences * sequence_length:
            raise RunError(
                "the pack index is not of this sequence length",
                where=str(path),
                seen=f"{most:,} tokens in {found.sequences:,} sequences",
                expected=f"at most {sequence_length:,} tokens a sequence",
                fix=mending_of(path),
            )
        if found._checked_at_open:
            for part in range(len(found.table)):
                check_sizes(found.folder, found.files(part))
        return found

    def files(self, part: int) -> dict[str, int]:
        """A part's files by name, with the size in bytes that follows from the table."""
        row, stem = self.table[part], self.stem(part)
        return {f"{stem}.spans": int(row["spans"]) * SPAN.itemsize, f"{stem}.sequences": int(row["sequences"]) * 8}

    def stem(self, part: int) -> str:
        """What the names of a part's files begin with."""
        return stem_of("part", part)

    def spans_of_part(self, part: int) -> tuple[Spans, UInt64s]:
        """As every index's; views of the maps."""
        return self._map(part, "spans", SPAN), self._map(part, "sequences", np.dtype("<u8"))

    def _sequence(self, part: int, number: int) -> Spans:
        spans, ends = self.spans_of_part(part)
        return spans[int(ends[number - 1]) if number else 0 : int(ends[number])]

    def tokens_of(self, indices: Int64s) -> Int64s:
        """As every index's; looks into the spans of each sequence."""
        parts, numbers = self._located(indices)
        tokens = np.empty(indices.size, np.int64)
        order = np.argsort(parts, kind="stable")
        edges = np.flatnonzero(np.diff(parts[order], prepend=-1, append=-1))
        for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            chosen = order[start:stop]
            spans, ends = self.spans_of_part(int(parts[chosen[0]]))
            tokens[chosen] = _sums(spans["length"], ends, numbers[chosen])
        return tokens

    @cached_property
    def totals(self) -> Totals:
        """As every index's."""
        names = ("tokens", "dropped_documents", "dropped_tokens", "trimmed_documents", "trimmed_tokens")
        counts = {name: int(self.table[name].sum()) for name in names}
        return Totals(self.sequences, **counts, kept_reasoning=float(self.table["kept_reasoning"].sum()))

    def cut_documents(self) -> int:
        """As every index's; from the table."""
        return int(self.table["cut_documents"].sum())

    def _map(self, part: int, ending: str, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        return MAPPED.get(self._owner, part, ending, lambda: self._mapped(part, ending, dtype))

    def _mapped(self, part: int, ending: str, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        if not self._checked_at_open:
            check_sizes(self.folder, self.files(part))
        return map_file(self.folder / f"{self.stem(part)}.{ending}", dtype)


@numba.njit(cache=True, nogil=True)
def _sums(lengths: npt.NDArray[np.uint32], ends: UInt64s, numbers: Int64s) -> Int64s:
    """Tokens of some sequences of a part."""
    sums = np.zeros(numbers.size, np.int64)
    for place in range(numbers.size):
        number = numbers[place]
        first = np.int64(ends[number - 1]) if number > 0 else 0
        for span in range(first, np.int64(ends[number])):
            sums[place] += lengths[span]
    return sums
