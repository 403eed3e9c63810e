"""Formulas of statements: their places and their brackets."""

import pytest
from midtrain.filters.statements import Statement, units
from midtrain.filters.statements.formulas import exchanged


def crossed(one: str, other: str) -> bool:
    return exchanged(Statement(one).groups, Statement(other).groups)


@pytest.mark.parametrize(
    ("one", "other", "are"),
    [
        ("Tom has 5 apples. Ann has 7 pears.", "Tom has 7 apples. Ann has 5 pears.", True),
        ("Is $3n$ a square and $2n$ a cube?", "Is $2n$ a square and $3n$ a cube?", True),
        ("Tom has 5 apples. Ann has 7 pears.", "Ann has 7 pears. Tom has 5 apples.", False),
        ("Tom has 5 apples and 7 pears.", "Tom has 7 pears and 5 apples", False),
        ("Tom has 5 apples. Ann has 7 pears.", "Ingrid has $5$ apples. Ann owns 7 pears.", False),
        ("5", "7", False),
        ("", "", False),
    ],
)
def test_numbers_in_each_others_places(one: str, other: str, are: bool) -> None:
    assert crossed(one, other) is are
    assert crossed(other, one) is are
    assert not crossed(one, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"Find $(2+3)\cdot 4$.", r"Find $2+(3\cdot 4)$."),
        (r"Find $2^{3+1}$ now.", r"Find $2^3+1$ now."),
        (r"Find $\sqrt{x+5}$ now.", r"Find $\sqrt{x}+5$ now."),
        (r"Find $1/(2+3)$ now.", r"Find $1/2+3$ now."),
        (r"Find $10-(4-3)$ now.", r"Find $10-4-3$ now."),
        (r"What is $88 \div 4 \div 2$?", r"What is $88 \div (4 \div 2)$?"),
        (r"Is it in $(1,5]$ or not?", r"Is it in $[1,5)$ or not?"),
        (r"Solve $(3x+2)(x-1)=0$.", r"Solve $3x+2(x-1)=0$."),
    ],
)
def test_brackets_make_two_problems(one: str, other: str) -> None:
    assert set(units(one)).isdisjoint(units(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"Find $\frac{a+b}{2}$ now.", r"Find \((a+b)/2\) now."),
        (r"Find $x^{2}+1$ now.", r"Find $x^2 + 1$ now."),
        (r"Find $\left(2+3\right)\cdot 4$ (a number).", r"Find $(2 + 3) \times 4$ (a number)."),
        (r"Find $\dfrac{1}{2}$ of it.", r"Find $1/2$ of it."),
    ],
)
def test_spellings_of_brackets_do_not(one: str, other: str) -> None:
    assert units(one) == units(other)
