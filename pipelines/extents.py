"""How much there is of each source, as far as its files tell before they are read: what a plan stretches a sample to.

Costs a walk over the names and sizes of the files.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from .inputs import Files, compressed, file_bytes
from .recipe import SourceSpec


@dataclass(frozen=True)
class Extent:
    """How much there is of a source: files, their bytes, and the bytes of records in them.

    Args:
        plain: bytes of records that are known: uncompressed files, row groups of Parquet.
        compressed: bytes of compressed files, whose records only a look inside can measure.
        probe: one of these, from the middle; empty where there is none.
        problems: of a generated source.
    """

    files: int
    bytes: int
    plain: int
    compressed: int
    probe: str
    problems: int


def extent(source: SourceSpec, files: Files) -> Extent:
    """How much there is of a source."""
    own = files.by_source[source.name]
    packed = [number for number, relative in enumerate(own.relatives) if compressed(relative)]
    in_packed = sum(own.sizes[number] for number in packed)
    sizes = zip(own.sizes, own.row_groups, strict=True)
    return Extent(
        files=len(own),
        bytes=sum(own.sizes),
        plain=sum(sum(groups) or size for size, groups in sizes) - in_packed,
        compressed=in_packed,
        probe=own.root + own.relatives[packed[len(packed) // 2]] if packed else "",
        problems=(source.count or 0) * len(source.tasks),
    )


def largest_units(sources: Sequence[SourceSpec], files: Files) -> tuple[int, int]:
    """Bytes of the largest row group, and of the largest file that is one document: what is held as a whole."""
    groups = max((group for own in files.sources for found in own.row_groups for group in found), default=0)
    largest = 0
    for source, own in zip(sources, files.sources, strict=True):
        if source.document == "file":
            named = zip(own.relatives, own.sizes, strict=True)
            texts = (file_bytes(name, size) for name, size in named if source.container(name) == "text")
            largest = max(largest, max(texts, default=0))
    return groups, largest
