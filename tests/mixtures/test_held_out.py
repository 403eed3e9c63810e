"""What is held out: the smallest seeded hashes, by id or by problem."""

import math

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from midtrain.mixtures import held_out


def plain_smallest(found: list[int], wanted: float) -> list[int]:
    """The reference: take the smallest keys one by one, with all their twins, until enough documents are covered."""
    count = round(wanted * len(found)) if isinstance(wanted, float) else wanted
    chosen: list[int] = []
    for key in sorted(set(found)):
        if sum(found.count(one) for one in chosen) >= count:
            break
        chosen.append(key)
    return chosen


KEYS = st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 5), max_size=30)


@given(KEYS, st.integers(0, 40) | st.floats(0, 0.99))
def test_the_smallest_keys_cover_what_was_wanted(found: list[int], wanted: float):
    chosen = held_out.smallest(np.array(found, np.uint64), wanted)
    assert chosen.dtype == np.uint64
    assert chosen.tolist() == plain_smallest(found, wanted)


def test_a_share_and_a_count_are_told_apart():
    found = np.arange(1000, dtype=np.uint64)[::-1]
    assert held_out.smallest(found, 0.005).tolist() == [0, 1, 2, 3, 4]
    assert held_out.smallest(found, 3).tolist() == [0, 1, 2]
    assert held_out.smallest(found, 1).tolist() == [0]
    assert len(held_out.smallest(found, 5000)) == 1000
    assert len(held_out.smallest(found, 0)) == 0


def turns(*messages: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in messages]


def test_keys_are_hashes_of_the_seed_and_the_id():
    assert held_out.document_key(7, "a") == xxhash.xxh3_64_intdigest(b"7\x00a")
    assert held_out.document_key(8, "a") != held_out.document_key(7, "a")


def test_a_problem_is_its_first_user_message_without_regard_to_white_space():
    key = held_out.problem_key(7, turns(("user", " What\tis\n\n1 + 1? ")))
    assert key == xxhash.xxh3_64_intdigest(b"7\x00What is 1 + 1?")
    assert held_out.problem_key(7, turns(("system", "x"), ("user", "What is 1 + 1?"), ("assistant", "2"))) == key
    assert held_out.problem_key(7, turns(("user", "What is 1 + 1?"), ("user", "And 2?"))) == key
    assert held_out.problem_key(7, turns(("user", "What is 1 +1?"))) != key
    assert held_out.problem_key(7, turns(("assistant", "x"))) == held_out.problem_key(7, turns(("user", "x")))


def test_documents_are_keyed_by_problem_where_they_have_messages_else_by_id():
    keys = held_out.keys(3, ["a", "b", "c"], [turns(("user", "q")), None, []])
    assert keys.dtype == np.uint64
    assert keys.tolist() == [
        held_out.problem_key(3, turns(("user", "q"))),
        held_out.document_key(3, "b"),
        held_out.document_key(3, "c"),
    ]
    with pytest.raises(ValueError, match="zip"):
        held_out.keys(3, ["a"], [])


def test_the_same_problem_has_one_key_whatever_its_id_or_answer():
    one = held_out.keys(3, ["a"], [turns(("user", "1 + 1"), ("assistant", "2"))])
    other = held_out.keys(3, ["b"], [turns(("system", "be brief"), ("user", "1  +  1\n"), ("assistant", "3"))])
    assert one.tolist() == other.tolist()


def test_about_the_share_that_was_asked_for_is_held_out():
    keys = held_out.keys(1, [str(i) for i in range(20_000)], [None] * 20_000)
    limit = int(0.1 * 2**64)
    assert math.isclose(sum(key < limit for key in keys.tolist()) / 20_000, 0.1, abs_tol=0.01)
