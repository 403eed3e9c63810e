"""Reads what has parts: points, sets, lists, intervals, matrices, several values with commas or `and` between them.

Brackets mean several things (`(1, 2)` is a point or an interval), and what is inside them is an answer of its own, read
by the function that the caller gives.
Costs a scan for the separators that stand outside all brackets, and the reading of each part.
"""

from __future__ import annotations

import re
from typing import Final

from . import numbers
from .normalise import closing, split
from .quantities import attached
from .relations import Read, end, sided
from .values import Excluding, Group, Interval, Matrix, Number, Union, Value, as_interval

_MATRIX: Final = re.compile(
    r"[\[(]?\s*\\begin\{([pbB]?matrix|array)\}(?:\{[lcr| ]*\})?(.*)\\end\{\1\}\s*[\])]?\Z", re.DOTALL
)
_SIGN: Final = re.compile(
    r"[=<>,]|\\(?:le|ge|ne|in|det)(?![A-Za-z])|[A-Za-z]\s*\Z|\(\s*\Z"
)  # before a matrix: no factor
_AND: Final = re.compile(r",?\s+(?:and|or)\s+|\s*\\(?:lor|vee)(?![A-Za-z])\s*")
# `point P(1, 2)`, `the ordered pair (1, 2)`; C(5, 2) is a number of combinations.
_CALLED: Final = re.compile(
    r"(?:the\s+)?(?:ordered\s+)?(?:(?:pair|triple|point|vector|coordinate|set|interval)s?\s+)?(?:[ABD-Z]\s*)?(?=[(\[]|\\\{)"
)
_BUT: Final = re.compile(
    r"(?:[a-z]\s*\\in\s*)?(?:\\mathbb\s*\{?\s*R\s*\}?|\\R(?![a-z])|all real numbers|all reals)\s*"
    r"(?:\\(?:setminus|backslash)|except(?: for)?|-|other than)\s*(\S.*)\Z"
)
_REALS: Final = ("\\mathbb{R}", "\\mathbb R", "\\R", "\\Reals", "all real numbers", "all reals")
_SUCH: Final = re.compile(r"\\\{\s*([a-z])\s*(?:\\in\s*\\mathbb\s*\{?R\}?\s*)?[|:]\s*(?=\1|-?[0-9])(.*)\\\}\Z")
_ROMAN: Final = ("i", "ii", "iii", "iv", "v", "vi")
_PARTS: Final = tuple(
    tuple(re.compile(rf"{before}\(?{name}\)\s*") for before, name in zip(("", *[r"[\s,;]+"] * 5), names, strict=True))
    for names in ("abcdef", "ABCDEF", "123456", _ROMAN)
)


def parted(text: str, read: Read) -> Group | None:
    """`a) 3 b) 4`: the answers to the parts of a question, in their order; None for anything else."""
    for first, *more in _PARTS:
        if (head := first.match(text)) is None:
            continue
        bounds = [(0, head.end())]
        for part in more:
            if (found := part.search(text, bounds[-1][1])) is None:
                break
            bounds.append(found.span())
        stops = [start for start, _ in bounds[1:]] + [len(text)]
        pieces = [text[start:stop].strip(" ,;") for (_, start), stop in zip(bounds, stops, strict=True)]
        if len(pieces) > 1 and all(pieces):
            return Group("tuple", tuple(read(piece) for piece in pieces))
    return None


def matrix(text: str, read: Read) -> Matrix | None:
    """A matrix between `\\begin` and `\\end`."""
    begun = text.find("\\begin")
    factor = text[: max(begun, 0)].rstrip("[( *")
    match = _MATRIX.match(text, len(factor)) if begun >= 0 else None
    if match is None or "\\begin" in match[2] or (factor and _SIGN.search(factor)):
        return None
    factor = {"": "", "-": "(-1)*"}.get(factor, f"({factor})*")
    rows = [[cell.strip() for cell in row.split("&")] for row in match[2].split("\\\\") if row.strip()]
    return Matrix(tuple(tuple(read(f"{factor}({cell})" if factor else cell) for cell in row) for row in rows))


def union(text: str, read: Read) -> Union | None:
    """Intervals and sets with `\\cup` between them."""
    if "\\cup" not in text:
        return None
    parts = [as_interval(read(part)) for part in re.split(r"\\cup(?![A-Za-z])", sided(text))]
    return Union(tuple(parts)) if all(isinstance(part, Interval | Group) for part in parts) else None


