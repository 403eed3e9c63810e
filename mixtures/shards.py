"""Tokenized shards, reading side: a source's documents as flat arrays of tokens, through memory maps.

Raw arrays need no parsing, any process reads any span with no copy, and what a document was stands beside its tokens.
Costs 2 or 4 bytes of disk a token, 1 bit more where a loss mask is kept, 8 bytes and a Parquet row a document; opening
maps one table and does not grow with the number of parts, but for the sizes of up to 4,096 of them.

All little-endian, at most 2^28 tokens a part; from part 100,000 on the numbers have more digits:

    parts                         PART, a record a part; held_out.parts the same, for the documents never trained on
    part-00000.tokens             uint16 (up to 65,536 words) or uint32, one document behind the other
    part-00000.ends               uint64, each document's exclusive end within the part
    part-00000.loss               1 bit a token, least significant first; only where not all are ones
    part-00000.documents.parquet  DOCUMENTS, a row a document
    held_out-00000.*              the same, for the documents that are never trained on
    inside_characters             1 bit an id of the vocabulary, least significant first: whether its bytes begin inside
                                  a character; only where a template rendered the documents

What a reader checks, and when; each is a RunError that names the file:

    open()       the table holds whole records, none of a part without a document or token
    open()       up to 4,096 parts: every file has the size that follows from the table: none is missing, cut or grown
    first use    of a part, where there are more: the same, of its files
    ends()       ends ascend, so that no document is empty, to the number of tokens
    read() loss() the span lies within the part
    documents()  schema, number of rows, and each row's start and tokens against the ends
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import RunError
from .maps import MAPPED, map_file, owners
from .parts_table import Kind, Parts, check_sizes, open_table, stem_of
from .repair import mending_of
from .text_spans import SPANS, TextSpans

Ids = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]
IdType = np.dtype[np.uint16] | np.dtype[np.uint32]
UInt64s = npt.NDArray[np.uint64]

CHECKED_PARTS = 4096  # as many have their sizes looked at when they are opened, of more each one at its first use
_FIELDS: "list[pa.Field[Any]]" = [
    pa.field("id", pa.string(), nullable=False),
    pa.field("mixture_source", pa.string(), nullable=False),
    pa.field("source", pa.string(), nullable=False),  # the recipe's
    pa.field("url", pa.string()),
    pa.field("start", pa.uint64(), nullable=False),  # from the part's first token
    pa.field("tokens", pa.uint32(), nullable=False),  # the end of document included
    pa.field("bytes", pa.int64(), nullable=False),  # UTF-8 bytes of trained text
    pa.field("spans", SPANS, nullable=False),  # the texts of assistants; empty where there is no template
]
DOCUMENTS = pa.schema(_FIELDS)

FILE_NAME = re.compile(r"((part|held_out)-([0-9]{5}|[1-9][0-9]{5,}))\.(tokens|ends|loss|documents\.parquet)")
INSIDE_CHARACTERS = "inside_characters"
_END_BYTES = 8


class PartEnds(Protocol):
    """What packing has to know of a source's tokens; `Shards` is one."""

    @property
    def part_tokens(self) -> UInt64s:
        """Tokens of every part: uint64[parts]."""

    @property
    def part_documents(self) -> UInt64s:
        """Documents of every part: uint64[parts]."""

    def ends(self, part: int) -> UInt64s:
        """A part's document ends, checked to ascend: uint64[documents]."""

    def ends_unchecked(self, part: int) -> UInt64s:
        """The same without looking at all of them, for a reader that needs a few."""


