"""Tokenized shards, reading side: a source's documents as flat arrays of tokens, through memory maps.

Raw arrays need no parsing, any process reads any span with no copy, and what a document was stands beside its tokens.
Costs 2 or 4 bytes of disk a token, 1 bit more where a loss mask is kept, 8 bytes and a Parquet row a document.

All little-endian, at most 2^28 tokens a part:

    part-00000.tokens             uint16 (up to 65,536 words) or uint32, one document behind the other
    part-00000.ends               uint64, each document's exclusive end within the part
    part-00000.loss               1 bit a token, least significant first; only where not all are ones
    part-00000.documents.parquet  DOCUMENTS, a row a document
    held_out-00000.*              the same, for the documents that are never trained on

What a reader checks, and when; each is a RunError that names the file:

    open()       parts are numbered from 0 without gaps, and each has tokens, ends and documents
    open()       every file has the size that was recorded: none is missing, cut short or grown
    open()       sizes are whole numbers of tokens and ends, a mask has a bit a token, the last end is the token count
    ends()       ends ascend, so that no document is empty
    read() loss() the span lies within the part
    documents()  schema, number of rows, and each row's start and tokens against the ends
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import RunError

Ids = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]
IdType = np.dtype[np.uint16] | np.dtype[np.uint32]
Kind = Literal["part", "held_out"]

MAX_TOKENS = 2**28
_FIELDS: "list[pa.Field[Any]]" = [
    pa.field("id", pa.string(), nullable=False),
    pa.field("mixture_source", pa.string(), nullable=False),
    pa.field("source", pa.string(), nullable=False),  # the recipe's
    pa.field("url", pa.string()),
    pa.field("start", pa.uint64(), nullable=False),  # from the part's first token
    pa.field("tokens", pa.uint32(), nullable=False),  # the end of document included
    pa.field("bytes", pa.int64(), nullable=False),  # UTF-8 bytes of trained text
]
DOCUMENTS = pa.schema(_FIELDS)

FILE_NAME = re.compile(r"((part|held_out)-([0-9]{5}))\.(tokens|ends|loss|documents\.parquet)")
_END_BYTES = 8
_FIX = "remove the folder and build again"


@dataclass(frozen=True)
class Part:
    """One part: the stem of its files, its tokens and documents, and whether a loss mask stands beside them."""

    stem: str
    tokens: int
    documents: int
    masked: bool


class Shards:
    """The parts of one source. Files are mapped at first use; a copy in another process maps them anew.

    Attributes:
        folder: where the files lie.
        dtype: uint16 or uint32, the tokenizer's.
        parts: in the order of their numbers.
    """

    def __init__(self, folder: Path, dtype: IdType, parts: tuple[Part, ...]) -> None:
        self.folder = folder
        self.dtype = dtype
        self.parts = parts
        self._maps: dict[str, npt.NDArray[np.generic]] = {}
        self._ends: dict[int, npt.NDArray[np.uint64]] = {}

    @classmethod
    def open(cls, folder: str | Path, dtype: IdType, sizes: Mapping[str, int], kind: Kind = "part") -> "Shards":
        """Opens the parts that a manifest lists.

        Args:
            folder: where the files lie.
            dtype: what the tokens were written as.
            sizes: file name to bytes, from the manifest; names of other kinds are left alone.
            kind: `part` for what is trained on, `held_out` for the rest.

        Raises:
            RunError: see the module's table.
        """
        parts = tuple(
            _part(Path(folder), stem, np.dtype(dtype), files) for stem, files in _stems(Path(folder), sizes, kind)
        )
        return cls(Path(folder), dtype, parts)

    def __reduce__(self) -> tuple[object, ...]:
        # A memory map pickles as all its bytes.
        return Shards, (self.folder, self.dtype, self.parts)

    def tokens(self, part: int) -> Ids:
        """The part's tokens, read-only: uint16[t] or uint32[t]."""
        return self._map(f"{self.parts[part].stem}.tokens", self.dtype.newbyteorder("<"))  # type: ignore[return-value]

    def ends(self, part: int) -> npt.NDArray[np.uint64]:
        """The part's document ends, read-only: uint64[n].

        Raises:
            RunError: they do not ascend.
        """
        if part not in self._ends:
            name = f"{self.parts[part].stem}.ends"
            ends = self._map(name, np.dtype("<u8")).view(np.uint64)
            if not ascends(ends):
                raise RunError("document ends do not ascend", where=str(self.folder / name), fix=_FIX)
            self._ends[part] = ends
        return self._ends[part]

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
        if not self.parts[part].masked:
            return np.ones(stop - first, np.bool_)
        mask = self._map(f"{self.parts[part].stem}.loss", np.dtype(np.uint8)).view(np.uint8)
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
        path = self.folder / f"{self.parts[part].stem}.documents.parquet"
        schema = DOCUMENTS if columns is None else pa.schema([DOCUMENTS.field(name) for name in columns])
        try:
            table = pq.read_table(path, columns=schema.names)
        except (pa.ArrowException, OSError) as error:
            raise RunError(f"cannot be read: {error}", where=str(path), fix=_FIX) from None
        check_documents(str(path), table, schema, self.ends(part))
        return table

    def _span(self, part: int, start: int, length: int) -> tuple[int, int]:
        # Spans come from index files as unsigned scalars, whose differences would wrap.
        first, stop = int(start), int(start) + int(length)
        if not 0 <= first <= stop <= self.parts[part].tokens:
            raise RunError(
                "a span reaches outside its part: index and shards are not of one build",
                where=str(self.folder / self.parts[part].stem),
                seen=f"tokens {first:,} to {stop:,}",
                expected=f"within 0 to {self.parts[part].tokens:,}",
                fix="build again",
            )
        return first, stop

    def _map(self, name: str, dtype: np.dtype[np.generic]) -> npt.NDArray[np.generic]:
        if name not in self._maps:
            self._maps[name] = np.memmap(self.folder / name, dtype, mode="r").view(np.ndarray)
        return self._maps[name]


