"""Union-find over links between documents: each node's component, named by its smallest node.

The stages of near-duplicates join buckets with it, a partition at a time. Numbers of documents are sparse, so nodes are
found by an open hash table. The smaller root always wins, and paths are halved on the way (Tarjan and van Leeuwen,
Worst-case analysis of set union algorithms, JACM 1984), so that what comes out does not depend on the order of links.
Costs about 0.3 µs a link, and 50 to 100 bytes a node.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .kernel import kernel, view_leaf

UInt64 = npt.NDArray[np.uint64]
Int64 = npt.NDArray[np.int64]

_NONE: Final = np.uint64(0xFFFFFFFFFFFFFFFF)  # no document has this number
_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: Knuth's multiplicative hashing
_1, _64 = np.uint64(1), np.uint64(64)
_FIRST_BITS: Final = 10


def forest(one: UInt64, other: UInt64) -> tuple[UInt64, UInt64]:
    """The components of the graph with an edge between `one[i]` and `other[i]`.

    Args:
        one, other: uint64[m], any numbers but 2^64 - 1.

    Returns:
        uint64[n], the nodes, ascending, and uint64[n], the smallest node of each one's component.
    """
    nodes, roots = _forest(one, other)
    order = np.argsort(nodes)
    return nodes[order], roots[order]


@kernel
def _forest(one: UInt64, other: UInt64) -> tuple[UInt64, UInt64]:
    bits = np.uint64(_FIRST_BITS)
    table = np.full(1 << _FIRST_BITS, -1, np.int64)  # the place of the node whose slot it is
    nodes, parents = np.empty(1 << _FIRST_BITS, np.uint64), np.empty(1 << _FIRST_BITS, np.int64)
    count = 0
    for link in range(len(one)):
        if count + 2 > len(nodes) // 2:
            bits += _1
            nodes, parents = _doubled(nodes, count), _doubled_places(parents, count)
            table = np.full(len(nodes), -1, np.int64)
            for place in range(count):
                table[_slot(table, bits, nodes, nodes[place])] = place
        ends = (one[link], other[link])
        first, second = 0, 0
        for end in range(2):
            node = ends[end]
            slot = _slot(table, bits, nodes, node)
            if table[slot] < 0:
                table[slot], nodes[count], parents[count] = count, node, count
                count += 1
            first, second = second, table[slot]
        _join(nodes, parents, first, second)
    roots = np.empty(count, np.uint64)
    for place in range(count):
        roots[place] = nodes[_root(parents, place)]
    return nodes[:count], roots


@view_leaf
def _slot(table: Int64, bits: Any, nodes: UInt64, node: Any) -> Any:
    """The slot of a node, or the empty one where it would stand."""
    mask = (_1 << bits) - _1
    slot = node * _SPREAD >> (_64 - bits)
    while table[slot] >= 0 and nodes[table[slot]] != node:
        slot = (slot + _1) & mask
    return slot


@view_leaf
def _root(parents: Int64, place: Any) -> Any:
    """The place of the root, with the path halved."""
    while parents[place] != place:
        parents[place] = parents[parents[place]]
        place = parents[place]
    return place


@view_leaf
def _join(nodes: UInt64, parents: Int64, first: Any, second: Any) -> None:
    first, second = _root(parents, first), _root(parents, second)
    if nodes[first] < nodes[second]:
        parents[second] = first
    elif first != second:
        parents[first] = second


@kernel
def _doubled(array: UInt64, used: int) -> UInt64:
    longer = np.empty(2 * len(array), np.uint64)
    longer[:used] = array[:used]
    return longer


@kernel
def _doubled_places(array: Int64, used: int) -> Int64:
    longer = np.empty(2 * len(array), np.int64)
    longer[:used] = array[:used]
    return longer


@kernel
def link_runs(keys: UInt64, documents: UInt64, source: npt.NDArray[np.int32]) -> tuple[UInt64, UInt64]:
    """Links the documents of each run of equal keys to the smallest of them.

    Args:
        keys: uint64[m], sorted.
        documents: uint64[m], of each key.
        source: int32[m]; a run whose documents are all of one source is left out. Empty where sources do not matter.

    Returns:
        uint64[l] and uint64[l]: a document, and the smallest of its run, which is another one.
    """
    count = 0
    ones, others = np.empty(len(keys), np.uint64), np.empty(len(keys), np.uint64)
    start, total = 0, len(keys)
    while start < total:
        stop = start + 1
        while stop < total and keys[stop] == keys[start]:
            stop += 1
        if stop - start > 1:
            smallest, mixed = documents[start], len(source) == 0
            for row in range(start + 1, stop):
                smallest = min(smallest, documents[row])
                mixed = mixed or source[row] != source[start]
            for row in range(start, stop):
                if mixed and documents[row] != smallest:
                    ones[count], others[count] = documents[row], smallest
                    count += 1
        start = stop
    return ones[:count], others[:count]
