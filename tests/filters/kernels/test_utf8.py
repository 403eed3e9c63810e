"""Bytes are UTF-8 where Python decodes them, wherever they stand in a block, and document by document."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from midtrain.filters.kernels.utf8 import is_utf8

# First and last of every length, both ends of the gaps, and what is just outside.
EDGES = [0x00, 0x7F, 0x80, 0x7FF, 0x800, 0xFFF, 0x1000, 0xCFFF, 0xD000, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x3FFFF]
EDGES += [0x40000, 0xFFFFF, 0x100000, 0x10FFFF]
BROKEN = [
    b"\x80",
    b"\xbf",
    b"\xc0\x80",
    b"\xc1\xbf",
    b"\xc2",
    b"\xc2\x41",
    b"\xdf\xc0",
    b"\xe0\x80\x80",
    b"\xe0\x9f\xbf",
    b"\xe1\x80",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xef\xbf",
    b"\xf0\x80\x80\x80",
    b"\xf0\x8f\xbf\xbf",
    b"\xf1\x80\x80",
    b"\xf4\x90\x80\x80",
    b"\xf5\x80\x80\x80",
    b"\xff",
    b"\xfe",
    b"\xe2\x82\x41",
    b"\xc3\xa9\xa9",
]


def _decodes(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _says(*documents: bytes, before: bytes = b"", behind: bytes = b"") -> bool:
    text = np.frombuffer(before + b"".join(documents) + behind, np.uint8)
    offsets = len(before) + np.cumsum([0, *map(len, documents)])
    return bool(is_utf8(text, offsets.astype(np.int64)))


@pytest.mark.parametrize("place", [*range(58, 70), 0, 1, 127, 128, 190])
def test_every_edge_at_every_place_of_a_block(place: int) -> None:
    for point in EDGES:
        assert _says(b"a" * place + chr(point).encode() + b"b" * (200 - place)), hex(point)
        assert _says(b"a" * place + chr(point).encode()), hex(point)
    for broken in BROKEN:
        assert not _says(b"a" * place + broken + b"b" * (200 - place)), broken
        assert not _says(b"a" * place + broken), broken


def test_a_document_is_looked_at_by_itself() -> None:
    euro = "€".encode()
    assert _says(euro, euro)
    assert not _says(euro[:1], euro[1:])
    assert not _says(euro[:2], euro[2:] + b"a")
    assert _says(b"", euro, b"", before=b"\xff", behind=b"\xff")
    assert not _says(euro[:2], behind=euro[2:])
    assert _says()
    assert _says(b"")


@pytest.mark.parametrize("offsets", [[-1, 2], [0, 5], [0, 3, 2, 4], [4, 0]])
def test_what_lies_outside_the_text_is_not_read(offsets: list[int]) -> None:
    assert not is_utf8(np.frombuffer(b"abcd", np.uint8), np.array(offsets, np.int64))


@given(st.lists(st.one_of(st.binary(max_size=8), st.text(max_size=40).map(str.encode)), max_size=30))
@example([b"\xf4", b"\x8f\xbf\xbf"])
def test_as_python_decodes(pieces: list[bytes]) -> None:
    text = b"".join(pieces)
    assert _says(text) == _decodes(text)
    assert _says(*pieces) == all(map(_decodes, pieces))


@given(st.text(min_size=1, max_size=300), st.data())
def test_one_byte_changed(text: str, data: st.DataObject) -> None:
    raw = bytearray(text.encode())
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    assert _says(bytes(raw)) == _decodes(bytes(raw))
