"""Lineage: which documents stand in given sequences of a phase, and in which sequences a given document stands.

Both directions are computed from the order, the packs and the shards, so nothing was logged and nothing can be missing,
for what is still to come as for what was trained on. Costs a block of the order to replay, and a few milliseconds for
each part of the shards that is looked into; no token is read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

import numpy as np
import numpy.typing as npt

from ..errors import ConfigError, RunError
from .built import Built
from .document_rows import DocumentRow, find_rows, read_rows
from .packs.chunk_index import ChunkIndex
from .packs.pack_index import PackIndex
from .packs.packing import Spans
from .parts_table import Kind
from .shards import Shards

KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Piece:
    """A piece of one document in a sequence: its tokens from `start` to `stop`, counted from the document's first.

    `sequence` is the place in the phase, `offset` where the piece begins in the row; `tokens` is the whole document's
    length, its end of document included. `source` is the mixture's, `recipe_source` the recipe's. `continues`: it goes
    on with the segment of the piece before it, and what stands between the two in the document is trimmed.
    """

    sequence: int
    offset: int
    source: str
    recipe_source: str
    id: str
    url: str | None
    part: str
    start: int
    stop: int
    tokens: int
    continues: bool = False


@dataclass(frozen=True)
class Appearance:
    """A place of a phase that a piece of a document stands at; `epoch` of its source, from 0 over all phases."""

    phase: str
    sequence: int
    epoch: int
    offset: int
    start: int
    stop: int


@dataclass(frozen=True)
class Whereabouts:
    """A document, where it is trained on, and for each phase that leaves it out, or for all, why."""

    id: str
    source: str
    recipe_source: str
    url: str | None
    part: str
    tokens: int
    held_out: bool
    appearances: tuple[Appearance, ...]
    notes: tuple[str, ...]


def pieces(built: Built, phase: str, first: int, count: int) -> list[Piece]:
    """What stands in consecutive sequences of a phase, in the order in which it stands there.

    Args:
        built: the shards.
        phase: name of the phase.
        first: place of the first sequence.
        count: how many.

    Raises:
        ConfigError: the phase has no such places.
        RunError: indexes, ends and documents contradict one another.
    """
    check_places(built, phase, first, count)
    order = built.order.phase(phase)
    places = built.order.slice(phase, first, count)
    spans = [
        built.order.index(phase, pack).sequence(sequence)
        for pack, sequence in zip(places.pack.tolist(), places.sequence.tolist(), strict=True)
    ]
    source = np.repeat(places.source, [len(one) for one in spans])
    sequence = np.repeat(np.arange(first, first + count), [len(one) for one in spans])
    offset = np.concatenate([_offsets(one) for one in spans])
    joined: Spans = np.concatenate(spans)
    found: list[Piece | None] = [None] * len(source)
    for chosen in _by_part(source, joined["part"]):
        name, part = order.sources[int(source[chosen[0]])], int(joined["part"][chosen[0]])
        documents = _documents(built, name, part, joined[chosen])
        for place, document in zip(chosen.tolist(), documents, strict=True):
            start, length = int(joined["start"][place]) - document.start, int(joined["length"][place])
            found[place] = Piece(
                sequence=int(sequence[place]),
                offset=int(offset[place]),
                source=name,
                recipe_source=document.source,
                id=document.id,
                url=document.url,
                part=built.shards(name).stem(part),
                start=start,
                stop=start + length,
                tokens=document.tokens,
                continues=bool(joined["continues"][place]),
            )
    return [piece for piece in found if piece is not None]


def whereabouts(built: Built, identity: str) -> list[Whereabouts]:
    """Every document of an id, over all sources, with every place at which it is trained on.

    Raises:
        ConfigError: no source has a document of this id.
        RunError: indexes, ends and documents contradict one another.
    """
    found = [
        _whereabouts(built, source, kind, part, row)
        for source in built.sources
        for kind in KINDS
        for part, row in find_rows(built.shards(source, kind), identity)
    ]
    if not found:
        raise ConfigError(
            "no document has this id",
            where=str(built.root),
            seen=repr(identity),
            expected="the id of a document of " + ", ".join(built.sources),
            fix="midtrain seen or peek shows ids; a document that curation dropped is not here (midtrain explain)",
        )
    return found


def rank_places(first: int, count: int, rank: int, world_size: int) -> tuple[int, int]:
    """The part of a step's places that one data-parallel rank reads: its first and how many.

    Raises:
        ConfigError: there is no such rank.
    """
    if not 0 <= rank < world_size:
        seen, expected = f"rank {rank}, world size {world_size}", "a rank from 0 to the world size less one"
        raise ConfigError("there is no such rank", seen=seen, expected=expected)
    begin, end = rank * count // world_size, (rank + 1) * count // world_size
    return first + begin, end - begin


def check_places(built: Built, phase: str, first: int, count: int) -> None:
    """Whether a phase has these places.

    Raises:
        ConfigError: there is no such phase, or it is shorter.
    """
    if phase not in built.phases:
        expected = ", ".join(built.phases)
        raise ConfigError("the shards have no such phase", where=str(built.root), seen=phase, expected=expected)
    sequences = built.phases[phase].sequences
    if first < 0 or count < 1 or first + count > sequences:
        raise ConfigError(
            f"the phase {phase} has no such sequences",
            where=str(built.root),
            seen=f"{first:,}" if count == 1 else f"{first:,} to {first + count - 1:,}",
            expected=f"from 0 to {sequences - 1:,}",
        )


def _whereabouts(built: Built, source: str, kind: Kind, part: int, row: int) -> Whereabouts:
    shards = built.shards(source, kind)
    document = read_rows(shards, part, [row])[row]
    appearances: list[Appearance] = []
    notes: list[str] = []
    if kind == "held_out":
        notes.append(f"held out of {source}: no phase trains on it")
    else:
        seen = {phase: list(_appearances(built, phase, source, part, document)) for phase in built.phases}
        appearances = [one for ones in seen.values() for one in ones]
        notes = [_absence(built, phase, source, part, document) for phase, ones in seen.items() if not ones]
    return Whereabouts(
        id=document.id,
        source=source,
        recipe_source=document.source,
        url=document.url,
        part=shards.stem(part),
        tokens=document.tokens,
        held_out=kind == "held_out",
        appearances=tuple(appearances),
        notes=tuple(notes),
    )


def _appearances(built: Built, phase: str, source: str, part: int, document: DocumentRow) -> Iterator[Appearance]:
    """Where one phase trains on a document, in the order of training."""
    found = []
    for folder, index in _indexes(built, phase, source):
        for number in _sequences_of(index, part, document):
            spans = index.sequence(number)
            places = [one for one in built.order.find(source, folder, number) if one.phase == phase]
            for at in np.flatnonzero(_holds(spans, part, document)).tolist():
                start = int(spans["start"][at]) - document.start
                offset, stop = int(_offsets(spans)[at]), start + int(spans["length"][at])
                found += [Appearance(phase, one.place, one.epoch, offset, start, stop) for one in places]
    yield from sorted(found, key=lambda one: (one.sequence, one.offset))


def _absence(built: Built, phase: str, source: str, part: int, document: DocumentRow) -> str:
    """Why a phase does not train on a document."""
    order = built.order.phase(phase)
    if source not in order.sources or not order.quotas[order.sources.index(source)]:
        return f"phase {phase}: draws nothing of {source}"
    if any(_sequences_of(index, part, document) for _, index in _indexes(built, phase, source)):
        return f"phase {phase}: ends before the epoch of {source} comes to it"
    if document.tokens > order.sequence_length and built.sources[source].too_long == "trim":
        return (
            f"phase {phase}: too long, its prompts and answers (and the reasoning that must stay) are more than the "
            f"{order.sequence_length:,} tokens of a sequence; whole it has {document.tokens:,}"
        )
    if document.tokens > order.sequence_length:
        return f"phase {phase}: too long, {document.tokens:,} tokens where a sequence has {order.sequence_length:,}"
    return f"phase {phase}: draws what earlier phases have left of {source}, and it is not part of that"


def _indexes(built: Built, phase: str, source: str) -> Iterator[tuple[str, PackIndex]]:
    """Folder and pack index of what a phase draws of a source."""
    order = built.order.phase(phase)
    if source in order.sources:
        entry = order.entries[order.sources.index(source)]
        for pool in (entry.rest, entry.full):
            if pool is not None:
                yield order.indexes[pool.index], built.order.index(phase, pool.index)


def _sequences_of(index: PackIndex, part: int, document: DocumentRow) -> list[int]:
    """The sequences of an index that hold a piece of a document."""
    first = int(index.part_sequences[part])
    if isinstance(index, ChunkIndex):
        last = (document.start + document.tokens - 1) // index.sequence_length
        return list(range(first + document.start // index.sequence_length, first + last + 1))
    spans, ends = index.spans_of_part(part)
    at = np.flatnonzero(_holds(spans, part, document))
    return sorted(set((first + np.searchsorted(ends, at.astype(np.uint64), side="right")).tolist()))


def _holds(spans: Spans, part: int, document: DocumentRow) -> npt.NDArray[np.bool_]:
    """Which spans are pieces of a document: bool[m]."""
    start, stop = np.uint64(document.start), np.uint64(document.start + document.tokens)
    inside: npt.NDArray[np.bool_] = (spans["part"] == part) & (spans["start"] >= start) & (spans["start"] < stop)
    return inside


def _documents(built: Built, source: str, part: int, spans: Spans) -> Iterator[DocumentRow]:
    """The document of each span of a part."""
    shards = built.shards(source)
    if part >= len(shards.parts):
        raise _foreign(shards, f"part {part:,}", f"one of {len(shards.parts):,}")
    ends = shards.ends_unchecked(part)
    rows = np.searchsorted(ends, spans["start"], side="right")
    if int(rows.max()) >= len(ends):
        raise _foreign(shards, f"{shards.stem(part)}, token {int(spans['start'].max()):,}", f"below {int(ends[-1]):,}")
    documents = read_rows(shards, part, rows.tolist())
    for row, start, length in zip(rows.tolist(), spans["start"].tolist(), spans["length"].tolist(), strict=True):
        document = documents[row]
        stop = document.start + document.tokens
        if start + length > stop:
            seen = f"{shards.stem(part)}, tokens {start:,} to {start + length:,}"
            raise _foreign(shards, seen, f"an end at {stop:,} or before, the document's")
        yield document


def _foreign(shards: Shards, seen: str, expected: str) -> RunError:
    return RunError(
        "a span of the packs is no piece of a document: they are not of these shards",
        where=str(shards.folder),
        seen=seen,
        expected=expected,
        fix=f"midtrain verify {shards.folder.parent.parent} names the file and what to remove",
    )


def _by_part(source: npt.NDArray[np.int32], part: npt.NDArray[np.uint32]) -> Iterator[npt.NDArray[np.int64]]:
    """The places of equal (source, part), group by group, each ascending."""
    order = np.lexsort((part, source))
    edges = np.flatnonzero((np.diff(source[order]) != 0) | (np.diff(part[order].astype(np.int64)) != 0)) + 1
    yield from (group for group in np.split(order, edges) if len(group))


def _offsets(spans: Spans) -> npt.NDArray[np.int64]:
    """Where each span begins in its row: int64[m]."""
    lengths = spans["length"].astype(np.int64)
    return np.cumsum(lengths) - lengths
