"""mC4's paragraphs are counted and decided as published."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from datatrove.data import Document
from datatrove.pipeline.filters.c4_filters import C4ParagraphFilter
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.config import parse, validate
from midtrain.errors import ConfigError
from midtrain.filters.c4_paragraphs import PAPER, C4Paragraphs
from midtrain.filters.document import DocumentBatch
from midtrain.filters.rules import first_broken

Make = Callable[[Sequence[str]], DocumentBatch]


def published(step: C4ParagraphFilter, texts: Sequence[str]) -> list[bool]:
    return [step.filter(Document(text=text, id=str(i))) is True for i, text in enumerate(texts)]


@pytest.mark.parametrize("name", ["text/web_small.jsonl.gz", "multilingual/lid_gold.jsonl.gz"])
def test_real_text_is_decided_as_published(
    make_batch: Make, real_texts: Callable[[str, int], list[str]], name: str
) -> None:
    texts = real_texts(name, 3000)
    keep = C4Paragraphs().decide(make_batch(texts)).keep
    assert keep.tolist() == published(C4ParagraphFilter(), texts)
    assert not keep.all()
    assert keep.any() or not name.startswith("text/")


def test_hostile_text_is_counted_as_python_counts_and_decided_by_the_count(
    make_batch: Make, hostile_texts: st.SearchStrategy[list[str]]
) -> None:
    @settings(max_examples=300, deadline=None)
    @given(hostile_texts, st.integers(1, 4), st.integers(0, 8))
    def check(texts: list[str], paragraphs: int, length: int) -> None:
        step, batch = C4Paragraphs(min_paragraphs=paragraphs, min_length=length), make_batch(texts)
        scores = step.scores(batch)
        assert scores["paragraphs"].tolist() == [
            sum(len(line) >= length for line in text.split("\n")) for text in texts
        ]
        plain, fused = first_broken(step.rules, scores, len(batch)), step.decide(batch)
        for name in ("keep", "rule", "value", "threshold"):
            np.testing.assert_array_equal(getattr(fused, name), getattr(plain, name))
        theirs = C4ParagraphFilter()
        theirs.min_paragraph_len = length
        if paragraphs == 3:
            assert fused.keep.tolist() == published(theirs, texts)

    check()


def test_a_paragraph_is_measured_in_characters_and_ends_at_a_newline_alone(make_batch: Make) -> None:
    texts = ["é" * 200 + "\n" + "日" * 200 + "\n" + "a" * 200, "é" * 199 + "\n" + "a\r\n" * 300, "a\u2028" * 900, ""]
    decision = C4Paragraphs().decide(make_batch(texts))
    assert decision.keep.tolist() == [True, False, False, False]
    np.testing.assert_array_equal(decision.value, [np.nan, 0, 1, 0])


def test_options_are_checked_and_cited() -> None:
    assert C4Paragraphs().rules[0].source == PAPER
    assert C4Paragraphs(min_length=100).rules[0].source.startswith("the recipe")
    for yaml, message in (("min_paragraphs: 0", "greater than or equal to 1"), ("min_lenght: 3", "min_length")):
        with pytest.raises(ConfigError, match=message):
            validate(parse(yaml, "recipe.yaml"), C4Paragraphs)
    assert C4Paragraphs.version == 1
