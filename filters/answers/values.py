"""The kinds of value that a final answer can have: a number with its unit, a choice, a day, a set, an interval, …

Two answers are compared by what they are, so each is read into one of these first; what nothing else fits is a formula,
which only a symbolic comparison can judge, or a text.
Costs an object each.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from .dates import Clock, Day


@dataclass(frozen=True, slots=True)
class Number:
    """A rational with its unit as written (empty for none)."""

    value: Fraction
    unit: str = ""
    percent: bool = False

    @property
    def latex(self) -> str:
        """The bare number as LaTeX."""
        up, down = self.value.numerator, self.value.denominator
        return str(up) if down == 1 else f"\\frac{{{up}}}{{{down}}}"


@dataclass(frozen=True, slots=True)
class Formula:
    """An expression in normalised LaTeX that is no rational number, with its unit."""

    latex: str
    unit: str = ""
    percent: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """A letter of a multiple choice, and what stands behind it."""

    letter: str
    rest: str = ""


@dataclass(frozen=True, slots=True)
class Truth:
    """Yes or no; `bare` where nothing is said behind it."""

    value: bool
    bare: bool = True


@dataclass(frozen=True, slots=True)
class Text:
    """Words, folded: case, articles and punctuation are gone."""

    words: str


@dataclass(frozen=True, slots=True)
class Ratio:
    """Parts that only their proportions matter of."""

    parts: tuple[Fraction, ...]


@dataclass(frozen=True, slots=True)
class Based:
    """Digits in a named base, and the integer that they are."""

    digits: str
    base: int
    value: int


@dataclass(frozen=True, slots=True)
class Truncated:
    """A decimal whose further digits are not told: it is at least `low` and less than `high`."""

    low: Fraction
    high: Fraction


@dataclass(frozen=True, slots=True)
class Between:
    """What lies between two values, of which nobody says whether they count."""

    low: Value
    high: Value


@dataclass(frozen=True, slots=True)
class Unclear:
    """What has more than one reading, as words."""

    words: str


@dataclass(frozen=True, slots=True)
class Group:
    """Several values: `tuple` in round brackets, `list` in square ones, `set` in braces, `bare` in none."""

    kind: Literal["tuple", "list", "set", "bare"]
    items: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval; an end that is None is infinite. `relation` is the inequality that it was written as."""

    low: Value | None
    low_closed: bool
    high: Value | None
    high_closed: bool
    relation: Relation | None = None

    @property
    def variable(self) -> str:
        """The name of an inequality; empty for an interval in brackets."""
        relation = self.relation
        return "" if relation is None else relation.left if self.low is None else relation.right


@dataclass(frozen=True, slots=True)
class Union:
    """Intervals and sets of points put together; their order says nothing."""

    parts: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Excluding:
    """All real numbers but these points; `name` is the variable, empty where none is said."""

    points: tuple[Value, ...]
    name: str = ""


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of values."""

    rows: tuple[tuple[Value, ...], ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """`left` `sign` `right` in normalised LaTeX; `value` is what the right side is where the left one is a name."""

    left: str
    sign: Literal["=", "<", "<=", "!="]
    right: str
    value: Value | None = None


@dataclass(frozen=True, slots=True)
class Residue:
    r"""What a number leaves when it is divided: `3 \pmod 7`."""

    value: Fraction
    modulus: Fraction


@dataclass(frozen=True, slots=True)
class Family:
    r"""A formula for each integer that its parameter may be: `\pi/4 + k\pi, k \in \mathbb{Z}`."""

    latex: str
    parameter: str


Value = (
    Number
    | Formula
    | Choice
    | Truth
    | Text
    | Day
    | Clock
    | Ratio
    | Based
    | Truncated
    | Between
    | Unclear
    | Group
    | Interval
    | Union
    | Excluding
    | Matrix
    | Relation
    | Residue
    | Family
)


def as_interval(value: Value) -> Value:
    """A pair in round or square brackets as the interval that it may be; anything else as it is."""
    if isinstance(value, Group) and value.kind in ("tuple", "list") and len(value.items) == 2:
        closed = value.kind == "list"
        return Interval(value.items[0], closed, value.items[1], closed)
    return value
