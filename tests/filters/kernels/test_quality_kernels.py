"""Counts are those of plain Python on hostile text, and the decision is the one that the scores give."""

from collections.abc import Callable, Sequence

import numpy as np
from datatrove.utils.text import PUNCTUATION_SET, split_into_words
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.filters.document import DocumentBatch
from midtrain.filters.gopher_quality import GopherQuality
from midtrain.filters.rules import first_broken

Make = Callable[[Sequence[str]], DocumentBatch]
STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with", "日本", "n't", "t" * 64, "t" * 270)


def reference_scores(text: str, stop_words: Sequence[str]) -> list[float]:
    """The scores, in the order of the rules, as Python reads the text and spaCy its words."""
    words, lines = split_into_words(text, "eng"), text.splitlines()
    plain = [word for word in words if any(letter not in PUNCTUATION_SET for letter in word)]
    alphabetic = sum(any(letter.isalpha() for letter in word) for word in words)
    bullets = sum(line.lstrip().startswith(("•", "-")) for line in lines)
    ends = sum(line.rstrip().endswith(("...", "…")) for line in lines)
    return [
        len(plain),
        sum(map(len, plain)) / len(plain) if plain else 0,
        text.count("#") / len(words) if words else 0,
        (text.count("...") + text.count("…")) / len(words) if words else 0,
        bullets / len(lines) if lines else 0,
        ends / len(lines) if lines else 0,
        alphabetic / len(words) if words else 0,
        len(set(words) & set(stop_words)),
    ]


def scores_of(step: GopherQuality, batch: DocumentBatch) -> list[list[float]]:
    scores = step.scores(batch)
    assert list(scores) == [rule.name for rule in step.rules]
    return np.stack(list(scores.values()), axis=1).tolist()


def test_scores_are_pythons(make_batch: Make, hostile_texts: st.SearchStrategy[list[str]]) -> None:
    step = GopherQuality(stop_words=STOP_WORDS)

    @settings(max_examples=300, deadline=None)
    @given(hostile_texts)
    def check(texts: list[str]) -> None:
        assert scores_of(step, make_batch(texts)) == [reference_scores(text, STOP_WORDS) for text in texts]

    check()


def test_symbols_and_lines_that_cross_blocks(make_batch: Make) -> None:
    @settings(max_examples=300, deadline=None)
    @given(
        st.integers(0, 130),
        st.lists(
            st.one_of(
                st.integers(1, 70).map("x".__mul__),
                st.integers(1, 140).map(".".__mul__),
                st.sampled_from(["\n", "\r\n", "\r", "\x85", "\u2028", "\u2029", "…", "•", "-", "#", " ", "\u3000"]),
            ),
            max_size=20,
        ).map("".join),
    )
    def check(shift: int, text: str) -> None:
        texts = ["x" * shift, text]
        expected = [reference_scores(one, STOP_WORDS) for one in texts]
        assert scores_of(GopherQuality(stop_words=STOP_WORDS), make_batch(texts)) == expected

    check()


def test_every_code_point_is_classed_as_a_word(make_batch: Make) -> None:
    points = [chr(point) for point in range(0x110000) if not 0xD800 <= point <= 0xDFFF]
    texts = [" ".join(points[:0x3100] + points[0x3100::97]), " ".join("." + point for point in points[:0x3100])]
    expected = [reference_scores(text, STOP_WORDS) for text in texts]
    assert scores_of(GopherQuality(stop_words=STOP_WORDS), make_batch(texts)) == expected


def test_stop_words_of_any_length_are_found_once(make_batch: Make) -> None:
    texts = [*STOP_WORDS, "t" * 63, "t" * 65, "the the the be", " ".join(STOP_WORDS), "thE The they th he", "don't"]
    scores = GopherQuality(stop_words=STOP_WORDS).scores(make_batch(texts))
    assert scores["stop_words"].tolist() == [1] * 12 + [0, 0, 2, 12, 0, 1]


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
    if draw(st.booleans()):
        result["stop_words"] = STOP_WORDS
    return result


def assert_decided_by_scores(step: GopherQuality, batch: DocumentBatch) -> None:
    fused, plain = step.decide(batch), first_broken(step.rules, step.scores(batch), len(batch))
    np.testing.assert_array_equal(fused.keep, plain.keep)
    np.testing.assert_array_equal(fused.rule, plain.rule)
    np.testing.assert_array_equal(fused.value, plain.value)
    np.testing.assert_array_equal(fused.threshold, plain.threshold)
    assert (fused.rule.dtype, fused.keep.dtype) == (np.int16, np.bool_)


def test_the_fused_decision_is_that_of_the_scores(
    make_batch: Make, hostile_texts: st.SearchStrategy[list[str]]
) -> None:
    @settings(max_examples=500, deadline=None)
    @given(hostile_texts, options())
    def check(texts: list[str], given_options: dict[str, object]) -> None:
        assert_decided_by_scores(GopherQuality.model_validate(given_options), make_batch(texts))

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
        "the end of it…\n" * 3 + prose.replace("\n", " ") + "\nthe antidisestablishmentarianism end",
        "the of " + "12345 " * 60,
        " ".join(words),
    ]
    step, batch = GopherQuality(max_words=50_000), make_batch(texts)
    assert step.decide(batch).rule.tolist() == [-1, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7]
    assert_decided_by_scores(step, batch)
