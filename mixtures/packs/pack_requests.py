"""What has to be packed for a plan, part by part, by this process or by tasks on many.

A request says all that its files depend on, and each part of it is packed alone, so that parts may be packed anywhere
and again, with the same bytes. What is left of an epoch is not a list of spans: each part finds its own, from the
ends of its documents and the draws so far. Costs the memory of one part, whatever the size of the source.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ... import manifest as manifests
from ... import storage
from ...errors import RunError
from ...manifest import Manifest, OutputFile
from ..parts_table import stem_of
from ..permutation import unpermute
from ..shards import PartEnds
from ..trimming import Trimmed, Trimming
from . import length_bands
from .chunk_index import ChunkIndex
from .pack_index import PACK_PART, PACK_TABLE, PackedIndex, PackIndex
from .packing import Packed, Policy, Spans, TooLong, document_spans, pack, pack_trimmed, remaining, undrawn

VERSION = 4
CHUNKS = "chunks/"  # begins the names of indexes that are computed and have no files


@dataclass(frozen=True)
class SourceTokens:
    """The tokens of a source, and how its documents are packed.

    Args:
        fingerprint: of the shards: equal tokens, equal fingerprint.
        trim: how those that are too long are trimmed, where they are.
        max_lost: share of the tokens that may be lost to documents that are dropped; no file depends on it.
    """

    name: str
    fingerprint: str
    shards: PartEnds
    pack: Policy
    too_long: TooLong
    trim: Trimming | None = None
    max_lost: float = 1.0


@dataclass(frozen=True)
class Drawn:
    """What an epoch has drawn of one index: the first `count` of its sequences in the order of the key."""

    index: str
    sequence_length: int
    key: int
    count: int


@dataclass(frozen=True)
class PackRequest:
    """An index to be made: of all documents of a source, or without what the epoch has drawn of earlier indexes.

    Args:
        source: what is packed.
        sequence_length: tokens a sequence.
        drawn: of the indexes that the epoch has drawn from so far, oldest first; each but the first is the rest that
            those before it left.
    """

    source: SourceTokens
    sequence_length: int
    drawn: tuple[Drawn, ...] = ()

    @property
    def name(self) -> str:
        """`<source>-<length>-<policy>`."""
        return f"{self.source.name}-{self.sequence_length}-{self.source.pack}"

    def options(self) -> dict[str, Any]:
        """All that the files depend on."""
        trim = self.source.trim
        return {
            **({"min_reasoning": trim.min_reasoning} if trim is not None else {}),
            "tokens": self.source.fingerprint,
            "sequence_length": self.sequence_length,
            "pack": self.source.pack,
            "too_long": self.source.too_long,
            "drawn": [[one.index, f"{one.key:016x}", one.count] for one in self.drawn],
        }

    @cached_property
    def fingerprint(self) -> str:
        """Of name, version and options: as of a stage without parents."""
        return manifests.fingerprint([self.name, VERSION, self.options(), []])

    @property
    def computed(self) -> bool:
        """Whether it needs no files: a whole source, chunked."""
        return self.source.pack == "chunk" and not self.drawn

    @property
    def folder(self) -> str:
        """The index's name: its folder below the output; of a computed one, where no folder is."""
        return f"{CHUNKS if self.computed else 'packs/'}{self.name}-{self.fingerprint[:16]}"

    @property
    def parts(self) -> int:
        """Of the tokens, and of the index."""
        return len(self.source.shards.part_tokens)


Packer = Callable[[Sequence[PackRequest]], None]


def open_index(root: Path, folder: str, sequence_length: int, source: PartEnds) -> PackIndex:
    """An index by its name.

    Args:
        root: the mixture's output.
        folder: the name, from `PackRequest.folder`.
        sequence_length: of its sequences.
        source: the tokens that it is of.

    Raises:
        RunError: its files are missing, cut short, or of another length.
    """
    if folder.startswith(CHUNKS):
        return ChunkIndex(source, sequence_length)
    return PackedIndex.open(root / folder, sequence_length)


