"""Pieces, keys, cuts and firsts are those of plain Python, on any Unicode text."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.filters.kernels import piece_kernels
from midtrain.filters.kernels.kernel import kernel
from midtrain.filters.line_dedup import LineDedup
from midtrain.filters.paragraph_dedup import ParagraphDedup
from midtrain.filters.pieces import PieceDedup, without
from midtrain.filters.texts import text_view

MASK = 2**64 - 1
Plain = Callable[[str, bool], list[tuple[str, str]]]
LEAST = 8


def murmur(data: bytes) -> tuple[int, int]:
    """MurmurHash3_x64_128, seed 0, from its published description."""
    one, two = 0x87C37B91114253D5, 0x4CF5AD432745937F

    def turn(word: int, bits: int) -> int:
        return (word << bits | word >> (64 - bits)) & MASK

    def mix(word: int) -> int:
        word = (word ^ word >> 33) * 0xFF51AFD7ED558CCD & MASK
        word = (word ^ word >> 33) * 0xC4CEB9FE1A85EC53 & MASK
        return word ^ word >> 33

    low = high = 0
    whole = len(data) // 16 * 16
    for at in range(0, whole, 16):
        first, second = (int.from_bytes(data[at + 8 * half : at + 8 * half + 8], "little") for half in (0, 1))
        low ^= turn(first * one & MASK, 31) * two & MASK
        low = ((turn(low, 27) + high) * 5 + 0x52DCE729) & MASK
        high ^= turn(second * two & MASK, 33) * one & MASK
        high = ((turn(high, 31) + low) * 5 + 0x38495AB5) & MASK
    first, second = (int.from_bytes(data[whole:][8 * half : 8 * half + 8], "little") for half in (0, 1))
    high ^= turn(second * two & MASK, 33) * one & MASK
    low ^= turn(first * one & MASK, 31) * two & MASK
    low, high = low ^ len(data), high ^ len(data)
    low = (low + high) & MASK
    high = (high + low) & MASK
    low, high = mix(low), mix(high)
    low = (low + high) & MASK
    return low, (high + low) & MASK


@kernel
def hash_of(text: Any, start: Any, stop: Any) -> Any:
    return piece_kernels.hash_128(text, np.uint64(start), np.uint64(stop))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=120), st.data())
def test_the_hash_is_murmurs(data: bytes, draw: st.DataObject) -> None:
    start = draw.draw(st.integers(0, len(data)))
    stop = draw.draw(st.integers(start, len(data)))
    low, high = hash_of(np.frombuffer(data, np.uint8), start, stop)
    assert (int(low), int(high)) == murmur(data[start:stop])


def test_the_hash_has_the_published_values() -> None:
    """Of Guava's tests of MurmurHash3_x64_128, and of mmh3's documentation (foo)."""
    known = {
        b"": (0, 0),
        b"foo": (0xE271865701F54561, 0x7EAF87E42BBA7D87),
        b"hello": (0xCBD8A7B341BD9B02, 0x5B1E906A48AE1D19),
        b"The quick brown fox jumps over the lazy dog": (0xE34BBC7BBC071B6C, 0x7A433CA9C49A9347),
    }
    for data, expected in known.items():
        assert tuple(map(int, hash_of(np.frombuffer(data, np.uint8), 0, len(data)))) == expected == murmur(data)


def texts_of(text: pa.Array) -> list[str]:
    return [str(one) for one in text.to_pylist()]


def steps() -> list[PieceDedup]:
    return [LineDedup(min_length=LEAST), ParagraphDedup(min_length=LEAST)]


@pytest.fixture(scope="module")
def piece_texts(hostile_texts: st.SearchStrategy[list[str]]) -> st.SearchStrategy[list[str]]:
    """Hostile texts, and lines that repeat, of lengths about the least, with any line ends between them."""
    lines = st.sampled_from(
        ["x" * LEAST, "é" * LEAST, "日" * (LEAST - 1), " pad of spaces \t", "short", "", "\u3000", " "]
    )
    ends = st.sampled_from(["\n", "\n\n", "\r\n", "\r\n\r\n", "\n \n", "\u2028", "\x85", "\x0b\x0c", "\r"])
    many = st.lists(st.lists(st.tuples(lines, ends).map("".join), max_size=12).map("".join), max_size=6)
    return st.one_of(hostile_texts, many)


def compared(texts: Sequence[str], paragraphs: bool, plain: Plain) -> list[list[str]]:
    return [[content for _, content in plain(text, paragraphs) if len(content) >= LEAST] for text in texts]


def test_keys_are_those_of_the_pieces(piece_texts: st.SearchStrategy[list[str]], plain_pieces: Plain) -> None:
    @settings(max_examples=400, deadline=None)
    @given(piece_texts, st.integers(0, 3))
    def check(texts: list[str], skipped: int) -> None:
        column = pa.array(["\u2028before this\n"] * skipped + texts, pa.large_string())[skipped:]
        for step in steps():
            keys = step.keys(column)
            expected = compared(texts, step.paragraphs, plain_pieces)
            assert np.diff(keys.ends, prepend=0).tolist() == [len(one) for one in expected]
            found = list(zip(keys.low.tolist(), keys.high.tolist(), strict=True))
            assert found == [murmur(one.encode()) for own in expected for one in own]

    check()


def test_chosen_pieces_are_cut_out(piece_texts: st.SearchStrategy[list[str]], plain_pieces: Plain) -> None:
    @settings(max_examples=400, deadline=None)
    @given(piece_texts, st.randoms(use_true_random=False), st.integers(0, 5))
    def check(texts: list[str], rng: random.Random, number: int) -> None:
        column = pa.array(texts, pa.large_string())
        for step in steps():
            count = sum(map(len, compared(texts, step.paragraphs, plain_pieces)))
            chosen = sorted(rng.sample(range(number, number + count), rng.randint(0, count)))
            later = [number + count, number + count + 7]  # of documents that come behind these
            cuts = step.find(column, number, np.array(chosen + later, np.uint32))
            assert (len(cuts.start), cuts.next_number) == (len(chosen), number + count)
            new, blank = without(column, cuts)
            new.validate(full=True)
            expected, place = [], number
            for text in texts:
                kept = []
                for whole, content in plain_pieces(text, step.paragraphs):
                    if len(content) < LEAST or place not in chosen:
                        kept.append(whole)
                    place += len(content) >= LEAST
                expected.append("".join(kept))
            assert texts_of(new) == expected
            assert blank.tolist() == [not text.strip() for text in expected]

    check()


def test_the_plain_pieces_make_up_the_text(piece_texts: st.SearchStrategy[list[str]], plain_pieces: Plain) -> None:
    @settings(max_examples=200, deadline=None)
    @given(piece_texts)
    def check(texts: list[str]) -> None:
        for text in texts:
            for paragraphs in (False, True):
                assert "".join(whole for whole, _ in plain_pieces(text, paragraphs)) == text

    check()


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 1, 64, 2**63, MASK]), st.sampled_from([0, 1, 2]), st.integers(0, 2), st.integers(0, 3)
        ),
        max_size=200,
    )
)
def test_the_first_of_each_key_is_found(rows: list[tuple[int, int, int, int]]) -> None:
    low, high, order = (np.array([row[place] for row in rows], np.uint64) for place in (0, 1, 3))
    source = np.array([row[2] for row in rows], np.int32)
    best: dict[tuple[int, int], tuple[int, int, int]] = {}
    for place, (one, two, of, at) in enumerate(rows):
        best[one, two] = min(best.get((one, two), (9, 9, 9)), (of, at, place))
    expected = [best[row[0], row[1]][2] == place for place, row in enumerate(rows)]
    assert piece_kernels.first_of_each(low, high, source, order).tolist() == expected


def test_a_text_of_many_megabytes_takes_seconds_whatever_it_holds() -> None:
    size = 20 << 20
    for text in (
        "x" * size,
        "\n" * size,
        "x\n" * (size // 2),
        " " * size,
        "\u3000" * (size // 3),
        "long lines\r\n" * (size // 12),
    ):
        column = pa.array([text], pa.large_string())
        for step in steps():
            keys = step.keys(column)
            cuts = step.find(column, 0, np.arange(len(keys.low), dtype=np.uint32))
            assert without(column, cuts)[1].tolist() == [not text.strip() or len(keys.low) > 0]
            assert text_view(column)[1][-1] == len(text.encode())
