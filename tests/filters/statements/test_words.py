"""Stems, synonyms and units of words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain.filters.statements import normal
from midtrain.filters.statements.words import FUNCTION_WORDS, UNIT_NAMES, meaning, stem

FORMS = (
    "fill fills filled filling",
    "make makes making",
    "plan plans planned planning",
    "fly flies",
    "city cities",
    "box boxes",
    "class classes",
    "hour hours",
    "measure measures measured measuring",
)


@pytest.mark.parametrize("forms", FORMS)
def test_forms_of_a_word_have_one_stem(forms: str) -> None:
    assert len({stem(word) for word in forms.split()}) == 1


def test_stems_of_other_words_differ() -> None:
    words = ("fill", "fly", "city", "class", "glass", "hour", "house", "measure", "box", "boy", "bus", "sing", "string")
    assert len(set(map(stem, words))) == len(words)


@given(st.text(alphabet="abcdefghinrsty", min_size=1, max_size=12))
def test_a_stem_is_never_empty_and_a_plural_is_no_other_word(word: str) -> None:
    assert stem(word)
    if len(word) > 3 and word[-1] not in "syxzehi":
        assert stem(f"{word}s") == stem(word)


@pytest.mark.parametrize(
    ("one", "other"),
    [("children", "kids"), ("purchased", "bought"), ("determine", "find"), ("largest", "maximum"), ("halves", "half")],
)
def test_synonyms_mean_one_thing(one: str, other: str) -> None:
    assert meaning(one) == meaning(other)


def test_no_unit_is_a_word_of_grammar() -> None:
    assert FUNCTION_WORDS.isdisjoint(UNIT_NAMES)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("5 km and 300 g", "5 kilometres and 300 grams"),
        ("It weighs 3 kg.", "it weighs 3 kilograms"),
        ("It takes 30 s", "it takes 30 seconds"),
        ("9 min, then 2 hrs", "9 minutes then 2 hours"),
        ("€5 or £7", "euro 5 or pound 7"),
    ],
)
def test_units_have_one_name(one: str, other: str) -> None:
    assert normal(one) == normal(other)


@pytest.mark.parametrize("formula", ["5 m + 3", "2 g = 4", "3 s - 1", "find m"])
def test_variables_are_no_units(formula: str) -> None:
    assert "m" in normal(formula).split() or "g" in normal(formula).split() or "s" in normal(formula).split()


def test_one_is_a_number_unless_it_stands_for_something() -> None:
    assert normal("one apple of the two") == "1 apple of the 2"
    assert normal("each one of the two") == "each one of the 2"
