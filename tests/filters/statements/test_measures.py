"""Units of measure: every two of them make two problems, every spelling of one makes one."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain.filters.statements import Statement, measures, normal, told_apart

ASKED = (
    "A reaction in the laboratory of the school releases 4013 {} for every gram of the powder that is burned. "
    "How many {} do 5 grams of the same powder release in all?"
)
NAMES = sorted(
    set(measures.SPELLINGS) - {"gram", "psi"}
)  # psi is a letter of formulas, which are compared before words


@given(st.sampled_from(list(itertools.combinations(NAMES, 2))))
def test_any_two_units_in_each_others_place_make_two_problems(pair: tuple[str, str]) -> None:
    one, other = (Statement(ASKED.format(name, name)) for name in pair)
    assert told_apart(one, other)


@pytest.mark.parametrize("name", ["kilometer", "kilojoule", "megahertz", "liter", "second", "hour", "pound"])
def test_every_spelling_of_a_unit_is_one(name: str) -> None:
    for spelled in measures.SPELLINGS[name]:
        assert normal(f"It takes 7 {spelled} in all.") == normal(f"It takes 7 {name}s in all.")


def test_no_spelling_stands_for_two_units_or_is_a_function() -> None:
    every = [word for words in measures.SPELLINGS.values() for word in words]
    assert len(every) == len(set(every))
    assert not {"sec", "min", "are", "in", "us", "ms", "ma", "pa"} & set(every)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("square meters", "cubic meters"),
        ("degrees Celsius", "degrees Fahrenheit"),
        ("ohm in series", "ohm in parallel"),
        ("dollars", "cents"),
    ],
)
def test_other_words_of_measure(one: str, other: str) -> None:
    first, second = (
        Statement(f"There are 5 {said} and 17 {said}. How many {said} are 31 of them?") for said in (one, other)
    )
    assert told_apart(first, second)
