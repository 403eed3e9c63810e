"""Stories of products: solved again from the numbers in the order in which they stand, in every theme."""

import random
import re
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from midtrain.mixtures.tasks.problem import Problem
from midtrain.mixtures.tasks.sum_of_products import TASK, THEMES

PAIR = re.compile(r"(\d+) (?:hours|rows|days|[a-z]+) [a-z ]*?(?:at|with) (\d+)")


@given(seed=st.integers(), pairs=st.integers(1, 8))
def test_what_is_left_is_what_there_was_less_all_products(seed: int, pairs: int) -> None:
    problem = TASK.problem(random.Random(seed), pairs)
    found = [(int(n), int(m)) for n, m in PAIR.findall(problem.statement)]
    assert len(found) == pairs
    all_numbers = Counter(map(int, re.findall(r"\d+", problem.statement)))
    (whole,) = (all_numbers - Counter(number for pair in found for number in pair)).elements()
    assert problem.answer == str(whole - sum(n * m for n, m in found))
    assert [line for line in problem.steps if "*" in line] == [f"{n} * {m} = {n * m}" for n, m in found]
    for line in problem.steps:
        expression, _, result = line.partition(" = ")
        assert eval(expression) == int(result)


def test_every_theme_and_all_its_stories_are_told() -> None:
    rng = random.Random(1)
    told = Counter()
    for _ in range(2_000):
        statement = TASK.problem(rng, 2).statement
        read = [
            (at, one) for at, theme in enumerate(THEMES) for one in theme.story.templates if theme.story.read(statement)
        ]
        told.update({at for at, _ in read})
    assert len(told) == 4
    assert min(told.values()) > 400


def test_a_solution_by_hand_is_accepted() -> None:
    statement = (
        "Hana has 50 coins and buys 2 hats at 5 coins each and 3 drums at 11 coins each. How many coins are left?"
        " Answer with an integer."
    )
    problem = Problem("sum_of_products", statement, (), "7", statement)
    lines = "2 * 5 = 10\n3 * 11 = 33\n10 + 33 = 43\n50 - 43 = 7"
    assert TASK.check_solution(problem, f"{lines}\n7")
    assert not TASK.check_solution(problem, "3 * 11 = 33\n2 * 5 = 10\n33 + 10 = 43\n50 - 43 = 7\n7")


def test_the_same_numbers_are_held_out_in_every_theme() -> None:
    rng = random.Random(3)
    drawn = [TASK.problem(rng, 1) for _ in range(60_000)]
    numbers = [(problem.steps[0], problem.steps[-1].partition(" - ")[0]) for problem in drawn]
    unseen = {told for told, problem in zip(numbers, drawn, strict=True) if problem.unseen}
    trained = {told for told, problem in zip(numbers, drawn, strict=True) if problem.trainable}
    assert len(unseen) > 50
    assert not unseen & trained
    assert len({problem.statement.partition(" ")[0] for problem in drawn}) > 3


def test_pairs_in_another_order_are_one_problem() -> None:
    lines = ["2 * 5 = 10", "3 * 11 = 33", "10 + 33 = 43", "50 - 43 = 7"]
    other = ["3 * 11 = 33", "2 * 5 = 10", "33 + 10 = 43", "50 - 43 = 7"]
    assert TASK.core is not None
    assert TASK.core("a", lines) == TASK.core("b", other) != TASK.core("a", [*lines[:3], "51 - 43 = 8"])
