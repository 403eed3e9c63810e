"""JSON lines: one record a line, plain, gzip or zstandard.

A split of an uncompressed file is a byte range and owns the lines that start in it, so one huge file is many tasks.
orjson parses about 500 MB/s; a line with a whole number of more than 64 bits, which it would round, is parsed by the
standard library. A line that is not JSON or not UTF-8 is handed on as an error with its place.
"""

from collections.abc import Iterator

import orjson

from ...filters import exact_json
from ..inputs import Split
from .records import Record, kind, poisonous
from .selection import Selection
from .streams import blank, lines, lines_of, without_mark


def records(split: Split, selection: Selection | None = None) -> Iterator[Record]:
    """The records of the lines that start in the split; positions are byte offsets.

    Raises:
        RunError: the compressed stream is damaged or cut short.
    """
    return _records(lines(split, selection), selection)


def records_of(offset: int, block: bytes) -> Iterator[Record]:
    """The records of a block of whole lines, the first of which stands at `offset` of the stream."""
    return _records(lines_of(offset, block), None)


def _records(found: Iterator[tuple[int, bytes]], selection: Selection | None) -> Iterator[Record]:
    for offset, line in found:
        content = without_mark(offset, line)
        if blank(content):
            continue
        if selection is not None and (verdict := selection.next()) is not None:
            yield from poisonous(verdict, offset, len(line))
            continue
        record = [_record(offset, len(line), content)]
        del line, content  # they may be large: nothing here holds them while the record is worked on
        yield record.pop()


def _record(offset: int, size: int, content: bytes) -> Record:
    try:
        value = exact_json.loads(content)
    except orjson.JSONDecodeError as error:
        return Record(offset, size, None, _problem(content, size - len(content), error))
    except RecursionError:
        return Record(offset, size, None, "nested too deeply, with a number that may need more than 64 bits")
    if isinstance(value, dict):
        return Record(offset, size, value)
    return Record(offset, size, None, f"the line is {kind(value)}, not a JSON object")


def _problem(content: bytes, mark: int, error: orjson.JSONDecodeError) -> str:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as broken:
        return f"not UTF-8 at byte {mark + broken.start} of the line"
    return f"not JSON: {error.msg} at character {error.pos} of the line"
