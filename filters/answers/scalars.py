"""Compares answers without parts that are no plain numbers: choices, yes and no, days, times, ratios, digits of a base.

Each kind has its own rule of what is the same, and two kinds are the same only where one can be written as the other.
Where an answer has two readings that matter, nothing is told.
Costs a microsecond.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Final

from .dates import Clock, Day
from .reading import fold
from .values import (
    Based,
    Between,
    Choice,
    Family,
    Formula,
    Group,
    Interval,
    Number,
    Ratio,
    Relation,
    Residue,
    Text,
    Truncated,
    Truth,
    Unclear,
    Value,
)
from .verdict import Verdict, cannot_tell, right, wrong

_ROMAN: Final = re.compile(r"(?=[MDCLXVI]{2})M{0,3}(CM|CD|D?C{0,3})(XC|XL|L?X{0,3})(IX|IV|V?I{0,3})\Z")
_UNDECIDED: Final = cannot_tell("undecided", "symbolic")
_LITTLE: Final = frozenset(
    ("the", "a", "an", "of", "is", "are", "to", "in", "and", "or", "not", "no", "it", "that", "this")
)
_DENIALS: Final = frozenset(("not", "no", "never", "non", "neither"))
_LETTERS: Final = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}


def open_ended(one: Value, other: Value, same: Callable[[Value, Value], Verdict]) -> Verdict | None:
    """What is said of an answer that has no one value; None where both have one."""
    if isinstance(one, Unclear) or isinstance(other, Unclear):
        return right("text") if one == other else cannot_tell("ambiguous")
    if isinstance(one, Residue) or isinstance(other, Residue):
        return _residues(one, other)
    for left, right_ in ((one, other), (other, one)):
        if isinstance(left, Truncated):
            return _truncated(left, right_)
        if isinstance(left, Between):
            return _between(left, right_, same)
    return None


def _residues(one: Value, other: Value) -> Verdict:
    """Classes of numbers; a number beside a class is the one that it is named by, or nobody can tell."""
    if isinstance(one, Residue) and isinstance(other, Residue):
        same = one.modulus == other.modulus and (one.value - other.value) % one.modulus == 0
        return right("number") if same else wrong("number")
    residue, value = (one, other) if isinstance(one, Residue) else (other, one)
    if not isinstance(residue, Residue) or not isinstance(value, Number):
        return cannot_tell("ambiguous", "number")
    if value.value == residue.value:
        return right("number")
    congruent = (value.value - residue.value) % residue.modulus == 0
    return cannot_tell("ambiguous", "number") if congruent else wrong("number")


def families(one: Value, other: Value, alike: Callable[[str, str], Verdict]) -> Verdict:
    """Whether two formulas with an integer in them are the same set; `alike` compares them, the integer being n."""
    first, second = _family(one), _family(other)
    if first is None or second is None:
        return wrong("symbolic", "kind") if isinstance(one, Number) or isinstance(other, Number) else _UNDECIDED
    if not first.parameter or not second.parameter:
        return wrong("symbolic", "kind")
    return alike(_with_parameter(first), _with_parameter(second))


def _family(value: Value) -> Family | None:
    """A formula with one letter as the set that it is for the integers; its parameter is empty where it has none."""
    if isinstance(value, Relation):
        value = value.value or value
    if isinstance(value, Family) or not isinstance(value, Formula):
        return value if isinstance(value, Family) else None
    letters = set(re.findall(r"[A-Za-df-hj-z]", re.sub(r"\\[A-Za-z]+", "", value.latex)))
    return Family(value.latex, next(iter(letters), "")) if len(letters) < 2 else None


def _with_parameter(family: Family) -> str:
    return re.sub(rf"(?<![\\A-Za-z]){family.parameter}(?![A-Za-z])", " n ", family.latex)


def _truncated(one: Truncated, other: Value) -> Verdict:
    low = high = Fraction(0)
    if isinstance(other, Truncated):
        low, high = other.low, other.high
    elif isinstance(other, Number):
        low = high = other.value
    elif not isinstance(other, Formula):
        return wrong("number", "kind")
    else:
        return cannot_tell("ambiguous", "number")
    return cannot_tell("ambiguous", "number") if low <= one.high and one.low <= high else wrong("number")


def _between(one: Between, other: Value, same: Callable[[Value, Value], Verdict]) -> Verdict:
    """Whether the ends of a stretch count is not said; `3-5` may be a difference."""
    if isinstance(other, Number) and isinstance(one.low, Number) and isinstance(one.high, Number):
        difference = one.low.value - one.high.value == other.value
        return cannot_tell("ambiguous", "interval") if difference else wrong("interval", "kind")
    ends: tuple[Value | None, ...] = ()
    if isinstance(other, Between | Interval):
        ends = (other.low, other.high)
    elif isinstance(other, Group) and len(other.items) == 2 and other.kind in ("tuple", "list"):
        ends = other.items
    pairs = [(own, end) for own, end in zip((one.low, one.high), ends, strict=False) if end is not None]
    if len(pairs) < 2:
        return wrong("interval", "kind")
    verdicts = [same(own, end) for own, end in pairs]
    if any(found.value == "wrong" for found in verdicts):
        return wrong("interval")
    known = isinstance(other, Between) and all(found.right for found in verdicts)
    return right("interval") if known else cannot_tell("ambiguous", "interval")


def scalars(one: Value, other: Value, equal: Callable[[str, str], Verdict]) -> Verdict:
    """Whether two values without parts agree; `equal` compares formulas."""
    if isinstance(one, Choice) != isinstance(other, Choice):
        return cannot_tell("needs options", "choice")
    if isinstance(one, Truth) and isinstance(other, Truth):
        return right("truth") if one.value == other.value else wrong("truth")
    if isinstance(one, Text) and isinstance(other, Text):
        return _texts(one.words, other.words)
    if isinstance(one, Day) and isinstance(other, Day):
        return _days(one, other)
    if isinstance(one, Clock) and isinstance(other, Clock):
        turn = 86_400 if one.half and other.half else 43_200
        return right("time") if (one.seconds - other.seconds) % turn == 0 else wrong("time")
    if isinstance(one, Based) and isinstance(other, Based):
        return right("base") if one.value == other.value else wrong("base")
    for left, right_ in ((one, other), (other, one)):
        if (found := _mixed(left, right_, equal)) is not None:
            return found
    return wrong("exact", "kind")


def _mixed(one: Value, other: Value, equal: Callable[[str, str], Verdict]) -> Verdict | None:
    """Of two kinds, in this order; None where the order is another or they have nothing to do with each other."""
    if isinstance(one, Ratio) and (parts := _parts(other)) is not None:
        if isinstance(other, Number) and other.value.denominator == 1:
            return cannot_tell("ambiguous", "ratio") if _proportional(one.parts, parts) else wrong("ratio")
        return right("ratio") if _proportional(one.parts, parts) else wrong("ratio")
    if isinstance(one, Based) and isinstance(other, Number):
        if other.value == one.value:
            return right("base")
        return cannot_tell("ambiguous", "base") if str(other.value) == one.digits else wrong("base")
    if isinstance(one, Clock) and isinstance(other, Number):
        hours = one.seconds // 3600 % 12 == other.value % 12 and one.seconds % 3600 == 0
        return cannot_tell("ambiguous", "time") if hours and not other.unit else wrong("exact", "kind")
    if isinstance(one, Truth) and not one.bare:
        return cannot_tell("ambiguous", "truth")
    if isinstance(one, Text) and isinstance(other, Number):
        return _romans(one.words.upper(), other)
    if not isinstance(one, Formula) or not isinstance(other, Text):
        return None
    if len(other.words) <= 4 and other.words.isascii() and other.words.isalpha():
        return equal(one.latex, other.words)
    return right("text") if fold(one.latex) == other.words else wrong("text", "kind")


def _texts(one: str, other: str) -> Verdict:
    """Words; where one side has all words of the other and more, it may say the same in a sentence, or deny it."""
    if one == other:
        return right("text")
    fewer, more = sorted((set(one.split()), set(other.split())), key=len)
    told = not fewer < more or fewer <= _LITTLE or _DENIALS & (more - fewer)
    return wrong("text") if told else cannot_tell("ambiguous", "text")


def roman(text: str) -> int | None:
    """The number that at least two roman digits spell, None for any other text."""
    if not _ROMAN.match(text):
        return None
    digits = [_LETTERS[letter] for letter in text]
    return sum(-one if one < after else one for one, after in zip(digits, [*digits[1:], 0], strict=True))


def _romans(text: str, other: Number) -> Verdict | None:
    value = roman(text)
    return None if value is None else right("number") if value == other.value else wrong("number")


def _days(one: Day, other: Day) -> Verdict:
    """Days agree where a year is not said; `3/5/2020` is of March or of May."""
    years = one.year == other.year or one.year is None or other.year is None
    if not years or (one.month, one.day) == (other.month, other.day):
        return right("date") if years else wrong("date")
    turned = (one.month, one.day) == (other.day, other.month) and one.numeric != other.numeric
    return cannot_tell("ambiguous", "date") if turned else wrong("date")


def _parts(value: Value) -> tuple[Fraction, ...] | None:
    """A value as a ratio: `3:30` may be one too, and so may the fraction `2/3`."""
    if isinstance(value, Ratio):
        return value.parts
    if isinstance(value, Clock) and value.seconds % 60 == 0 and value.seconds >= 3600 and value.seconds % 3600:
        return Fraction(value.seconds // 3600), Fraction(value.seconds // 60 % 60)
    if isinstance(value, Number) and value.value and not value.unit and not value.percent:
        return Fraction(value.value.numerator), Fraction(value.value.denominator)
    return None


def _proportional(one: tuple[Fraction, ...], other: tuple[Fraction, ...]) -> bool:
    if len(one) != len(other):
        return False
    return all(a * other[0] == b * one[0] for a, b in zip(one, other, strict=True)) and any(one) == any(other)
