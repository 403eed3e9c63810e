"""Logic grids: all arrangements are tried, and one fits; no line leaves out the house that is right."""

import itertools
import random
import re
from collections.abc import Iterator

import pytest
from midtrain.mixtures.tasks.logic_grid import CLUES, PEOPLE, SIZES, TASK, THINGS, VALUES
from midtrain.mixtures.tasks.problem import Problem

from tests.sizes import sized


def holds(text: str, house: dict[str, int]) -> bool:
    """Whether a clue holds, read by searching for whom and what it names."""
    named = sorted((text.index(one), one) for one in house if re.search(rf"\b{one}\b", text))
    places = [house[one] for _, one in named]
    number = re.search(r"house (\d)", text)
    if number:
        same = places[0] == int(number[1])
        return not same if " not " in text else same
    first, second = places
    if "side by side" in text or "next to" in text:
        return abs(first - second) == 1
    if "right of" in text:
        first, second = second, first
    if "directly" in text:
        return second == first + 1
    if "somewhere" in text:
        return first < second
    return first != second if " not " in text or "different" in text else first == second


def groups(statement: str) -> list[list[str]]:
    setting = re.split(r"Clues: |We know: ", statement)[0]
    things = re.findall(r"Each has a different [a-z]+: ([a-z, ]+)\.", setting)
    people = re.search(r"[A-Z][a-z]+(?:, [A-Z][a-z]+)+", setting)[0]
    return [listed.split(", ") for listed in (people, *things)]


def clues_of(statement: str) -> list[str]:
    return [text.strip(" ;.") for text in re.split(r"\(\d+\) ", statement.partition(" Who lives")[0])[1:]]


def fitting(listed: list[list[str]], clues: list[str]) -> list[dict[str, int]]:
    """All arrangements for which all clues hold: every order of each kind is tried, beside every one of the others."""
    found: list[dict[str, int]] = [{}]
    for place, group in enumerate(listed):
        known = {one for other in listed[: place + 1] for one in other}
        own = [clue for clue in clues if named(clue, listed) <= known and named(clue, listed) & set(group)]
        tried = ({**before, **dict(order)} for before in found for order in orders(group))
        found = [house for house in tried if all(holds(clue, house) for clue in own)]
    return found


def orders(group: list[str]) -> Iterator[Iterator[tuple[str, int]]]:
    return (zip(order, range(1, len(group) + 1), strict=True) for order in itertools.permutations(group))


def named(clue: str, listed: list[list[str]]) -> set[str]:
    return {one for group in listed for one in group if re.search(rf"\b{one}\b", clue)}


@pytest.mark.parametrize("difficulty", [1, 2, 3, 4, 5, pytest.param(6, marks=pytest.mark.slow)])
def test_exactly_one_arrangement_fits_all_clues(difficulty: int) -> None:
    rng = random.Random(difficulty)
    n, kinds = SIZES[difficulty]
    for _ in range(8 if difficulty < 3 else 2 if difficulty < 6 else sized(2, 1)):
        problem = TASK.problem(rng, difficulty)
        listed = groups(problem.statement)
        assert [len(group) for group in listed] == [n] * kinds
        (house,) = fitting(listed, clues_of(problem.statement))
        assert problem.answer == ", ".join(sorted(listed[0], key=house.__getitem__))
        for line in problem.steps:
            _, _, said = line.partition(": ")
            one, _, houses = said.partition(" in ")
            assert str(house[one]) in houses.split(", ")


def plainly(statement: str) -> list[str] | None:
    """The lines in plain Python, by sets: what can be said first is said, until everybody has a house."""
    listed, clues = groups(statement), clues_of(statement)
    everyone = [one for group in listed for one in group]
    houses = range(1, len(listed[0]) + 1)
    able = {one: set(houses) for one in everyone}
    lines = []
    while any(len(left) > 1 for left in able.values()):
        found = next(sayable(able, listed, clues, houses), None)
        if found is None:
            return None
        why, one, left = found
        able[one] = left
        lines.append(f"{why}: {one} in {', '.join(map(str, sorted(left)))}")
    return lines


def sayable(
    able: dict[str, set[int]], listed: list[list[str]], clues: list[str], houses: range
) -> Iterator[tuple[str, str, set[int]]]:
    for group in listed:
        for one, other in itertools.permutations(group, 2):
            if len(able[one]) == 1 and able[one] & able[other]:
                yield f"{min(able[one])} goes to {one}", other, able[other] - able[one]
    for group in listed:
        for house in houses:
            here = [one for one in group if house in able[one]]
            if len(here) == 1 and len(able[here[0]]) > 1:
                yield f"{house} is left to one", here[0], {house}
    for number, clue in enumerate(clues, 1):
        pair = sorted(named(clue, listed), key=clue.index)
        if re.search(r"right of", clue):
            pair.reverse()  # the one to the left comes first
        for one in pair:
            others = [other for other in pair if other != one]
            places = [able[other] for other in others] or [{0}]
            left = {p for p in able[one] if any(holds(clue, {one: p, **dict.fromkeys(others, q)}) for q in places[0])}
            if left != able[one]:
                yield f"clue {number}", one, left


