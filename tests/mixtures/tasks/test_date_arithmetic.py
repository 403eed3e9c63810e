"""Dates: answers by `datetime` from the statement, and solutions by hand at leap years and ends of months."""

import calendar
import datetime
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain.mixtures.tasks.date_arithmetic import TASK, _iso, _length, _weekday
from midtrain.mixtures.tasks.problem import Problem

MOVE = re.compile(r"(Add|Subtract|Go) (\d+) (days|months)(?: (forward|back))?\.")


def moved(date: datetime.date, kind: str, amount: int) -> datetime.date:
    if kind == "days":
        return date + datetime.timedelta(amount)
    year, month = divmod(12 * date.year + date.month - 1 + amount, 12)
    return datetime.date(year, month + 1, min(date.day, calendar.monthrange(year, month + 1)[1]))


@given(seed=st.integers(), moves=st.integers(1, 10))
def test_answers_are_those_of_datetime(seed: int, moves: int) -> None:
    problem = TASK.problem(random.Random(seed), moves)
    begin = date = datetime.date.fromisoformat(re.search(r"\d{4}-\d\d-\d\d", problem.statement)[0])
    found = MOVE.findall(problem.statement)
    assert len(found) == moves
    for (verb, amount, kind, way), line in zip(found, problem.steps, strict=False):
        back = verb == "Subtract" or way == "back"
        before, date = date, moved(date, kind, -int(amount) if back else int(amount))
        assert line.startswith(f"{before} {'-' if back else '+'} {amount} {kind}: ")
        assert line.endswith(f", so {date}")
    if "day of the week" in problem.statement:
        assert problem.answer == date.strftime("%A")
    elif "How many days" in problem.statement:
        assert problem.answer == str((date - begin).days)
    else:
        assert problem.answer == str(date)


def test_every_day_of_four_centuries_has_its_weekday_and_its_months_their_lengths() -> None:
    date = datetime.date(1996, 1, 1)
    for _ in range(40_000):
        assert _weekday((date.year, date.month, date.day))[1] == date.strftime("%A")
        assert _iso((date.year, date.month, date.day)) == str(date)
        date += datetime.timedelta(4)
    for year in (*range(1500, 1700), *range(1890, 2110)):
        assert [_length(year, month) for month in range(1, 13)] == [
            calendar.monthrange(year, m)[1] for m in range(1, 13)
        ]


@pytest.mark.parametrize(
    ("statement", "lines", "answer"),
    [
        (
            "Start on 2023-01-31. Add 1 months. Where a day does not exist in a month, the last day of that month is"
            " taken. Which date is it then? Answer as YYYY-MM-DD.",
            "2023-01-31 + 1 months: month 2, 2023-02 has 28 days, so 2023-02-28",
            "2023-02-28",
        ),
        (
            "Take the date 2024-02-20. Add 20 days. Which day of the week is it then? Answer with its name.",
            "2024-02-20 + 20 days: day 40, 11 of 2024-03, so 2024-03-11\n"
            "weekday: 2024 + 506 - 20 + 5 + 2 + 11 = 2528, 2528 mod 7 = 1, Monday",
            "Monday",
        ),
        (
            "A calendar shows 1900-03-01. Go 2 days back. How many days after the first date is it then?"
            " Answer with an integer, negative if before.",
            "1900-03-01 - 2 days: day -1, 27 of 1900-02, so 1900-02-27\n1900-03-01 is day 59 + 1 = 60 of 1900\n"
            "1900-02-27 is day 31 + 27 = 58 of 1900\nfrom 1900-01-01 to 1900-01-01: 0 days\n0 + 58 - 60 = -2",
            "-2",
        ),
    ],
)
def test_a_solution_by_hand_is_accepted(statement: str, lines: str, answer: str) -> None:
    problem = Problem("date_arithmetic", statement, (), answer, statement)
    assert TASK.verify(problem, answer)
    assert TASK.check_solution(problem, f"{lines}\n{answer}")
    assert not TASK.check_solution(problem, f"{lines}\n{lines}\n{answer}")
