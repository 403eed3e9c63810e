r"""Numbers that are no plain digits: decimals that go on, other locales, fractions and places in words."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain.filters.answers import agree
from midtrain.filters.answers.decimals import MOST_REPEATED, repeating, truncated
from midtrain.filters.answers.numbers import ordinal, read, spelled
from midtrain.filters.answers.scalars import roman


def expansion(value: Fraction) -> tuple[str, str, str]:
    """The digits of a fraction of at least 0 before the point, behind it, and those that repeat, by long division."""
    whole, rest = divmod(value.numerator, value.denominator)
    digits, seen = "", dict[int, int]()
    while rest and rest not in seen:
        seen[rest] = len(digits)
        digit, rest = divmod(10 * rest, value.denominator)
        digits += str(digit)
    start = seen.get(rest, len(digits))
    return str(whole), digits[:start], digits[start:]


@given(st.fractions(min_value=0, max_value=10**6, max_denominator=400), st.sampled_from(["", "-"]))
def test_a_decimal_with_its_period_is_the_fraction_whose_long_division_it_is(value: Fraction, sign: str) -> None:
    whole, before, period = expansion(value)
    if not period:
        return
    signed = -value if sign else value
    head = f"{sign}{whole}.{before}"
    assert read(f"{head}\\overline{{{period}}}") == read(f"{head}({period})") == signed
    assert read(f"{head}{period}\\overline{{{period}}}") == signed
    if len(before + period * 3) <= MOST_REPEATED:
        assert repeating(f"{head}{period * 3}...") == signed
    bounds = truncated(f"{head}{period}...")
    assert bounds is not None
    assert bounds[0] <= signed <= bounds[1]
    assert agree(f"${head}\\overline{{{period}}}$", f"{signed}").right


@given(st.integers(0, 10**4), st.text("0123456789", min_size=1, max_size=8))
def test_digits_before_dots_are_never_the_number_that_they_spell(whole: int, digits: str) -> None:
    exact, seen = Fraction(f"{whole}.{digits}"), agree(f"{whole}.{digits}...", f"{whole}.{digits}")
    assert not seen.right or repeating(f"{whole}.{digits}...") == exact


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2.718281828...", None),
        ("0.33...", None),
        ("0.333...", Fraction(1, 3)),
        ("0.1212...", Fraction(4, 33)),
        ("0.1666...", Fraction(1, 6)),
        ("0.3000...", Fraction(3, 10)),
    ],
)
def test_dots_mean_a_period_only_where_it_stands_there(text: str, value: Fraction | None) -> None:
    assert repeating(text) == value


@given(st.integers(1, 3999))
def test_a_roman_number_is_read_back(value: int) -> None:
    digits, left = "", value
    for worth, letters in zip(
        (1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1),
        ("M", "CM", "D", "CD", "C", "XC", "L", "XL", "X", "IX", "V", "IV", "I"),
        strict=True,
    ):
        digits, left = digits + letters * (left // worth), left % worth
    assert roman(digits) == (value if len(digits) > 1 else None)


@pytest.mark.parametrize("text", ["IIII", "VX", "IC", "XM", "LL", "C", "", "MIXED", "iv"])
def test_other_letters_are_no_roman_number(text: str) -> None:
    assert roman(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("two thirds", Fraction(2, 3)),
        ("one and three quarters", Fraction(7, 4)),
        ("a half", Fraction(1, 2)),
        ("two and a half", Fraction(5, 2)),
        ("twenty-one hundredths", Fraction(21, 100)),
        ("five dozen", Fraction(60)),
        ("minus one hundred and five", Fraction(-105)),
        ("twenty fifth", None),
        ("two third", None),
        ("third", None),
        ("minus minus one", None),
        ("twenty and five", None),
        ("half half", None),
    ],
)
def test_words_spell_their_number_or_none(text: str, value: Fraction | None) -> None:
    assert spelled(text) == value


@pytest.mark.parametrize(
    ("text", "place"),
    [("fifth", 5), ("twenty-first", 21), ("twelfth", 12), ("twentieth", 20), ("five", None), ("two third", None)],
)
def test_places(text: str, place: int | None) -> None:
    assert ordinal(text) == place


@given(st.integers(0, 10**12), st.integers(0, 999))
def test_other_countries_numbers(whole: int, thousandths: int) -> None:
    english = f"{whole:,}.{thousandths:03d}"
    german = english.translate(str.maketrans(",.", ".,"))
    value = Fraction(f"{whole}.{thousandths:03d}")
    assert read(english) == value
    if whole >= 1000:
        assert read(german) == read(german.replace(".", " ")) == value
        assert read(english.replace(",", "'")) == value
