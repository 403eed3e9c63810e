"""Plain text: a file is a document, or every line that is not blank.

A file that is not UTF-8 is one error with the byte it starts at; by lines, only the line is lost.
"""

from collections.abc import Iterator
from typing import Literal

from ... import storage
from ...errors import RunError
from ..inputs import Split
from .jsonl import lines, without_mark
from .records import Record


def records(split: Split, document: Literal["file", "line"]) -> Iterator[Record]:
    """The documents of the split; positions are byte offsets in the decompressed stream.

    Raises:
        RunError: the compressed stream is damaged or cut short.
    """
    if document == "file":
        yield _record(0, _whole(split))
        return
    for offset, line in lines(split):
        if without_mark(offset, line).strip():
            yield _record(offset, line.rstrip(b"\r\n"))


def _whole(split: Split) -> bytes:
    try:
        with storage.open_stream(split.path) as stream:
            return stream.read()
    except storage.decompression_errors() as error:
        raise RunError(
            f"the stream is damaged or cut short: {error}",
            where=split.path,
            fix="replace the file or take it out of the source",
        ) from None


def _record(offset: int, content: bytes) -> Record:
    bare = without_mark(offset, content)
    try:
        return Record(offset, len(content), {"text": bare.decode("utf-8")})
    except UnicodeDecodeError as error:
        place = offset + len(content) - len(bare) + error.start
        return Record(offset, len(content), None, f"not UTF-8 at byte {place}")
