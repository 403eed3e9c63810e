"""Counts of keys are those of a Python dictionary, through every size that the table grows to."""

from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.filters.kernels.hash_table import STATES, count_key, count_of, empty_table, room
from midtrain.filters.kernels.kernel import kernel


@kernel
def count_all(keys: Any, asked: Any, table: Any, counts: Any, found: Any) -> None:
    state = np.empty(STATES, np.uint64)
    empty_table(table, state)
    for place in range(len(keys)):
        counts[place] = count_key(table, state, keys[place])
    for place in range(len(asked)):
        found[place] = count_of(table, state, asked[place])


def assert_counts(keys: list[int], asked: list[int]) -> None:
    # Ones: nothing may be read that was not cleared, nor written behind the room.
    words = room(len(set(keys)))
    table = np.full(words + 100, 1, np.uint64)
    counts, found = np.empty(len(keys), np.uint64), np.empty(len(asked), np.uint64)
    count_all(np.array(keys, np.uint64), np.array(asked, np.uint64), table, counts, found)
    assert (table[words:] == 1).all()
    seen: Counter[int] = Counter()
    for key, count in zip(keys, counts.tolist(), strict=True):
        seen[max(key, 1)] += 1
        assert count == seen[max(key, 1)]
    assert found.tolist() == [seen[max(key, 1)] for key in asked]


def test_counts_are_those_of_a_dictionary() -> None:
    keys = st.lists(st.one_of(st.integers(0, 40), st.integers(0, 2**64 - 1)), max_size=600)

    @settings(max_examples=100, deadline=None)
    @given(keys, st.lists(st.integers(0, 60), max_size=20))
    def check(keys: list[int], asked: list[int]) -> None:
        assert_counts(keys, asked)

    check()


def test_a_table_grows_to_its_room_and_no_further() -> None:
    for size in (95, 96, 97, 191, 192, 193, 10_000):
        keys = [key * 0x9E3779B97F4A7C15 % 2**64 for key in range(1, size + 1)]
        assert_counts(keys + keys, keys[:100])
