"""Words, sentences and paragraphs are datatrove's, whatever the cache holds."""

import re
from collections.abc import Callable, Sequence

import pytest
from datatrove.utils.text import split_into_sentences, split_into_words
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.filters import chunk_cache
from midtrain.filters.document import DocumentBatch, Spans

Make = Callable[[Sequence[str]], DocumentBatch]

SENTENCES = [
    ". ",
    ".",
    "! ",
    "?\n",
    ".  ",
    "A.",
    "e.g. ",
    ".\n\n",
    ' "Yes!" ',
    "…",
    "...",
    ". \t",
    "。",
    "？ ",
    ".)",
    "U.S.",
]


def pieces(spans: Spans) -> list[list[str]]:
    texts = [spans.text[a:b].tobytes().decode() for a, b in zip(spans.start, spans.stop, strict=True)]
    starts = [0, *spans.ends.tolist()][:-1]
    return [texts[a:b] for a, b in zip(starts, spans.ends.tolist(), strict=True)]


@pytest.fixture(params=["process", "small"])
def cache(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process's cache, and one so small that it forgets within a few documents."""
    if request.param == "small":
        small = chunk_cache.ChunkCache(entries=600, slots=1024, arena=30_000)
        monkeypatch.setattr(chunk_cache, "_cache", small)


def test_views_are_datatroves(make_batch: Make, hostile_texts: st.SearchStrategy[list[str]], cache: None) -> None:
    pieces_of_sentences = st.lists(
        st.sampled_from([*SENTENCES, "word", "The", "a", "\xa0", "x" * 100, "don't"]), max_size=30
    )
    texts_of_sentences = st.lists(pieces_of_sentences.map("".join), max_size=4)

    @settings(max_examples=150, deadline=None)
    @given(st.one_of(hostile_texts, texts_of_sentences))
    def check(texts: list[str]) -> None:
        batch = make_batch(texts)
        assert pieces(batch.words) == [split_into_words(text, "eng") for text in texts]
        assert pieces(batch.sentences) == [split_into_sentences(text, "eng") for text in texts]
        assert pieces(batch.paragraphs) == [re.split(r"\n{2,}", text.strip()) for text in texts]

    check()
