"""Equations: every line holds for the solution, which is put into it as a number."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain.mixtures.tasks.linear_equation import TASK
from midtrain.mixtures.tasks.problem import Problem


def value(side: str, letter: str, solution: int) -> int:
    text = re.sub(rf"(\d)({letter}|\()", r"\1*\2", side).replace(letter, f"({solution})")
    return eval(text)


@given(seed=st.integers(), shape=st.integers(1, 10))
def test_every_line_holds_for_the_solution(seed: int, shape: int) -> None:
    problem = TASK.problem(random.Random(seed), shape)
    letter = re.search(r"value of ([a-z]) alone", problem.statement)[1]
    equation = re.search(
        r"(?:Solve |for which |if |does )([^=]+ = .+?)(?: for [a-z]\.| hold\?|[.?])", problem.statement
    )
    sides = equation[1].split(" = ")
    solution = int(problem.answer)
    left, right = (value(side, letter, solution) for side in sides)
    assert left == right
    assert value(f"({sides[0]}) - ({sides[1]})", letter, solution + 1) != 0  # one solution, not all numbers
    for line in problem.steps[:-1]:
        sides = line.partition(": ")[2].split(" = ")
        values = {value(side, letter, solution) for side in sides}
        assert len(values) == 1, line
    assert problem.steps[-1] == f"check: left side {left}, right side {right}"


@pytest.mark.parametrize(
    ("statement", "lines", "answer"),
    [
        (
            "Solve x - 7 = 4 for x. Answer with the value of x alone.",
            "collect: x - 7 = 4\nmove: x = 4 + 7\ncombine: x = 11\ndivide: x = 11 / 1 = 11\n"
            "check: left side 4, right side 4",
            "11",
        ),
        (
            "What is k if 3(k + 2) - 5 = 4k? Answer with the value of k alone.",
            "expand: 3k + 6 - 5 = 4k\ncollect: 3k + 1 = 4k\nmove: 3k - 4k = 0 - 1\ncombine: -k = -1\n"
            "divide: k = -1 / -1 = 1\ncheck: left side 4, right side 4",
            "1",
        ),
    ],
)
def test_a_solution_by_hand_is_accepted(statement: str, lines: str, answer: str) -> None:
    problem = Problem("linear_equation", statement, (), answer, statement)
    assert TASK.check_solution(problem, f"{lines}\n{answer}")
    assert not TASK.check_solution(problem, f"{lines}\n{answer}".replace("check: left", "check: Left"))


def test_what_has_no_integer_solution_is_no_statement_of_the_family() -> None:
    for equation in ("2x + 1 = 4", "2x + 1 = 2x + 1", "2x + 1 = 2x + 3", "2x + 1 = 3y"):
        assert TASK.resolve(f"Solve {equation} for x. Answer with the value of x alone.") is None
