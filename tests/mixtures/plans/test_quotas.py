"""Quotas: nearest to the target along the draws, held to a plain search over every count."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import RunError
from midtrain.mixtures.permutation import Draws
from midtrain.mixtures.plans.quotas import quota


@dataclass(frozen=True)
class Counts:
    """Tokens of the sequences of an index."""

    tokens: np.ndarray

    def tokens_of(self, indices):
        """int64[n]"""
        return self.tokens[indices]


TOKENS = st.lists(st.integers(1, 50), min_size=1, max_size=12)


def setting(rest, full):
    draws = Draws(seed=3, source="web", rest_size=len(rest), rest_epoch=4, full_size=len(full), full_epoch=5)
    return draws, Counts(np.array(rest, dtype=np.int64)), Counts(np.array(full, dtype=np.int64))


def stream(draws, rest, full, first, count):
    """Tokens of each draw from `first` on, one at a time."""
    for draw in range(first, first + count):
        located = draws.locate(np.array([draw]))
        yield int((full if located.full[0] else rest).tokens_of(located.sequence)[0])


@settings(deadline=None)  # the first call compiles
@given(
    st.lists(st.integers(1, 50), max_size=12),
    TOKENS,
    st.integers(0, 40),
    st.fractions(0, 3000, max_denominator=1000),
)
def test_is_the_nearest_of_all_counts(rest, full, first, target):
    draws, rest_tokens, full_tokens = setting(rest, full)
    lengths = list(stream(draws, rest_tokens, full_tokens, first, 2 * int(target) + 2))
    sums = [0]
    while sums[-1] <= target:
        sums.append(sums[-1] + lengths[len(sums) - 1])
    expected = min(range(len(sums)), key=lambda count: (abs(sums[count] - target), count))
    assert quota(draws, rest_tokens, full_tokens, int(full_tokens.tokens.sum()), first, target) == (
        expected,
        sums[expected],
    )


@settings(deadline=None)
@given(TOKENS, st.integers(0, 30), st.integers(10**9, 10**13))
def test_many_epochs_are_multiplied(full, first, target):
    draws, rest_tokens, full_tokens = setting([], full)
    found = quota(draws, rest_tokens, full_tokens, int(full_tokens.tokens.sum()), first, Fraction(target))
    head = draws.left_in_epoch(first)
    epochs, over = divmod(found.sequences - head, len(full))
    begun = sum(stream(draws, rest_tokens, full_tokens, first, head))
    last_epoch = sum(stream(draws, rest_tokens, full_tokens, first + head + epochs * len(full), over))
    assert found.tokens == begun + epochs * sum(full) + last_epoch
    following = next(stream(draws, rest_tokens, full_tokens, first + found.sequences, 1))
    last = next(stream(draws, rest_tokens, full_tokens, first + found.sequences - 1, 1))
    distance = abs(found.tokens - target)
    assert distance <= abs(found.tokens + following - target)
    assert distance < abs(found.tokens - last - target)


def test_the_rest_alone_is_enough_where_the_target_ends_in_it():
    draws, rest_tokens, full_tokens = setting([5, 5, 5], [])
    assert quota(draws, rest_tokens, full_tokens, int(full_tokens.tokens.sum()), 0, Fraction(15)) == (3, 15)
    assert quota(draws, rest_tokens, full_tokens, int(full_tokens.tokens.sum()), 1, Fraction(9)) == (2, 10)
    with pytest.raises(RunError, match="beyond the plan"):
        quota(draws, rest_tokens, full_tokens, int(full_tokens.tokens.sum()), 0, Fraction(16))