@pytest.mark.parametrize("difficulty", [1, 2, 3, 4, 5, 6])
def test_lines_are_those_of_plain_python(difficulty: int) -> None:
    rng = random.Random(difficulty)
    for _ in range(6):
        problem = TASK.problem(rng, difficulty)
        resolved = TASK.resolve(problem.statement)
        assert resolved == (list(problem.steps), problem.answer)
        lines = plainly(problem.statement)
        assert lines == list(problem.steps)


@pytest.mark.parametrize("difficulty", [4, 5, 6])
def test_every_line_narrows_and_keeps_what_is_right(difficulty: int) -> None:
    rng = random.Random(difficulty)
    n, kinds = SIZES[difficulty]
    for _ in range(10):
        problem = TASK.problem(rng, difficulty)
        able: dict[str, set[str]] = {}
        for line in problem.steps:
            one, _, houses = line.partition(": ")[2].partition(" in ")
            left = set(houses.split(", "))
            assert left < able.get(one, set(map(str, range(1, n + 1))))
            able[one] = left
        assert len(able) == n * kinds
        assert all(len(left) == 1 for left in able.values())
        names = problem.answer.split(", ")
        assert [able[name] for name in names] == [{str(at)} for at in range(1, n + 1)]


SIDE_BY_SIDE = re.compile(r"([A-Z]\w+) (?:lives next to|and) ([A-Z]\w+)(?:;| are side by side)")


def test_names_do_not_give_the_order_away() -> None:
    """People are listed by the alphabet, and who is named first in a clue is not more often to the left."""
    rng = random.Random(9)
    first_is_left = compared = 0
    for _ in range(1_500):
        problem = TASK.problem(rng, 1)
        names = problem.answer.split(", ")
        for one, other in SIDE_BY_SIDE.findall(problem.statement):
            compared += 1
            first_is_left += names.index(one) < names.index(other)
    assert compared > 40
    assert 0.25 < first_is_left / compared < 0.75


def test_every_kind_of_clue_comes_in_both_wordings() -> None:
    rng = random.Random(2)
    told = " ".join(TASK.problem(rng, 4).statement for _ in range(60))
    for wordings in CLUES:
        for template in wordings:
            words = max(re.split(r"\{.\}", template), key=len)
            assert words in told


def test_a_solution_by_hand_is_accepted() -> None:
    statement = (
        "In 3 houses, numbered from left to right, live Boris, Clara, Edith, one in each. Each has a different pet:"
        " cat, dog, goat. We know: (1) Edith lives in house 2; (2) the owner of the dog lives directly to the left"
        " of Edith; (3) the owner of the dog and Boris are different people; (4) the owner of the cat and Boris are the"
        " same person. Who lives where? Answer with the names in the order of the houses, separated by commas."
    )
    lines = [
        "clue 1: Edith in 2",
        "2 goes to Edith: Boris in 1, 3",
        "2 goes to Edith: Clara in 1, 3",
        "clue 2: dog in 1",
        "1 goes to dog: cat in 2, 3",
        "1 goes to dog: goat in 2, 3",
        "clue 3: Boris in 3",
        "3 goes to Boris: Clara in 1",
        "clue 4: cat in 3",
        "3 goes to cat: goat in 2",
    ]
    problem = Problem("logic_grid", statement, (), "Clara, Edith, Boris", statement)
    assert TASK.check_solution(problem, "\n".join([*lines, "Clara, Edith, Boris"]))
    assert not TASK.check_solution(problem, "\n".join([*lines, "Boris, Edith, Clara"]))
    assert TASK.resolve(statement.replace("(1) Edith lives in house 2; ", "")) is None  # not to be solved
    assert TASK.resolve(statement.replace("Boris, Clara, Edith", "Boris, Clara, Edith, Agnes")) is None
    assert TASK.resolve(statement.replace("house 2", "house 4")) is None
    assert TASK.resolve(statement.replace("(4) ", "(4) Clara lives in house 2; (5) ")) is None  # contradicts (1)
    assert TASK.resolve(statement.replace("Boris are different", "Agnes are different")) is None


def test_names_stand_in_their_order_and_are_all_drawn() -> None:
    """Kernels order names by their numbers."""
    for names in (PEOPLE, *(values for _, _, values in THINGS)):
        assert list(names) == sorted(set(names))
        assert len(names) == (len(PEOPLE) if names is PEOPLE else VALUES)
    rng = random.Random(1)
    told = " ".join(TASK.problem(rng, 4).statement for _ in range(300))
    for one in (*PEOPLE, *(value for _, _, values in THINGS for value in values)):
        assert one in told
