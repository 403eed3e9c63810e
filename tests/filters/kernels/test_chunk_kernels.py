"""Chunks are what `str.split()` gives, wherever blocks of 64 bytes and of chunks end, and each has its own entry."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.filters import chunk_cache
from midtrain.filters.document import DocumentBatch
from midtrain.filters.kernels.chunk_bounds import LONGEST
from midtrain.filters.kernels.chunk_kernels import look_up
from midtrain.filters.kernels.kernel import kernel

Make = Callable[[Sequence[str]], DocumentBatch]

SPACES = [chr(point) for point in range(0x3001) if chr(point).isspace()]
# What shares its first bytes with white space, and what is long.
OTHERS = ["a", "\x08", "\x1b", "!", "é", "\xa1", "\x86", "ᚁ", "ᚠ", "\u200b", "“", "⁠", "、", "の", "日", "😀", "x" * 7]


@kernel
def all_chunks(text: Any, offsets: Any, words: Any, starts: Any, stops: Any, entries: Any) -> Any:
    total = 0
    for document in range(len(offsets) - 1):
        at, end = np.uint64(offsets[document]), np.uint64(offsets[document + 1])
        while at < end:
            count, at = look_up(text, at, end, words)
            for chunk in range(count):
                starts[total], stops[total], entries[total] = words[4][chunk], words[5][chunk], words[7][chunk]
                total += 1
    return total


def chunks_of(batch: DocumentBatch) -> tuple[list[bytes], list[int]]:
    size = len(batch.text_bytes)
    starts, stops, entries = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.int64)
    with chunk_cache.opened(batch) as words:
        total = all_chunks(batch.text_bytes, batch.text_offsets, words, starts, stops, entries)
    text = batch.text_bytes.tobytes()
    spans = zip(starts[:total].tolist(), stops[:total].tolist(), strict=True)
    return [text[start:stop] for start, stop in spans], entries[:total].tolist()


def assert_chunks(batch: DocumentBatch, texts: Sequence[str]) -> None:
    expected = [chunk.encode() for text in texts for chunk in text.split()]
    chunks, entries = chunks_of(batch)
    assert chunks == expected
    kept = [(chunk, entry) for chunk, entry in zip(chunks, entries, strict=True) if len(chunk) <= LONGEST]
    assert len(set(kept)) == len({chunk for chunk, _ in kept}) == len({entry for _, entry in kept})
    assert [entry for chunk, entry in zip(chunks, entries, strict=True) if len(chunk) > LONGEST] == [0] * (
        len(chunks) - len(kept)
    )


def test_chunks_are_those_of_split(make_batch: Make, hostile_texts: st.SearchStrategy[list[str]]) -> None:
    sizes = st.sampled_from([1, 1, 1, 2, 8, 15, 16, 17, 31, 63, 64, 65, 95, 96, 97, 130, 300])
    piece = st.builds(lambda part, size: part * size, st.sampled_from([*SPACES, *OTHERS]), sizes)
    texts_of_pieces = st.lists(st.lists(piece, max_size=40).map("".join), max_size=4)

    @settings(max_examples=300, deadline=None)
    @given(st.one_of(texts_of_pieces, hostile_texts))
    def check(texts: list[str]) -> None:
        assert_chunks(make_batch(texts), texts)

    check()


def test_every_white_space_at_every_place_of_a_block(make_batch: Make) -> None:
    texts = [
        "a" * place + space * times + behind for space in SPACES for times in (1, 2) for place in range(70)
        for behind in ("", "b", "日本")
    ]  # fmt: skip
    assert_chunks(make_batch(texts), texts)
    for text in texts[:: len(texts) // 500]:
        assert_chunks(make_batch([text]), [text])  # no byte behind it


def test_blocks_of_chunks_end_anywhere(make_batch: Make) -> None:
    texts = [" " * first + "a " * 240 + "b" * long + " c" * 300 for first in range(66) for long in (1, 64, 96, 97, 200)]
    assert_chunks(make_batch(texts), texts)
