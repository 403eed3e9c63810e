"""Packing of documents into sequences of one length: of one part of a source at a time.

Training wants rows of equal length, documents have all lengths, and how they are joined decides what is padded, cut or
lost; so every packing accounts for its input to the token. Costs 16 bytes a document and a few passes in numpy for
concatenate-and-cut, and up to a second in Numba for whole documents, for a part.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ...errors import ConfigError, RunError
from ..trimming import Trimmed
from .best_fit import best_fit
from .minimum_slack import minimum_slack

# A piece of one document: never crosses the document's end. `start` counts tokens within the part; `continues` is 1
# where the span goes on with the segment of the span before it, of which a part of the document is left out.
SPAN = np.dtype([("part", "<u4"), ("start", "<u8"), ("length", "<u4"), ("continues", "<u4")])

Spans = npt.NDArray[np.void]
Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]
Policy = Literal["whole", "chunk"]
TooLong = Literal["drop", "error", "split", "trim"]


@dataclass(frozen=True)
class Packed:
    """Sequences made of spans: sequence i is `spans[sequences[i - 1]:sequences[i]]`, of at most `sequence_length`."""

    spans: Spans  # SPAN[m]
    sequences: UInt64s  # uint64[n], exclusive ends into spans
    sequence_length: int
    dropped_documents: int = 0
    dropped_tokens: int = 0
    cut_documents: int = 0  # spans given that stand in more than one sequence
    trimmed_documents: int = 0  # that stand here without a part of their reasoning
    trimmed_tokens: int = 0  # that are left out of these
    kept_reasoning: float = 0.0  # the sum, over these, of the share of their reasoning that stands here

    @property
    def tokens(self) -> int:
        """That are not padding."""
        return int(_lengths(self.spans).sum())


def document_spans(part: int, ends: UInt64s) -> Spans:
    """All documents of a part, one span each: SPAN[documents].

    Args:
        part: its number.
        ends: uint64[documents]: exclusive ends in tokens within the part.

    Raises:
        RunError: ends that do not ascend (an empty document), or a document of 2^32 tokens or more.
    """
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
    return make_spans(part, stops - lengths, lengths)


def pack(spans: Spans, sequence_length: int, policy: Policy, too_long: TooLong, name: str) -> Packed:
    """Packs the spans of a part as the source wants them; arguments and errors as of the two below."""
    if policy == "chunk":
        return pack_chunk(spans, sequence_length)
    return pack_whole(spans, sequence_length, too_long, name)


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
        make_spans(spans["part"][owner], inside, stop - start),
        np.cumsum(np.bincount(sequence)).astype(np.uint64),
        sequence_length,
        cut_documents=int(np.count_nonzero(pieces > 1)),
    )
    _check_tokens(spans, packed)
    return packed


def pack_whole(spans: Spans, sequence_length: int, too_long: TooLong, name: str) -> Packed:
    """Packs spans by best-fit-decreasing: the longest first, each into the fullest sequence that still takes it.

    Spans of equal length keep their order; among sequences with equal room the one changed last is taken. At most 11/9
    of the fewest possible sequences, plus 4 (Johnson et al., SIAM Journal on Computing 3, 1974). Where that is more
    than the tokens need, and filling one sequence after the other makes fewer (`minimum_slack.py`), those are taken.

    Args:
        spans: SPAN[m].
        sequence_length: tokens a sequence.
        too_long: what happens to a span longer than a sequence; `split` cuts it into pieces of a sequence, and they
            are packed as documents are.
        name: the source, for the error.

    Raises:
        ConfigError: a span is too long and `too_long` is `error`.
    """
    lengths = _lengths(spans)
    fits = lengths <= sequence_length
    dropped, cut = lengths[~fits], 0
    if dropped.size and too_long == "error":
        raise _too_long(name, spans, dropped, sequence_length)
    if too_long == "split":
        kept, dropped, cut = _split(spans, sequence_length), dropped[:0], int(dropped.size)
    else:
        kept = spans[fits]
    lengths = _lengths(kept)
    decreasing = np.argsort(-lengths, kind="stable")
    bins = _bins(lengths[decreasing], sequence_length)
    order = decreasing[np.argsort(bins, kind="stable")]
    sequences = np.cumsum(np.bincount(bins)).astype(np.uint64)
    packed = Packed(kept[order], sequences, sequence_length, int(dropped.size), int(dropped.sum()), cut)
    _check_tokens(spans, packed)
    return packed


def pack_trimmed(spans: Spans, trimmed: Trimmed, sequence_length: int) -> Packed:
    """Packs documents that were trimmed, each as `pack_whole` would a document of that length.

    Args:
        spans: SPAN[n], the documents.
        trimmed: the ranges of each that stay; a document with none is dropped.
        sequence_length: tokens a sequence.
    """
    lengths, whole = trimmed.lengths, _lengths(spans)
    kept = np.flatnonzero(lengths)
    decreasing = kept[np.argsort(-lengths[kept], kind="stable")]
    bins = _bins(lengths[decreasing], sequence_length)
    order = np.argsort(bins, kind="stable")
    documents = decreasing[order]
    pieces = np.diff(trimmed.offsets)[documents]
    within = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    ranges = np.repeat(trimmed.offsets[documents], pieces) + within
    starts, stops = trimmed.starts[ranges], trimmed.stops[ranges]
    made = make_spans(spans["part"][np.repeat(documents, pieces)], starts, stops - starts)
    made["continues"] = within > 0
    counts = np.bincount(bins[order], weights=pieces) if bins.size else np.zeros(0)
    shorter = kept[lengths[kept] < whole[kept]]
    packed = Packed(
        made,
        np.cumsum(counts).astype(np.uint64),
        sequence_length,
        dropped_documents=int(np.count_nonzero(lengths == 0)),
        dropped_tokens=int(whole[lengths == 0].sum()),
        trimmed_documents=shorter.size,
        trimmed_tokens=int((whole - lengths)[shorter].sum()),
        kept_reasoning=float((trimmed.kept[shorter] / trimmed.reasoning[shorter]).sum()),
    )
    _check_tokens(spans, packed)
    return packed


def _bins(decreasing: Int64s, sequence_length: int) -> Int64s:
    """The sequence of every length, of the better of two ways to fill them."""
    bins = best_fit(decreasing, sequence_length)
    if bins.size and bins.max() + 1 > -(-int(decreasing.sum()) // sequence_length):
        fuller = minimum_slack(decreasing, sequence_length)
        if fuller.min() >= 0 and fuller.max() < bins.max():
            return fuller
    return bins


def _split(spans: Spans, sequence_length: int) -> Spans:
    """The spans, those that are too long in pieces of a sequence and what is left."""
    lengths = _lengths(spans)
    pieces = -(-lengths // sequence_length)
    owner = np.repeat(np.arange(spans.size), pieces)
    skipped = (np.arange(owner.size) - np.repeat(np.cumsum(pieces) - pieces, pieces)) * sequence_length
    left = np.minimum(lengths[owner] - skipped, sequence_length)
    return make_spans(spans["part"][owner], spans["start"][owner].astype(np.int64) + skipped, left)


def _too_long(name: str, spans: Spans, lengths: Int64s, sequence_length: int) -> ConfigError:
    return ConfigError(
        f"{lengths.size:,} of {spans.size:,} documents are longer than the sequence",
        where=f"source {name}, part {spans['part'][0]}",
        seen=f"{lengths.max():,} tokens, the longest",
        expected=f"at most sequence_length, {sequence_length:,} tokens",
        fix="`too_long: drop` leaves them out, `too_long: split` and `pack: chunk` cut them, `too_long: trim` shortens "
        "reasoning, or a longer sequence_length",
    )


def remaining(available: Spans, packed: Spans, sequences: UInt64s, drawn: Bools) -> Spans:
    """What is left of the spans that were packed, without the sequences that were drawn: SPAN[m], in shard order.

    Documents that the packing dropped are left too: a longer sequence may take them. Pieces of one document that touch
    are joined again.

    Args:
        available: SPAN[m] of one part in shard order, what the sequences were made of.
        packed: SPAN[k], the spans of the part's sequences.
        sequences: uint64[n], exclusive ends into `packed`.
        drawn: bool[n].

    Raises:
        RunError: a drawn span is not part of what was available.
    """
    taken = packed[np.repeat(drawn, np.diff(sequences, prepend=np.uint64(0)).astype(np.int64))]
    # Between the ends of what is available and of what was taken lie the gaps: as many starts as stops, and the k-th
    # of one belongs to the k-th of the other.
    begins, taken_from = available["start"].astype(np.int64), taken["start"].astype(np.int64)
    starts = np.sort(np.concatenate([begins, taken_from + _lengths(taken)]))
    stops = np.sort(np.concatenate([taken_from, begins + _lengths(available)]))
    lengths = stops - starts
    part = available["part"][0] if available.size else 0
    if lengths.min(initial=0) < 0 or (taken["part"] != part).any():
        raise RunError("drawn spans lie outside the source or overlap", fix="remove the packs folder and build again")
    gaps = lengths > 0
    return make_spans(part, starts[gaps], lengths[gaps])


def undrawn(available: Spans, packed: Spans, sequences: UInt64s, drawn: Bools) -> Spans:
    """The documents of which nothing was drawn: SPAN[m], in shard order; arguments and errors as of `remaining`.

    Of one that was drawn trimmed nothing is left: what was cut off is no text of its own.
    """
    taken = packed[np.repeat(drawn, np.diff(sequences, prepend=np.uint64(0)).astype(np.int64))]
    document = np.searchsorted(available["start"], taken["start"], side="right") - 1
    ends = available["start"].astype(np.int64) + _lengths(available)
    stops = taken["start"].astype(np.int64) + _lengths(taken)
    if taken.size and (
        (document < 0).any() or (stops > ends[document]).any() or (taken["part"] != available["part"][0]).any()
    ):
        raise RunError("drawn spans lie outside the source", fix="remove the packs folder and build again")
    left = np.ones(available.size, np.bool_)
    left[document] = False
    return available[left]


def make_spans(part: int | npt.NDArray[Any], start: Int64s, length: Int64s) -> Spans:
    """SPAN[n] of parts (one for all, or int[n]), starts and lengths; none continues another."""
    spans = np.empty(length.size, dtype=SPAN)
    spans["part"], spans["start"], spans["length"], spans["continues"] = part, start, length, 0
    return spans


def _lengths(spans: Spans) -> Int64s:
    return spans["length"].astype(np.int64)


def _check_tokens(spans: Spans, packed: Packed) -> None:
    """Kept and dropped make up what came in, and no sequence holds more than its length: the rest is padding."""
    given, kept = int(_lengths(spans).sum()), packed.tokens
    filled = np.diff(np.cumsum(_lengths(packed.spans))[packed.sequences.astype(np.int64) - 1], prepend=0)
    lost = packed.dropped_tokens + packed.trimmed_tokens
    if kept + lost != given or filled.max(initial=0) > packed.sequence_length:
        raise RunError(
            "packing lost or repeated tokens",
            seen=f"{kept:,} kept + {lost:,} dropped or trimmed, up to {filled.max(initial=0):,} a sequence",
            expected=f"{given:,}, what came in, up to {packed.sequence_length:,} a sequence",
            fix="this is a fault of midtrain: please report it",
        )
