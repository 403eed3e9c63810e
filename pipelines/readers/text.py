"""Plain text: a file is a document, or every line that is not blank.

A file that is not UTF-8 is one error with the byte it starts at; by lines, only the line is lost.
"""

from collections.abc import Iterator
from typing import Literal

from ..inputs import Split
from .records import Record, poisonous
from .selection import Selection
from .streams import blank, blocks, lines, without_mark

WHOLE = 16 << 20  # bytes read at a time


def records(split: Split, document: Literal["file", "line"], selection: Selection | None = None) -> Iterator[Record]:
    """The documents of the split; positions are byte offsets in the decompressed stream.

    Raises:
        RunError: the compressed stream is damaged or cut short.
    """
    if document == "file":
        verdict = selection.next() if selection is not None else None
        if verdict is None:
            yield _record(0, b"".join(blocks(split.path, WHOLE)))
        else:
            yield from poisonous(verdict, 0, 0)
        return
    for offset, line in lines(split, selection):
        if blank(without_mark(offset, line)):
            continue
        if selection is not None and (verdict := selection.next()) is not None:
            yield from poisonous(verdict, offset, len(line))
            continue
        yield _record(offset, line.rstrip(b"\r\n"))


def _record(offset: int, content: bytes) -> Record:
    bare = without_mark(offset, content)
    try:
        return Record(offset, len(content), {"text": bare.decode("utf-8")})
    except UnicodeDecodeError as error:
        place = offset + len(content) - len(bare) + error.start
        return Record(offset, len(content), None, f"not UTF-8 at byte {place}")