def ascends(ends: npt.NDArray[np.uint64]) -> bool:
    """Whether every document ends behind the one before it, the first behind 0."""
    return bool(len(ends) and ends[0] > 0 and (ends[1:] > ends[:-1]).all())


def check_documents(where: str, documents: pa.Table, schema: pa.Schema, ends: npt.NDArray[np.uint64]) -> None:
    """Raises RunError where a table of documents has another schema, other rows or other places than the ends."""
    if not documents.schema.equals(schema):
        raise RunError(
            "the documents' columns are not those of the format",
            where=where,
            seen="; ".join(f"{field.name} {field.type}" for field in documents.schema),
            expected="; ".join(f"{field.name} {field.type}" for field in schema),
        )
    if documents.num_rows != len(ends):
        raise RunError(
            "not as many documents as ends", where=where, seen=documents.num_rows, expected=len(ends), fix=_FIX
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
                    fix=_FIX,
                )


def _stems(folder: Path, sizes: Mapping[str, int], kind: Kind) -> list[tuple[str, dict[str, int]]]:
    """The stems of a kind, each with its files' sizes by what follows the stem."""
    stems: dict[str, dict[str, int]] = {}
    for name, size in sizes.items():
        match = FILE_NAME.fullmatch(name)
        if match and match[2] == kind:
            stems.setdefault(match[1], {})[match[4]] = size
    for number, stem in enumerate(sorted(stems)):
        missing = {"tokens", "ends", "documents.parquet"} - stems[stem].keys()
        if stem != f"{kind}-{number:05}" or missing:
            lacking = f"{stem}.{min(missing)}" if missing else f"{kind}-{number:05}.tokens"
            raise RunError(f"the manifest lists parts of {kind} but not {lacking}", where=str(folder), fix=_FIX)
    return sorted(stems.items())


def _part(folder: Path, stem: str, dtype: IdType, sizes: Mapping[str, int]) -> Part:
    for ending, expected in sizes.items():
        path = folder / f"{stem}.{ending}"
        seen = path.stat().st_size if path.is_file() else None
        if seen != expected:
            raise RunError(
                "shard missing" if seen is None else "shard cut short" if seen < expected else "shard grown",
                where=str(path),
                seen="no file" if seen is None else f"{seen:,} bytes",
                expected=f"{expected:,} bytes, as recorded",
                fix=_FIX,
            )
    tokens, odd = divmod(sizes["tokens"], dtype.itemsize)
    documents, rest = divmod(sizes["ends"], _END_BYTES)
    mask = sizes.get("loss")
    if odd or rest or not documents or (mask is not None and mask != (tokens + 7) // 8):
        raise RunError(
            f"the sizes of a part's files contradict one another as {dtype.name} tokens",
            where=str(folder / stem),
            seen=", ".join(f".{ending} {size:,} bytes" for ending, size in sorted(sizes.items())),
            fix=_FIX,
        )
    last = int(np.fromfile(folder / f"{stem}.ends", "<u8", 1, offset=_END_BYTES * (documents - 1))[0])
    if last != tokens:
        raise RunError(
            "the last document does not end with the last token",
            where=str(folder / f"{stem}.ends"),
            seen=f"{last:,}",
            expected=f"{tokens:,}",
            fix=_FIX,
        )
    return Part(stem, tokens, documents, mask is not None)
