"""Kernels that make logic grids: clues are drawn until one arrangement is left, and names and wordings for them.

A grid takes some thousand small looks at who may live where, and in Python they were most of what a problem cost. The
houses that an entity may have are bits of a number; solutions are checked by other rules, in `grid_check`.
Costs 2 microseconds to draw a problem of 3 houses and 2 kinds, 20 of 5 and 4; its lines as much again.
"""

import numba
import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]

AT, NOT_AT, SAME, DIFFERENT, NEXT, JUST_LEFT, LEFT = range(7)
"""Kinds of clues: an entity and a house, or two entities."""
_DRAWN = (AT, NOT_AT, SAME, SAME, DIFFERENT, NEXT, NEXT, JUST_LEFT, LEFT, LEFT)
_8 = 8  # bits of an entity in a clue
_FIELD = (1 << _8) - 1


@numba.njit(cache=True, nogil=True)
def draw(seed: int, n: int, kinds: int) -> Int64:
    """int64[c], ascending: true clues, each of which told something when it came, until all is known.

    A clue is kind << 16 | entity << 8 | entity or house; entities are numbered by kind, then by the house that is
    theirs. Every clue takes a house from somebody, so there are fewer than entities times houses.

    Args:
        seed: of what is drawn, not negative.
        n: houses, at most 16.
        kinds: of entities.
    """
    state = np.array([seed], np.uint64)
    masks = np.full(n * kinds, (1 << n) - 1, np.int64)
    clues = np.empty(n * n * kinds, np.int64)
    count, placed = 0, False
    while True:
        unknown = 0
        for mask in masks:
            unknown += mask & (mask - 1) != 0
        if unknown == 0:
            break
        chosen, x = _below(state, unknown), -1
        while chosen >= 0:
            x += 1
            chosen -= masks[x] & (masks[x] - 1) != 0
        clue = _true_clue(state, n, kinds, x)
        if clue < 0 or (clue >> 2 * _8 == AT and placed) or not _tells(masks, clue):
            continue  # what was told already tells nothing
        placed = placed or clue >> 2 * _8 == AT
        clues[count] = clue
        count += 1
        _settle(masks, n, clues, count)
    return np.sort(clues[:count])


@numba.njit(cache=True, nogil=True)
def cast(
    seed: int, clues: Int64, n: int, kinds: int, people: int, things: int, values: int
) -> tuple[Int64, Int64, Int64]:
    """Names and wordings that follow from a seed, and the clues in the order in which they are told.

    Args:
        seed: not negative.
        clues: int64[c], as `draw` gives them.
        n, kinds: the size.
        people, things, values: how many names there are, kinds of things, and names of each of these.

    Returns:
        int64[1 + kinds - 1 + kinds * n]: a number for the setting's wording, the kinds of things, and the names of the
        entities of each kind. int64[c]: the clues, turned where both ways mean the same. int64[c, 3]: how each is said,
        2 kind + wording, and the two that it names, as the wording has them; a house is entities + house.
    """
    state = np.array([seed], np.uint64)
    chosen = np.empty(kinds + kinds * n, np.int64)
    chosen[0] = _below(state, 1 << 20)
    _some(state, things, chosen[1:kinds])
    for kind in range(kinds):
        _some(state, values if kind else people, chosen[kinds + kind * n : kinds + kind * n + n])
    places = np.empty(len(clues), np.int64)
    _some(state, len(clues), places)
    told, said = np.empty(len(clues), np.int64), np.empty((len(clues), 3), np.int64)
    for at, place in enumerate(places):
        kind, x, y = clues[place] >> 2 * _8, clues[place] >> _8 & _FIELD, clues[place] & _FIELD
        if kind in (SAME, DIFFERENT, NEXT) and _below(state, 2):
            x, y = y, x
        told[at] = kind << 2 * _8 | x << _8 | y
        wording, y = _below(state, 2), y if kind > NOT_AT else n * kinds + y
        if wording and (kind <= NOT_AT or kind >= JUST_LEFT):
            x, y = y, x
        said[at, 0], said[at, 1], said[at, 2] = 2 * kind + wording, x, y
    return chosen, told, said


