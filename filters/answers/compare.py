"""Compares two final answers by what they mean: exactly, with rational numbers, element by element.

A comparison of strings rejects `0.5` for `1/2`, and one of floats accepts `0.3333333` for `1/3`. What only algebra can
decide is handed to `Symbols`; without them the answer is that it cannot be told.
Costs 2 microseconds for plain numbers, some 100 for sets and intervals; nothing here computes more than it was given.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final, Protocol

from . import numbers
from .decimals import otherwise
from .normalise import normalise, tight
from .nouns import differ
from .parts import exclusions, groups, intervals, matrices
from .quantities import SHORT, attached
from .reading import read
from .scalars import families, open_ended, roman, scalars
from .units import ANGLES, measures
from .values import (
    Choice,
    Excluding,
    Family,
    Formula,
    Group,
    Interval,
    Matrix,
    Number,
    Relation,
    Text,
    Union,
    Value,
)
from .verdict import MOST_CHARACTERS, Verdict, cannot_tell, right, wrong

_SEVERAL: Final = re.compile("[A-J]{2,6}\\Z")
_SUBSCRIPTS: Final = str.maketrans("", "", " _{}")
_CHEMICAL: Final = re.compile("(?:[A-Z][a-z]?[0-9]*|[()][0-9]*){2,20}\\Z")
_VECTOR: Final = re.compile(r"\\begin\{|\^\s*\{?\s*(?:T|\\top)\b")

Several = Group | Union | Matrix | Choice  # what a group of one value is not taken out of its brackets for


class Symbols(Protocol):
    """Compares what needs algebra; formulas are normalised LaTeX."""

    def equal(self, one: str, other: str) -> Verdict:
        """Whether two formulas have the same value for all values of their variables."""

    def equivalent(self, one: Relation, other: Relation) -> Verdict:
        """Whether two equations or inequalities have the same solutions."""

    def alike(self, one: str, other: str) -> Verdict:
        """Whether two formulas have the same set of values where n is any integer."""


class NoSymbols:
    """Says of everything that it needs symbols."""

    def equal(self, one: str, other: str) -> Verdict:
        """Only what is the same string but for spaces is known to be equal."""
        same = tight(one) == tight(other)
        return right("symbolic") if same else cannot_tell("needs symbols", "symbolic")

    def equivalent(self, one: Relation, other: Relation) -> Verdict:
        """As `equal`, side by side."""
        same = one.sign == other.sign and self.equal(one.left, other.left).right
        same = same and self.equal(one.right, other.right).right
        return right("relation") if same else cannot_tell("needs symbols", "relation")

    def alike(self, one: str, other: str) -> Verdict:
        """As `equal`."""
        return self.equal(one, other)


def agree(reply: str | None, gold: str | None, symbols: Symbols | None = None) -> Verdict:
    """Whether a reply's final answer agrees with the gold one.

    Args:
        reply: the reply's final answer, None where it has none.
        gold: the right answer.
        symbols: what compares formulas; without them, formulas that are spelled differently cannot be told apart.
    """
    if gold is None or not gold.strip():
        return cannot_tell("no gold")
    if reply is None or not reply.strip():
        return cannot_tell("no answer")
    if reply == gold:
        return right("exact")
    if len(reply) > MOST_CHARACTERS or len(gold) > MOST_CHARACTERS:
        return cannot_tell("too long")
    one, other = normalise(reply), normalise(gold)
    if not one or not other:
        return wrong("exact") if one != other else right("exact")
    if one == other:
        return right("exact")
    found = values(read(one), read(other), symbols or NoSymbols())
    if found.value == "wrong" and (_other_reading(one, other) or _other_reading(other, one)):
        return cannot_tell("ambiguous", "number")
    return found


def _other_reading(one: str, other: str) -> bool:
    """Whether one side is a number where it is read as some write it (`3,5`), and the other one is that number."""
    head, _, unit = one.partition(" ")
    value = otherwise(one if not unit.isalpha() else head)
    seen = None if value is None else read(other)
    return isinstance(seen, Number) and seen.value == value


def values(one: Value, other: Value, symbols: Symbols) -> Verdict:
    """Whether two values agree; symmetric."""
    if isinstance(one, Number) and isinstance(other, Number):
        return _numbers(one, other)

    def same(a: Value, b: Value) -> Verdict:
        return values(a, b, symbols)

    if isinstance(one, Family) or isinstance(other, Family):
        return families(one, other, symbols.alike)
    if isinstance(one, Group) != isinstance(other, Group) and all(sets := [_letters(one), _letters(other)]):
        return right("choice") if sets[0] == sets[1] else wrong("choice")
    if isinstance(one, Relation) or isinstance(other, Relation):
        return _relations(one, other, symbols)
    for left, right_ in ((one, other), (other, one)):
        if isinstance(left, Choice):
            return _choice(left, right_, symbols)
        if isinstance(left, Group) and len(left.items) == 1 and not isinstance(right_, Several):
            return same(left.items[0], right_)
        if isinstance(left, Group) and not isinstance(right_, Several) and _one_number(left):
            return same(left.items[0], right_)
        if isinstance(left, Group) and not left.items and isinstance(right_, Text):
            return right("set") if right_.words == "no solution" else wrong("set")
    if (found := open_ended(one, other, same)) is not None:
        return found
    if isinstance(one, Formula | Number) and isinstance(other, Formula | Number):
        return _formulas(one, other, symbols)
    for left, right_ in ((one, other), (other, one)):
        if isinstance(left, Excluding):
            return exclusions(left, right_, same)
    if isinstance(one, Interval | Union) or isinstance(other, Interval | Union):
        return intervals(one, other, same)
    parts = isinstance(one, Matrix | Group) or isinstance(other, Matrix | Group)
    if parts and any(isinstance(value, Formula) and _VECTOR.search(value.latex) for value in (one, other)):
        return cannot_tell("undecided", "matrix")  # a product, or a transpose
    if isinstance(one, Matrix) or isinstance(other, Matrix):
        return matrices(one, other, same)
    if isinstance(one, Group) and isinstance(other, Group):
        return groups(one, other, same)
    return scalars(one, other, symbols.equal)


def _letters(value: Value) -> frozenset[str]:
    """The letters of a multiple choice with several right answers: `A, C` or `AC`; empty for anything else."""
    if isinstance(value, Group):
        each = [item.letter if isinstance(item, Choice) else getattr(item, "latex", "") for item in value.items]
        fit = value.kind == "bare" and all(len(one) == 1 and "A" <= one <= "J" for one in each)
        return frozenset(each) if fit else frozenset()
    text = value.words.upper() if isinstance(value, Text) else value.latex if isinstance(value, Formula) else ""
    return frozenset(text) if _SEVERAL.match(text) and list(text) == sorted(set(text)) else frozenset()


def _one_number(group: Group) -> bool:
    """Whether several numbers are one that is written in several ways: `30% or 0.3`."""
    found = [item for item in group.items if isinstance(item, Number)]
    return (
        group.kind == "bare"
        and len(found) == len(group.items) > 1
        and all(_numbers(found[0], one).right for one in found)
    )


def _choice(one: Choice, other: Value, symbols: Symbols) -> Verdict:
    """A letter beside a letter, or what stands behind the letter beside another answer."""
    if isinstance(other, Choice):
        if one.letter != other.letter:
            return wrong("choice")
        rests = [read(normalise(choice.rest), False) for choice in (one, other) if choice.rest]
        differ = len(rests) == 2 and values(rests[0], rests[1], symbols).value == "wrong"
        return cannot_tell("ambiguous", "choice") if differ else right("choice")
    if one.rest:
        return values(read(normalise(one.rest), False), other, symbols)
    letters = isinstance(other, Group) and [item.latex for item in other.items if isinstance(item, Formula)]
    if letters and len(letters) == len(set(letters)) > 1 and all(len(each) == 1 and each.isupper() for each in letters):
        return wrong("choice")  # several letters
    return cannot_tell("needs options", "choice")


def _numbers(one: Number, other: Number) -> Verdict:
    a, b = one.value, other.value
    if one.percent or other.percent:
        if one.percent and other.percent:
            turned = {one.unit, other.unit} == {"less", "more"}
            return right("number") if a == b and not turned else wrong("number")
        share = 100 * (b if one.percent else a)  # the number beside the percentage, as one
        return right("number") if a == b or share == (a if one.percent else b) else wrong("number")
    if not one.unit or not other.unit or one.unit == other.unit:
        return right("number") if a == b else wrong("number")
    first, second = measures(one.unit), measures(other.unit)
    if not first or not second:
        if a == b and not first and not second and differ(one.unit, other.unit):
            return cannot_tell("ambiguous", "quantity")
        return right("number") if a == b else wrong("number")
    if {ANGLES.get(one.unit), ANGLES.get(other.unit)} == {"degree", "radian"}:
        return wrong("quantity") if a or b else right("quantity")  # a rational of one is none of the other
    same = any(what == kind and a * x == b * y for what, x in first for kind, y in second)
    return right("quantity") if same else wrong("quantity")


def _formulas(one: Formula | Number, other: Formula | Number, symbols: Symbols) -> Verdict:
    if (found := _attached(one, other) or _attached(other, one)) is not None:
        return found
    a, b = one.latex, other.latex
    if (digits := roman(a) or roman(b)) is not None and isinstance(one, Number) != isinstance(other, Number):
        return right("number") if digits in (_value(one), _value(other)) else wrong("number")
    if (turned := _in_radians(one, other)) is not None:
        found = symbols.equal(a, b) if not (one.unit and other.unit) else wrong("quantity")
        return symbols.equal(*turned) if found.value == "wrong" else found
    if one.unit and other.unit and one.unit != other.unit:
        first, second = measures(one.unit), measures(other.unit)
        factors = [x / y for what, x in first for kind, y in second if what == kind]
        if first and second and not factors:
            return wrong("quantity")
        if factors and factors[0] != 1:
            a = f"{Number(factors[0]).latex} * ({a})"
    if ("_" in a) != ("_" in b) and (bare := _bare(a)) == _bare(b) and _CHEMICAL.match(bare):
        return right("text")
    found = symbols.equal(a, b)
    for side in (one, other):  # `5 m` may be a product
        if found.value == "wrong" and isinstance(side, Number) and len(side.unit) == 1 and side.unit.isalpha():
            found = symbols.equal(f"{side.latex} {side.unit}", b if side is one else a)
    if found.value == "wrong" and one.percent != other.percent:
        a, b = (f"({a}) / 100", b) if one.percent else (a, f"({b}) / 100")
        return symbols.equal(a, b)
    return found


def _attached(one: Formula | Number, other: Formula | Number) -> Verdict | None:
    """`2.5g` beside a number: a quantity, or thousands (`5k`); None where it can be a product alone."""
    if not isinstance(one, Formula) or not isinstance(other, Number) or (letter := attached(one.latex)) is None:
        return None
    value = numbers.read(one.latex[:-1]) or Fraction(0)
    if letter in SHORT and not other.unit and value * SHORT[letter] == other.value:
        return right("number")
    if not measures(letter):
        return None
    if not other.unit and value == other.value:
        return cannot_tell("ambiguous", "quantity")  # five meters, or five times m
    return _numbers(Number(value, letter), other)


def _bare(formula: str) -> str:
    return formula.translate(_SUBSCRIPTS)


def _value(of: Formula | Number) -> Fraction | None:
    return of.value if isinstance(of, Number) else None


def _in_radians(one: Formula | Number, other: Formula | Number) -> tuple[str, str] | None:
    r"""An angle in degrees and one in radians (by name, or with a \pi in it), both in radians; None for any other."""
    kinds = [ANGLES.get(side.unit, "" if side.unit else "none") for side in (one, other)]
    bare = next((side.latex for side, kind in zip((one, other), kinds, strict=True) if kind == "none"), "")
    if "degree" not in kinds or not ("radian" in kinds or "\\pi" in bare):
        return None
    a, b = (
        f"({side.latex}) * \\pi / 180" if kind == "degree" else side.latex
        for side, kind in zip((one, other), kinds, strict=True)
    )
    return a, b


def _relations(one: Value, other: Value, symbols: Symbols) -> Verdict:
    if isinstance(one, Interval) and one.relation is not None:
        one = one.relation
    if isinstance(other, Interval) and other.relation is not None:
        other = other.relation
    if isinstance(one, Relation) and isinstance(other, Relation):
        if one.value is not None and other.value is not None and _name(one.left) == _name(other.left):
            return values(one.value, other.value, symbols)
        if one.sign != other.sign:
            return wrong("relation")
        branches = [_branches(side) for side in (one, other)]
        if any(len(each) > 1 for each in branches):
            first, second = (Group("bare", each) for each in branches)
            return groups(first, second, lambda a, b: _relations(a, b, symbols))
        return symbols.equivalent(one, other)
    for left, right_ in ((one, other), (other, one)):
        if isinstance(left, Relation) and left.value is not None:
            return values(left.value, right_, symbols)
    return wrong("relation", "kind")


def _branches(one: Relation) -> tuple[Relation, ...]:
    r"""The two equations that `y = \pm 2 x` is."""
    if "\\pm" not in one.left + one.right:
        return (one,)
    sides = [(one.left.replace("\\pm", sign), one.right.replace("\\pm", sign)) for sign in "+-"]
    return tuple(
        Relation(left.strip().removeprefix("+"), one.sign, right.strip().removeprefix("+")) for left, right in sides
    )


def _name(left: str) -> str:
    return left.replace(" ", "").replace("{", "").replace("}", "").casefold() if len(left) > 1 else left
