"""Words and lines are Python's, byte for byte, for every code point."""

from collections.abc import Callable, Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.filters.document import DocumentBatch, Spans

Make = Callable[[Sequence[str]], DocumentBatch]


def pieces(spans: Spans) -> list[list[str]]:
    texts = [spans.text[a:b].tobytes().decode() for a, b in zip(spans.start, spans.stop, strict=True)]
    starts = [0, *spans.ends.tolist()][:-1]
    return [texts[a:b] for a, b in zip(starts, spans.ends.tolist(), strict=True)]


def fnv_murmur(data: bytes) -> int:
    """The reference for `hash_bytes`, in Python's integers."""
    mask = 2**64 - 1
    state = 0xCBF29CE484222325
    for byte in data:
        state = (state ^ byte) * 0x100000001B3 & mask
    state = (state ^ state >> 33) * 0xFF51AFD7ED558CCD & mask
    state = (state ^ state >> 33) * 0xC4CEB9FE1A85EC53 & mask
    return state ^ state >> 33


def test_words_and_lines_are_pythons(make_batch: Make, hostile_texts: st.SearchStrategy[list[str]]) -> None:
    @settings(max_examples=400, deadline=None)
    @given(hostile_texts)
    def check(texts: list[str]) -> None:
        batch = make_batch(texts)
        assert pieces(batch.chunks) == [text.split() for text in texts]
        assert pieces(batch.lines) == [text.splitlines() for text in texts]

    check()


def test_every_code_point_separates_as_in_python(make_batch: Make) -> None:
    points = [chr(point) for point in range(0x110000) if not 0xD800 <= point <= 0xDFFF]
    text = "".join(f"x{point}y " for point in points)
    alone = ["".join(points), *points[:0x3100]]
    batch = make_batch([text, *alone])
    assert pieces(batch.chunks) == [text.split(), *(one.split() for one in alone)]
    assert pieces(batch.lines) == [text.splitlines(), *(one.splitlines() for one in alone)]


def test_a_separator_does_not_reach_into_the_next_document(make_batch: Make) -> None:
    texts = ["a\r", "\nb", "\u2028", "x\u2029", "\xa0y", "", "\u3000"]
    batch = make_batch(texts)
    assert pieces(batch.chunks) == [text.split() for text in texts]
    assert pieces(batch.lines) == [text.splitlines() for text in texts]


def test_single_bytes_fill_the_room_for_spans(make_batch: Make) -> None:
    for texts in (["a"] * 50, ["a b c d e"] * 7, ["\n" * 99], ["\r" * 99, "\x85" * 5], [""] * 9, []):
        batch = make_batch(texts)
        assert pieces(batch.chunks) == [text.split() for text in texts]
        assert pieces(batch.lines) == [text.splitlines() for text in texts]


def test_hashes_are_the_reference(make_batch: Make, hostile_texts: st.SearchStrategy[list[str]]) -> None:
    @settings(max_examples=100, deadline=None)
    @given(hostile_texts)
    def check(texts: list[str]) -> None:
        batch = make_batch(texts)
        for spans, split in ((batch.chunks, str.split), (batch.lines, str.splitlines)):
            assert spans.hash.tolist() == [fnv_murmur(part.encode()) for text in texts for part in split(text)]

    check()


def test_hashes_of_many_words_differ(make_batch: Make) -> None:
    words = make_batch([" ".join(f"w{i}" for i in range(200_000))]).chunks
    assert len(np.unique(words.hash)) == 200_000
    # Every bit is set in about half of the hashes: 200,000 coin tosses leave .5 ± .0056 five times in a million.
    bits = np.unpackbits(words.hash.view(np.uint8).reshape(-1, 8), axis=1).mean(axis=0)
    assert np.abs(bits - 0.5).max() < 0.0056
