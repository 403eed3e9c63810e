r"""Compares formulas with sympy: `\frac{1}{\sqrt{2}}` is `\sqrt{2}/2`, and `1.41421356` is neither.

Simplifying until nothing is left takes for ever on some inputs and fails on others, so both sides are evaluated to 60
digits, at several points where they have variables: equal formulas agree at all of them, others at none. What has no
value there is left to math-verify. Costs 10 to 100 milliseconds, nearly all for math-verify's LaTeX parser, and no end
in sight for a tower of powers: only a process that may be killed can run this.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any, Final

import sympy
from latex2sympy2_extended import latex2sympy
from latex2sympy2_extended.latex2sympy2 import ConversionConfig
from math_verify import verify
from sympy.core.function import AppliedUndef

from .normalise import tight
from .values import Relation
from .verdict import Verdict, cannot_tell, right, wrong

DIGITS: Final = 60  # that both sides are evaluated to
AGREE: Final = 40  # of them have to be the same, and as many behind the point
MOST_DIGITS: Final = 1_000  # before the point; a number with more is not told from its neighbour

# Points at which formulas with variables are evaluated; a negative one counts only where both sides are real there.
_POINTS: Final = (
    tuple(sympy.Rational(13 + 7 * k, 11 + 2 * k) for k in range(12)),
    tuple(sympy.Rational(29 + 5 * k, 7 + 3 * k) for k in range(12)),
    tuple(sympy.Rational(3 + 4 * k, 17 + k) for k in range(12)),
)
_NEGATIVE: Final = tuple(-point for point in _POINTS[0])
# What the parser would read as something else: it drops a base and a bar, and joins digits that stand apart.
_MISREAD: Final = re.compile(r"[0-9]\s*_|[0-9.]\s*\\(?:overline|bar|dot)\b|(?<![_0-9])[0-9]+ +[0-9]|\.\.\.")
# Where sympy finds no closed form of these, it has a number of unknown precision or computes for ever.
_CALCULUS: Final = (sympy.Integral, sympy.Sum, sympy.Product, sympy.Limit, sympy.Derivative)
_TURNS: Final = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-z])")
_CONFIG: Final = ConversionConfig(lowercase_symbols=False)


class Unreadable(Exception):
    """The parser cannot read the formula."""


class NoValue(Exception):
    """A formula has no number at a point."""


class TooLarge(Exception):
    """Two numbers agree in all digits that were computed, and are too large to compute those behind the point."""


class Algebra:
    """Implements `compare.Symbols`; whatever sympy raises leaves here, for the process's loop to catch."""

    def equal(self, one: str, other: str) -> Verdict:
        """Whether two formulas have the same value at all points that are tried."""
        if tight(one) == tight(other):
            return right("symbolic")
        try:
            a, b = _parse(one), _parse(other)
        except Unreadable:
            return cannot_tell("unreadable", "symbolic")
        if any(isinstance(side, sympy.Basic) and side.has(*_CALCULUS) for side in (a, b)):
            return right("symbolic") if a == b else cannot_tell("undecided", "symbolic")
        formulas = isinstance(a, sympy.Expr) and isinstance(b, sympy.Expr)
        if formulas and not (_finite(a) and _finite(b)):
            return right("symbolic") if a == b else wrong("symbolic")
        try:
            if not formulas:
                raise NoValue
            same = _alike(a, b)
        except NoValue:
            return right("symbolic") if _verified(a, b) else cannot_tell("undecided", "symbolic")
        except TooLarge:
            return cannot_tell("undecided", "symbolic")
        return right("symbolic") if same else wrong("symbolic")

    def equivalent(self, one: Relation, other: Relation) -> Verdict:
        """Whether the differences of the sides are proportional, for an inequality with a positive factor."""
        try:
            a, b = (_parse(relation.left) - _parse(relation.right) for relation in (one, other))
            placed = _placed(a, b)
        except (Unreadable, TypeError, AttributeError):
            return cannot_tell("unreadable", "relation")
        except NoValue:
            return cannot_tell("undecided", "relation")
        values = [(_number(x), _number(y)) for x, y in placed]
        if any(_is_zero(x) != _is_zero(y) for x, y in values):
            return wrong("relation")
        factors = [x / y for x, y in values if not _is_zero(y)]
        if not factors:
            return right("relation") if a == b else wrong("relation")
        proportional = all(_close(factor, factors[0]) for factor in factors)
        if proportional and (one.sign in ("=", "!=") or (factors[0].is_real and factors[0] > 0)):
            return right("relation")
        return wrong("relation")

    def alike(self, one: str, other: str) -> Verdict:
        """Whether two formulas are the same set where n is any integer: equal, or equal when n is shifted or turned.

        Where both are linear in n and their steps differ, they are not; what else differs is not decided.
        """
        found = self.equal(one, other)
        if found.value != "wrong":
            return found
        a, b = _parse(one), _parse(other)
        integer = next((symbol for symbol in (a + b).free_symbols if symbol.name == "n"), None)
        if integer is None:
            return found
        try:
            if any(_alike(a, b.xreplace({integer: shifted})) for shifted in (integer + 1, integer - 1, -integer)):
                return right("symbolic")
            steps = [side.xreplace({integer: integer + 1}) - side for side in (a, b)]
            linear = all(_alike(step, step.xreplace({integer: sympy.Integer(0)})) for step in steps)
            if linear and not _alike(steps[0], steps[1]) and not _alike(steps[0], -steps[1]):
                return found
        except (NoValue, TooLarge):
            pass
        return cannot_tell("undecided", "symbolic")


