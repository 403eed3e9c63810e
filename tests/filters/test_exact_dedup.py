"""The first of every set of equal texts is kept, whatever the order of the rows."""

from collections.abc import Callable, Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.filters.document import DocumentBatch
from midtrain.filters.exact_dedup import ExactDedup, first_of_each, hash_key, keepers

Make = Callable[[Sequence[str]], DocumentBatch]

# Few values, so that halves are often equal: rows may share a low half and not the high one.
HALF = st.sampled_from([0, 1, 2**63, 2**64 - 1])
ROWS = st.lists(st.tuples(HALF, HALF), max_size=30).flatmap(
    lambda keys: st.tuples(st.just(keys), st.permutations(range(100, 100 + len(keys))))
)


@settings(max_examples=300, deadline=None)
@given(ROWS)
def test_the_smallest_position_of_each_key_is_kept(rows: tuple[list[tuple[int, int]], list[int]]) -> None:
    keys, positions = rows
    low = np.array([key[0] for key in keys], np.uint64)
    high = np.array([key[1] for key in keys], np.uint64)
    position = np.array(positions, np.int64)
    first: dict[tuple[int, int], int] = {}
    for row in sorted(range(len(keys)), key=positions.__getitem__):
        first.setdefault(keys[row], row)
    assert keepers(low, high, position).tolist() == [first[key] for key in keys]
    mask = first_of_each(low, high, position)
    assert np.flatnonzero(mask).tolist() == sorted(first.values())


def test_equal_positions_keep_the_earlier_row() -> None:
    same = np.zeros(4, np.uint64)
    assert keepers(same, same, np.array([7, 3, 3, 9])).tolist() == [1, 1, 1, 1]


def test_copies_of_real_documents_are_found(make_batch: Make) -> None:
    texts = ["a", "b", "a", "A", "a ", "b", "", "é", "e\u0301", ""]
    key = hash_key(make_batch(texts))
    kept = first_of_each(key[:, 0], key[:, 1], np.arange(len(texts)))
    assert [text for text, keep in zip(texts, kept, strict=True) if keep] == ["a", "b", "A", "a ", "", "é", "e\u0301"]


def test_the_step_has_no_options() -> None:
    assert ExactDedup.model_fields == {}
    assert ExactDedup.version == 1
