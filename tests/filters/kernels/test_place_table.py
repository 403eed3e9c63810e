"""What a table of places has seen is what a Python set has, through every size that the table grows to."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.filters.kernels.hash_table import STATES, room
from midtrain.filters.kernels.kernel import kernel
from midtrain.filters.kernels.place_table import (
    double_places,
    empty_places,
    first_slot,
    is_full,
    next_slot,
    place_before,
    place_in,
    put_place,
)


@kernel
def find_all(keys: Any, table: Any, first: Any) -> None:
    """For each key the place and one where it stood first, 0 where that is here."""
    state = np.empty(STATES, np.uint64)
    empty_places(table, state)
    for at in range(len(keys)):
        slot = first_slot(state, keys[at])
        place = place_in(table, state, slot)
        while place != 0 and keys[np.int64(place) - 1] != keys[at]:
            slot = next_slot(state, slot)
            place = place_in(table, state, slot)
        first[at] = place
        if place == 0:
            put_place(table, state, slot, np.uint64(at + 1))
            if is_full(state):
                for old in range(double_places(table, state)):
                    place = place_before(table, state, np.uint64(old))
                    if place != 0:
                        slot = first_slot(state, keys[np.int64(place) - 1])
                        while place_in(table, state, slot) != 0:
                            slot = next_slot(state, slot)
                        put_place(table, state, slot, place)


def assert_first(keys: list[int]) -> None:
    # Ones: nothing may be read that was not cleared, nor written behind the room.
    words = room(max(len(set(keys)), 4096))
    table = np.full(words + 100, 2**64 - 1, np.uint64)
    first = np.empty(len(keys), np.uint64)
    find_all(np.array(keys, np.uint64), table, first)
    assert (table[words:] == 2**64 - 1).all()
    seen: dict[int, int] = {}
    for place, (key, found) in enumerate(zip(keys, first.tolist(), strict=True), 1):
        assert found == seen.get(key, 0)
        seen.setdefault(key, place)


def test_places_are_those_of_a_dictionary() -> None:
    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.one_of(st.integers(0, 40), st.integers(0, 2**64 - 1)), max_size=600))
    def check(keys: list[int]) -> None:
        assert_first(keys)

    check()


def test_a_table_grows_to_its_room_and_no_further() -> None:
    for size in (3071, 3072, 3073, 6143, 6144, 6145, 50_000):
        keys = [key * 0x9E3779B97F4A7C15 % 2**64 for key in range(size)]
        assert_first(keys + keys)
