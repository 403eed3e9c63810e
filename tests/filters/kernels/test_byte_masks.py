"""Bits, words and counts of 64 bytes are those of plain Python, at any place, also where the text ends."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.filters.kernels import byte_masks
from midtrain.filters.kernels.kernel import kernel

TEXTS = st.one_of(
    st.binary(max_size=200),
    st.lists(st.sampled_from([b"\n", b" ", b".", b"aaaa", "é…日𝒳".encode(), b"a" * 64]), max_size=60).map(b"".join),
)


def array(data: bytes) -> Any:
    return np.frombuffer(data, np.uint8)


@kernel
def bits_of(text: Any, at: Any, end: Any, first: Any, count: Any) -> Any:
    return byte_masks.range_bits(text, np.uint64(at), np.uint64(end), np.uint8(first), np.uint8(count))


@kernel
def pieces_of(text: Any, at: Any, end: Any) -> Any:
    start, stop = np.uint64(at), np.uint64(end)
    return (
        byte_masks.word_at(text, start, stop),
        byte_masks.count_characters(text, start, stop),
        byte_masks.count_range(text, start, stop, np.uint8(0x20), np.uint8(0x20)),
    )


@kernel
def mixed_of(text: Any, at: Any, stop: Any) -> Any:
    return byte_masks.mixed_block(text, np.uint64(at), np.uint64(stop))


@kernel
def are_same(text: Any, one: Any, other: Any, size: Any) -> Any:
    return byte_masks.same_bytes(text, np.uint64(one), np.uint64(other), np.uint64(size))


@settings(max_examples=500, deadline=None)
@given(TEXTS.filter(len), st.data())
def test_bits_and_words(data: bytes, draw: st.DataObject) -> None:
    at = draw.draw(st.integers(0, len(data) - 1))
    end = draw.draw(st.integers(at + 1, len(data)))
    first = draw.draw(st.one_of(st.integers(0, 255), st.sampled_from(list(data))))
    count = draw.draw(st.integers(0, 255 - first))
    piece = data[at:end]
    expected = sum(1 << place for place, byte in enumerate(piece[:64]) if first <= byte < first + count)
    assert int(bits_of(array(data), at, end, first, count)) == expected
    word, characters, between = (int(number) for number in pieces_of(array(data), at, end))
    assert word == int.from_bytes(piece[:8], "little")
    assert characters == sum(byte & 0xC0 != 0x80 for byte in piece)
    assert between == sum(0x20 <= byte < 0x40 for byte in piece)


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.binary(max_size=90), st.binary(max_size=70), st.binary(max_size=70))
def test_equal_pieces_are_the_same_wherever_they_stand(
    piece: bytes, before: bytes, between: bytes, after: bytes
) -> None:
    text = array(before + piece + between + piece + after)
    one, other = len(before), len(before) + len(piece) + len(between)
    assert are_same(text, one, other, len(piece))
    assert are_same(text, other, one, len(piece))
    size = min(len(piece), 64)
    mixed = int(mixed_of(text, one, one + size))
    assert int(mixed_of(text, other, other + size)) == mixed
    # Cut behind the second piece, so that fewer than 64 bytes of the text are left there.
    assert int(mixed_of(text[: other + size].copy(), other, other + size)) == mixed


@settings(max_examples=300, deadline=None)
@given(TEXTS.filter(len), st.binary(max_size=70), st.data())
def test_one_other_byte_is_seen(piece: bytes, between: bytes, draw: st.DataObject) -> None:
    place, bit = draw.draw(st.integers(0, len(piece) - 1)), draw.draw(st.integers(0, 7))
    other = bytearray(piece)
    other[place] ^= 1 << bit
    text = array(piece + between + bytes(other))
    assert not are_same(text, 0, len(piece) + len(between), len(piece))
    if len(piece) <= 64:
        start = len(piece) + len(between)
        assert int(mixed_of(text, 0, len(piece))) != int(mixed_of(text, start, start + len(piece)))
