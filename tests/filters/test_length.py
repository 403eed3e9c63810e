"""Lengths are Python's own counts, bounds are included, and options that cannot be meant are refused."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.config import parse, validate
from midtrain.errors import ConfigError
from midtrain.filters.document import DocumentBatch
from midtrain.filters.length import Length

Make = Callable[[Sequence[str]], DocumentBatch]


def test_counts_are_those_of_python(make_batch: Make, hostile_texts: st.SearchStrategy[list[str]]) -> None:
    step = Length(min_bytes=1)

    @settings(max_examples=300, deadline=None)
    @given(hostile_texts)
    def check(texts: list[str]) -> None:
        scores = step.scores(make_batch(texts))
        assert scores["characters"].tolist() == [len(text) for text in texts]
        assert scores["bytes"].tolist() == [len(text.encode()) for text in texts]
        assert scores["chunks"].tolist() == [len(text.split()) for text in texts]

    check()


def test_every_code_point_is_white_space_where_it_is_for_python(make_batch: Make) -> None:
    points = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    texts = ["".join(f"a{character}b" for character in points[start : start + 512]) for start in range(0, 70000, 512)]
    texts += [f"a{character}b" for character in points if character.isspace()]
    assert Length(min_bytes=1).scores(make_batch(texts))["chunks"].tolist() == [len(text.split()) for text in texts]


def test_a_slice_of_a_batch_is_counted_like_a_batch(make_batch: Make) -> None:
    texts = ["one two", "\u3000", "", "日本 語", "x" * 50]
    batch = DocumentBatch(make_batch(texts).record_batch.slice(1, 3))
    assert Length(min_bytes=1).scores(batch)["chunks"].tolist() == [0, 0, 2]
    assert Length(min_bytes=1).scores(batch)["characters"].tolist() == [1, 0, 4]


def test_bounds_are_included_and_the_first_broken_one_is_the_reason(make_batch: Make) -> None:
    step = Length(min_characters=2, max_characters=4, max_bytes=6, min_chunks=1)
    decision = step.decide(make_batch(["a", "ab", "abcd", "abcde", "日本語", "日本", "  \n"]))
    assert decision.keep.tolist() == [False, True, True, False, False, True, False]
    assert [step.rules[rule].name for rule in decision.rule if rule >= 0] == [
        "characters",
        "characters",
        "bytes",
        "chunks",
    ]
    np.testing.assert_array_equal(decision.value, [1, np.nan, np.nan, 5, 9, np.nan, 0])
    np.testing.assert_array_equal(decision.threshold, [2, np.nan, np.nan, 4, 6, np.nan, 1])


def test_an_empty_batch_is_decided(make_batch: Make) -> None:
    assert len(Length(min_bytes=1).decide(make_batch([])).keep) == 0


def test_real_text_is_counted_as_by_python(make_batch: Make, real_texts: Callable[[str, int], list[str]]) -> None:
    texts = real_texts("multilingual/lid_gold.jsonl.gz", 500)
    scores = Length(min_bytes=1).scores(make_batch(texts))
    assert scores["chunks"].tolist() == [len(text.split()) for text in texts]
    assert scores["characters"].tolist() == [len(text) for text in texts]


@pytest.mark.measures
@pytest.mark.parametrize("piece", [")", "a ", "\u3000"])
def test_a_giant_document_takes_a_moment(make_batch: Make, piece: str) -> None:
    batch = make_batch([piece * (50_000_000 // len(piece.encode()))])
    Length(min_bytes=1).scores(make_batch(["compiled"]))
    start = time.process_time()
    Length(min_bytes=1).scores(batch)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("{}", "no bound is given"),
        ("min_characters: null", "no bound is given"),
        ("min_chunks: 10\nmax_chunks: 9", "no document can pass chunks: min_chunks 10 is above max_chunks 9"),
        ("min_bytes: -1", "greater than or equal to 0"),
        ("min_words: 5", "unknown key min_words"),
    ],
)
def test_options_that_cannot_be_meant_are_errors(yaml: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(parse(yaml, "recipe.yaml"), Length)
    assert validate(parse("max_bytes: 10MB".replace("MB", "M"), "recipe.yaml"), Length).value.max_bytes == 10_000_000
