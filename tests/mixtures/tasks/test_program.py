"""Programs on strings and lists: each operation by hand, in both of its computations, and every wording read back."""

import itertools
import random

import pytest
from midtrain.mixtures.tasks import list_program, string_program
from midtrain.mixtures.tasks.family import Casting
from midtrain.mixtures.tasks.problem import Problem

STRINGS = [
    ("reverse", {}, "abcd", "dcba"),
    ("first {k} to the end", {"k": "3"}, "abcde", "deabc"),
    ("last {k} to the front", {"k": "2"}, "abcde", "deabc"),
    ("without the first {k}", {"k": "2"}, "abcde", "cde"),
    ("without the last {k}", {"k": "2"}, "abcde", "abc"),
    ("append {w}", {"w": "xy"}, "abc", "abcxy"),
    ("prepend {w}", {"w": "xy"}, "abc", "xyabc"),
    ("{a} becomes {b}", {"a": "a", "b": "z"}, "banana", "bznznz"),
    ("without {a}", {"a": "a"}, "banana", "bnn"),
    ("double {a}", {"a": "n"}, "banana", "bannanna"),
    ("ends swapped", {}, "abcd", "dbca"),
    ("sorted", {}, "banana", "aaabnn"),
    ("shifted by {k}", {"k": "3"}, "axyz", "dabc"),
]
LISTS = [
    ("add {k} to each", {"k": "5"}, (1, -7), (6, -2)),
    ("subtract {k} from each", {"k": "5"}, (1, -7), (-4, -12)),
    ("multiply each by {k}", {"k": "3"}, (2, -4), (6, -12)),
    ("negate", {}, (2, 0, -4), (-2, 0, 4)),
    ("reverse", {}, (1, 2, 3), (3, 2, 1)),
    ("sort up", {}, (3, -1, 3, 2), (-1, 2, 3, 3)),
    ("sort down", {}, (3, -1, 3, 2), (3, 3, 2, -1)),
    ("even only", {}, (1, -2, 0, -3, 4), (-2, 0, 4)),
    ("odd only", {}, (1, -2, 0, -3, 4), (1, -3)),
    ("without those above {k}", {"k": "2"}, (1, 2, 3, -5), (1, 2, -5)),
    ("first {k} to the end", {"k": "2"}, (1, 2, 3), (3, 1, 2)),
    ("without the first", {}, (1, 2, 3), (2, 3)),
    ("append {k}", {"k": "-4"}, (1, 2), (1, 2, -4)),
    ("running sums", {}, (1, 2, -5), (1, 3, -2)),
    ("remainders by {k}", {"k": "4"}, (9, 4, 3), (1, 0, 3)),
    ("without repeats", {}, (3, 1, 3, 2, 1), (3, 1, 2)),
]


@pytest.mark.parametrize(
    ("operations", "by_hand"), [(string_program.OPERATIONS, STRINGS), (list_program.OPERATIONS, LISTS)]
)
def test_each_operation_does_what_is_done_by_hand(operations, by_hand) -> None:
    assert [operation.name for operation in operations] == [name for name, *_ in by_hand]
    for operation, (_, arguments, before, after) in zip(operations, by_hand, strict=True):
        assert operation.apply(before, arguments) == after
        assert operation.again(before, arguments) == after


@pytest.mark.parametrize(
    ("operations", "by_hand"), [(string_program.OPERATIONS, STRINGS), (list_program.OPERATIONS, LISTS)]
)
def test_each_wording_is_read_as_its_own_operation_alone(operations, by_hand) -> None:
    for operation, (_, arguments, *_) in zip(operations, by_hand, strict=True):
        said = {operation.wordings.say(Casting(str(number)), **arguments) for number in range(20)}
        assert len(said) == len(operation.wordings.templates)
        for text in said:
            assert [other for other in operations if other.wordings.read(text) is not None] == [operation]
            assert operation.wordings.read(text) == arguments


@pytest.mark.parametrize("task", [string_program.TASK, list_program.TASK], ids=lambda task: task.name)
def test_every_operation_changes_the_state_and_keeps_it_within_bounds(task) -> None:
    rng = random.Random(3)
    for _ in range(300):
        problem = task.problem(rng, 6)
        states = [line.rpartition(": ")[2] for line in problem.steps]
        assert len(states) == 6
        assert states[-1] == problem.answer
        assert all(one != other for one, other in itertools.pairwise(states))
        if task.name == "string_program":
            assert all(3 <= len(state) <= 12 and state.isalpha() for state in states)
        else:
            lists = [[int(one) for one in state.split(", ")] for state in states]
            assert all(2 <= len(state) <= 10 and max(map(abs, state)) <= 999 for state in lists)


def test_a_solution_by_hand_is_accepted() -> None:
    statement = (
        "Start with the string abca. In this order: remove every a; append xy. Which string is left?"
        " Answer with the string alone."
    )
    problem = Problem("string_program", statement, (), "bcxy", statement)
    assert string_program.TASK.check_solution(problem, "without a: bc\nappend xy: bcxy\nbcxy")
    assert not string_program.TASK.check_solution(problem, "append xy: abcaxy\nwithout a: bcxy\nbcxy")
    assert string_program.TASK.resolve(statement.replace("remove every a", "remove all a")) is None
