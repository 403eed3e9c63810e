"""Pack indexes against the tokens that they were made of: every token stands in one sequence, or was left out by name.

An index is of all documents of a source, or of what an epoch had not drawn yet; what was drawn is looked up in the
indexes that it was drawn from. So each part is made up of intervals that must neither overlap nor leave a gap but for
documents that are too long. Costs a sort of a part's spans, about 0.2 µs each.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...errors import RunError
from ...manifest import NAME
from ...mixtures.packs.pack_index import PACK_TABLE, PackedIndex, PackIndex
from ...mixtures.packs.pack_requests import CHUNKS, open_index
from ...mixtures.packs.packing import Int64s, Spans, UInt64s
from ...mixtures.permutation import unpermute
from ...mixtures.phases import PhaseOrder, PhaseRef
from ...mixtures.shards import Shards
from ...mixtures.trimming import Trimmed, Trimming
from .vouched import Problem, Vouched, repaired

Job = Callable[[], tuple[int, list[Problem]]]
COUNTED = ("sequences", "spans", "tokens", "dropped_documents", "dropped_tokens")
TRIMMED = ("trimmed_documents", "trimmed_tokens")


class PartCounts(NamedTuple):
    """What a part of an index came to; `left_out` tokens are of documents longer than a sequence, or trimmed off."""

    sequences: int
    spans: int
    tokens: int
    left_out: int


@dataclass(frozen=True)
class PackRow:
    """An index and what its parts came to."""

    folder: str
    source: str
    sequence_length: int
    sequences: int
    spans: int
    tokens: int
    left_out: int
    padding: int


@dataclass(frozen=True)
class Index:
    """An index that an order draws from, opened, with what its epoch had drawn before: index, key and count each."""

    folder: str
    source: str
    opened: PackIndex
    drawn: tuple[tuple[PackIndex, int, int], ...]
    too_long: str
    whole: bool  # documents are not cut
    counts: Mapping[str, Mapping[str, int]]  # of each part, as its manifest has them
    min_reasoning: int = 0  # of records that are trimmed


class PackCheck:
    """The checks of all indexes that phases draw from.

    Args:
        found: the output.
        shards: by source.
        refs: the phases.
        problems: gets what is wrong with tables and manifests.
    """

    def __init__(
        self, found: Vouched, shards: dict[str, Shards], refs: Sequence[PhaseRef], problems: list[Problem]
    ) -> None:
        self.found = found
        self._counts: dict[str, tuple[Index, list[PartCounts | None]]] = {}
        self.jobs: list[Job] = []
        for folder, (source, length) in _used(found, refs, problems).items():
            try:
                index = _open(found, shards[source], folder, source, length)
            except (RunError, OSError, KeyError) as error:
                problems.append(Problem(f"{folder}/{PACK_TABLE}", str(error), fix=repaired(found, f"{folder}/{NAME}")))
                continue
            parts = len(shards[source].parts)
            self._counts[folder] = index, [None] * parts
            self.jobs += [self._job(index, shards[source], part) for part in range(parts)]

    def rows(self) -> list[PackRow]:
        """What the indexes came to, once the jobs are done; without those that are wrong."""
        rows = []
        for folder, (index, parts) in self._counts.items():
            counts = [one for one in parts if one is not None]
            if len(counts) == len(parts):
                sequences, spans, tokens, left_out = np.array(counts, np.int64).sum(axis=0).tolist()
                length = index.opened.sequence_length
                padding = sequences * length - tokens
                rows.append(PackRow(folder, index.source, length, sequences, spans, tokens, left_out, padding))
        return rows

    def _job(self, index: Index, shards: Shards, part: int) -> Job:
        def job() -> tuple[int, list[Problem]]:
            path = f"{index.folder}/part-{part:05d}.spans"
            counts: PartCounts | None = None
            try:
                counts, wrong = _look(index, shards, part)
            except (RunError, OSError) as error:
                wrong = [str(error)]
            self._counts[index.folder][1][part] = counts
            return 0, [Problem(path, what, fix=repaired(self.found, path)) for what in wrong]

        return job


def _used(found: Vouched, refs: Sequence[PhaseRef], problems: list[Problem]) -> dict[str, tuple[str, int]]:
    """The indexes of all phases, each with its source and sequence length."""
    used: dict[str, tuple[str, int]] = {}
    for ref in refs:
        try:
            order = PhaseOrder.open(Path(str(found.root)), ref)
        except RunError as error:
            path = f"{ref.order}.json"
            problems.append(Problem(path, str(error), fix=repaired(found, path)))
            continue
        for entry in order.entries:
            for pool in (entry.rest, entry.full):
                if pool is not None:
                    used[order.indexes[pool.index]] = (entry.name, order.sequence_length)
    return used


def _open(found: Vouched, shards: Shards, folder: str, source: str, length: int) -> Index:
    root = Path(str(found.root))
    opened = open_index(root, folder, length, shards)
    if folder.startswith(CHUNKS):
        return Index(folder, source, opened, (), "", False, {})
    manifest = found.of(folder)
    if manifest is None:
        raise RunError("the index has no manifest that can be trusted", where=folder)
    drawn = tuple(
        (open_index(root, name, _length_of(found, name), shards), int(key, 16), count)
        for name, key, count in manifest.options["drawn"]
    )
    options, counts = manifest.options, manifest.counts["parts"]
    whole, least = options["pack"] == "whole", options.get("min_reasoning", 0)
    return Index(folder, source, opened, drawn, options["too_long"], whole, counts, least)


def _length_of(found: Vouched, folder: str) -> int:
    """The sequence length of an index; it stands in the name, `<source>-<length>-<policy>-<fingerprint>`."""
    manifest = found.of(folder)
    return int(manifest.options["sequence_length"] if manifest else folder.rsplit("-", 3)[1])


def _look(index: Index, shards: Shards, part: int) -> tuple[PartCounts | None, list[str]]:
    """What a part of an index came to, and what is wrong with it."""
    spans, ends = index.opened.spans_of_part(part)
    lengths = spans["length"].astype(np.int64)
    wrong = _sequences(ends, lengths, index.opened.sequence_length)
    if wrong:
        return None, wrong
    before = [_drawn(opened, key, count, part) for opened, key, count in index.drawn]
    if index.too_long == "trim":
        return _look_at_trimmed(index, shards, part, before)
    if spans["continues"].any():
        return None, ["a span continues another, and nothing is trimmed"]
    wrong, lost = _cover(np.concatenate([*before, spans]), shards.ends(part).astype(np.int64), part)
    too_long = lost > index.opened.sequence_length
    if len(lost) and (index.too_long != "drop" or not index.whole):
        wrong.append(f"{lost.sum():,} tokens of {len(lost):,} documents stand in no sequence")
    elif not too_long.all():
        wrong.append(f"{lost[~too_long].sum():,} tokens of documents that fit stand in no sequence")
    if isinstance(index.opened, PackedIndex) and not wrong:
        counts = (len(ends), len(spans), int(lengths.sum()), len(lost), int(lost.sum()))
        wrong += _counted(index, index.opened.table[part], part, dict(zip(COUNTED, counts, strict=True)))
    return PartCounts(len(ends), len(spans), int(lengths.sum()), int(lost.sum())), wrong


def _look_at_trimmed(
    index: Index, shards: Shards, part: int, before: Sequence[Spans]
) -> tuple[PartCounts | None, list[str]]:
    """The same of records that are trimmed: those that nothing was drawn of, as trimming them again gives them."""
    spans, sequences = index.opened.spans_of_part(part)
    ends = shards.ends(part).astype(np.int64)
    wrong, _ = _cover(spans, ends, part)
    if wrong:
        return None, wrong
    drawn = np.zeros(len(ends), np.bool_)
    for earlier in before:
        drawn[np.searchsorted(ends, earlier["start"].astype(np.int64), side="right")] = True
    left = np.flatnonzero(~drawn)
    trimmed = Trimming(shards, index.min_reasoning).part(part, index.opened.sequence_length).of(left)
    wrong = _ranges(spans, sequences, trimmed)
    whole, kept = np.diff(ends, prepend=0)[left], trimmed.lengths
    off, dropped = (whole - kept)[kept > 0], whole[kept == 0]
    tokens, lost = int(kept.sum()), (len(dropped), int(dropped.sum()))
    if isinstance(index.opened, PackedIndex) and not wrong:
        counts = (len(sequences), len(spans), tokens, *lost, int(np.count_nonzero(off)), int(off.sum()))
        seen = dict(zip(COUNTED + TRIMMED, counts, strict=True))
        wrong = _counted(index, index.opened.table[part], part, seen)
    return PartCounts(len(sequences), len(spans), tokens, int(dropped.sum() + off.sum())), wrong


def _ranges(spans: Spans, sequences: UInt64s, trimmed: Trimmed) -> list[str]:
    """Whether spans are the ranges of trimmed documents, those of a document in one sequence one behind the other."""
    order = np.argsort(spans["start"], kind="stable")
    starts, stops = spans["start"].astype(np.int64), spans["start"].astype(np.int64) + spans["length"]
    continues = np.ones(len(trimmed.starts), np.bool_)
    continues[trimmed.offsets[:-1][trimmed.lengths > 0]] = False
    found = (starts[order], stops[order], spans["continues"][order] == 1)
    expected = (trimmed.starts, trimmed.stops, continues)
    if not all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True)):
        return ["the ranges are not those that trimming gives the records that the epoch had not drawn"]
    rank = np.empty(len(order), np.int64)  # of each span among those that ascend
    rank[order] = np.arange(len(order))
    follows = np.diff(rank, prepend=-2) == 1
    follows[np.append(0, sequences.astype(np.int64))[:-1]] = False
    return ["a range does not follow the one that it continues"] if (found[2][rank] & ~follows).any() else []


def _sequences(ends: UInt64s, lengths: Int64s, sequence_length: int) -> list[str]:
    stops = ends.astype(np.int64)
    if len(stops) and ((np.diff(stops, prepend=0) <= 0).any() or stops[-1] != len(lengths)):
        return ["the sequences' ends do not ascend to the number of spans"]
    if not len(stops):
        return ["spans without a sequence"] if len(lengths) else []
    filled = np.diff(np.cumsum(lengths)[stops - 1], prepend=0)
    most = int(filled.max())
    return [f"a sequence holds {most:,} tokens, more than {sequence_length:,}"] if most > sequence_length else []


def _drawn(opened: PackIndex, key: int, count: int, part: int) -> Spans:
    """The spans of a part that were drawn from an earlier index of the epoch: its first sequences by its key."""
    spans, ends = opened.spans_of_part(part)
    first, stop = (int(edge) for edge in opened.part_sequences[part : part + 2])
    if first == stop:
        return spans[:0]
    taken = unpermute(np.arange(first, stop), opened.sequences, key) < count
    return spans[np.repeat(taken, np.diff(np.append(0, ends.astype(np.int64))))]


def _cover(spans: Spans, ends: Int64s, part: int) -> tuple[list[str], Int64s]:
    """Whether spans lie inside documents and none overlaps another; and the lengths of the pieces that none covers."""
    if (spans["part"] != part).any():
        return ["a span is of another part"], np.empty(0, np.int64)
    order = np.argsort(spans["start"], kind="stable")
    starts = spans["start"][order].astype(np.int64)
    stops = starts + spans["length"][order].astype(np.int64)
    total = int(ends[-1]) if len(ends) else 0
    if len(stops) and (int(stops.max()) > total or (stops <= starts).any()):
        return ["a span lies outside the part, or is empty"], np.empty(0, np.int64)
    document = np.searchsorted(ends, starts, side="right")
    if len(stops) and (stops > ends[np.minimum(document, len(ends) - 1)]).any():
        return ["a span goes over the end of its document"], np.empty(0, np.int64)
    if (starts[1:] < stops[:-1]).any():
        return ["a token stands in two sequences of an epoch"], np.empty(0, np.int64)
    begins, until = np.append(0, stops), np.append(starts, total)
    gaps = [_documents(ends, int(a), int(b)) for a, b in zip(*_between(begins, until), strict=True)]
    return [], np.concatenate([np.empty(0, np.int64), *gaps])


def _between(begins: Int64s, until: Int64s) -> tuple[Any, Any]:
    open_ = begins < until
    return begins[open_], until[open_]


def _documents(ends: Int64s, start: int, stop: int) -> Int64s:
    """The lengths of the pieces of documents between two tokens."""
    first, last = np.searchsorted(ends, [start, stop - 1], side="right")
    borders = np.concatenate([[start], ends[first:last], [stop]])
    return np.diff(borders)


def _counted(index: Index, record: Any, part: int, counts: Mapping[str, int]) -> list[str]:
    """The table of parts and the manifest say of a part what it has: sequences, spans, and what is left out."""
    tables = {"table of parts": {name: int(record[name]) for name in counts}}
    tables["manifest"] = {name: index.counts[f"{part:05d}"][name] for name in counts}
    return [f"the {name} says {said}, the part has {counts}" for name, said in tables.items() if said != counts]
