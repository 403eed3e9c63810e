"""Counts are those of plain Python on hostile text, and the decision is the one that the scores give."""

from collections.abc import Callable, Sequence

import numpy as np
from datatrove.utils.text import PUNCTUATION_SET
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.filters import quality_kernels as kernels
from midtrain.filters.document import DocumentBatch
from midtrain.filters.gopher_quality import GopherQuality
from midtrain.filters.rules import first_broken

Make = Callable[[Sequence[str]], DocumentBatch]
STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with", "日本", "t" * 63, "t" * 64, "t" * 70)


def reference_counts(text: str, stop_words: Sequence[str]) -> list[int]:
    """The counts, in the order of the kernels' columns, as Python reads the text."""
    words, lines = text.split(), text.splitlines()
    plain = [word for word in words if any(letter not in PUNCTUATION_SET for letter in word)]
    return [
        len(words),
        len(plain),
        sum(map(len, plain)),
        sum(any(letter.isalpha() for letter in word) for word in words),
        text.count("#"),
        text.count("...") + text.count("…"),
        len(lines),
        sum(line.lstrip().startswith(("•", "-")) for line in lines),
        sum(line.rstrip().endswith(("...", "…")) for line in lines),
        len(set(words) & set(stop_words)),
    ]


def reference_scores(text: str, stop_words: Sequence[str]) -> list[float]:
    """The scores, in the order of RULES."""
    words, plain, size, alphabetic, hashes, ellipses, lines, bullets, ends, stops = reference_counts(text, stop_words)
    return [
        plain,
        size / plain if plain else 0,
        hashes / words if words else 0,
        ellipses / words if words else 0,
        bullets / lines if lines else 0,
        ends / lines if lines else 0,
        alphabetic / words if words else 0,
        stops,
    ]


def test_scores_are_pythons(make_batch: Make, hostile_texts: st.SearchStrategy[list[str]]) -> None:
    step = GopherQuality(stop_words=STOP_WORDS)

    @settings(max_examples=500, deadline=None)
    @given(hostile_texts)
    def check(texts: list[str]) -> None:
        scores = step.scores(make_batch(texts))
        assert tuple(scores) == kernels.RULES
        found = np.stack(list(scores.values()), axis=1)
        assert found.tolist() == [reference_scores(text, STOP_WORDS) for text in texts]

    check()


def test_every_code_point_is_classed_as_a_word(make_batch: Make) -> None:
    points = [chr(point) for point in range(0x110000) if not 0xD800 <= point <= 0xDFFF]
    texts = [" ".join(points), " ".join("." + point for point in points[:0x3100])]
    scores = GopherQuality(stop_words=STOP_WORDS).scores(make_batch(texts))
    found = np.stack(list(scores.values()), axis=1)
    assert found.tolist() == [reference_scores(text, STOP_WORDS) for text in texts]


def test_stop_words_of_any_length_are_found_once(make_batch: Make) -> None:
    texts = [*STOP_WORDS, "t" * 62, "t" * 65, "the the the be", " ".join(STOP_WORDS), "thE The they th he"]
    scores = GopherQuality(stop_words=STOP_WORDS).scores(make_batch(texts))
    assert scores["stop_words"].tolist() == [1] * 12 + [0, 0, 2, 12, 0]


BOUND = st.none() | st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0])


@st.composite
def options(draw: st.DrawFn) -> dict[str, object]:
    """Options under which every rule can drop something, and any of them may be off."""
    words = sorted(draw(st.lists(st.integers(0, 12), min_size=2, max_size=2)))
    lengths = sorted(draw(st.lists(st.sampled_from([0.0, 1.0, 1.5, 2.0, 3.0, 5.0]), min_size=2, max_size=2)))
    result: dict[str, object] = {
        "min_words": draw(st.sampled_from([None, words[0]])),
        "max_words": draw(st.sampled_from([None, words[1]])),
        "min_mean_word_length": draw(st.sampled_from([None, lengths[0]])),
        "max_mean_word_length": draw(st.sampled_from([None, lengths[1]])),
        "min_stop_words": draw(st.none() | st.integers(0, 3)),
    }
    for name in ("hash_ratio", "ellipsis_ratio", "bullet_lines", "ellipsis_lines"):
        result[f"max_{name}"] = draw(BOUND)
    result["min_alphabetic_words"] = draw(BOUND)
    return result


def test_the_fused_decision_is_that_of_the_scores(
    make_batch: Make, hostile_texts: st.SearchStrategy[list[str]]
) -> None:
    @settings(max_examples=500, deadline=None)
    @given(hostile_texts, options())
    def check(texts: list[str], given_options: dict[str, object]) -> None:
        step, batch = GopherQuality.model_validate(given_options), make_batch(texts)
        fused = step.decide(batch)
        plain = first_broken(step.rules, step.scores(batch), len(batch))
        np.testing.assert_array_equal(fused.keep, plain.keep)
        np.testing.assert_array_equal(fused.rule, plain.rule)
        np.testing.assert_array_equal(fused.value, plain.value)
        np.testing.assert_array_equal(fused.threshold, plain.threshold)
        assert (fused.rule.dtype, fused.keep.dtype) == (np.int16, np.bool_)

    check()


def test_each_rule_can_be_the_first_that_breaks(make_batch: Make) -> None:
    prose = "the cat and the dog sat with a bird\n" * 10
    words = [f"word{i}" for i in range(60)]
    texts = [
        prose,
        "one two",
        prose * 1000,
        "a b the of " * 20,
        "the of " + "antidisestablishmentarianism " * 60,
        prose + "#" * 20,
        prose + "... " * 20,
        "- the chicken sat down of course\n" * 20,
        "the end of it…\n" * 3 + prose.replace("\n", "") + "\nthe end",
        "the of " + "12345 " * 60,
        " ".join(words),
    ]
    step = GopherQuality(max_words=50_000)
    decision = step.decide(make_batch(texts))
    assert decision.rule.tolist() == [-1, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7]
    plain = first_broken(step.rules, step.scores(make_batch(texts)), len(texts))
    np.testing.assert_array_equal(decision.rule, plain.rule)
    np.testing.assert_array_equal(decision.value, plain.value)
    np.testing.assert_array_equal(decision.threshold, plain.threshold)
