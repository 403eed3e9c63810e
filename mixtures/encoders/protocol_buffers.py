"""Messages of protocol buffers read without their library: the fields of a message by their numbers.

A model of SentencePiece is one such message, and ten lines read it where a package of 1 MB would. Costs a few Python
steps a field.
"""

from collections.abc import Iterator

_VARINT, _LONG, _BYTES, _SHORT = 0, 1, 2, 5  # types of fields


class Message:
    """A message; of a field that stands several times the last one counts.

    Raises:
        ValueError, IndexError: not a message, or one that is cut short.
    """

    def __init__(self, data: bytes) -> None:
        self._numbers: dict[int, int] = {}
        self._bytes: dict[int, list[bytes]] = {}
        for field, value in _read(data):
            if isinstance(value, int):
                self._numbers[field] = value
            else:
                self._bytes.setdefault(field, []).append(value)

    def number(self, field: int, default: int) -> int:
        """A field that is a number."""
        return self._numbers.get(field, default)

    def all_bytes(self, field: int) -> list[bytes]:
        """A repeated field of text, bytes, messages or numbers of fixed width."""
        return self._bytes.get(field, [])

    def bytes(self, field: int, default: bytes = b"") -> bytes:
        """One that stands once."""
        return self._bytes[field][-1] if field in self._bytes else default


def _read(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in (_LONG, _SHORT):
            size = 8 if kind == _LONG else 4
        else:
            raise ValueError(f"a field of the type {kind}")
        if at + size > len(data):
            raise ValueError("a field that is cut short")
        yield tag >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
