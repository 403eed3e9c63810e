"""Units are products of powers, with prefixes; a name that is none measures nothing."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain.filters.answers.units import UNITS, measures

SAME = [
    ("N", "kg m/s^2"),
    ("m/s^2", "m s^{-2}"),
    ("J", "N*m"),
    ("J", "kg m^2 s^-2"),
    ("square meters", "m^2"),
    ("km/h", "kilometers per hour"),
    ("mL", "cm^3"),
    ("Pa", "N/m^2"),
    ("V", "J/C"),
    ("Ω", "V/A"),
    ("кг", "kilogram"),
    ("км/ч", "km/h"),
    ("厘米", "cm"),
]
FACTORS = [("kJ", "J", 1000), ("mV", "V", Fraction(1, 1000)), ("MW", "mW", 10**9), ("kWh", "MJ", Fraction(18, 5))]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_two_names_of_one_measure(one: str, other: str) -> None:
    assert set(measures(one)) & set(measures(other))


@pytest.mark.parametrize(("one", "other", "factor"), FACTORS)
def test_prefixes_scale(one: str, other: str, factor: Fraction) -> None:
    ((what, size),), ((same, unit),) = measures(one), measures(other)
    assert what == same
    assert size == unit * factor


@pytest.mark.parametrize("name", ["apples", "in total", "per hour", "square units", "G", "", "m m m m m m m m", "s/"])
def test_what_measures_nothing(name: str) -> None:
    assert measures(name) == ()


@given(st.sampled_from(["m", "kg", "s", "A", "K", "N"]), st.integers(1, 4), st.integers(1, 4))
def test_powers_of_a_product_are_powers_of_its_factors(unit: str, up: int, down: int) -> None:
    ((what, size),) = measures(f"{unit}^{up}/s^{down}") if unit != "s" or up != down else (("", Fraction(1)),)
    ((base, factor),) = measures(unit)
    assert size == factor**up
    if unit not in ("s", "N"):
        assert what.split(" ") == sorted([base if up == 1 else f"{base}^{up}", f"time^-{down}"])


def test_each_name_has_a_measure() -> None:
    assert all(measures(name) for name in UNITS)
