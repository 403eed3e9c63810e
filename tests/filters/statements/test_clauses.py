"""Clauses, which of them ask, and what differs between two statements."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.filters.statements import Statement
from midtrain.filters.statements.clauses import FORMULA, changes, clauses, pairs


def asked(text: str) -> list[str]:
    return [" ".join(clause.words) for clause in Statement(text).clauses if clause.asks]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Ann has 3. How many has Bob?", ["how many has bob"]),
        ("If Ann has 3, how many has Bob?", ["how many has bob"]),
        ("Ann has 3. Find the rest.", ["find the rest"]),
        ("Ann has 3. The rest are", ["the rest are"]),
        ("Ann has 3. What is left? Give your answer in cents.", ["what is left"]),
        ("Express your answer in cents.", ["express your answer in cents"]),
        ("Is it so?", ["is it so"]),
        ("", []),
    ],
)
def test_clauses_that_ask(text: str, found: list[str]) -> None:
    assert asked(text) == found


def test_clauses_in_another_order_are_no_change() -> None:
    one, other = (
        Statement("Ann has 3 apples. Bob is 5. Who is he?"),
        Statement("Bob is 5. Ann has 3 apples. Who is he?"),
    )
    assert not list(changes(pairs(one.clauses, other.clauses)))


def test_what_stands_in_the_place_of_something() -> None:
    one, other = (
        Statement("Ann has 3 apples, Bob has 5. Who won?"),
        Statement("Bob had 5. Ann has 3 pears. Who has won?"),
    )
    found = {(change.gone, change.come, change.asked) for change in changes(pairs(one.clauses, other.clauses))}
    assert found == {(("apples",), ("pears",), False), (("has",), ("had",), False), ((), ("has",), True)}


SAID = ("ann", "has", "3", "5", "and", ".", "?", ",", "who", "what", "x")
WORDS = st.lists(st.sampled_from(SAID), max_size=30).map(" ".join)


@settings(max_examples=200, deadline=None)
@given(WORDS, WORDS)
def test_changes_make_one_statement_of_the_other(one: str, other: str) -> None:
    mine, theirs = clauses(Statement(one).groups), clauses(Statement(other).groups)
    count = Counter(word for clause in mine for word in clause.words)
    for change in changes(pairs(mine, theirs)):
        count.subtract(change.gone)
        count.update(change.come)
    assert +count == Counter(word for clause in theirs for word in clause.words)
    assert all(word for word in count if not word.startswith(FORMULA))