def _alike(one: Any, other: Any) -> bool:
    return all(_same(x, y) for x, y in _placed(one, other))


@functools.lru_cache(256)
def _parse(latex: str) -> Any:
    if _MISREAD.search(latex):
        raise Unreadable(latex)
    if "°" in latex:
        latex = latex.replace("°", r" * \frac{\pi}{180} " if _TURNS.search(latex) else "")
    try:
        found = latex2sympy(latex, is_real=False, normalization_config=None, conversion_config=_CONFIG)
    except (MemoryError, RecursionError):
        raise
    except Exception:  # noqa: BLE001 - the parser raises bare exceptions, and any that its grammar's actions do
        raise Unreadable(latex) from None
    if isinstance(found, sympy.Expr):
        calls = {call: sympy.Symbol(f"call {call}") for call in found.atoms(AppliedUndef)}
        found = found.xreplace(calls)
        exact = {number: sympy.Rational(str(number)) for number in found.atoms(sympy.Float)}
        # An i that counts a sum's terms is no free symbol.
        units = {symbol: sympy.I for symbol in found.free_symbols if symbol.name == "i"}
        found = found.xreplace({**exact, **units})
        if found.has(*_CALCULUS):
            found = found.doit()
    return found


def _finite(expression: Any) -> bool:
    return not expression.has(sympy.oo, -sympy.oo, sympy.zoo, sympy.nan)


def _placed(one: Any, other: Any) -> Sequence[tuple[Any, Any]]:
    """Both formulas at the points where they have values.

    Raises:
        NoValue: there are not two such points.
    """
    symbols = sorted(one.free_symbols | other.free_symbols, key=str)
    if len(symbols) > len(_NEGATIVE):
        raise NoValue
    if not symbols:
        _number(one), _number(other)
        return [(one, other)]
    found = []
    for points in (*_POINTS, _NEGATIVE):
        places = dict(zip(symbols, points, strict=False))
        x, y = one.xreplace(places), other.xreplace(places)
        try:
            values = _number(x), _number(y)
        except NoValue:
            continue
        if points is not _NEGATIVE or all(value.is_real for value in values):
            found.append((x, y))
    if len(found) < 2:
        raise NoValue
    return found


def _same(one: Any, other: Any) -> bool:
    """Whether two formulas without variables are the same number.

    Raises:
        TooLarge: they agree in `AGREE` digits, but have more before the point than can be computed.
    """
    a, b = _number(one), _number(other)
    if not _close(a, b):
        return False
    digits = int(sympy.ceiling(sympy.log(abs(a), 10).evalf(15))) if not _is_zero(a) else 0
    if digits <= DIGITS - AGREE - 5:
        return True
    if digits > MOST_DIGITS:
        raise TooLarge
    a, b = (_number(formula, digits + DIGITS) for formula in (one, other))
    return bool(abs(a - b) <= sympy.Float(10, DIGITS) ** -AGREE)


def _number(formula: Any, digits: int = DIGITS) -> Any:
    value = sympy.N(formula, digits)
    if not isinstance(value, sympy.Expr) or not value.is_number or value.has(sympy.nan) or not value.is_finite:
        raise NoValue
    real, imaginary = value.as_real_imag()
    if not (real.is_Number and imaginary.is_Number):
        raise NoValue
    return real if _is_zero(imaginary) or _is_zero(imaginary / max(1, abs(real))) else real + sympy.I * imaginary


def _is_zero(value: Any) -> bool:
    """Whether nothing but the rounding of terms that cancel is left."""
    return bool(abs(value).evalf(15) < sympy.Float(10) ** (-AGREE - DIGITS // 2))


def _close(one: Any, other: Any) -> bool:
    size = max(abs(one).evalf(15), abs(other).evalf(15))
    return bool(abs(one - other).evalf(DIGITS) <= size * sympy.Float(10, DIGITS) ** -AGREE) or (
        _is_zero(one) and _is_zero(other)
    )


def _verified(one: Any, other: Any) -> bool:
    """What math-verify says; its own limits of time use signals and are off."""
    return bool(verify(one, other, float_rounding=15, timeout_seconds=None, raise_on_error=True))
