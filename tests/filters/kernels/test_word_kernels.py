"""Sums over words and counts of sentences are datatrove's, whatever the cache holds and wherever its blocks end."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from datatrove.utils.text import PUNCTUATION_SET, split_into_sentences, split_into_words
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.filters import chunk_cache
from midtrain.filters.document import DocumentBatch
from midtrain.filters.kernels import chunk_bounds
from midtrain.filters.kernels import word_kernels as kernels
from midtrain.filters.kernels.kernel import kernel

Make = Callable[[Sequence[str]], DocumentBatch]


@kernel
def all_sums(text: Any, offsets: Any, words: Any) -> Any:
    sums = np.empty((len(offsets) - 1, kernels.SUMS), np.int64)
    for document in range(len(offsets) - 1):
        kernels.sum_words(text, offsets[document], offsets[document + 1], words, sums[document])
    return sums


@kernel
def all_stop_words(text: Any, offsets: Any, words: Any, hashes: Any, enough: int) -> Any:
    counts, seen = np.empty(len(offsets) - 1, np.int64), np.empty(len(hashes), np.bool_)
    for document in range(len(offsets) - 1):
        counts[document] = kernels.count_stop_words(
            text, offsets[document], offsets[document + 1], words, hashes, seen, enough
        )
    return counts


@kernel
def all_sentences(text: Any, starts: Any, stops: Any, ends: Any, words: Any, enough: int) -> Any:
    counts, first = np.empty(len(ends), np.int64), 0
    for document in range(len(ends)):
        counts[document] = kernels.count_sentences(text, starts, stops, first, ends[document], enough, words)
        first = ends[document]
    return counts


def sums_of(batch: DocumentBatch) -> list[list[int]]:
    with chunk_cache.opened(batch) as words:
        return all_sums(batch.text_bytes, batch.text_offsets, words).tolist()


def reference_sums(text: str) -> list[int]:
    words = split_into_words(text, "eng")
    plain = [word for word in words if any(char not in PUNCTUATION_SET for char in word)]
    mask = sum(1 << place for place, word in enumerate(kernels.DEFAULT_STOP_WORDS) if word in words)
    alphabetic = sum(any(char.isalpha() for char in word) for word in words)
    return [len(words), len(plain), sum(map(len, plain)), alphabetic, mask]


@pytest.fixture
def small_cache(monkeypatch: pytest.MonkeyPatch) -> chunk_cache.ChunkCache:
    """A cache that is full after a few hundred chunks, in place of the process's."""
    small = chunk_cache.ChunkCache(entries=600, slots=1024, arena=30_000)
    monkeypatch.setattr(chunk_cache, "_cache", small)
    return small


def test_sums_are_the_reference(make_batch: Make, hostile_texts: st.SearchStrategy[list[str]]) -> None:
    @settings(max_examples=150, deadline=None)
    @given(hostile_texts)
    def check(texts: list[str]) -> None:
        batch = make_batch(texts)
        expected = [reference_sums(text) for text in texts]
        chunk_cache.clear()
        assert sums_of(batch) == expected  # an empty cache
        assert sums_of(batch) == expected  # one that has them all

    check()


def test_sentences_of_lines_are_datatroves(make_batch: Make, hostile_texts: st.SearchStrategy[list[str]]) -> None:
    ends = [". ", ".", "! ", "?\n", ".  ", "A.", "e.g. ", ".\r\n", '\n"Yes!" ', "…", ".\t\n", "。", ".)", "U.S."]
    parts = st.lists(st.sampled_from([*ends, "word", "The", "\xa0", "x" * 100 + ".Y", "don't"]), max_size=30)

    @settings(max_examples=200, deadline=None)
    @given(st.one_of(hostile_texts, st.lists(parts.map("".join), max_size=4)), st.integers(0, 9))
    def check(texts: list[str], enough: int) -> None:
        batch = make_batch(texts)
        expected = [sum(len(split_into_sentences(line, "eng")) for line in text.splitlines()) for text in texts]
        lines = batch.lines
        with chunk_cache.opened(batch) as words:
            spans = batch.text_bytes, lines.start, lines.stop, lines.ends, words
            assert all_sentences(*spans, sys.maxsize).tolist() == expected
            some = all_sentences(*spans, enough).tolist()
        assert [min(count, enough) for count in some] == [min(count, enough) for count in expected]

    check()


def test_stop_words_of_a_recipe_are_found(make_batch: Make, hostile_texts: st.SearchStrategy[list[str]]) -> None:
    stop_words = ("the", "n't", "word", "…", "…", "hath", "日", "#")
    hashes = kernels.word_hashes(stop_words)
    assert len(hashes) == 7

    @settings(max_examples=100, deadline=None)
    @given(hostile_texts, st.integers(1, 7))
    def check(texts: list[str], enough: int) -> None:
        batch = make_batch(texts)
        with chunk_cache.opened(batch) as words:
            found = all_stop_words(batch.text_bytes, batch.text_offsets, words, hashes, enough).tolist()
        distinct = [len(set(stop_words) & set(split_into_words(text, "eng"))) for text in texts]
        assert found == [min(count, enough) for count in distinct]

    check()


def mixed_texts() -> list[str]:
    """Documents whose chunks fill blocks to the brim and over: of one token, of several, too long to be kept."""
    block = chunk_bounds.BLOCK
    sizes = (block - 1, block, block + 1, 2 * block, 3 * block + 7)
    plain = [" ".join(f"w{size}x{i}" for i in range(size)) for size in sizes]
    several = [" ".join(f"a,b;{i}:(c)" for i in range(size)) for size in sizes]
    giants = [" ".join(("g" * 95 + str(i), "h" * 97 + f".{i}", "the")[i % 3] for i in range(size)) for size in sizes]
    return plain + several + giants


def test_a_full_cache_changes_nothing(make_batch: Make, small_cache: chunk_cache.ChunkCache) -> None:
    texts = mixed_texts()
    expected = [reference_sums(text) for text in texts]
    batch = make_batch(texts)
    for _ in range(3):
        assert sums_of(batch) == expected
    assert small_cache.figures().sweeps > 3


def test_blocks_end_anywhere(make_batch: Make) -> None:
    texts = mixed_texts()
    chunk_cache.clear()
    expected = [reference_sums(text) for text in texts]
    assert sums_of(make_batch(texts)) == expected
    assert sums_of(make_batch(texts)) == expected
    assert sums_of(make_batch([" ".join(texts)])) == [
        [sum(row[place] for row in expected) for place in range(4)] + [expected[-1][4]]
    ]


def test_figures_count_chunks(make_batch: Make) -> None:
    chunk_cache.clear()
    sums_of(make_batch(["one two three two", "one " + "x" * 500]))
    figures = chunk_cache.figures()
    assert (figures.looked_up, figures.missed, figures.oversize, figures.entries) == (6, 3, 1, 3)
    assert 0 < figures.memory_bytes < 1_000_000
