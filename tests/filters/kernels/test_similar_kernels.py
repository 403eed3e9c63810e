"""The choice among candidates is that of plain Python: greedy, in order, verified, over kept documents alone."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.filters.kernels.similar_kernels import choose


@dataclass
class Document:
    component: int
    keys: list[int]
    shingles: set[int]
    source: int = 0
    known: bool = False


def alike(one: set[int], other: set[int], containment: bool) -> float:
    """Jaccard, or the share of the document looked at that the kept one has."""
    whole = len(one) if containment else len(one | other)
    return len(one & other) / whole if whole else 0.0


def plain_choice(
    documents: list[Document], threshold: float, containment: bool, across: bool
) -> tuple[list[int], list[float], int]:
    keepers, similarities, compared = [], [], 0
    for number, document in enumerate(documents):
        keeper, similarity = number, 1.0
        for earlier in range(number if not document.known else 0):
            other = documents[earlier]
            if keepers[earlier] != earlier or other.component != document.component:
                continue
            if not set(other.keys) & set(document.keys) or (across and other.source == document.source):
                continue
            compared += 1
            found = alike(document.shingles, other.shingles, containment)
            if found >= threshold:
                keeper, similarity = earlier, found
                break
        keepers.append(keeper)
        similarities.append(similarity)
    return keepers, similarities, compared


def run(documents: list[Document], threshold: float, containment: bool, across: bool) -> Any:
    def packed(lists: list[list[int]]) -> tuple[Any, Any]:
        flat = np.array([item for items in lists for item in items], np.uint64)
        flat.flags.writeable = False
        return flat, np.cumsum([len(items) for items in lists], dtype=np.int64)

    keeper, similarity, compared = choose(
        np.array([document.component for document in documents], np.int64),
        *packed([document.keys for document in documents]),
        *packed([sorted(document.shingles) for document in documents]),
        np.array([document.source for document in documents], np.int32),
        np.array([document.known for document in documents], np.bool_),
        threshold,
        containment,
        across,
    )
    return keeper.tolist(), similarity.tolist(), compared


DOCUMENT = st.builds(
    Document,
    component=st.integers(-2, 3),
    keys=st.lists(st.integers(0, 12), max_size=5),
    shingles=st.sets(st.integers(0, 9), max_size=9),
    source=st.integers(0, 2),
    known=st.sampled_from([False, False, False, True]),
)


@settings(max_examples=600, deadline=None)
@given(st.lists(DOCUMENT, max_size=25), st.sampled_from([0.1, 0.5, 2 / 3, 0.8, 0.9, 1.0]), st.booleans(), st.booleans())
def test_random_graphs(documents: list[Document], threshold: float, containment: bool, across: bool) -> None:
    documents.sort(key=lambda document: document.component)
    assert run(documents, threshold, containment, across) == plain_choice(documents, threshold, containment, across)


@pytest.mark.parametrize("containment", [False, True])
@pytest.mark.parametrize("across", [False, True])
def test_families_of_edits(containment: bool, across: bool) -> None:
    rng = np.random.default_rng(5)
    documents = []
    for family in range(60):
        base = rng.integers(0, 2**64, 300, np.uint64)
        for _ in range(8):
            edited = base.copy()
            edits = rng.choice(300, rng.integers(0, 60), replace=False)
            edited[edits] = rng.integers(0, 2**64, len(edits), np.uint64)
            size = int(rng.integers(100, 301)) if rng.random() < 0.3 else 300
            keys = rng.integers(0, 4, 3).tolist()
            documents.append(
                Document(family // 3, keys, set(edited[:size].tolist()), int(rng.integers(0, 3)), rng.random() < 0.1)
            )
    for threshold in (0.5, 0.7, 0.8, 0.95):
        expected = plain_choice(documents, threshold, containment, across)
        assert run(documents, threshold, containment, across) == expected


def test_the_threshold_itself_is_similar() -> None:
    for common in range(1, 60):
        for rest in range(40):
            sets = [set(range(common + rest)), {*range(common), *range(1000, 1000 + rest)}]
            exact = common / (common + 2 * rest)
            documents = [Document(0, [7], shingles) for shingles in sets]
            assert run(documents, exact, False, False)[0] == [0, 0]
            if exact < 1:
                assert run(documents, np.nextafter(exact, 2), False, False)[0] == [0, 1]


def test_a_document_is_dropped_for_one_that_contains_it_and_not_for_one_that_it_contains() -> None:
    small, large = Document(0, [7], set(range(10))), Document(0, [7], set(range(200)))
    assert run([large, small], 0.8, True, False) == ([0, 0], [1.0, 1.0], 1)
    assert run([small, large], 0.8, True, False) == ([0, 1], [1.0, 1.0], 1)
    assert run([small, large], 0.05, True, False) == ([0, 0], [1.0, 0.05], 1)


def test_the_ends_of_a_chain_are_both_kept() -> None:
    chain = [Document(0, [step, step + 1], set(range(step * 10, step * 10 + 100))) for step in range(9)]
    keeper, _, _ = run(chain, 0.8, False, False)
    assert keeper == [0, 0, 2, 2, 4, 4, 6, 6, 8]


def test_empty_sets_are_like_nothing() -> None:
    documents = [Document(0, [1], set()), Document(0, [1], set()), Document(0, [1], {5})]
    assert run(documents, 0.5, False, False)[0] == [0, 1, 2]
    assert run(documents, 0.5, True, False)[0] == [0, 1, 2]


def test_no_documents() -> None:
    assert run([], 0.8, False, False) == ([], [], 0)


@pytest.mark.measures
def test_copies_are_compared_with_the_kept_one_alone() -> None:
    copies, keys, sets = 20_000, 14, np.arange(100, dtype=np.uint64)
    run([Document(0, [7], {1})] * 2, 0.8, False, False)  # compiled before it is timed
    start = time.process_time()
    keeper, _, compared = choose(
        np.zeros(copies, np.int64),
        np.tile(np.arange(keys, dtype=np.uint64), copies),
        np.arange(1, copies + 1, dtype=np.int64) * keys,
        np.tile(sets, copies),
        np.arange(1, copies + 1, dtype=np.int64) * len(sets),
        np.zeros(copies, np.int32),
        np.zeros(copies, np.bool_),
        0.8,
        False,
        False,
    )
    assert not keeper.any()
    assert compared == copies - 1
    assert time.process_time() - start < 20  # a comparison of all pairs would take minutes