class Shards:
    """The parts of one source. Files are mapped at first use; a copy in another process maps them anew.

    Attributes:
        folder: where the files lie.
        dtype: uint16 or uint32, the tokenizer's.
        kind: `part`, or `held_out`.
        table: PART[parts], a memory map.
        parts: `Part` by number.
    """

    def __init__(self, folder: Path, dtype: IdType, kind: Kind, table: npt.NDArray[np.void]) -> None:
        self.folder = folder
        self.dtype = np.dtype(dtype)
        self.kind = kind
        self.table = table
        self.parts = Parts(kind, table)
        self._owner = next(owners)
        self._checked_at_open = len(table) <= CHECKED_PARTS

    @classmethod
    def open(cls, folder: str | Path, dtype: IdType, kind: Kind = "part") -> "Shards":
        """Opens the parts that the folder's table lists.

        Args:
            folder: where the files lie.
            dtype: what the tokens were written as.
            kind: `part` for what is trained on, `held_out` for the rest.

        Raises:
            RunError: see the module's table.
        """
        found = cls(Path(folder), dtype, kind, open_table(Path(folder), kind))
        if found._checked_at_open:
            for part in range(len(found.parts)):
                found.check(part)
        return found

    def __reduce__(self) -> tuple[object, ...]:
        # A memory map pickles as all its bytes. What was checked here is not checked again in every worker.
        return _reopened, (self.folder, self.dtype, self.kind)

    def __repr__(self) -> str:
        return str(self.folder)

    def stem(self, part: int) -> str:
        """What the names of a part's files begin with."""
        return stem_of(self.kind, part)

    @property
    def part_tokens(self) -> UInt64s:
        """Tokens of every part: uint64[parts], a strided view."""
        return self.table["tokens"]

    @property
    def part_documents(self) -> UInt64s:
        """Documents of every part: uint64[parts], a strided view."""
        return self.table["documents"]

    def files(self, part: int) -> dict[str, int]:
        """A part's files by name, with the size in bytes that follows from the table."""
        row, stem = self.table[part], self.stem(part)
        tokens = int(row["tokens"])
        sizes = {
            f"{stem}.tokens": tokens * self.dtype.itemsize,
            f"{stem}.ends": int(row["documents"]) * _END_BYTES,
            f"{stem}.documents.parquet": int(row["documents_bytes"]),
        }
        return {**sizes, f"{stem}.loss": (tokens + 7) // 8} if row["masked"] else sizes

    def check(self, part: int) -> None:
        """Compares the size of each of a part's files with the table, and the last end with the tokens.

        Raises:
            RunError: one is missing, cut short or grown.
        """
        check_sizes(self.folder, self.files(part))
        row, path = self.table[part], self.folder / f"{self.stem(part)}.ends"
        last = int(np.fromfile(path, "<u8", 1, offset=_END_BYTES * (int(row["documents"]) - 1))[0])
        if last != row["tokens"]:
            raise RunError(
                "the last document does not end with the last token",
                where=str(path),
                seen=f"{last:,}",
                expected=f"{int(row['tokens']):,}",
                fix=mending_of(path),
            )

    def tokens(self, part: int) -> Ids:
        """The part's tokens, read-only: uint16[t] or uint32[t]."""
        tokens: Ids = self._map(part, "tokens", self.dtype.newbyteorder("<"))
        return tokens

    def ends_unchecked(self, part: int) -> UInt64s:
        """The part's document ends as they lie, read-only: uint64[n]."""
        ends: UInt64s = self._map(part, "ends", np.dtype("<u8"))
        return ends

    def ends(self, part: int) -> UInt64s:
        """The part's document ends, read-only: uint64[n].

        Raises:
            RunError: they do not ascend.
        """
        return MAPPED.get(self._owner, part, "ascending ends", lambda: self._ascending(part))

    def _ascending(self, part: int) -> UInt64s:
        ends = self.ends_unchecked(part)
        if not ascends(ends):
            path = self.folder / f"{self.stem(part)}.ends"
            raise RunError("document ends do not ascend", where=str(path), fix=mending_of(path))
        return ends

    def mask(self, part: int) -> npt.NDArray[np.uint8] | None:
        """The part's loss mask as it lies, 1 bit a token, read-only: uint8[(t + 7) / 8]; None where all are trained."""
        return self._map(part, "loss", np.dtype(np.uint8)) if self.table["masked"][part] else None

    def inside_characters(self) -> npt.NDArray[np.uint8]:
        """Which ids begin inside a character, 1 bit an id, read-only: uint8[(vocabulary + 7) / 8].

        Raises:
            RunError: it is not told.
        """
        return map_file(self.folder / INSIDE_CHARACTERS, np.dtype(np.uint8))

    def read(self, part: int, start: int, length: int) -> Ids:
        """A span's tokens, a read-only view: uint16[length] or uint32[length].

        Raises:
            RunError: the span does not lie within the part.
        """
        first, stop = self._span(part, start, length)
        return self.tokens(part)[first:stop]

    def loss(self, part: int, start: int, length: int) -> npt.NDArray[np.bool_]:
        """Which of a span's tokens are trained under `loss: assistant`: bool[length], all where no mask is kept.

        Raises:
            RunError: the span does not lie within the part.
        """
        first, stop = self._span(part, start, length)
        mask = self.mask(part)
        if mask is None:
            return np.ones(stop - first, np.bool_)
        skipped = first % 8
        bits = np.unpackbits(mask[first // 8 : (stop + 7) // 8], bitorder="little")
        return bits[skipped : skipped + stop - first].view(np.bool_)

    def documents(self, part: int, columns: Sequence[str] | None = None) -> pa.Table:
        """The part's documents: n rows of DOCUMENTS, in the order of the ends.

        Args:
            part: index into `parts`.
            columns: read these alone.

        Raises:
            RunError: the table is unreadable, or contradicts the ends.
        """
        path = self.folder / f"{self.stem(part)}.documents.parquet"
        schema = DOCUMENTS if columns is None else pa.schema([DOCUMENTS.field(name) for name in columns])
        try:
            table = pq.read_table(path, columns=schema.names)
        except (pa.ArrowException, OSError) as error:
            raise RunError(f"cannot be read: {error}", where=str(path), fix=mending_of(path)) from None
        check_documents(str(path), table, schema, self.ends(part), mending_of(path))
        return table

    def text_spans(self, part: int) -> TextSpans:
        """Where the texts of assistants stand in each of the part's documents.

        Raises:
            RunError: the table of documents is unreadable, or contradicts the ends.
        """
        return TextSpans.of_column(self.documents(part, ["spans"])["spans"])

    def _span(self, part: int, start: int, length: int) -> tuple[int, int]:
        # Spans come from index files as unsigned scalars, whose differences would wrap.
        first, stop = int(start), int(start) + int(length)
        if not 0 <= first <= stop <= int(self.table["tokens"][part]):
            raise RunError(
                "a span reaches outside its part: index and shards are not of one build",
                where=str(self.folder / self.stem(part)),
                seen=f"tokens {first:,} to {stop:,}",
                expected=f"within 0 to {int(self.table['tokens'][part]):,}",
                fix=mending_of(self.folder / self.stem(part)),
            )
        return first, stop

    def _map(self, part: int, ending: str, dtype: np.dtype[Any]) -> Any:
        return MAPPED.get(self._owner, part, ending, lambda: self._mapped(part, ending, dtype))

    def _mapped(self, part: int, ending: str, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        if not self._checked_at_open:
            self.check(part)
        return map_file(self.folder / f"{self.stem(part)}.{ending}", dtype)


def _reopened(folder: Path, dtype: IdType, kind: Kind) -> Shards:
    return Shards(folder, dtype, kind, open_table(folder, kind))


def ascends(ends: npt.NDArray[np.uint64]) -> bool:
    """Whether every document ends behind the one before it, the first behind 0."""
    return bool(len(ends) and ends[0] > 0 and (ends[1:] > ends[:-1]).all())


def check_documents(
    where: str, documents: pa.Table, schema: pa.Schema, ends: npt.NDArray[np.uint64], fix: str = ""
) -> None:
    """Raises RunError where a table of documents has another schema, other rows or other places than the ends."""
    if not documents.schema.equals(schema):
        raise RunError(
            "the documents' columns are not those of the format",
            where=where,
            seen="; ".join(f"{field.name} {field.type}" for field in documents.schema),
            expected="; ".join(f"{field.name} {field.type}" for field in schema),
            fix=fix,
        )
    if documents.num_rows != len(ends):
        raise RunError(
            "not as many documents as ends", where=where, seen=documents.num_rows, expected=len(ends), fix=fix
        )
    starts = np.concatenate([np.zeros(1, np.uint64), ends[:-1]])
    for name, expected in (("start", starts), ("tokens", ends - starts)):
        if name in schema.names:
            differs = np.flatnonzero(documents[name].to_numpy() != expected)
            if len(differs):
                row = int(differs[0])
                raise RunError(
                    f"a document's {name} contradicts the ends",
                    where=f"{where}, row {row:,}",
                    seen=documents[name][row].as_py(),
                    expected=int(expected[row]),
                    fix=fix,
                )