@numba.njit(cache=True, nogil=True)
def _below(state: npt.NDArray[np.uint64], bound: int) -> int:
    """A number from 0 to `bound`, by SplitMix64 (Steele, Lea and Flood 2014); one in 2^32 / bound is off."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    mixed = state[0]
    mixed = (mixed ^ mixed >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ mixed >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return int(np.int64((mixed >> np.uint64(32)) * np.uint64(bound) >> np.uint64(32)))


@numba.njit(cache=True, nogil=True)
def _some(state: npt.NDArray[np.uint64], options: int, chosen: Int64) -> None:
    """Fills `chosen` with different numbers below `options`, in an order of their own."""
    left = np.arange(options)
    for at in range(len(chosen)):
        place = at + _below(state, options - at)
        chosen[at] = left[place]
        left[place] = left[at]


@numba.njit(cache=True, nogil=True)
def _true_clue(state: npt.NDArray[np.uint64], n: int, kinds: int, x: int) -> int:
    """A clue about an entity, if what was drawn is true, else -1."""
    kind = _DRAWN[_below(state, len(_DRAWN))]
    if kind == AT:
        return kind << 2 * _8 | x << _8 | x % n
    if kind == NOT_AT:
        house = _below(state, n)
        return kind << 2 * _8 | x << _8 | house if house != x % n else -1
    y = _below(state, n * kinds)
    if x % n > y % n or (x % n == y % n and x > y):
        x, y = y, x
    apart = y % n - x % n
    holds = apart == 0 if kind == SAME else apart == 1 if kind in (NEXT, JUST_LEFT) else apart > 0
    if not holds or x == y or (kind == DIFFERENT and x // n == y // n):
        return -1
    if kind in (SAME, DIFFERENT, NEXT):
        x, y = min(x, y), max(x, y)
    return kind << 2 * _8 | x << _8 | y


@numba.njit(cache=True, nogil=True)
def narrowed(masks: Int64, clue: int, first: bool) -> int:
    """The houses that a clue leaves to its first or second entity, one bit a house."""
    kind, x, y = clue >> 2 * _8, clue >> _8 & _FIELD, clue & _FIELD
    if kind == AT:
        return int(masks[x]) & 1 << y
    if kind == NOT_AT:
        return int(masks[x]) & ~(1 << y)
    own, other = (int(masks[x]), int(masks[y])) if first else (int(masks[y]), int(masks[x]))
    if kind == SAME:
        return own & other
    if kind == DIFFERENT:
        return own if other & (other - 1) else own & ~other
    if kind == NEXT:
        return own & (other << 1 | other >> 1)
    if kind == JUST_LEFT:
        return own & (other >> 1 if first else other << 1)
    if not first:
        return own & ~(2 * (other & -other) - 1)
    last = 0
    while other >> last + 1:
        last += 1
    return own & (1 << last) - 1


@numba.njit(cache=True, nogil=True)
def sides(clue: int) -> int:
    """How many entities a clue can tell about."""
    return 1 if clue >> 2 * _8 <= NOT_AT else 2


@numba.njit(cache=True, nogil=True)
def named(clue: int, first: bool) -> int:
    """The first or the second entity of a clue."""
    return clue >> _8 & _FIELD if first else clue & _FIELD


@numba.njit(cache=True, nogil=True)
def _tells(masks: Int64, clue: int) -> bool:
    """Whether a clue takes a house from somebody."""
    told = False
    for which in range(sides(clue)):
        told = told or narrowed(masks, clue, which == 0) != masks[named(clue, which == 0)]
    return told


@numba.njit(cache=True, nogil=True)
def _settle(masks: Int64, n: int, clues: Int64, count: int) -> None:
    """Applies the last of the clues, and all that follows from it, in any order: the end is the same.

    A clue is looked at where an entity that it names has lost a house.
    """
    moved = _applied(masks, clues[count - 1])
    while moved:
        before, moved = moved, 0
        for start in range(0, len(masks), n):
            if before >> start & (1 << n) - 1:
                moved |= _all_different(masks, start, start + n)
        for number in range(count):
            clue = clues[number]
            if clue >> 2 * _8 > NOT_AT and (before | moved) & (1 << (clue >> _8 & _FIELD) | 1 << (clue & _FIELD)):
                moved |= _applied(masks, clue)


@numba.njit(cache=True, nogil=True)
def _applied(masks: Int64, clue: int) -> int:
    """Narrows down those whom a clue names; who lost a house, one bit an entity."""
    moved = 0
    for which in range(sides(clue)):
        entity, new = named(clue, which == 0), narrowed(masks, clue, which == 0)
        moved |= (new != masks[entity]) << entity
        masks[entity] = new
    return moved


@numba.njit(cache=True, nogil=True)
def _all_different(masks: Int64, start: int, stop: int) -> int:
    """No two of a kind share a house, and each house is somebody's; who lost a house, one bit an entity."""
    moved = 0
    for one in range(start, stop):
        others = 0
        for other in range(start, stop):
            if other == one:
                continue
            if not masks[one] & (masks[one] - 1) and masks[other] & masks[one]:
                masks[other] &= ~masks[one]
                moved |= 1 << other
            others |= masks[other]
        if masks[one] & ~others and masks[one] & (masks[one] - 1):
            masks[one] &= ~others
            moved |= 1 << one
    return moved
