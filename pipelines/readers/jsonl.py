"""JSON lines: one record a line, plain, gzip or zstandard.

A split is a byte range of the decompressed stream and owns the lines that start in it, so one huge file is many tasks.
orjson parses about 500 MB/s; a line that is not JSON or not UTF-8 is handed on as an error with its place.
"""

import io
from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import BinaryIO, cast

import orjson

from ... import storage
from ...errors import RunError
from ..inputs import Split
from .records import Record, kind

BUFFER = 1 << 20


def records(split: Split) -> Iterator[Record]:
    """The records of the lines that start in the split; positions are byte offsets.

    Raises:
        RunError: the compressed stream is damaged or cut short.
    """
    for offset, line in lines(split):
        content = without_mark(offset, line)
        if not content.strip():
            continue
        try:
            value = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            yield Record(offset, len(line), None, _problem(line, error))
            continue
        if isinstance(value, dict):
            yield Record(offset, len(line), value)
        else:
            yield Record(offset, len(line), None, f"the line is {kind(value)}, not a JSON object")


def lines(split: Split) -> Iterator[tuple[int, bytes]]:
    """The lines that start in the split, each with its byte offset in the decompressed stream.

    Raises:
        RunError: the compressed stream is damaged or cut short.
    """
    damaged = storage.decompression_errors()
    offset = 0
    try:
        with storage.open_stream(split.path) as raw:
            stream = cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, raw), BUFFER))
            if split.start > 0:
                offset = _to_line_start(stream, split)
            while split.stop < 0 or offset < split.stop:
                line = stream.readline()
                if not line:
                    return
                yield offset, line
                offset += len(line)
    except damaged as error:
        raise RunError(
            f"the stream is damaged or cut short: {error}",
            where=f"{split.path} after byte {offset:,}",
            fix="replace the file or take it out of the source",
        ) from None


def without_mark(offset: int, content: bytes) -> bytes:
    """The bytes without the byte order mark that some editors put at a file's beginning."""
    return content.removeprefix(BOM_UTF8) if offset == 0 else content


def _to_line_start(stream: BinaryIO, split: Split) -> int:
    """Goes to the first line that starts at or after the split's start; returns its offset."""
    before = split.start - 1
    if split.path.endswith(storage.COMPRESSIONS):
        reached = storage.skip(stream, before)
    else:
        reached = stream.seek(before)
    return reached + len(stream.readline())


def _problem(line: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as broken:
        return f"not UTF-8 at byte {broken.start} of the line"
    return f"not JSON: {error.msg} at character {error.pos} of the line"
