"""Stories: solved again from their sentences alone, and not to be had by shortcuts."""

import random
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain.errors import ConfigError
from midtrain.mixtures.tasks import task
from midtrain.mixtures.tasks.problem import Problem
from midtrain.mixtures.tasks.word_problem import TASK

STATEMENT = re.compile(r"(\w+) has (\d+) (\w+)\. (.*) How many (\w+) now\?")
SENTENCE = re.compile(r"(She|He) (finds|gets|buys|gives away|loses|sells|doubles|triples) (\d more|\d|them)")
EFFECT = {"finds": "+", "gets": "+", "buys": "+", "gives away": "-", "loses": "-", "sells": "-"}

Chain = list[tuple[str, int]]


def read(statement: str) -> tuple[int, Chain]:
    """The start and the steps that a story tells, read back without the family's own code."""
    match = STATEMENT.fullmatch(statement)
    assert match, statement
    assert match[3] == match[5]
    chain: Chain = []
    pronouns = set()
    for text in match[4].removesuffix(".").split(". "):
        sentence = SENTENCE.fullmatch(text)
        assert sentence, text
        pronouns.add(sentence[1])
        if sentence[2] in ("doubles", "triples"):
            assert sentence[3] == "them"
            chain.append(("*", 2 if sentence[2] == "doubles" else 3))
            continue
        sign = EFFECT[sentence[2]]
        assert sentence[3].endswith(" more") == (sign == "+")
        chain.append((sign, int(sentence[3].split()[0])))
    assert len(pronouns) == 1
    return int(match[2]), chain


def replay(start: int, chain: Chain) -> list[int]:
    values = [start]
    for sign, number in chain:
        values.append(eval(f"{values[-1]} {sign} {number}"))
    return values


def problems(count: int, steps: int, seed: int = 0) -> list[Problem]:
    rng = random.Random(seed)
    return [TASK.problem(rng, steps) for _ in range(count)]


@given(seed=st.integers(), steps=st.integers(1, 12))
def test_replaying_the_story_gives_the_steps_and_the_answer(seed: int, steps: int) -> None:
    problem = TASK.problem(random.Random(seed), steps)
    start, chain = read(problem.statement)
    values = replay(start, chain)
    expected = [f"{a} {sign} {n} = {b}" for a, (sign, n), b in zip(values, chain, values[1:], strict=False)]
    assert len(chain) == steps
    assert list(problem.steps) == expected
    assert problem.answer == str(values[-1])
    assert all(1 <= value <= 60 for value in values[:-1])
    assert 0 <= values[-1] <= 60
    assert problem.task == "word_problem"


@given(seed=st.integers(), steps=st.integers(2, 12), data=st.data())
def test_swapping_two_neighbouring_steps_always_changes_the_answer(seed: int, steps: int, data: st.DataObject) -> None:
    start, chain = read(TASK.problem(random.Random(seed), steps).statement)
    at = data.draw(st.integers(0, steps - 2))
    swapped = [*chain[:at], chain[at + 1], chain[at], *chain[at + 2 :]]
    assert replay(start, swapped)[-1] != replay(start, chain)[-1]


def test_leaving_out_a_step_changes_the_answer_and_shuffling_most() -> None:
    rng = random.Random(1)
    shuffled = 0
    for problem in problems(1000, 5):
        start, chain = read(problem.statement)
        for at in range(5):
            assert replay(start, chain[:at] + chain[at + 1 :])[-1] != int(problem.answer)
        shuffled += replay(start, rng.sample(chain, 5))[-1] != int(problem.answer)
    assert shuffled > 750


@pytest.mark.parametrize("steps", [4, 5])
def test_no_answer_can_be_guessed(steps: int) -> None:
    counts = Counter(problem.answer for problem in problems(5000, steps))
    assert max(counts.values()) / 5000 < 0.06


def test_stories_vary_in_people_objects_and_verbs() -> None:
    seen = Counter(word for problem in problems(2000, 4) for word in problem.statement.replace(".", "").split())
    for word in ("Ada", "Tom", "She", "He", "coins", "finds", "gets", "buys", "gives", "loses", "sells"):
        assert seen[word] > 50, word


def test_the_facts_are_stories_of_one_step_and_few() -> None:
    facts = TASK.facts()
    assert facts == TASK.facts()
    assert len({fact.statement for fact in facts}) == len(facts)
    told = {(start, *chain) for start, chain in map(read, (fact.statement for fact in facts))}
    wanted = {(a, (sign, n)) for a in range(2, 41) for sign in "+-" for n in range(2, 10) if sign == "+" or n <= a}
    assert told == wanted | {(a, ("*", n)) for a in range(2, 41) for n in (2, 3)}
    assert all(fact.steps[0].endswith(f"= {fact.answer}") for fact in facts)
    assert len(facts) + len(task("modular_chain").facts()) < 1000


@pytest.mark.parametrize("steps", [0, 13])
def test_steps_out_of_range(steps: int) -> None:
    with pytest.raises(ConfigError, match="word_problem has no problems of this many steps"):
        TASK.problem(random.Random(0), steps)
