"""Systems: the answer satisfies both equations, and every line holds for it."""

import random
import re

from hypothesis import given
from hypothesis import strategies as st
from midtrain.mixtures.tasks.linear_system import TASK
from midtrain.mixtures.tasks.problem import Problem

EQUATION = re.compile(r"-?\d*[a-z] [-+] \d*[a-z] = -?\d+")


def holds(equation: str, solution: dict[str, int]) -> bool:
    text = re.sub(r"(\d)([a-z])", r"\1*\2", equation)
    values = {eval(side, {}, solution) for side in text.split(" = ")}
    return len(values) == 1


@given(seed=st.integers(), difficulty=st.integers(1, 10))
def test_every_line_holds_for_the_solution(seed: int, difficulty: int) -> None:
    problem = TASK.problem(random.Random(seed), difficulty)
    solution = {letter: int(number) for letter, number in (one.split(" = ") for one in problem.answer.split(", "))}
    equations = EQUATION.findall(problem.statement)
    assert len(equations) == 2
    assert equations[0] != equations[1]
    assert all(holds(one, solution) for one in equations)
    (u, x), (v, y) = solution.items()
    assert not any(all(holds(one, {u: x + p, v: y + q}) for one in equations) for p in (0, 1) for q in (0, 1) if p or q)
    for line in problem.steps:
        assert holds(line.rpartition(": ")[2], solution), line


def test_a_solution_by_hand_is_accepted() -> None:
    statement = 'Find x and y with 2x + y = 7 and x - 3y = -7. Answer in the form "x = 1, y = 2".'
    lines = [
        "first times -3: -6x - 3y = -21",
        "second times 1: x - 3y = -7",
        "subtract: -7x = -14",
        "x = -14 / -7 = 2",
        "first: y = 7 - (4) = 3",
        "y = 3 / 1 = 3",
        "check second: 2 + (-9) = -7",
    ]
    problem = Problem("linear_system", statement, (), "x = 2, y = 3", statement)
    assert TASK.check_solution(problem, "\n".join([*lines, "x = 2, y = 3"]))
    assert not TASK.check_solution(problem, "\n".join([*lines, "x = 3, y = 2"]))
    assert TASK.parse("y = 3, x = 2") == "y = 3, x = 2"
    assert not TASK.verify(problem, "y = 3, x = 2")
    assert TASK.parse("x = 02, y = 3") is None


def test_equations_that_say_the_same_are_no_system() -> None:
    statement = 'Find x and y with 2x + y = 7 and 4x + 2y = 14. Answer in the form "x = 1, y = 2".'
    assert TASK.resolve(statement) is None
