"""The table of code points agrees with Python and with datatrove's set."""

import numpy as np
from datatrove.utils.text import PUNCTUATION_SET
from midtrain.filters.kernels.characters import (
    ALPHABETIC,
    CODE_POINTS,
    PUNCTUATION,
    PUNCTUATION_RANGES,
    SENTENCE_END,
    SENTENCE_END_RANGES,
    TERMINAL_RANGES,
    UNICODE_PUNCTUATION,
    classes,
)
from spacy.lang.lex_attrs import is_punct
from spacy.pipeline import Sentencizer


def test_alphabetic_is_pythons() -> None:
    found = np.flatnonzero(classes() & ALPHABETIC).tolist()
    assert found == [point for point in range(CODE_POINTS) if chr(point).isalpha()]


def test_punctuation_is_datatroves() -> None:
    found = {chr(point) for point in np.flatnonzero(classes() & PUNCTUATION)}
    assert found == PUNCTUATION_SET


def test_punctuation_and_ends_of_sentences_are_spacys() -> None:
    found = np.flatnonzero(classes() & UNICODE_PUNCTUATION).tolist()
    assert found == [point for point in range(CODE_POINTS) if is_punct(chr(point))]
    ends = {chr(point) for point in np.flatnonzero(classes() & SENTENCE_END)}
    assert ends == set(Sentencizer.default_punct_chars)


def test_ranges_are_sorted_and_apart() -> None:
    for ranges in (TERMINAL_RANGES, SENTENCE_END_RANGES, PUNCTUATION_RANGES[len(TERMINAL_RANGES) :]):
        edges = [edge for first, last in ranges for edge in (first, last + 1)]
        assert edges == sorted(set(edges))
    points = [point for first, last in PUNCTUATION_RANGES for point in range(first, last + 1)]
    assert len(points) == len(set(points))
