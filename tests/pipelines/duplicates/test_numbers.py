"""Numbers of documents and their partitions: both ways, and as even as chance."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.filters.kernels.star_kernels import Neighbours
from midtrain.pipelines.duplicates.numbers import INDEXED, by_range, numbers, parts_of, rows_of, spread


@given(st.integers(0, 2**31 - 1), st.lists(st.integers(0, 2**31 - 1)))
def test_a_number_is_a_part_and_a_row(part, rows):
    found = numbers(part, np.array(rows, np.int32))
    assert rows_of(found).tolist() == rows
    assert parts_of(found, part + 1).tolist() == [part] * len(rows)
    assert (found < INDEXED).all()
    assert len(set(found.tolist())) == len(set(rows))


@given(st.lists(st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1))), st.integers(1, 1000))
def test_documents_of_an_index_are_dealt_to_all_parts(documents, parts):
    found = np.array([1 << 63 | chunk << 32 | row for chunk, row in documents], np.uint64)
    assert parts_of(found, parts).tolist() == [chunk % parts for chunk, _ in documents]
    assert rows_of(found).tolist() == [row for _, row in documents]


@given(st.lists(st.integers(0, 2**64 - 1)), st.integers(1, 2**20))
def test_partitions_of_keys_are_ranges(keys, partitions):
    ordered = np.array(sorted(keys), np.uint64)
    found = by_range(ordered, partitions).tolist()
    assert found == sorted(found)
    assert all(0 <= one < partitions for one in found)


def test_documents_are_spread_evenly():
    documents = np.concatenate([numbers(part, np.arange(2_000, dtype=np.int32)) for part in range(50)])
    for partitions in (1, 7, 64):
        counts = np.bincount(spread(documents, partitions), minlength=partitions)
        assert counts.min() > 0.8 * len(documents) / partitions
        assert counts.max() < 1.2 * len(documents) / partitions


@settings(deadline=None)  # it is compiled first
@given(st.lists(st.tuples(*[st.integers(0, 2**64 - 2) | st.integers(0, 20)] * 2), max_size=30), st.integers(1, 9))
def test_the_kernel_of_stars_has_the_same_partitions(links, partitions):
    pairs = np.array(links, np.uint64).reshape(-1, 2)
    larger, smaller = pairs.max(axis=1), pairs.min(axis=1)
    nodes = np.unique(pairs)
    for partition in range(partitions):
        own = nodes[spread(nodes, partitions) == partition]
        found, least = Neighbours([(larger, smaller)], partition, partitions).all()
        assert found.tolist() == own.tolist()
        smallest = {node: min([node, *smaller[larger == node].tolist()]) for node in own.tolist()}
        for node, to in zip(found.tolist(), least.tolist(), strict=True):
            expected = node
            while smallest.get(expected, expected) != expected:
                expected = smallest[expected]
            assert to == expected


def test_a_long_chain_is_followed_in_no_time():
    chain = np.arange(200_000, dtype=np.uint64)
    nodes, least = Neighbours([(chain[1:], chain[:-1])], 0, 1).all()
    assert nodes.tolist() == chain.tolist()
    assert not least.any()
