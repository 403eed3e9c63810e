"""Columns: answers by Python's own integers, digits that add up to the answer, and solutions written by hand."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain.mixtures.tasks.column_arithmetic import TASK
from midtrain.mixtures.tasks.problem import Problem

COLUMN = re.compile(r"column (\d+): (\d) ([-+*]) (\d) ([-+]) (\d) = (-?\d+), write (\d), (?:carry|borrow) (\d)")


@given(seed=st.integers(), digits=st.integers(1, 12))
def test_answers_are_those_of_whole_numbers_and_columns_hold(seed: int, digits: int) -> None:
    problem = TASK.problem(random.Random(seed), digits)
    found = re.fullmatch(r"(?:so )?(\d+) ([-+*]) (\d+) = (\d+)", problem.steps[-1])
    if found is None:
        a, quotient, b, left = map(int, re.fullmatch(r"(\d+) = (\d+) \* (\d+) \+ (\d+)", problem.steps[-1]).groups())
        assert divmod(a, b) == (quotient, left)
        assert problem.answer == f"{quotient} remainder {left}"
        assert "".join(line[-1] for line in problem.steps[:-1]).lstrip("0") == str(quotient).replace("0", "", a < b)
    else:
        a, sign, b, answer = found.groups()
        assert problem.answer == answer == str(eval(f"{a} {sign} {b}"))
    assert {str(a), str(b)} <= set(re.findall(r"\d+", problem.statement))
    for line in problem.steps:
        if line.startswith("column"):
            _, x, sign, y, carry_sign, carry, total, digit, on = COLUMN.fullmatch(line).groups()
            assert eval(f"{x} {sign} {y} {carry_sign} {carry}") == int(total)
            assert int(digit) + 10 * int(on) * (-1 if sign == "-" else 1) == int(total)


def written(statement: str, lines: str, answer: str) -> tuple[Problem, str]:
    return Problem("column_arithmetic", statement, (), answer, statement), f"{lines}\n{answer}"


@pytest.mark.parametrize(
    ("statement", "lines", "answer"),
    [
        (
            "Add 85 and 7, column by column. Answer with an integer.",
            "column 1: 5 + 7 + 0 = 12, write 2, carry 1\ncolumn 2: 8 + 0 + 1 = 9, write 9, carry 0\n85 + 7 = 92",
            "92",
        ),
        (
            "Subtract 8 from 100, column by column. Answer with an integer.",
            "column 1: 0 - 8 - 0 = -8, write 2, borrow 1\ncolumn 2: 0 - 0 - 1 = -1, write 9, borrow 1\n"
            "column 3: 1 - 0 - 1 = 0, write 0, borrow 0\n100 - 8 = 92",
            "92",
        ),
        (
            "Multiply 46 by 20, digit by digit. Answer with an integer.",
            "digit 1 of 20 is 0: nothing to add\ncolumn 1: 6 * 2 + 0 = 12, write 2, carry 1\n"
            "column 2: 4 * 2 + 1 = 9, write 9, carry 0\n46 * 20 = 920\nso 46 * 20 = 920",
            "920",
        ),
        (
            'Divide 92 by 7 by long division. Answer in the form "Q remainder R".',
            "bring down 9: 9 = 1 * 7 + 2, write 1\nbring down 2: 22 = 3 * 7 + 1, write 3\n92 = 13 * 7 + 1",
            "13 remainder 1",
        ),
    ],
)
def test_a_solution_by_hand_is_accepted(statement: str, lines: str, answer: str) -> None:
    problem, reply = written(statement, lines, answer)
    assert TASK.verify(problem, reply)
    assert TASK.check_solution(problem, reply)
    assert not TASK.check_solution(problem, reply.replace("1", "2", 1))


def test_all_four_operations_come_and_sums_in_one_order() -> None:
    rng = random.Random(1)
    last = [TASK.problem(rng, 3).steps[-1] for _ in range(400)]
    assert sum(" remainder" not in line and "+" in line.split("=")[0] for line in last) > 60
    for sign in ("-", "*"):
        assert sum(f" {sign} " in line.split("=")[0] for line in last) > 60
    for line in last:
        if match := re.fullmatch(r"(?:so )?(\d+) [-+*] (\d+) = \d+", line):
            assert int(match[1]) >= int(match[2])
