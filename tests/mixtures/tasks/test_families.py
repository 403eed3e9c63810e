"""All families alike: enough problems, solutions accepted, wrong ones not, and no statement shared."""

import itertools
import random
import re
import resource
from collections import Counter

import pytest
from midtrain.errors import ConfigError
from midtrain.mixtures.tasks import evaluation_problems, generate, names, task
from midtrain.mixtures.tasks.family import Family

from tests.mixtures.tasks.mutations import MUTATIONS, answer_changed, mutated, reply
from tests.sizes import sized

WITH_FACTS = ["modular_chain", "word_problem"]
FAMILIES = [name for name in names() if name not in WITH_FACTS]
COUNTED_AT = {"word_problem": 9}
"""The difficulty at which problems are counted, where it is not 5: stories of five steps have 99,717 cores."""
HARDEST = 6
DRAWN = {"word_problem": 20_000, "logic_grid": 40_000, "date_arithmetic": 60_000, "list_program": 60_000}
"""Problems that are drawn to be counted: of the slowest families as many as show a million, of the others more."""
LEAST = 10**6


def solver(name: str) -> Family:
    found = task(name)
    assert isinstance(found, Family)
    return found


def user_seconds() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("kind", MUTATIONS, ids=lambda kind: kind.__name__)
def test_a_worked_solution_is_accepted_and_each_kind_of_wrong_one_is_not(name: str, kind) -> None:
    family, rng = task(name), random.Random(5)
    rejected = 0
    for number in range(60):
        problem = family.problem(rng, 1 + number % 6)
        assert family.check_solution(problem, reply(problem))
        lines = kind(rng, problem)
        if lines is None:
            continue
        assert not family.check_solution(problem, "\n".join(lines)), lines
        assert family.verify(problem, "\n".join(lines)) == (kind is not answer_changed)
        rejected += 1
    assert rejected > 20


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_many_solutions_are_accepted_and_as_many_wrong_ones_are_not(name: str) -> None:
    count = sized(10_000, 2_500)
    family, rng = task(name), random.Random(11)
    accepted = rejected = 0
    drawn = checked = 0.0
    family.check_solution(family.problem(random.Random(0), 1), "")  # kernels are loaded
    for number in range(count):
        start = user_seconds()
        problem = family.problem(rng, 1 + number % HARDEST)
        drawn += user_seconds() - start
        right, wrong = reply(problem), mutated(rng, problem)
        start = user_seconds()
        accepted += family.check_solution(problem, right) and family.verify(problem, right)
        rejected += not family.check_solution(problem, wrong)
        checked += user_seconds() - start
    print(f"{name}: {count / drawn:,.0f} problems and {2 * count / checked:,.0f} checked solutions a second")
    assert (accepted, rejected) == (count, count)


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_a_family_has_more_than_a_million_problems(name: str) -> None:
    """Of n problems drawn independently, n^2 / (2 size) pairs or more are alike on average, fewest where all are as
    likely: so pairs bound the size from below. Cores are compared, and wording does not count."""
    family, rng = task(name), random.Random(13)
    difficulty, drawn = COUNTED_AT.get(name, 5), DRAWN.get(name, sized(200_000, 60_000))
    seen = Counter(hash(family.problem(rng, difficulty).core) for _ in range(drawn))
    pairs = sum(count * (count - 1) // 2 for count in seen.values())
    at_least = drawn * (drawn - 1) / 2 / max(pairs + 3 * pairs**0.5 + 5, 1)  # three standard deviations
    print(f"{name}: {len(seen):,} distinct of {drawn:,}, {pairs:,} pairs alike: at least {at_least:,.0f} problems")
    assert at_least > LEAST


@pytest.mark.parametrize("name", names())
def test_few_problems_come_twice(name: str) -> None:
    """The same bound with 10,000 draws, which alone cannot tell a million: at most 50 pairs are expected of so many."""
    family, rng = task(name), random.Random(13)
    seen = {family.problem(rng, COUNTED_AT.get(name, 5)).core for _ in range(10_000)}
    assert 10_000 - len(seen) < 50 + 3 * 50**0.5


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("difficulty", [1, 4, 6])
def test_no_statement_is_read_by_another_family(name: str, difficulty: int) -> None:
    rng = random.Random(difficulty)
    for _ in range(30):
        statement = solver(name).problem(rng, difficulty).statement
        assert [other for other in FAMILIES if solver(other).resolve(statement) is not None] == [name]


def test_no_two_families_have_a_statement_in_common() -> None:
    rng = random.Random(2)
    told = {name: {task(name).problem(rng, 1 + n % 2).statement for n in range(1_000)} for name in names()}
    for one, other in itertools.combinations(told.values(), 2):
        assert not one & other


@pytest.mark.parametrize("name", FAMILIES)
def test_a_problem_has_one_wording_and_a_family_several(name: str) -> None:
    rng = random.Random(7)
    problems = [task(name).problem(rng, 3) for _ in range(300)]
    cores: dict[str, set[str]] = {}
    for problem in problems:
        cores.setdefault(problem.core, set()).add(problem.statement)
    assert all(len(statements) == 1 for statements in cores.values())
    if name != "sum_of_products":  # which tells the same numbers in four themes
        assert all(problem.core == problem.statement for problem in problems)
    beginnings = Counter(re.match(r"\W*\w+ \w+", problem.statement)[0] for problem in problems)
    assert len(beginnings) >= 3
    assert max(beginnings.values()) < 290


@pytest.mark.parametrize("name", FAMILIES)
def test_a_statement_says_what_an_answer_looks_like(name: str) -> None:
    rng = random.Random(8)
    for _ in range(50):
        assert "nswer" in task(name).problem(rng, 2).statement


@pytest.mark.parametrize("name", names())
def test_what_is_no_reply_has_no_answer(name: str) -> None:
    family = task(name)
    problem = family.problem(random.Random(3), 4)
    worked = "\n".join(problem.steps)
    tagged = f"<think>\n{worked}\n</think>\n\n{problem.answer}"
    assert family.verify(problem, tagged)
    assert family.check_solution(problem, tagged)
    assert family.verify(problem, problem.answer)
    assert not family.check_solution(problem, problem.answer)
    for wrong in ("", "\n", f"<think>\n{worked}\n{problem.answer}", f"{problem.answer}.", f"so {problem.answer}"):
        assert family.parse(wrong) != problem.answer
        assert not family.verify(problem, wrong)
        assert not family.check_solution(problem, wrong)
    for wrong in (f"{tagged}\n{problem.answer}", f"{tagged[:-1]}", f"<think>\n{reply(problem)}", f"again\n{tagged}"):
        assert not family.check_solution(problem, wrong)


@pytest.mark.parametrize("name", FAMILIES)
def test_streams_are_twins_and_hold_nothing_out(name: str) -> None:
    worked, twins = (list(generate([name], form, [2, 4], 0, 60, 3)) for form in ("worked", "answer_only"))
    assert [(i, problem) for i, problem, _ in worked] == [(i, problem) for i, problem, _ in twins]
    assert all(turns[1]["reasoning"] == "\n".join(problem.steps) for _, problem, turns in worked)
    assert all(turns[1]["reasoning"] is None and turns[1]["content"] == p.answer for _, p, turns in twins)
    asked = evaluation_problems(name, [2, 4], 40, 0)
    assert len({problem.statement for problem in asked}) == 40
    assert all(problem.unseen for problem in asked)
    assert all(problem.trainable for _, problem, _ in worked)
    assert worked[30:] == list(generate([name], "worked", [4, 2], 30, 30, 3))


@pytest.mark.parametrize("name", FAMILIES)
def test_families_without_facts_say_so(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} has no facts"):
        generate([name], "fact", [], 0, 1, 0)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_difficulty_out_of_range_is_an_error(name: str) -> None:
    family = solver(name)
    family.problem(random.Random(0), family.most_steps)
    for steps in (0, family.most_steps + 1):
        with pytest.raises(ConfigError, match=f"{name} has no problems of this many steps"):
            family.problem(random.Random(0), steps)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_statement_that_was_changed_is_not_solved_by_the_old_lines(name: str) -> None:
    """What is checked follows from the statement: another number in it and the solution is that of another problem."""
    family, rng = solver(name), random.Random(4)
    told = [(problem, family.problem(rng, 3)) for problem in (family.problem(rng, 3) for _ in range(40))]
    for problem, other in told:
        if other.steps != problem.steps:
            assert not family.check_solution(other, reply(problem))
