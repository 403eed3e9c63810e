"""What makes two problems of two similar statements, rule by rule."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.filters.statements import Statement, told_apart

AGES = "Ann is 3 years older than Bob. In 5 years Bob will be 20. How old is Ann?"
TANK = "One pipe fills the tank in 4 hours and the other in 6 hours. How long do both take?"


def apart(one: str, other: str) -> bool:
    """Whether they are told apart, in either order."""
    there = told_apart(Statement(one), Statement(other))
    back = told_apart(Statement(other), Statement(one))
    assert (there is None) == (back is None), (there, back)
    return there is not None


@pytest.mark.parametrize(
    ("one", "word", "other"),
    [
        (AGES, "older", "younger"),
        (AGES, "years", "months"),
        (TANK, "fills", "drains"),
        (TANK, "fills", "emptied"),
        (TANK, "hours", "minutes"),
        ("She has 4 red hats and twice as many blue ones, 12 in all. Right?", "twice", "half"),
        ("She has 4 red hats and twice as many blue ones, 12 in all. Right?", "twice", "thrice"),
        ("Of 5 balls 2 are drawn with replacement. What is the chance of 2 red ones?", "with", "without"),
        ("He drives 120 km in 2 hours. How fast is he?", "km", "miles"),
        ("He drives 120 km in 2 hours. How fast is he?", "km", "meters"),
        ("It costs 12 euros and then 14 euros. What is the change?", "euros", "yen"),
        ("It costs €12 and then €14. What is the change?", "€", "$"),
        ("From 3 he walks 4 steps north and 5 steps east. Where is he?", "east", "west"),
        ("Today is Monday. 30 days on he leaves for 3 days. When?", "Monday", "Friday"),
        ("Jan 3 is a Monday. What day is 17 days later?", "Jan", "Feb"),
        ("On Tue he runs 3 km in 20 minutes. When is he 4 km away?", "Tue", "Thu"),
        ("In March 30 men built 3 walls. How many did each build?", "March", "April"),
        ("A prize of 300 is increased by 15. What is it?", "increased", "decreased"),
        ("How many numbers from 1 to 50 inclusive are there?", "inclusive", "exclusive"),
        ("Turn (3, 4) by 90 degrees clockwise. Where is it?", "clockwise", "counterclockwise"),
        ("Is 12 or 15 a rational number?", "rational", "irrational"),
        ("How many of 12 and 15 are regular?", "regular", "irregular"),
        ("How many are divisible by 3 and 5?", "and", "or"),
        ("A circle is inscribed in a square of side 3 and area 9. Find it.", "inscribed", "circumscribed"),
        ("A lamp of 60 watts costs 3 at the first shop and 5 at another. What is best?", "first", "last"),
        ("4 boys ate 5 cakes. How many did they eat each?", "each", "together"),
    ],
)
def test_an_opposite_or_another_member_of_a_series(one: str, word: str, other: str) -> None:
    assert word in one
    assert apart(one, one.replace(word, other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("4 pens cost $2, 3 books cost $7", "4 books cost $2, 3 pens cost $7"),
        ("Emma has 3 times as many as Noah. Noah has 18.", "Emma has 3 times as many as Noah. Emma has 18."),
        ("A farm has 12 cows, 30 sheep and 8 pigs. How many cows are there?",
         "A farm has 12 cows, 30 sheep and 8 pigs. How many pigs are there?"),
        ("Sue is older than Tim by 3, Tim is 9. What is Sue?", "Tim is older than Sue by 3, Tim is 9. What is Sue?"),
    ],
)  # fmt: skip
def test_words_in_each_others_roles(one: str, other: str) -> None:
    assert apart(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("5 balls are not alike but the 3 boxes are alike.", "5 balls are alike but the 3 boxes are not alike."),
        ("Ben read 20 pages on Friday and 35 on Sunday. How many did he read?",
         "Ben read 20 pages on Friday and 35 on Sunday. How many more did he read?"),
        ("A triangle of 13, 14, 15. Find the altitude to 14.", "A triangle of 13, 14, 15. Find the median to 14."),
        ("In this text of 1848 and 1871 Marx says much. Which author shared his view?",
         "In this text of 1848 and 1871 Marx says much. Which later revolution did it help to cause?"),
        ("Which of the statements about jaundice is true?", "Which of the statements about interrupts is true?"),
        ("The letters of monkey are arranged. How many ways?", "The letters of basic are arranged. How many ways?"),
    ],
)  # fmt: skip
def test_negations_questions_and_what_little_there_is(one: str, other: str) -> None:
    assert apart(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (AGES, "Eve is 3 years older than Bob. In 5 years Bob will be 20. How old is Eve?"),
        (AGES, "In 5 years Bob will be 20. Ann is 3 years older than Bob. How old is Ann?"),
        (AGES, "Ann is three years older than Bob. In five years, Bob will be twenty. What is the age of Ann?"),
        (TANK, "One pipe filled the tank in 4 hours and the other in 6 hours. How long do both take?"),
        ("He drives 120 km in 2 hours. How fast is he?", "He drives 120 kilometres in 2 hrs. How fast is he?"),
        ("Find the total of 3 apples and 5 apples.", "Find the overall of 3 apples and 5 apples."),
        ("It costs €12 and then €14. What is the change?", "It costs 12 euros and then 14 euros. What is the change?"),
        (
            "It costs $12 and then $14. What is the change?",
            "It costs 12 dollars and then 14 dollars. What is the change?",
        ),
        ("Tom has 5 apples and 7 pears.", "Tom has 7 pears and 5 apples."),
        ("4 pens cost $2, 3 books cost $7. Which is dear?", "3 books cost $7, 4 pens cost $2. Which is dear?"),
        ("How many of 12 and 15 are there in total?", "How many of 12 and 15 are there altogether?"),
        ("", ""),
    ],
)
def test_other_words_of_one_problem(one: str, other: str) -> None:
    assert not apart(one, other)


SAID = "tom ann has had 3 5 7 apples red blue older younger not and or . ? how many what find"
WORDS = st.sampled_from(SAID.split())
TEXTS = st.lists(WORDS, max_size=25).map(" ".join)


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_a_statement_is_never_told_from_its_spellings(text: str) -> None:
    assert not apart(text, text)
    assert not apart(text, text.upper().replace(" ", "\n"))


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS)
def test_the_order_of_two_statements_tells_nothing(one: str, other: str) -> None:
    assert told_apart(Statement(one), Statement(other)) == told_apart(Statement(other), Statement(one))


@pytest.mark.measures
@pytest.mark.parametrize(
    "text", ["word " * 20_000, "a word. " * 8_000, "one two three " * 3_000, "3 pears and " * 5_000]
)
def test_long_statements_are_compared_in_no_more_than_their_length(text: str) -> None:
    started = time.process_time()
    apart(f"red {text} Find 5 of them?", f"{text} and find 5 of these blue ones?")
    assert time.process_time() - started < 10
