"""The series of words, and the words that exclude each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain.filters.statements.telling import PRESENT, alike, members, opposites


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("older", "younger"),
        ("oldest", "youngest"),
        ("filling", "drained"),
        ("flies", None),
        ("bigger", "smaller"),
        ("mondays", "friday"),
        ("miles", "kilometers"),
        ("hourly", None),
        ("dollars", "euros"),
        ("regular", "irregular"),
        ("finite", "infinite"),
        ("equal", "unequal"),
        ("second", "minute"),
        ("second", "third"),
        ("king", "queens"),
        ("up", "down"),
    ],
)
def test_opposites_in_any_form(one: str, other: str | None) -> None:
    if other is None:
        assert not members(one)
        return
    assert opposites([one], [other]) == (one, other)
    assert opposites([other], [one]) == (other, one)
    assert not alike([one], [other])


@pytest.mark.parametrize(
    ("one", "other"), [("twice", "doubled"), ("total", "sum"), ("children", "kids"), ("greater", "more")]
)  # fmt: skip
def test_words_of_one_member_are_alike(one: str, other: str) -> None:
    assert alike([one], [other]) == [one]
    assert opposites([one], [other]) is None


@given(st.sampled_from(sorted(PRESENT)) | st.text(alphabet="abdeinrstu", max_size=9))
def test_no_word_is_its_own_opposite(word: str) -> None:
    assert opposites([word], [word]) is None
    assert alike([word], [word]) == [word]


@pytest.mark.parametrize(
    ("gaining", "losing"),
    [
        ("bought", "lost"),
        ("found", "gave"),
        ("added", "removed"),
        ("collected", "broke"),
        ("baked", "ate"),
        ("got", "spent"),
    ],
)
def test_what_adds_to_a_stock_stands_for_nothing_that_takes_from_it(gaining: str, losing: str) -> None:
    assert opposites([gaining], [losing])
    assert opposites([losing], ["well", gaining])
    assert not opposites([gaining], ["received"])
    assert not opposites([losing], ["donated"])
