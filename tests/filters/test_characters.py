"""The table of code points agrees with Python and with datatrove's set."""

import numpy as np
from datatrove.utils.text import PUNCTUATION_SET
from midtrain.filters.characters import (
    ALPHABETIC,
    CODE_POINTS,
    PUNCTUATION,
    PUNCTUATION_RANGES,
    TERMINAL_RANGES,
    classes,
)


def test_alphabetic_is_pythons() -> None:
    found = np.flatnonzero(classes() & ALPHABETIC).tolist()
    assert found == [point for point in range(CODE_POINTS) if chr(point).isalpha()]


def test_punctuation_is_datatroves() -> None:
    found = {chr(point) for point in np.flatnonzero(classes() & PUNCTUATION)}
    assert found == PUNCTUATION_SET


def test_ranges_are_apart() -> None:
    points = [point for first, last in PUNCTUATION_RANGES for point in range(first, last + 1)]
    assert len(points) == len(set(points))
    assert list(TERMINAL_RANGES) == sorted(TERMINAL_RANGES)
