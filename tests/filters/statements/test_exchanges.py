"""Words that have changed places, and phrases, lists and names of which that says nothing."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain.filters.statements import Statement, told_apart
from midtrain.filters.statements.clauses import pairs
from midtrain.filters.statements.exchanges import displaced, in_turn, lettered, permuted_names, voices

NOUNS = ("cats", "dogs", "wolves", "hens", "ducks", "goats")
RELATIONS = ("to", "than", "from", "of", "paid", "for every", "exceed", "as many as", "per")


def moved(one: str, other: str) -> tuple[str, str] | None:
    return displaced(pairs(Statement(one).clauses, Statement(other).clauses))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The ratio of 3 boys to girls", "The ratio of 3 girls to boys"),
        ("How many more girls than boys of 9", "How many more boys than girls of 9"),
        ("From Leeds to York in 3 hours", "From York to Leeds in 3 hours"),
        ("Mia paid Leo 541", "Leo paid Mia 541"),
        ("The ratio of red balls to green balls is 3", "The ratio of green balls to red balls is 3"),
        ("The square of the sum of 3 and 5", "The sum of the squares of 3 and 5"),
        ("3 old men and 5 tall girls than thin boys", "3 old men and 5 tall boys than thin girls"),
        ("How many more old hens than young ducks of 9", "How many more young ducks than old hens of 9"),
    ],
)
def test_words_around_what_relates_them(one: str, other: str) -> None:
    assert moved(one, other) is not None
    assert moved(other, one) is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("On Monday the shop sold 18 shirts", "The shop sold 18 shirts on Monday"),
        ("A regular convex polygon has 12 sides", "A convex regular polygon has 12 sides"),
        ("In Rome in May 4 of 9 buses are late", "In May in Rome 4 of 9 buses are late"),
        ("The mother of Ann is Sue", "Sue is the mother of Ann"),
        ("Mia paid Leo 541", "Leo was paid 541 by Mia"),
        ("Ann has 3 cats and 2 dogs", "Ann has 2 dogs and 3 cats"),
        ("He rides for 3 hours at 20 km/h", "He rides at 20 km/h for 3 hours"),
        ("", ""),
    ],
)
def test_phrases_that_move_as_a_whole(one: str, other: str) -> None:
    assert moved(one, other) is None
    assert moved(other, one) is None


@given(st.permutations(NOUNS), st.sampled_from(RELATIONS), st.integers(1, 999), st.randoms())
def test_an_exchange_is_seen_wherever_it_stands(
    nouns: list[str], relation: str, number: int, rng: random.Random
) -> None:
    first, second, *others = nouns
    given_ = [f"There are {number + place} {noun}." for place, noun in enumerate([first, second, *others[:2]])]
    turned = rng.sample(given_, len(given_))
    one = " ".join([*given_, f"Tell of the {first} {relation} the {second}."])
    other = " ".join([*turned, f"Tell of the {second} {relation} the {first}."])
    assert told_apart(Statement(one), Statement(other)) is not None
    assert told_apart(Statement(one), Statement(" ".join([*turned, one.rpartition(". ")[2]]))) is None


def test_names_that_are_exchanged_throughout_are_renamed() -> None:
    one = "Ida paid Olaf 541 of 800 coins and Olaf thanked Ida. How much has Ida?"
    throughout = "Olaf paid Ida 541 of 800 coins and Ida thanked Olaf. How much has Olaf?"
    assert told_apart(Statement(one), Statement(throughout)) is None
    for part in (throughout.replace("has Olaf", "has Ida"), throughout.replace("thanked Olaf", "thanked Ida")):
        assert told_apart(Statement(one), Statement(part)) is not None


@given(st.lists(st.sampled_from("ab"), min_size=1, max_size=8))
def test_a_permutation_takes_all_places(words: list[str]) -> None:
    turned = [{"a": "b", "b": "a"}[word] for word in words]
    twice = words.count("a") > 1 and words.count("b") > 1
    assert permuted_names(words, turned, frozenset("ab")) == twice
    assert not permuted_names(words, turned, frozenset("a"))
    assert not permuted_names(["a", *words], ["a", *turned], frozenset("ab"))
    assert not permuted_names(words, words, frozenset("ab"))


def test_a_name_that_is_another_one_in_part() -> None:
    one = "Mia has 3 apples and Leo has 5. Mia gets 2 more. How many does she have?"
    assert told_apart(Statement(one), Statement(one.replace("Mia", "Eva"))) is None
    assert told_apart(Statement(one), Statement(one.replace("Mia gets", "Eva gets"))) is not None
    other = one.replace("Mia has", "Eva has").replace("Leo has", "Tom has").replace("Mia gets", "Tom gets")
    assert told_apart(Statement(one), Statement(other)) is not None


@pytest.mark.parametrize(
    ("one", "other", "turned"),
    [
        ("Ann and Bob have 3 and 5 pens.", "Bob and Ann have 3 and 5 pens.", True),
        ("Ann, Bob, and Cid have 3, 4 and 5 pens.", "Ann, Cid and Bob have 3, 4 and 5 pens.", True),
        ("A red and blue one weigh 3 g, 5 g respectively.", "A blue and red one weigh 3 g, 5 g respectively.", True),
        ("Ann, Bob and Cid have 3, 4 and 5 pens.", "Ann, Bob, and Cid have 3, 4, and 5 pens.", False),
        ("Ann and Bob have 35 pens.", "Bob and Ann have 35 pens.", False),
        ("Ann and Bob go. There are 3 and 5 pens.", "Bob and Ann go. There are 3 and 5 pens.", False),
        ("The sum of 3 and 5 pens.", "The sum of 5 and 3 pens.", False),
    ],
)  # fmt: skip
def test_lists_that_are_told_of_in_turn(one: str, other: str, turned: bool) -> None:
    assert (in_turn(Statement(one).pieces, Statement(other).pieces) is not None) == turned


@pytest.mark.parametrize(
    ("one", "other", "turned"),
    [
        ("A pays B 3.5 euros.", "B pays A 3.5 euros.", True),
        (r"Go from $A$ to \(B\). Is C there?", r"Go from $B$ to \(A\). Is C there?", True),
        ("The ratio of $a$ to $b$ is 3.", "The ratio of $b$ to $a$ is 3.", True),
        ("A is 3. B is 5. Add A to B.", "B is 5. A is 3. Add A to B.", False),
        ("A man has 3. Is I right?", "Is I right? A man has 3.", False),
        ("P pays Q 3 euros.", "Q pays P 3 euros.", False),  # they are formulas: `formulas.exchanged`
        ("Find A_1 of B.", "Of B find A_1.", False),
    ],
)
def test_letters_in_each_others_places(one: str, other: str, turned: bool) -> None:
    assert lettered(one, other) == lettered(other, one) == turned


def test_who_does_and_who_suffers() -> None:
    one, other = Statement("Mia paid Leo 541."), Statement("Mia was paid 541 by Leo.")
    assert voices(pairs(one.clauses, other.clauses)) == "mia"
    assert voices(pairs(other.clauses, one.clauses)) == "mia"
    assert voices(pairs(one.clauses, Statement("Leo was paid 541 by Mia.").clauses)) is None
    assert told_apart(Statement("It grew by 5 to 9."), Statement("It grew to 5 to 9.")) is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Divide 144 by the sum of 5 and 7.", "Divide the sum of 5 and 7 by 144."),
        ("Raise 3 to the sum of 2 and 5.", "Raise the sum of 2 and 5 to 3."),
        (
            "What do you get if you subtract the double of 9 from 41?",
            "What do you get if you subtract 41 from the double of 9?",
        ),
    ],
)
def test_an_operation_the_other_way_round_is_another_one(one: str, other: str) -> None:
    assert told_apart(Statement(one), Statement(other))
    assert not told_apart(Statement(one), Statement(f"{one} Think well."))
