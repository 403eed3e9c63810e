"""Reads what is said of a name or a bound: `x = 5`, `1 < x \\le 2`, `x \\in [1, 4]`, `x \\ne 3`, `at least 3`.

What an answer says of a name is what counts, and the name often does not: `x = 5` is 5, and `x > 3` an interval.
Costs a scan for the signs that stand outside all brackets.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from . import numbers
from .values import Excluding, Group, Interval, Number, Relation, Union, Value, as_interval

Read = Callable[[str], Value]
"""Reads a part of an answer."""

_NAME: Final = re.compile(
    r"(?:[A-Za-z](?:_\{?[A-Za-z0-9]+\}?)?'*(?:\s*\(\s*[A-Za-z0-9]+(?:\s*,\s*[a-z])*\s*\))?|\\[a-z]+|\\(?:vec|overrightarrow)\{[A-Za-z]+\}|\(\s*[a-z](?:\s*,\s*[a-z])+\s*\))\Z"
)
_ABSOLUTE: Final = re.compile(r"\|\s*[a-z]\s*\|\Z")
_SIGN: Final = re.compile(r"\\(le|ge|ne|in)(?![A-Za-z])|[=<>]")
# `2 y` in `x = 2 y = 3`, which is two equations with nothing between them.
_NEXT: Final = re.compile(r"(.*\S)\s+([A-Za-z](?:_\{?[A-Za-z0-9]+\}?)?)\Z", re.DOTALL)
_BELOW: Final = re.compile(
    r"(?:(at most|no more than|not more than|up to|a maximum of)|less than|fewer than|under|below)\s+(?=\S)",
    re.IGNORECASE,
)
_ABOVE: Final = re.compile(
    r"(?:(at least|no less than|no fewer than|not less than|a minimum of)|more than|greater than|over|above)\s+(?=\S)",
    re.IGNORECASE,
)
_SIGNED: Final = re.compile(r"(?:(>)|(\\ge)|<|(\\le))(?![=A-Za-z])\s*(?=[-0-9.])")
_PLUS: Final = re.compile(r"([0-9][0-9.,]*)\+\Z")
_OR_MORE: Final = re.compile(
    r"(\S.*?),?\s+(?:or|and)\s+(?:(more|greater|above|up)|less|fewer|below|under)\Z", re.IGNORECASE
)


def relation(text: str, read: Read) -> Value | None:
    """An equation, an inequality or a membership; None for what is neither."""
    parts, signs = sides(text)
    if not signs or not all(parts):
        return None
    if signs == ["in"]:
        return as_interval(read(parts[1])) if _NAME.match(parts[0]) else None
    if set(signs) == {"="}:
        return _equation(parts, signs, read)
    if signs == ["ne"]:
        return _unequal(parts[0], parts[1], read)
    downward = {">": "<", "ge": "le"}
    if all(sign in downward for sign in signs):
        parts, signs = parts[::-1], [downward[sign] for sign in signs[::-1]]
    if not all(sign in ("<", "le") for sign in signs) or len(signs) > 2:
        return None
    closed = [sign == "le" for sign in signs]
    if len(signs) == 2:
        if not _NAME.match(parts[1]):
            return None
        return Interval(end(parts[0], read), closed[0], end(parts[2], read), closed[1])
    if (around := _around(parts, closed[0], read)) is not None:
        return around
    found = Relation(parts[0], "<=" if closed[0] else "<", parts[1])
    if _NAME.match(parts[0]) and _constant(parts[1]):
        return Interval(None, False, read(parts[1]), closed[0], found)
    if _NAME.match(parts[1]) and _constant(parts[0]):
        return Interval(read(parts[0]), closed[0], None, False, found)
    return found


def _around(parts: list[str], closed: bool, read: Read) -> Value | None:
    """`|x| < 3` as the interval around 0, `|x| > 3` as all outside of it; None for anything else."""
    for name, size, inside in ((parts[0], parts[1], True), (parts[1], parts[0], False)):
        if _ABSOLUTE.match(name) and isinstance(high := read(size), Number) and high.value > 0:
            low = Number(-high.value, high.unit)
            if inside:
                return Interval(low, closed, high, closed)
            return Union((Interval(None, False, low, closed), Interval(high, closed, None, False)))
    return None


def bound(text: str, read: Read) -> Interval | None:
    """`at least 3`, `less than 5 km`, `3 or more`: what has one end; None for anything else."""
    for pattern, above in ((_ABOVE, True), (_BELOW, False)):
        if match := pattern.match(text):
            return _half(read(text[match.end() :]), above, match[1] is not None)
    if match := _SIGNED.match(text):
        return _half(read(text[match.end() :]), bool(match[1] or match[2]), bool(match[2] or match[3]))
    if match := _PLUS.match(text):
        return _half(read(match[1]), True, True)
    match = _OR_MORE.match(text)
    return None if match is None else _half(read(match[1]), match[2] is not None, True)


def _half(value: Value, above: bool, closed: bool) -> Interval | None:
    if not isinstance(value, Number):
        return None
    return Interval(value, closed, None, False) if above else Interval(None, False, value, closed)


def _equation(parts: list[str], signs: list[str], read: Read) -> Value:
    left, right = parts[0], parts[-1]
    if len(signs) > 1 and _NAME.match(left):
        between = [_NEXT.match(part) for part in parts[1:-1]]
        if all(match and numbers.read(match[1]) is not None for match in between):
            names = [left, *(match[2] for match in between if match)]
            values = [*(match[1] for match in between if match), right]
            pairs = zip(names, values, strict=True)
            return Group("bare", tuple(Relation(name, "=", value, read(value)) for name, value in pairs))
    named = _NAME.match(left) or left.replace(" ", "").isalpha() or (len(signs) > 1 and _NAME.match(parts[-2]))
    constant = numbers.read(left) is not None or "matrix}" in left
    return Relation(left, "=", right, read(right) if named or constant else None)


def _unequal(left: str, right: str, read: Read) -> Value:
    for name, point in ((left, right), (right, left)):
        if _NAME.match(name) and _constant(point):
            value = read(point)
            return Excluding(value.items if isinstance(value, Group) and value.kind == "bare" else (value,), name)
    return Relation(left, "!=", right)


def sides(text: str) -> tuple[list[str], list[str]]:
    """What stands between the signs of relation outside all brackets, and these signs."""
    found, signs, begun, depth, place = list[str](), list[str](), 0, 0, 0
    while place < len(text):
        character = text[place]
        if character in "({[":
            depth += 1
        elif character in ")}]":
            depth -= 1
        elif depth == 0 and character in "=<>\\" and (match := _SIGN.match(text, place)):
            found.append(text[begun:place].strip())
            signs.append(match[1] or match[0])
            begun = place = match.end()
            continue
        place += 1
    found.append(text[begun:].strip())
    return found, signs


def sided(text: str) -> str:
    """The rest of `x \\in …` or `x = …`; the text itself where it is neither."""
    found, signs = sides(text)
    return found[1] if len(signs) == 1 and signs[0] in ("in", "=") and _NAME.match(found[0]) else text


def _constant(text: str) -> bool:
    """Whether a formula has no variable: no letters but in commands, e and i."""
    return not re.search(r"[A-Za-df-hj-z]", re.sub(r"\\[A-Za-z]+", "", text)) and "\\theta" not in text


def end(text: str, read: Read) -> Value | None:
    """An end of an interval; None for an infinite one."""
    return None if "\\infty" in text else read(text)
