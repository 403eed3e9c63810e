"""Formulas are compared to forty digits: what is near is not equal, and what has no value is not told."""

import pytest

pytest.importorskip("math_verify")

from midtrain.filters.answers.symbolic import Algebra
from midtrain.filters.answers.values import Relation

ALGEBRA = Algebra()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("\\sqrt{8}", "2\\sqrt{2}"),
        ("\\sin^2 x + \\cos^2 x - 1", "0"),
        ("0", "\\sqrt{3+2\\sqrt{2}} - 1 - \\sqrt{2}"),
        ("10^{-50} \\sqrt{8}", "2 * 10^{-50} \\sqrt{2}"),
        ("10^{60} \\sqrt{8} + 1", "2 * 10^{60} \\sqrt{2} + 1"),
        ("\\int_0^1 x^2 dx", "\\frac{1}{3}"),
        ("\\sum_{i=1}^{10} i", "55"),
        ("\\sum_{n=1}^{\\infty} \\frac{1}{n^2}", "\\frac{\\pi^2}{6}"),
        ("\\int_0^{\\infty} \\frac{\\sin x}{x} dx", "\\frac{\\pi}{2}"),
        ("\\lim_{x \\to 0} \\frac{\\sin x}{x}", "1"),
        ("\\cos(60°)", "\\frac{1}{2}"),
        ("f(x) + 1", "1 + f(x)"),
        ("0.1 x", "\\frac{x}{10}"),
        ("\\ln(x^2)", "2 \\ln x"),
    ],
)
def test_equal_formulas_are_right(one: str, other: str) -> None:
    assert ALGEBRA.equal(one, other).value == ALGEBRA.equal(other, one).value == "right"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("\\sqrt{2}", "1.41421356237309504880168872420969807857"),
        ("10^{-50} \\sqrt{2}", "10^{-50} \\sqrt{3}"),
        ("10^{60} \\sqrt{2} + 1", "10^{60} \\sqrt{2}"),
        ("10^{50} + x", "10^{50} + x + 1"),
        ("|x|", "x"),
        ("\\sqrt{x^2}", "x"),
        ("f(x)", "g(x)"),
        ("x", "X"),
        ("0.333333333333333333 x", "\\frac{x}{3}"),
        ("e^{\\pi \\sqrt{163}}", "262537412640768744"),
        ("\\int_0^1 x^2 dx", "\\frac{1}{2}"),
        ("\\sum_{n=1}^{\\infty} \\frac{1}{n^2}", "\\frac{\\pi^2}{8}"),
    ],
)
def test_formulas_that_are_only_near_are_wrong(one: str, other: str) -> None:
    assert ALGEBRA.equal(one, other).value == ALGEBRA.equal(other, one).value == "wrong"


def test_what_is_too_large_is_not_told_from_its_neighbour() -> None:
    assert ALGEBRA.equal("2^{2^{33}} + x", "2^{2^{33}} + x + 1").reason == "undecided"
    assert ALGEBRA.equal("2^{2^{33}} + x", "2^{2^{34}} + x").value == "wrong"


def test_a_sum_without_a_closed_form_is_not_told_from_a_number() -> None:
    assert ALGEBRA.equal("\\sum_{n=1}^{\\infty} \\frac{\\sin(n^2)}{n^{\\sqrt{2}}}", "2").reason == "undecided"


@pytest.mark.parametrize("text", ["\\frac{1}{", "\\foo{}", "x + * )", "\\begin{align*}"])
def test_what_cannot_be_read_is_said(text: str) -> None:
    assert ALGEBRA.equal(text, "1").reason == "unreadable"


@pytest.mark.parametrize(
    ("one", "other", "value"),
    [
        (("y", "=", "2x+1"), ("2x-y+1", "=", "0"), "right"),
        (("y", "=", "2x+1"), ("2x-y+2", "=", "0"), "wrong"),
        (("2x", "<", "6"), ("x", "<", "3"), "right"),
        (("-2x", "<", "6"), ("x", "<", "-3"), "wrong"),
        (("x", "=", "5"), ("y", "=", "5"), "wrong"),
        (("x", "!=", "3"), ("3", "!=", "x"), "right"),
    ],
)
def test_relations_are_compared_by_their_solutions(one: tuple, other: tuple, value: str) -> None:
    assert ALGEBRA.equivalent(Relation(*one), Relation(*other)).value == value