def pack_part(root: Path, request: PackRequest, part: int) -> tuple[tuple[OutputFile, ...], dict[str, Any]]:
    """Packs one part and writes its two files; returns them, and the counts that `write_table` takes.

    Where records may be trimmed or dropped, `bands` says which, by their length.

    Raises:
        ConfigError: a document is too long, where that is to be an error.
        RunError: the ends of documents are not ends, or tokens do not add up.
    """
    source = request.source
    left, length = _left(root, request, part), request.sequence_length
    lengths = left["length"].astype(np.int64)
    bands: length_bands.Bands = {}
    if source.trim is not None:
        trimmed = _trimmed(left, source.trim, part, length)
        packed, bands = pack_trimmed(left, trimmed, length), length_bands.bands(lengths, trimmed.lengths)
    else:
        packed = pack(left, length, source.pack, source.too_long, source.name)
        if source.too_long == "drop" and source.pack == "whole":
            bands = length_bands.bands(lengths, np.where(lengths <= length, lengths, 0))
    folder, stem = root / request.folder, stem_of("part", part)
    files = (
        _write(folder, f"{stem}.sequences", packed.sequences.astype("<u8").tobytes(), packed.sequences.size),
        _write(folder, f"{stem}.spans", packed.spans.tobytes(), packed.spans.size),
    )
    return files, {"parts": {f"{part:05d}": _record(packed)}, "bands": bands}


def write_table(folder: Path, parts: Mapping[str, Mapping[str, float]]) -> OutputFile:
    """Writes the table of an index, once all of its parts are packed: the last of its files but the manifest."""
    table = np.zeros(len(parts), PACK_PART)
    for key, record in parts.items():
        for name, value in record.items():
            table[name][int(key)] = value
    return _write(folder, PACK_TABLE, table.tobytes(), len(table))


def pack_here(root: Path) -> Packer:
    """Packs in this process, one part after the other; an index that stands there complete is left alone."""

    def packer(requests: Sequence[PackRequest]) -> None:
        for request in requests:
            if not stands(root, request):
                _pack_all(root, request)

    return packer


def _pack_all(root: Path, request: PackRequest) -> None:
    files: list[OutputFile] = []
    parts: dict[str, Any] = {}
    bands: length_bands.Bands = {}
    for part in range(request.parts):
        written, counts = pack_part(root, request, part)
        files += written
        parts |= counts["parts"]
        length_bands.add(bands, counts["bands"])
    folder = root / request.folder
    files.append(write_table(folder, parts))
    Manifest(
        stage=request.name,
        version=VERSION,
        fingerprint=request.fingerprint,
        options=request.options(),
        files=tuple(sorted(files, key=lambda file: file.path)),
        counts={"parts": parts, "bands": bands},
    ).write(folder)


def stands(root: Path, request: PackRequest) -> bool:
    """Whether an index is there, complete, below a mixture's output."""
    folder = root / request.folder
    found = Manifest.find(folder)
    if found is None or found.fingerprint != request.fingerprint:
        return False
    try:
        found.check_sizes(folder)
    except RunError:  # made anew
        return False
    return True


def _left(root: Path, request: PackRequest, part: int) -> Spans:
    """The spans of a part that the epoch has not drawn yet: all documents where it has drawn nothing."""
    shards = request.source.shards
    left = document_spans(part, shards.ends(part))
    for drawn in request.drawn:
        index = open_index(root, drawn.index, drawn.sequence_length, shards)
        first, stop = (int(edge) for edge in index.part_sequences[part : part + 2])
        places = unpermute(np.arange(first, stop), index.sequences, drawn.key) if stop > first else np.empty(0, int)
        without = remaining if request.source.trim is None else undrawn
        left = without(left, *index.spans_of_part(part), places < drawn.count)
    return left


def _trimmed(left: Spans, trim: Trimming, part: int, sequence_length: int) -> Trimmed:
    """Trims those documents of a part that are left."""
    ends = trim.records.ends(part)
    documents = np.searchsorted(ends, left["start"], side="right")
    return trim.part(part, sequence_length).of(documents)


def _record(packed: Packed) -> dict[str, int | float]:
    return {
        "sequences": packed.sequences.size,
        "spans": packed.spans.size,
        "tokens": packed.tokens,
        "dropped_documents": packed.dropped_documents,
        "dropped_tokens": packed.dropped_tokens,
        "cut_documents": packed.cut_documents,
        "trimmed_documents": packed.trimmed_documents,
        "trimmed_tokens": packed.trimmed_tokens,
        "kept_reasoning": packed.kept_reasoning,
    }


def _write(folder: Path, name: str, data: bytes, rows: int) -> OutputFile:
    with storage.atomic_write(folder / name) as stream:
        stream.write(data)
    return OutputFile.of(folder, name, rows)
