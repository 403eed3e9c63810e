"""Chains modulo 10: solved again from their statements alone, and not to be had by shortcuts."""

import random
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain.errors import ConfigError
from midtrain.mixtures.tasks.modular_chain import TASK
from midtrain.mixtures.tasks.problem import Problem

STATEMENT = re.compile(r"(\d)((?: [-+*] \d)+) mod 10, left to right =")

Chain = list[tuple[str, int]]


def read(statement: str) -> tuple[int, Chain]:
    """The start and the steps that a statement spells out, read back without the family's own code."""
    match = STATEMENT.fullmatch(statement)
    assert match, statement
    return int(match[1]), [(sign, int(digit)) for sign, digit in re.findall(r"([-+*]) (\d)", match[2])]


def replay(start: int, chain: Chain) -> list[int]:
    values = [start]
    for sign, digit in chain:
        values.append(eval(f"({values[-1]} {sign} {digit}) % 10"))
    return values


def problems(count: int, steps: int, seed: int = 0) -> list[Problem]:
    rng = random.Random(seed)
    return [TASK.problem(rng, steps) for _ in range(count)]


@given(seed=st.integers(), steps=st.integers(1, 64))
def test_replaying_the_statement_gives_the_steps_and_the_answer(seed: int, steps: int) -> None:
    problem = TASK.problem(random.Random(seed), steps)
    start, chain = read(problem.statement)
    values = replay(start, chain)
    expected = [f"{a} {sign} {n} = {b}" for a, (sign, n), b in zip(values, chain, values[1:], strict=False)]
    assert len(chain) == steps
    assert list(problem.steps) == expected
    assert problem.answer == str(values[-1])
    assert problem.task == "modular_chain"


@given(seed=st.integers(), steps=st.integers(2, 12), data=st.data())
def test_swapping_two_neighbouring_steps_always_changes_the_answer(seed: int, steps: int, data: st.DataObject) -> None:
    start, chain = read(TASK.problem(random.Random(seed), steps).statement)
    at = data.draw(st.integers(0, steps - 2))
    swapped = [*chain[:at], chain[at + 1], chain[at], *chain[at + 2 :]]
    assert replay(start, swapped)[-1] != replay(start, chain)[-1]


def test_leaving_out_or_shuffling_steps_changes_most_answers() -> None:
    rng = random.Random(1)
    missing = shuffled = 0
    for problem in problems(2000, 5):
        start, chain = read(problem.statement)
        left_out = rng.randrange(5)
        missing += replay(start, chain[:left_out] + chain[left_out + 1 :])[-1] != int(problem.answer)
        shuffled += replay(start, rng.sample(chain, 5))[-1] != int(problem.answer)
    assert missing > 1700
    assert shuffled > 1500


@pytest.mark.parametrize("steps", [1, 2, 4, 5])
def test_no_answer_can_be_guessed(steps: int) -> None:
    counts = Counter(problem.answer for problem in problems(5000, steps))
    assert len(counts) == 10
    assert max(counts.values()) / 5000 < 0.16


def test_a_cheaper_rule_than_working_it_out_answers_few() -> None:
    """The start, the sum of the signed terms, and the last step from the operand before it stay near chance."""
    hits: Counter[str] = Counter()
    for problem in problems(4000, 4):
        start, chain = read(problem.statement)
        answer = int(problem.answer)
        signed = start + sum(digit if sign == "+" else -digit for sign, digit in chain if sign != "*")
        hits["sum"] += signed % 10 == answer
        hits["last"] += replay(chain[-2][1], chain[-1:])[-1] == answer
        hits["start"] += start == answer
    assert max(hits.values()) / 4000 < 0.25


def test_the_facts_are_all_chains_of_one_step() -> None:
    facts = TASK.facts()
    drawn = {problem.statement for problem in problems(20_000, 1)}
    assert len(facts) == len({fact.statement for fact in facts}) == 220
    assert drawn == {fact.statement for fact in facts}
    assert all(len(fact.steps) == 1 and fact.steps[0].endswith(f"= {fact.answer}") for fact in facts)


@pytest.mark.parametrize("steps", [0, 65])
def test_steps_out_of_range(steps: int) -> None:
    with pytest.raises(ConfigError, match="modular_chain has no problems of this many steps"):
        TASK.problem(random.Random(0), steps)
