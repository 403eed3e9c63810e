"""The Numba kernel that verifies MinHash's candidates and says which documents are kept.

Connected candidates form chains, and a chain's ends need have nothing in common: so documents are taken in the order in
which they are to be kept, and one is dropped only for a kept one that it is verified to be similar to.
Costs about 10 ns per key and 2 ns per shingle that is compared, and 14 bytes per key of the largest component;
importing this module imports Numba.

A document is compared with kept ones alone, so a family of n copies takes n comparisons. Sets that cannot reach the
threshold any more are given up early.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ...errors import RunError
from .kernel import fixed, kernel, view_leaf

Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]
UInt32 = npt.NDArray[np.uint32]
UInt64 = npt.NDArray[np.uint64]

MOST: Final = 1 << 31  # slots of a component's table, two thirds of which are keys
_STEPS: Final = 32  # of a merge between two looks at what is still reachable
_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)
_0, _1, _2, _32 = (np.uint64(number) for number in (0, 1, 2, 32))


@view_leaf
def _similarity(
    shingles: UInt64, one: Any, one_end: Any, other: Any, other_end: Any, threshold: float, containment: bool
) -> float:
    """Jaccard of two sorted sets or the share of `one` that is in `other`, or -1 where it is under the threshold."""
    first, second = one_end - one, other_end - other
    smaller = np.float64(min(first, second))
    if containment:
        least = threshold * np.float64(first)
    else:
        least = threshold * np.float64(first + second) / (1.0 + threshold)
    least -= 1e-6 * least  # what rounding could take: the quotient at the end decides
    if smaller < least or smaller == 0.0:
        return -1.0
    common = _0
    while one < one_end and other < other_end:
        if np.float64(common + min(one_end - one, other_end - other)) < least:
            return -1.0
        # So many steps leave neither set.
        steps = min(np.uint64(_STEPS), one_end - one, other_end - other)
        for _ in range(steps):
            left, right = shingles[one], shingles[other]
            common += np.uint64(left == right)
            one += np.uint64(left <= right)
            other += np.uint64(right <= left)
    whole = np.float64(first if containment else first + second - common)
    similarity = np.float64(common) / whole
    return similarity if similarity >= threshold else -1.0


def slots_for(keys: Any) -> Any:
    """Slots of the table for so many keys, uint64: two thirds of them may be in use."""
    return keys + keys // _2 + _1


_slots_for: Final = view_leaf(slots_for)


@view_leaf
def _slot_of(slots: UInt32, count: Any, keys: UInt64, first: Any, key: Any) -> Any:
    """The slot of a key, or the empty one where it would stand, among the first `count` slots.

    A slot holds one more than a place of that key behind `keys[first]`.
    """
    slot = ((key * _SPREAD) >> _32) * count >> _32
    while slots[slot] and keys[first + np.uint64(slots[slot]) - _1] != key:
        slot += _1
        if slot == count:
            slot = _0
    return slot


@kernel
def _fill_choice(
    component: Int64,
    keys: UInt64,
    key_ends: Int64,
    shingles: UInt64,
    shingle_ends: Int64,
    source: Int32,
    known: npt.NDArray[np.bool_],
    threshold: float,
    containment: bool,
    across: bool,
    slots: UInt32,
    before: UInt32,
    owner: UInt32,
    seen: Int32,
    candidates: Int32,
    keeper: Int64,
    similarity: npt.NDArray[np.float64],
) -> int:
    """Writes keeper and similarity of each document and gives the number of comparisons.

    Scratch, all of one component: `slots`, a hash table of the keys of kept documents; for each place of such a key
    `before`, one more than the last place of the same key, and `owner`, its document. All count from the component's
    first key and document.
    """
    compared, first = 0, 0
    while first < len(component):
        last = first + 1
        while last < len(component) and component[last] == component[first]:
            last += 1
        base = np.uint64(key_ends[first - 1]) if first else _0
        count = _slots_for(np.uint64(key_ends[last - 1]) - base)
        slots[:count] = np.uint32(0)
        for document in range(first, last):
            start = np.uint64(key_ends[document - 1]) if document else _0
            stop = np.uint64(key_ends[document])
            keeper[document], similarity[document] = document, 1.0
            found = 0
            if not known[document]:
                for place in range(start, stop):
                    link = slots[_slot_of(slots, count, keys, base, keys[np.uint64(place)])]
                    while link:
                        other = first + np.int64(owner[np.uint64(link) - _1])
                        link = before[np.uint64(link) - _1]
                        if seen[other] != document:
                            seen[other] = document
                            if not across or source[other] != source[document]:
                                candidates[found] = other
                                found += 1
                if found > 1:
                    candidates[:found].sort()
            one = np.uint64(shingle_ends[document - 1]) if document else _0
            for number in range(found):
                other = np.int64(candidates[number])
                two = np.uint64(shingle_ends[other - 1]) if other else _0
                one_end, two_end = np.uint64(shingle_ends[document]), np.uint64(shingle_ends[other])
                alike = _similarity(shingles, one, one_end, two, two_end, threshold, containment)
                compared += 1
                if alike >= 0.0:
                    keeper[document], similarity[document] = other, alike
                    break
            if keeper[document] == document and document + 1 < last:
                for place in range(start, stop):
                    slot = _slot_of(slots, count, keys, base, keys[np.uint64(place)])
                    here = np.uint64(place) - base
                    owner[here], before[here] = np.uint32(document - first), slots[slot]
                    slots[slot] = np.uint32(here + _1)
        first = last
    return compared


@kernel
def _most_keys(component: Int64, key_ends: Int64) -> int:
    """Keys of the component that has most."""
    most, start = 0, 0
    for document in range(len(component)):
        if document + 1 == len(component) or component[document + 1] != component[document]:
            most = max(most, key_ends[document] - start)
            start = key_ends[document]
    return most


def choose(
    component: Int64,
    keys: UInt64,
    key_ends: Int64,
    shingles: UInt64,
    shingle_ends: Int64,
    source: Int32,
    known: npt.NDArray[np.bool_],
    threshold: float,
    containment: bool,
    across: bool,
    empty: Callable[[int, npt.DTypeLike], npt.NDArray[Any]] = np.empty,
) -> tuple[Int64, npt.NDArray[np.float64], int]:
    """Which of m documents are kept, and for each other one the document that is kept in its place.

    Documents are taken in the order given. One is dropped if and only if it is similar to an earlier one that is kept,
    stands in its component, shares a key with it and, with `across`, has another source; of several such the first is
    its keeper.

    Args:
        component: int64[m], rising; documents of different components are never compared.
        keys: uint64[...], the keys of all documents.
        key_ends: int64[m], for each document one past its last key.
        shingles: uint64[...], the set of each document: distinct and sorted.
        shingle_ends: int64[m], for each document one past its last shingle.
        source: int32[m].
        known: bool[m], documents that are kept without being compared.
        threshold: the least similarity, above 0.
        containment: whether the similarity is the share of the dropped document's set that the kept one has, not
            Jaccard's: what a smaller document lacks is never dropped for it.
        across: whether documents of one source are never compared.
        empty: makes the arrays that grow with the documents: of so many numbers, of a kind.

    Returns:
        int64[m], each document's keeper, itself where it is kept; float64[m], the similarity to the keeper, 1 where it
        is kept; the number of pairs compared.

    Raises:
        RunError: a component has more than 1.4 billion keys.
    """
    documents = len(component)
    most = int(_most_keys(fixed(component), fixed(key_ends)))
    room = int(slots_for(np.uint64(most)))
    if max(room, documents) >= MOST:
        raise RunError("a component of candidates is too large", seen=f"{most:,} keys", fix="raise rows")
    slots = empty(room, np.uint32)
    before, owner = empty(most, np.uint32), empty(most, np.uint32)
    seen, candidates = empty(documents, np.int32), empty(documents, np.int32)
    seen.fill(-1)
    keeper, similarity = empty(documents, np.int64), empty(documents, np.float64)
    compared = _fill_choice(
        fixed(component),
        fixed(keys),
        fixed(key_ends),
        fixed(shingles),
        fixed(shingle_ends),
        fixed(source),
        fixed(known),
        threshold,
        containment,
        across,
        slots,
        before,
        owner,
        seen,
        candidates,
        keeper,
        similarity,
    )
    return keeper, similarity, compared
