"""The smallest neighbour of each document of a partition, from links that go by in a stream.

Large-star and small-star ask nothing else of a document's neighbours, so a table of a partition's own documents is all
that a task has to hold, however many links there are.
Costs about 0.1 µs a link, and 32 to 64 bytes a document.
"""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .kernel import fixed, kernel, view_leaf

UInt64 = npt.NDArray[np.uint64]

_NONE: Final = np.uint64(0xFFFFFFFFFFFFFFFF)  # no document has this number
_TO_PARTITION: Final = np.uint64(0x9E3779B97F4A7C15)  # as `numbers.spread`, which the tests hold this to
_TO_SLOT: Final = np.uint64(0xD6E8FEB86659FD93)  # another one: the documents of a partition agree in the first's bits
_32: Final = np.uint64(32)
_1: Final = np.uint64(1)
_FIRST: Final = 1 << 10


class Neighbours:
    """The documents of a partition that are in links, and the smallest document that each leads to.

    That is its smallest neighbour, or where that one is the partition's too, what that one leads to; itself where it
    has no smaller neighbour.

    Args:
        links: larger documents (uint64[m]) and smaller ones (uint64[m]), some at a time.
        partition: whose documents are asked for.
        partitions: how many there are.
    """

    def __init__(self, links: Iterable[tuple[UInt64, UInt64]], partition: int, partitions: int) -> None:
        nodes, least = np.full(_FIRST, _NONE), np.empty(_FIRST, np.uint64)
        count = 0
        for documents, roots in links:
            ends = (fixed(documents), fixed(roots))
            nodes, least, count = _take(*ends, np.uint64(partition), np.uint64(partitions), nodes, least, count)
        _shorten(nodes, least)
        self._nodes, self._least = fixed(nodes), fixed(least)

    def of(self, documents: UInt64) -> UInt64:
        """uint64[m]: what each of these documents leads to, which are all the partition's and in links."""
        return np.asarray(_look_up(self._nodes, self._least, fixed(documents)))

    def all(self) -> tuple[UInt64, UInt64]:
        """The documents, ascending, and what each leads to."""
        used = self._nodes != _NONE
        nodes, least = self._nodes[used], self._least[used]
        order = np.argsort(nodes)
        return nodes[order], least[order]


@view_leaf
def _slot(nodes: UInt64, node: Any) -> Any:
    """The slot of a node, or the empty one where it would stand."""
    mask = np.uint64(len(nodes)) - _1
    slot = node * _TO_SLOT >> _32 & mask
    while nodes[slot] != _NONE and nodes[slot] != node:
        slot = (slot + _1) & mask
    return slot


@view_leaf
def _is_own(node: Any, partition: Any, partitions: Any) -> Any:
    return (node * _TO_PARTITION >> _32) * partitions >> _32 == partition


@kernel
def _grown(nodes: UInt64, least: UInt64) -> tuple[UInt64, UInt64]:
    longer, longer_least = np.full(2 * len(nodes), _NONE), np.empty(2 * len(nodes), np.uint64)
    for place in range(len(nodes)):
        if nodes[place] != _NONE:
            slot = _slot(longer, nodes[place])
            longer[slot], longer_least[slot] = nodes[place], least[place]
    return longer, longer_least


@kernel
def _take(
    documents: UInt64, roots: UInt64, partition: Any, partitions: Any, nodes: UInt64, least: UInt64, count: int
) -> tuple[UInt64, UInt64, int]:
    """Takes links into the table (at most half full), which grows; the table, and how many documents it holds."""
    for link in range(len(documents)):
        if 2 * (count + 2) > len(nodes):
            nodes, least = _grown(nodes, least)
        document, root = documents[link], roots[link]
        if _is_own(document, partition, partitions):
            slot = _slot(nodes, document)
            if nodes[slot] == _NONE:
                nodes[slot], least[slot] = document, document
                count += 1
            least[slot] = min(least[slot], root)
        if _is_own(root, partition, partitions):
            slot = _slot(nodes, root)
            if nodes[slot] == _NONE:
                nodes[slot], least[slot] = root, root
                count += 1
    return nodes, least, count


@kernel
def _shorten(nodes: UInt64, least: UInt64) -> None:
    """Leads every document on through smaller ones of the table, and halves the paths on the way."""
    for place in range(len(nodes)):
        if nodes[place] == _NONE:
            continue
        while True:
            slot = _slot(nodes, least[place])
            if nodes[slot] == _NONE or least[slot] == least[place]:
                break
            further = _slot(nodes, least[slot])
            if nodes[further] != _NONE:
                least[slot] = least[further]
            least[place] = least[slot]


@kernel
def _look_up(nodes: UInt64, least: UInt64, documents: UInt64) -> UInt64:
    found = np.empty(len(documents), np.uint64)
    for number in range(len(documents)):
        found[number] = least[_slot(nodes, documents[number])]
    return found
