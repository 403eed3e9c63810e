"""Packing of documents into sequences of one length, and the pack index that keeps the result.

Training wants rows of equal length, documents have all lengths, and how they are joined decides what is padded, cut or
lost; so every packing accounts for its input to the token. Costs 16 bytes a document and a few passes in numpy for
concatenate-and-cut, O(n log sequence_length) in Numba for best-fit-decreasing; an index is read through memory maps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .. import storage
from ..errors import ConfigError, RunError
from ..manifest import NAME, Manifest, OutputFile
from .best_fit import best_fit

# A piece of one document: never crosses the document's end. `start` counts tokens within the part.
SPAN = np.dtype([("part", "<u4"), ("start", "<u8"), ("length", "<u4")])
VERSION = 1
PACK_FILES = ("spans", "sequences", NAME)

Spans = npt.NDArray[np.void]
Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Packed:
    """Sequences made of spans: sequence i is `spans[sequences[i - 1]:sequences[i]]`, of at most `sequence_length`."""

    spans: Spans  # SPAN[m]
    sequences: UInt64s  # uint64[n], exclusive ends into spans
    sequence_length: int
    dropped_documents: int = 0
    dropped_tokens: int = 0


def document_spans(ends_by_part: Sequence[UInt64s]) -> Spans:
    """All documents of a source in shard order, one span each: SPAN[documents].

    Args:
        ends_by_part: for every part, uint64[documents]: exclusive ends in tokens within the part.

    Raises:
        RunError: ends that do not ascend (an empty document), or a document of 2^32 tokens or more.
    """
    blocks = [np.empty(0, dtype=SPAN)]
    for part, ends in enumerate(ends_by_part):
        stops = np.asarray(ends).astype(np.int64)
        lengths = np.diff(stops, prepend=0)
        wrong = np.flatnonzero((lengths <= 0) | (lengths >= 1 << 32))
        if wrong.size:
            raise RunError(
                "the ends of documents are not ones that a span can hold",
                where=f"part {part}, document {wrong[0]}",
                seen=f"{lengths[wrong[0]]:,} tokens",
                expected="from 1 to 2^32 - 1 tokens",
                fix="build the shards again; a document that is truly that long has to be split before",
            )
        blocks.append(_spans(np.full(stops.size, part), stops - lengths, lengths))
    return np.concatenate(blocks)


def pack_chunk(spans: Spans, sequence_length: int) -> Packed:
    """Concatenates the spans and cuts every `sequence_length` tokens; only the last sequence may be short.

    Args:
        spans: SPAN[m], in the order in which they are joined.
        sequence_length: tokens a sequence.
    """
    lengths = _lengths(spans)
    offsets = np.cumsum(lengths) - lengths
    first = offsets // sequence_length
    pieces = (offsets + lengths - 1) // sequence_length - first + 1
    owner = np.repeat(np.arange(spans.size), pieces)
    sequence = first[owner] + np.arange(owner.size) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    start = np.maximum(offsets[owner], sequence * sequence_length)
    stop = np.minimum((offsets + lengths)[owner], (sequence + 1) * sequence_length)
    inside = spans["start"][owner].astype(np.int64) + start - offsets[owner]
    packed = Packed(
        _spans(spans["part"][owner], inside, stop - start),
        np.cumsum(np.bincount(sequence)).astype(np.uint64),
        sequence_length,
    )
    _check_tokens(spans, packed)
    return packed


def pack_whole(spans: Spans, sequence_length: int, too_long: Literal["drop", "error"], name: str) -> Packed:
    """Packs uncut spans by best-fit-decreasing: the longest first, each into the fullest sequence that still takes it.

    Spans of equal length keep their order; among sequences with equal room the one changed last is taken. At most 11/9
    of the fewest possible sequences, plus 4 (Johnson et al., SIAM Journal on Computing 3, 1974).

    Args:
        spans: SPAN[m].
        sequence_length: tokens a sequence.
        too_long: what happens to a span longer than a sequence.
        name: the source, for the error.

    Raises:
        ConfigError: a span is too long and `too_long` is `error`.
    """
    lengths = _lengths(spans)
    fits = lengths <= sequence_length
    dropped = lengths[~fits]
    if dropped.size and too_long == "error":
        raise ConfigError(
            f"{dropped.size:,} of {spans.size:,} documents are longer than the sequence",
            where=f"source {name}",
            seen=f"{dropped.max():,} tokens, the longest",
            expected=f"at most sequence_length, {sequence_length:,} tokens",
            fix="`too_long: drop` leaves them out, `pack: chunk` cuts them, or a longer sequence_length",
        )
    kept, lengths = spans[fits], lengths[fits]
    decreasing = np.argsort(-lengths, kind="stable")
    bins = best_fit(lengths[decreasing], sequence_length)
    order = decreasing[np.argsort(bins, kind="stable")]
    sequences = np.cumsum(np.bincount(bins)).astype(np.uint64)
    packed = Packed(kept[order], sequences, sequence_length, int(dropped.size), int(dropped.sum()))
    _check_tokens(spans, packed)
    return packed


def remaining(available: Spans, packed: "Packed | PackIndex", drawn: Bools) -> Spans:
    """What is left of the spans that were packed, without the sequences that were drawn: SPAN[m], in shard order.

    Documents that the packing dropped are left too: a longer sequence may take them. Pieces of one document that touch
    are joined again.

    Args:
        available: SPAN[m] in shard order, what `packed` was made of.
        packed: the sequences.
        drawn: bool[sequences].

    Raises:
        RunError: a drawn span is not part of what was available.
    """
    taken = packed.spans[np.repeat(drawn, np.diff(packed.sequences, prepend=np.uint64(0)).astype(np.int64))]
    # Between the ends of what is available and of what was taken lie the gaps: as many starts as stops, and the k-th
    # of one belongs to the k-th of the other.
    starts = _sorted_points(
        np.concatenate([available["part"], taken["part"]]),
        np.concatenate([available["start"].astype(np.int64), taken["start"].astype(np.int64) + _lengths(taken)]),
    )
    stops = _sorted_points(
        np.concatenate([taken["part"], available["part"]]),
        np.concatenate([taken["start"].astype(np.int64), available["start"].astype(np.int64) + _lengths(available)]),
    )
    lengths = stops[1] - starts[1]
    if not np.array_equal(starts[0], stops[0]) or lengths.min(initial=0) < 0:
        raise RunError("drawn spans lie outside the source or overlap", fix="remove the packs folder and build again")
    gaps = lengths > 0
    return _spans(starts[0][gaps], starts[1][gaps], lengths[gaps])


class PackIndex:
    """A packing on disk, read through memory maps: `spans` and `sequences`, and a manifest that vouches for both.

    `spans` is raw little-endian SPAN records, `sequences` raw little-endian uint64 exclusive ends into them.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        counts = manifest.counts
        self.folder = folder
        self.sequence_length = int(counts["sequence_length"])
        self.dropped_documents = int(counts["dropped_documents"])
        self.dropped_tokens = int(counts["dropped_tokens"])
        self.spans: Spans = _mapped(folder / "spans", SPAN)
        self.sequences: UInt64s = _mapped(folder / "sequences", np.dtype("<u8"))

    @classmethod
    def write(cls, folder: str | Path, packed: Packed) -> None:
        """Writes the files of an index, each whole or not at all, the manifest last: without it there is no index.

        Raises:
            RunError: there is no sequence to write.
        """
        root = Path(folder)
        if not packed.sequences.size:
            raise RunError("a pack index without a sequence cannot be drawn from", where=str(root))
        with storage.atomic_write(root / "spans") as stream:
            stream.write(np.ascontiguousarray(packed.spans, dtype=SPAN).view(np.uint8).data)
        with storage.atomic_write(root / "sequences") as stream:
            stream.write(packed.sequences.astype("<u8").view(np.uint8).data)
        counts = {
            "sequence_length": packed.sequence_length,
            "tokens": int(_lengths(packed.spans).sum()),
            "dropped_documents": packed.dropped_documents,
            "dropped_tokens": packed.dropped_tokens,
        }
        files = (
            OutputFile.of(root, "spans", packed.spans.size),
            OutputFile.of(root, "sequences", packed.sequences.size),
        )
        Manifest("pack", VERSION, root.name, files=files, counts=counts).write(root)

    @classmethod
    def open(cls, folder: str | Path) -> "PackIndex":
        """Opens an index.

        Raises:
            RunError: there is none, or a file was cut short or changed its size.
        """
        root = Path(folder)
        manifest = Manifest.read(root)
        manifest.check_sizes(root)
        return cls(root, manifest)

    def __len__(self) -> int:
        return int(self.sequences.size)

    def sequence(self, index: int) -> Spans:
        """The spans of one sequence in the order in which they stand in it: SPAN[m], a view."""
        if not 0 <= index < len(self):
            raise IndexError(f"sequence {index} of {len(self)} in {self.folder}")
        return self.spans[int(self.sequences[index - 1]) if index else 0 : int(self.sequences[index])]

    @cached_property
    def tokens(self) -> Int64s:
        """Tokens of every sequence that are not padding: int64[n]."""
        ends = np.cumsum(_lengths(self.spans))[self.sequences.astype(np.int64) - 1]
        return np.diff(ends, prepend=0)


def _lengths(spans: Spans) -> Int64s:
    return spans["length"].astype(np.int64)


def _spans(part: npt.NDArray[Any], start: Int64s, length: Int64s) -> Spans:
    spans = np.empty(length.size, dtype=SPAN)
    spans["part"], spans["start"], spans["length"] = part, start, length
    return spans


def _sorted_points(part: npt.NDArray[Any], position: Int64s) -> tuple[npt.NDArray[Any], Int64s]:
    order = np.lexsort((position, part))
    return part[order], position[order]


def _mapped(path: Path, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    return np.asarray(np.memmap(path, dtype=dtype, mode="r"))


def _check_tokens(spans: Spans, packed: Packed) -> None:
    given, kept = int(_lengths(spans).sum()), int(_lengths(packed.spans).sum())
    if kept + packed.dropped_tokens != given:
        raise RunError(
            "packing lost or repeated tokens",
            seen=f"{kept:,} kept + {packed.dropped_tokens:,} dropped",
            expected=f"{given:,}, what came in",
            fix="this is a fault of midtrain: please report it",
        )
