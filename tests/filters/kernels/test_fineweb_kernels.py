"""Counts are those of plain Python on hostile text, and the decision is the one that the scores give."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from datatrove.pipeline.filters.gopher_repetition_filter import find_duplicates
from datatrove.utils.text import split_into_words
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.filters.document import DocumentBatch
from midtrain.filters.fineweb_quality import TERMINAL, FinewebQuality
from midtrain.filters.kernels import fineweb_kernels as kernels
from midtrain.filters.rules import first_broken

Make = Callable[[Sequence[str]], DocumentBatch]

PARTS = (
    "\n",
    "\n\n",
    "\r\n",
    " \n",
    "\u3000\n",
    "a",
    "é",
    "日本",
    "𝒳",
    "word " * 7,
    "x" * 61,
    "。",
    ".",
    "!",
    "…",
    '."',
)
LINES = ("a line.\n", "the same line\n", "the same line.\n", "\t- item\n")
PIECES = st.lists(st.sampled_from(PARTS + LINES), max_size=40)
DOCUMENTS = st.lists(PIECES.map("".join), max_size=6)
ENDINGS = ("。", "日本", "ne", "the same line.", "", "\u3000", "\r")


def reference_scores(text: str, step: FinewebQuality) -> list[float]:
    """The scores, in the order of the rules, as Python reads the text and spaCy its words."""
    lines = [line for line in text.split("\n") if line.strip()]
    words, characters = split_into_words(text, "eng"), len(text.replace("\n", ""))
    return [
        len(lines),
        sum(line.endswith(step.line_endings) for line in lines) / len(lines) if lines else 0,
        sum(len(line) <= step.short_line_length for line in lines) / len(lines) if lines else 0,
        find_duplicates(lines)[1] / characters if characters else 0,
        text.count("\n") / len(words) if words else 0,
    ]


def scores_of(step: FinewebQuality, batch: DocumentBatch) -> list[list[float]]:
    scores = step.scores(batch)
    assert list(scores) == [rule.name for rule in step.rules]
    return np.stack(list(scores.values()), axis=1).tolist()


def assert_decided_by_scores(step: FinewebQuality, batch: DocumentBatch) -> None:
    fused, plain = step.decide(batch), first_broken(step.rules, step.scores(batch), len(batch))
    np.testing.assert_array_equal(fused.keep, plain.keep)
    np.testing.assert_array_equal(fused.rule, plain.rule)
    np.testing.assert_array_equal(fused.value, plain.value)
    np.testing.assert_array_equal(fused.threshold, plain.threshold)
    assert (fused.rule.dtype, fused.keep.dtype) == (np.int16, np.bool_)


@pytest.mark.parametrize("endings", [TERMINAL, ENDINGS, ENDINGS[:4], ()])
def test_scores_are_pythons(
    make_batch: Make, hostile_texts: st.SearchStrategy[list[str]], endings: tuple[str, ...]
) -> None:
    @settings(max_examples=150, deadline=None)
    @given(st.one_of(hostile_texts, DOCUMENTS), st.sampled_from([0, 1, 5, 16, 30, 2**60]))
    def check(texts: list[str], length: int) -> None:
        step = FinewebQuality(line_endings=endings, short_line_length=length)
        assert scores_of(step, make_batch(texts)) == [reference_scores(text, step) for text in texts]

    check()


@pytest.mark.parametrize("lines", [511, 512, 513, 1025, 5000])
def test_the_table_of_lines_grows(make_batch: Make, lines: int) -> None:
    once = "".join(f"line {number}é\n" for number in range(lines))
    texts = [once, "a line\n" * 3, once + once[: len(once) // 2], once.rstrip("\n") + "\n" + once, "line 1é\nline 2é"]
    step, batch = FinewebQuality(), make_batch(texts)
    assert scores_of(step, batch) == [reference_scores(text, step) for text in texts]
    assert_decided_by_scores(step, batch)


def test_lines_that_share_a_prefix_or_a_length_are_not_repeats(make_batch: Make) -> None:
    lines = ["a" * size for size in range(1, 200)] + ["a" * size + "b" for size in range(200)]
    lines += ["x" * place + "y" + "x" * (130 - place) for place in range(131)]
    step, texts = FinewebQuality(), ["\n".join(lines), "\n".join([*lines, *lines])]
    scores = scores_of(step, make_batch(texts))
    assert [row[3] for row in scores] == [0, 0.5]


SHARE = st.none() | st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0])


@st.composite
def options(draw: st.DrawFn) -> dict[str, object]:
    """Options under which every rule can drop something, and any of them may be off."""
    return {
        "min_lines": draw(st.none() | st.integers(0, 4)),
        "min_punctuated_lines": draw(SHARE),
        "allow_unpunctuated": draw(st.booleans()),
        "line_endings": draw(st.sampled_from([TERMINAL, ENDINGS[:4]])),
        "max_short_lines": draw(SHARE),
        "short_line_length": draw(st.sampled_from([0, 5, 30])),
        "max_duplicate_line_characters": draw(SHARE),
        "max_newlines_per_word": draw(SHARE | st.sampled_from([0.3, 1e-9, 3.0, 1e300])),
    }


def test_the_fused_decision_is_that_of_the_scores(
    make_batch: Make, hostile_texts: st.SearchStrategy[list[str]]
) -> None:
    @settings(max_examples=500, deadline=None)
    @given(st.one_of(hostile_texts, DOCUMENTS), options())
    def check(texts: list[str], given_options: dict[str, object]) -> None:
        assert_decided_by_scores(FinewebQuality.model_validate(given_options), make_batch(texts))

    check()


def test_words_are_counted_only_where_a_bound_does_not_settle_it(make_batch: Make) -> None:
    prose, items = "The river and the stone were there before the town was.\n" * 50, "item\n" * 50
    prose = "".join(f"{number} {line}\n" for number, line in enumerate(prose.splitlines()))
    items = "".join(f"an-item-that-is-longer-than-thirty-characters-{number}.\n" for number in range(50))
    step, batch = FinewebQuality(), make_batch([prose, items])
    *_, newlines = kernels.decide(*step._arguments(batch), step.bound_table(), False)
    assert newlines.tolist() == [-1, 50]


@pytest.mark.slow
@pytest.mark.parametrize("text", ["x" * 50_000_000, ")" * 50_000_000, "a\n" * 25_000_000])
def test_a_giant_takes_seconds(make_batch: Make, text: str) -> None:
    batch = make_batch([text, "short"])
    decision = FinewebQuality().decide(batch)
    assert decision.rule.tolist()[0] == 1
    scores = FinewebQuality().scores(batch)
    assert scores["lines"].tolist() == [text.count("\n") or 1, 1]
