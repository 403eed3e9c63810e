"""Compares answers that have parts: points, sets, lists, intervals, unions of them, matrices.

Parts are compared by the function that the caller gives, in their order where that says something, else so that each
finds a partner.
Costs a comparison for each pair of parts where their order says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Final

from .values import Excluding, Group, Interval, Matrix, Number, Relation, Union, Value, as_interval
from .verdict import Verdict, cannot_tell, right, wrong

MOST_ITEMS: Final = 200  # of a set or a matrix row; more are compared as strings alone

Same = Callable[[Value, Value], Verdict]
"""Whether two values agree."""


def intervals(one: Value, other: Value, same: Same) -> Verdict:
    """Whether two stretches of the real line agree; one side at least is an interval or a union."""
    one, other = as_interval(one), as_interval(other)
    if isinstance(one, Interval) and isinstance(other, Interval):
        if one.relation is not None and other.relation is not None and one.variable != other.variable:
            return wrong("interval")
        if (one.low_closed, one.high_closed) != (other.low_closed, other.high_closed):
            return wrong("interval")
        return _all("interval", (_ends(one.low, other.low, same), _ends(one.high, other.high, same)))
    if not isinstance(one, Union) and not isinstance(other, Union):
        return wrong("interval", "kind")
    sides = [value.parts if isinstance(value, Union) else (value,) for value in (one, other)]
    if not all(isinstance(part, Interval | Group) for side in sides for part in side):
        return wrong("interval", "kind")
    return _unordered("interval", sides[0], sides[1], same)


def exclusions(one: Excluding, other: Value, same: Same) -> Verdict:
    """Whether all numbers but some are what the other side says, which may be a union of what is left of them."""
    if isinstance(other, Excluding):
        if one.name and other.name and one.name != other.name:
            return wrong("relation")
        return _set(one.points, other.points, same)
    if not isinstance(other, Union | Interval):
        return wrong("relation", "kind")
    known = sorted({point.value for point in one.points if isinstance(point, Number)})
    if len(known) == len(one.points) or len(one.points) == 1:
        points: tuple[Value, ...] = tuple(Number(value) for value in known) or one.points
        ends: list[Value | None] = [None, *points, None]
        left = [Interval(low, False, high, False) for low, high in pairwise(ends)]
        return intervals(Union(tuple(left)), other, same)
    return cannot_tell("undecided", "interval")


def _ends(one: Value | None, other: Value | None, same: Same) -> Verdict:
    if one is None or other is None:
        return right("interval") if one is other else wrong("interval")
    return same(one, other)


def matrices(one: Value, other: Value, same: Same) -> Verdict:
    """Whether two matrices agree; one side may be lists in a list, or a point."""
    rows, columns = _rows(one), _rows(other)
    if rows is None or columns is None:
        return wrong("matrix", "kind")
    if [len(row) for row in rows] != [len(row) for row in columns]:
        return wrong("matrix")
    pairs = zip((item for row in rows for item in row), (item for row in columns for item in row), strict=True)
    return _all("matrix", (same(a, b) for a, b in pairs))


def _rows(value: Value) -> tuple[tuple[Value, ...], ...] | None:
    """The rows of a matrix, or of lists in a list; a point is a column."""
    if isinstance(value, Matrix):
        return value.rows
    if not isinstance(value, Group) or value.kind not in ("list", "tuple"):
        return None
    inner = [item.items for item in value.items if isinstance(item, Group) and item.kind in ("list", "tuple")]
    return tuple(inner) if len(inner) == len(value.items) else tuple((item,) for item in value.items)


def groups(one: Group, other: Group, same: Same) -> Verdict:
    """Whether two groups agree: in their order where both have one."""
    kinds = {one.kind, other.kind}
    if max(len(one.items), len(other.items)) > MOST_ITEMS:
        return cannot_tell("too long", "set")
    if kinds == {"set"} or kinds == {"set", "bare"}:
        return _set(one.items, other.items, same)
    if kinds == {"bare"}:
        return _unordered("set", one.items, other.items, same)
    if "set" in kinds or (kinds == {"list", "tuple"} and len(one.items) == 2):
        return wrong("tuple", "kind")
    if len(one.items) != len(other.items):
        return wrong("tuple")
    found = _all("tuple", (same(a, b) for a, b in zip(_placed(one), _placed(other), strict=True)))
    return cannot_tell("ambiguous", "tuple") if found.value == "wrong" and _turned(one, other, same) else found


def _placed(group: Group) -> tuple[Value, ...]:
    """The items of `y = 2, x = 1` in the order of their names; others as they stand."""
    names = _names(group)
    if not names:
        return group.items
    return tuple(item for _, item in sorted(zip(names, group.items, strict=True), key=lambda pair: pair[0]))


def _names(group: Group) -> list[str]:
    """The names of a bare group of equations, all different; empty for any other."""
    names = [item.left for item in group.items if isinstance(item, Relation) and item.value is not None]
    return names if group.kind == "bare" and len(set(names)) == len(group.items) else []


def _turned(one: Group, other: Group, same: Same) -> bool:
    """Whether equations agree with a point in the order in which they stand, which is not that of their names."""
    pairs = list(zip(one.items, other.items, strict=True))
    return bool(_names(one) or _names(other)) and all(same(a, b).right for a, b in pairs)


def _set(one: tuple[Value, ...], other: tuple[Value, ...], same: Same) -> Verdict:
    """Each item of either side has an equal on the other."""
    if not one or not other:
        return right("set") if one == other else wrong("set")
    sides = [(item, other) for item in one] + [(item, one) for item in other]
    return _all("set", (_any(item, side, same) for item, side in sides))


def _any(item: Value, side: tuple[Value, ...], same: Same) -> Verdict:
    untold = []
    for candidate in side:
        found = same(item, candidate)
        if found.right:
            return found
        if found.value == "cannot_tell":
            untold.append(found)
    return _one_of(untold) if untold else wrong("set")


def _unordered(rule: str, one: tuple[Value, ...], other: tuple[Value, ...], same: Same) -> Verdict:
    """Whether the items of both sides can be paired so that every pair agrees."""
    if len(one) != len(other):
        return wrong(rule)
    verdicts = [[same(item, candidate) for candidate in other] for item in one]
    if _paired([[place for place, found in enumerate(row) if found.right] for row in verdicts]):
        return right(rule)
    if not _paired([[place for place, found in enumerate(row) if found.value != "wrong"] for row in verdicts]):
        return wrong(rule)
    return _one_of([found for row in verdicts for found in row if found.value == "cannot_tell"])


def _paired(partners: list[list[int]]) -> bool:
    """Whether each row can have a partner of its own (Kuhn 1955, the Hungarian method's augmenting paths)."""
    owner: dict[int, int] = {}

    def found(row: int, tried: set[int]) -> bool:
        for place in partners[row]:
            if place in tried:
                continue
            tried.add(place)
            if place not in owner or found(owner[place], tried):
                owner[place] = row
                return True
        return False

    return all(found(row, set()) for row in range(len(partners)))


def _all(rule: str, verdicts: Iterable[Verdict]) -> Verdict:
    """Right where all are, wrong where one is; what cannot be told counts only where none is wrong."""
    untold = []
    for found in verdicts:
        if found.value == "wrong":
            return wrong(rule)
        if found.value == "cannot_tell":
            untold.append(found)
    return _one_of(untold) if untold else right(rule)


def _one_of(untold: list[Verdict]) -> Verdict:
    """The reason that is said of several: the same one whichever side comes first."""
    return min(untold, key=lambda found: (found.reason, found.rule))
