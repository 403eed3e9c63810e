"""Inverses: number times answer leaves 1, divisions are right, coefficients belong to their remainders."""

import random
import re

from hypothesis import given
from hypothesis import strategies as st
from midtrain.mixtures.tasks.modular_inverse import TASK

DIVISION = re.compile(r"(\d+) = (\d+) \* (\d+) \+ (\d+), coefficient (-?\d+)")


@given(seed=st.integers(), difficulty=st.integers(1, 12))
def test_the_lines_lead_to_the_inverse(seed: int, difficulty: int) -> None:
    problem = TASK.problem(random.Random(seed), difficulty)
    first = DIVISION.fullmatch(problem.steps[0])
    modulus, number = int(first[1]), int(first[3])
    assert {str(modulus), str(number)} <= set(re.findall(r"\d+", problem.statement))
    assert number * int(problem.answer) % modulus == 1
    assert 0 < int(problem.answer) < modulus
    divisions = [tuple(map(int, DIVISION.fullmatch(line).groups())) for line in problem.steps[:-2]]
    assert len(divisions) == difficulty + 1
    for (above, quotient, below, rest, coefficient), after in zip(divisions, [*divisions[1:], None], strict=True):
        assert (quotient, rest) == divmod(above, below)
        assert coefficient * number % modulus == rest % modulus
        assert after is None or after[0::2][:2] == (below, rest)
    assert divisions[-1][3] == 0


def test_numbers_without_an_inverse_are_no_statement_of_the_family() -> None:
    assert TASK.resolve("Find the inverse of 6 modulo 9. Answer with an integer from 1 to 8.") is None
    assert TASK.resolve("Find the inverse of 5 modulo 9. Answer with an integer from 1 to 9.") is None
    assert TASK.resolve("Find the inverse of 5 modulo 9. Answer with an integer from 1 to 8.")[1] == "2"
