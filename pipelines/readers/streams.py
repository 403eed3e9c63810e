"""Files as decompressed bytes: in blocks, or by lines with the place where each begins.

All that reads lines goes through here, so that a damaged stream is named with its byte in one way. Lines cost about
0.2 µs each beside the decompression.
"""

import contextlib
import io
from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import BinaryIO, cast

from ... import storage
from ...errors import RunError
from ..inputs import Split
from .selection import Selection

BUFFER = 1 << 20


def blocks(path: str, size: int) -> Iterator[bytes]:
    """The decompressed bytes of a file, `size` at a time.

    Raises:
        RunError: the compressed stream is damaged or cut short.
    """
    place = _Place(path)
    with place.named(), storage.open_stream(path) as stream:
        while block := stream.read(size):
            yield block
            place.offset += len(block)


def lines(split: Split, selection: Selection | None = None) -> Iterator[tuple[int, bytes]]:
    """The lines that start in the split, each with its byte offset in the decompressed stream.

    Of a long line that the selection passes by only the beginning is read into memory: it may be what kills.

    Raises:
        RunError: the compressed stream is damaged or cut short.
    """
    with _at_first_line(split) as (stream, place):
        offset = place.offset
        while split.stop < 0 or offset < split.stop:
            place.offset = offset
            held = [stream.readline(-1 if selection is None or selection.wanted else BUFFER)]
            if not held[0]:
                return
            offset += len(held[0])
            if len(held[0]) == BUFFER and selection is not None:
                offset += _to_line_end(stream, held[0])
            yield split.origin + place.offset, held.pop()  # which may be large: nothing here holds it


def line_blocks(split: Split, size: int) -> Iterator[tuple[int, list[bytes]]]:
    """The same lines, whole ones of about `size` bytes together, each block with the byte offset of its first.

    A block ends with the first line that reaches the size, or with the split. It stands in a list of its own and may be
    taken out of it: it may be large, and nothing here holds it.

    Raises:
        RunError: the compressed stream is damaged or cut short.
    """
    with _at_first_line(split) as (stream, place):
        offset = place.offset
        while split.stop < 0 or offset < split.stop:
            place.offset = offset
            if not (block := stream.read(size)):
                return
            if not block.endswith(b"\n"):
                block += stream.readline()
            if 0 <= split.stop < offset + len(block):
                block = block[: block.find(b"\n", split.stop - offset - 1) + 1 or None]
            offset += len(block)
            held = [block]
            del block
            yield split.origin + place.offset, held


def lines_of(offset: int, block: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines of a block of whole lines, each with its byte offset; a line is not held here while it is used."""
    stream = io.BytesIO(block)
    del block
    while (held := [stream.readline()])[0]:
        start, offset = offset, offset + len(held[0])
        yield start, held.pop()


@contextlib.contextmanager
def _at_first_line(split: Split) -> Iterator[tuple[BinaryIO, "_Place"]]:
    """A stream that stands at the first line which starts in the split, and the place that its errors name."""
    place = _Place(split.path)
    with place.named(), storage.open_stream(split.path) as raw:
        stream = cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, raw), BUFFER))
        if split.start > 0:  # of an uncompressed file
            place.offset = stream.seek(split.start - 1) + len(stream.readline())
        yield stream, place


def _to_line_end(stream: BinaryIO, block: bytes) -> int:
    """Reads on to the end of a line that a block ends in; returns the bytes that this took."""
    passed = 0
    while block and not block.endswith(b"\n"):
        block = stream.readline(BUFFER)
        passed += len(block)
    return passed


def without_mark(offset: int, content: bytes) -> bytes:
    """The bytes without the byte order mark that some editors put at a file's beginning."""
    return content.removeprefix(BOM_UTF8) if offset == 0 else content


def blank(content: bytes) -> bool:
    """Whether a line holds nothing: then it is no record."""
    return not content or content.isspace()


class _Place:
    """How far a stream was read, for its error."""

    def __init__(self, path: str) -> None:
        self.path, self.offset = path, 0

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        try:
            yield
        except storage.decompression_errors() as error:
            raise RunError(
                f"the stream is damaged or cut short: {error}",
                where=f"{self.path} after byte {self.offset:,}",
                fix="replace the file or take it out of the source",
            ) from None