def several(text: str, read: Read) -> Value | None:
    """Values with commas, `and` or `or` between them, outside all brackets."""
    if ("," not in text and ";" not in text and not _AND.search(text)) or attached(text):
        return None
    pieces: list[str] = []
    for piece in split(text, ",;"):
        pieces += [piece] if numbers.read(piece) is not None else _outside(piece)
    pieces = [re.sub(r"^(?:and|or|either|both)\s+", "", piece) for piece in pieces if piece]
    if len(pieces) < 2:
        return None
    values = _read_all(pieces, read)
    if all(isinstance(value, Interval) for value in values) and re.search(r"\bor\b|\\lor|\\vee", text):
        return Union(values)
    return _both(values) or _excluding(values) or Group("bare", values)


def _both(values: tuple[Value, ...]) -> Interval | None:
    """`x > 3 and x < 5` as what lies between; None for anything else."""
    ends = [value for value in values if isinstance(value, Interval)]
    if len(values) != 2 or len(ends) != 2:
        return None
    above, below = ends if ends[1].low is None else ends[::-1]
    if above.high is not None or below.low is not None or above.variable != below.variable:
        return None
    if not isinstance(above.low, Number) or not isinstance(below.high, Number) or above.low.value >= below.high.value:
        return None
    return Interval(above.low, above.low_closed, below.high, below.high_closed)


def _excluding(values: tuple[Value, ...]) -> Excluding | None:
    """`x \\ne 2, x \\ne 3` and `x \\ne 2, 3` as one; None for other values."""
    first, points = values[0], list[Value]()
    if not isinstance(first, Excluding):
        return None
    for value in values:
        if isinstance(value, Excluding) and value.name == first.name:
            points += value.points
        elif isinstance(value, Number):
            points.append(value)
        else:
            return None
    return Excluding(tuple(points), first.name)


def _outside(piece: str) -> list[str]:
    """The parts between `and` and `or` where none of them cuts a bracket open."""
    parts = _AND.split(piece)
    return parts if all(_balanced(part) for part in parts) else [piece]


def _balanced(text: str) -> bool:
    return sum(text.count(character) for character in "([{") == sum(text.count(character) for character in ")]}")


def bracketed(text: str, read: Read) -> Value | None:
    """What stands in brackets as a whole, also with what it is called before them."""
    if (called := _CALLED.match(text)) and called.end() and "," in text:
        text = text[called.end() :]
    if (such := _SUCH.match(text)) and isinstance(said := read(such[2]), Interval | Union | Excluding):
        return said
    if text.startswith("\\{") and text.endswith("\\}") and closing(text, 1) == len(text) - 1:
        return Group("set", _read_all(split(text[2:-2], ","), read))
    if text[:1] not in ("(", "[", "{") or text[-1:] not in (")", "]", "}") or closing(text, 0) != len(text) - 1:
        return None
    parts = split(text[1:-1], ",;")
    if text[0] == "{":
        return Group("set", _read_all(parts, read)) if len(parts) > 1 else read(parts[0])
    if len(parts) == 2 and (text[0] + text[-1] in ("(]", "[)") or "\\infty" in text):
        low, high = (end(part, read) for part in parts)
        return Interval(low, text[0] == "[" and low is not None, high, text[-1] == "]" and high is not None)
    if len(parts) == 1 and text[0] == "(":
        value = numbers.read(text)
        return Number(value) if value is not None else read(parts[0])
    return Group("list" if text[0] == "[" else "tuple", tuple(read(part) for part in parts if part))


def _read_all(parts: list[str], read: Read) -> tuple[Value, ...]:
    r"""The values of a set or a list; `\pm 1` in it is two."""
    found = list[Value]()
    for part in parts:
        value = read(part) if part else None
        if isinstance(value, Group) and value.kind == "bare" and "\\pm" in part:
            found += value.items
        elif value is not None:
            found.append(value)
    return tuple(found)


def named_set(text: str, read: Read) -> Value | None:
    """The empty set, the real numbers, or all of these but some."""
    bare = text.strip()
    if bare in ("\\emptyset", "\\empty"):
        return Group("set", ())
    if bare in _REALS:
        return Interval(None, False, None, False)
    if (but := _BUT.match(bare)) is None:
        return None
    value = read(but[1])
    if isinstance(value, Excluding):
        return value
    return Excluding(value.items if isinstance(value, Group) else (value,))


def both_signs(text: str, read: Read) -> Group | None:
    """`3 \\pm 1` as the two values that it is."""
    if text.count("\\pm") + text.count("\\mp") != 1:
        return None
    before, _, after = text.replace("\\mp", "\\pm").partition("\\pm")
    return Group("bare", tuple(read(f"{before}{sign}{after.lstrip()}".strip()) for sign in "+-"))
