"""Large compressed files, read once from end to end and left as pieces that tasks can be made of.

A stream of gzip or zstandard can only be read from its start, so one large file would be one task, or be decompressed
again for each. The pieces are whole lines, plain where the text is expected to fit into memory that nobody else wants,
else in LZ4 (560 MB/s to write, 3 GB/s to read, a core; one and a half times as large as the input). They lie in the
stage's folder and are removed with it when the run is complete.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO, ClassVar

import pyarrow as pa

from .. import storage
from ..manifest import OutputFile
from . import footprints
from .inputs import EXPANSION, Files, InputFile, compressed
from .readers.streams import blocks
from .recipe import SourceSpec
from .stage import Stage, TaskResult
from .tasks import Piece

LARGE = 1.5  # tasks of text that a compressed file may hold, by its size, and still be one
BLOCK = 1 << 20
PLAIN = 512 << 20  # bytes of text that a file may hold, by its size, to be left as plain pieces


@dataclass(frozen=True)
class Cut(Stage):
    """Decompresses large files into pieces of whole lines, one task a file.

    Args:
        files: what is cut: lines of JSON or text, in gzip or zstandard.
        piece: bytes of text after which a piece ends with its line.
    """

    version: ClassVar[int] = 3  # plain, or LZ4
    scratch: ClassVar[bool] = True
    files: tuple[InputFile, ...]
    piece: int

    @property
    def name(self) -> str:
        """`cut`."""
        return "cut"

    def options(self) -> dict[str, Any]:
        """The files' hashes and the size of a piece."""
        return {"files": [[file.source, file.relative, file.hash] for file in self.files], "piece": self.piece}

    def tasks(self) -> int:
        """One a file."""
        return len(self.files)

    def memory(self) -> int:
        """As `footprints.cutting`."""
        return footprints.cutting()

    def run(self, task: int) -> TaskResult:
        """Cuts one file; the counts hold the bytes of text of each of its pieces.

        Raises:
            RunError: the stream is damaged or cut short.
        """
        codec = None if self.plain(task) else pa.Codec("lz4")
        stream = blocks(self.files[task].path, BLOCK)
        files: list[OutputFile] = []
        sizes: dict[str, int] = {}
        left = next(stream, b"")
        while left:
            name = self.piece_name(task, len(files))
            with storage.atomic_write(self.folder / name) as file:
                size, lines, left = self._fill(file, left, stream, codec)
                entry = OutputFile.written(name, file, lines)
            sizes[f"{len(files):05d}"] = size
            files.append(entry)
        return TaskResult(tuple(files), {"bytes": sum(sizes.values()), "pieces": {f"{task:05d}": sizes}})

    def _fill(
        self, file: BinaryIO, left: bytes, stream: Iterator[bytes], codec: pa.Codec | None
    ) -> tuple[int, int, bytes]:
        """Writes a block and those behind it, up to the first end of a line at or behind the size.

        Args:
            file: where to.
            left: the first block.
            stream: those behind it.
            codec: each block becomes a frame of it; None leaves them as they are.

        Returns:
            The bytes and lines of the piece, and what is left of the last block.
        """
        size = lines = 0
        while left:
            end = left.find(b"\n", max(self.piece - size - 1, 0)) + 1
            block, left = (left[:end], left[end:]) if end else (left, b"")
            file.write(block if codec is None else codec.compress(block))
            size, lines = size + len(block), lines + block.count(b"\n")
            left = left or next(stream, b"")
            if end:
                break
        return size, lines, left

    @cached_property
    def pieces(self) -> dict[tuple[str, str], tuple[Piece, ...]]:
        """The pieces of each file, by source and relative path, once the stage is complete.

        Raises:
            RunError: it is not.
        """
        counts = self.finished().counts["pieces"]
        found = {}
        for task, file in enumerate(self.files):
            sizes = counts.get(f"{task:05d}", {})  # in the order of the numbers as text
            ordered = [sizes[number] for number in sorted(sizes, key=int)]
            found[file.source, file.relative] = tuple(self._ranges(task, ordered))
        return found

    @cached_property
    def expected(self) -> dict[tuple[str, str], tuple[Piece, ...]]:
        """The pieces as they would be if text were `EXPANSION` times as large as its file: for planning alone."""
        found = {}
        for task, file in enumerate(self.files):
            text = file.size * EXPANSION
            whole, rest = divmod(text, self.piece)
            sizes = [self.piece] * whole + [rest] * (rest > 0)
            found[file.source, file.relative] = tuple(self._ranges(task, sizes))
        return found

    def plain(self, task: int) -> bool:
        """Whether the pieces of a file are not compressed."""
        return self.files[task].size * EXPANSION <= PLAIN

    def piece_name(self, task: int, number: int) -> str:
        """The file of a piece, below the stage's folder."""
        return f"piece-{task:05d}-{number:05d}{'' if self.plain(task) else '.lz4'}"

    def _ranges(self, task: int, sizes: list[int]) -> Iterator[Piece]:
        start = 0
        for number, size in enumerate(sizes):
            yield Piece(str(self.folder / self.piece_name(task, number)), start, size)
            start += size


def large_files(sources: Sequence[SourceSpec], files: Files, size: int) -> tuple[InputFile, ...]:
    """The compressed files of lines whose text is likely to be much more than a task's."""
    return tuple(
        own[number]
        for source, own in zip(sources, files.sources, strict=True)
        for number, (relative, bytes_) in enumerate(zip(own.relatives, own.sizes, strict=True))
        if compressed(relative)
        and bytes_ * EXPANSION > LARGE * size
        and {"jsonl": True, "text": source.document == "line", "parquet": False}[source.container(relative)]
    )
