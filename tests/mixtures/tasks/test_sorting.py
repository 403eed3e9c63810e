"""Sorting: the answer is sorted, nothing is lost on the way, and each algorithm's own promise holds after each step."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain.mixtures.tasks.problem import Problem
from midtrain.mixtures.tasks.sorting import TASK


def numbers(text: str) -> list[int]:
    return [int(one) for one in text.split(", ")]


@given(seed=st.integers(), difficulty=st.integers(1, 15))
def test_lists_are_sorted_step_by_step(seed: int, difficulty: int) -> None:
    problem = TASK.problem(random.Random(seed), difficulty)
    start = numbers(re.search(r"\d+(?:, \d+)+", problem.statement)[0])
    down = "descending" in problem.statement
    best = sorted(start, reverse=down)
    assert numbers(problem.answer) == best
    assert len(start) == len(set(start)) == difficulty + 1
    lists = [numbers(line.partition(": ")[2]) for line in problem.steps]
    assert lists[-1] == best
    for done, state in enumerate(lists, 1):
        assert sorted(state) == sorted(start)
        if "insertion" in problem.statement:
            assert state == sorted(start[: done + 1], reverse=down) + start[done + 1 :]
        elif "selection" in problem.statement:
            assert state[:done] == best[:done]
        elif "bubble" in problem.statement:
            assert state[-done:] == best[-done:]
        else:
            assert all(
                state[at : at + 2**done] == sorted(state[at : at + 2**done], reverse=down) for at in (0, 2**done)
            )


@pytest.mark.parametrize(
    ("algorithm", "step", "lines"),
    [
        ("insertion sort", "insertion", "insert 1 at 1: 1, 3, 2\ninsert 2 at 2: 1, 2, 3"),
        ("selection sort", "selection", "select 1 for place 1: 1, 3, 2\nselect 2 for place 2: 1, 2, 3"),
        ("bubble sort", "pass", "pass 1, swaps 2: 1, 2, 3\npass 2, swaps 0: 1, 2, 3"),
        ("merge sort", "merge", "runs of 2: 1, 3, 2\nruns of 4: 1, 2, 3"),
    ],
)
def test_a_solution_by_hand_is_accepted(algorithm: str, step: str, lines: str) -> None:
    statement = (
        f"Sort 3, 1, 2 ascending by {algorithm}, and show the list after every {step}."
        " Answer with the numbers alone, separated by commas."
    )
    problem = Problem("sorting", statement, (), "1, 2, 3", statement)
    assert TASK.check_solution(problem, f"{lines}\n1, 2, 3")
    assert not TASK.check_solution(problem, "1, 2, 3")
