"""The kernel that works the lines of a logic grid out again, from the clues of its statement alone.

What was written while a problem was made is checked by rules of its own: who may live where is a table of truth values,
and a clue leaves what has a partner for which it holds, tried one by one. Costs 3 microseconds for 3 houses and 2
kinds, 40 for 5 and 4.
"""

import numba
import numpy as np
import numpy.typing as npt

from .grid_kernels import AT, DIFFERENT, JUST_LEFT, NEXT, NOT_AT, SAME

Int64 = npt.NDArray[np.int64]
Table = npt.NDArray[np.bool_]

TAKEN, LEFT_OVER, CLUE = range(3)
"""Why a line holds: a house that is an entity's is no other's; it is left to one; a clue says so."""


@numba.njit(cache=True, nogil=True)
def resolve(n: int, entities: int, clues: Int64) -> tuple[Int64, Table]:
    """The lines of a solution, worked out with a table of who may live where; a clue leaves what has a partner.

    Args:
        n: houses.
        entities: n of each kind, in the order in which they are listed.
        clues: int64[c, 3], kind, entity, entity or house.

    Returns:
        int64[l, 5]: `TAKEN`, `LEFT_OVER` or `CLUE`; the entity whose house it is, or the house, or the clue; that
        house; about whom; what is left of its houses, one bit each. bool[entities, n]: what is left in the end.
    """
    able = np.ones((entities, n), np.bool_)
    left = np.empty(n, np.bool_)
    lines = np.empty((entities * n, 5), np.int64)
    sizes = np.full(entities, n)
    count = 0
    while True:
        kind, by, house, one = _next_line(able, sizes, clues, left)
        if kind < 0:
            return lines[:count], able
        bits = sizes[one] = 0
        for at in range(n):
            able[one, at] = left[at]
            sizes[one] += left[at]
            bits |= left[at] << at
        lines[count, 0], lines[count, 1], lines[count, 2], lines[count, 3], lines[count, 4] = kind, by, house, one, bits
        count += 1


@numba.njit(cache=True, nogil=True)
def _next_line(able: Table, sizes: Int64, clues: Int64, left: Table) -> tuple[int, int, int, int]:
    """The first thing that can be said now: why, by whom or what, a house, about whom; what is left goes to `left`."""
    entities, n = able.shape
    for one in range(entities):
        if sizes[one] == 1:
            house = 0
            while not able[one, house]:
                house += 1
            for other in range(one - one % n, one - one % n + n):
                if other != one and able[other, house]:
                    for at in range(n):
                        left[at] = able[other, at] and at != house
                    return TAKEN, one, house, other
    for start in range(0, entities, n):
        for house in range(n):
            here, one = 0, 0
            for other in range(start, start + n):
                if able[other, house]:
                    here, one = here + 1, other
            if here == 1 and sizes[one] > 1:
                for at in range(n):
                    left[at] = at == house
                return LEFT_OVER, house, house, one
    for number in range(len(clues)):
        kind, x, y = clues[number, 0], clues[number, 1], clues[number, 2]
        if _partnered(able, kind, x, y, True, left):
            return CLUE, number, 0, x
        if kind > NOT_AT and _partnered(able, kind, y, x, False, left):
            return CLUE, number, 0, y
    return -1, 0, 0, 0


@numba.njit(cache=True, nogil=True)
def _partnered(able: Table, kind: int, one: int, other: int, first: bool, left: Table) -> bool:
    """Whether a clue takes a house from an entity, the first or the second that it names; the others go to `left`."""
    changed = False
    for p in range(able.shape[1]):
        left[p] = False
        if not able[one, p]:
            continue
        for q in range(able.shape[1]):
            there = q == other if kind in (AT, NOT_AT) else able[other, q]
            if there and (_holds(kind, p, q) if first else _holds(kind, q, p)):
                left[p] = True
                break
        changed = changed or not left[p]
    return changed


@numba.njit(cache=True, nogil=True)
def _holds(kind: int, p: int, q: int) -> bool:
    """Whether a clue is true of an entity in house p and another one in q, or of a house q."""
    if kind in (AT, SAME):
        return p == q
    if kind in (NOT_AT, DIFFERENT):
        return p != q
    if kind == NEXT:
        return abs(p - q) == 1
    return q - p == 1 if kind == JUST_LEFT else p < q
