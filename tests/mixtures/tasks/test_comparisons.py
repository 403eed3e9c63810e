"""Comparisons: every sentence holds for the numbers that the lines find, and stands in any order."""

import random
import re
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from midtrain.mixtures.tasks.comparisons import TASK
from midtrain.mixtures.tasks.problem import Problem


def holds(sentence: str, has: dict[str, int]) -> bool:
    """Whether a sentence is true, read without the family's own code."""
    people = [word for word in re.findall(r"[A-Z][a-z]+", sentence) if word in has]
    n = int(re.search(r"\d+", sentence)[0])
    if sentence.startswith("If"):
        return has[people[0]] - n == has[people[-1]]
    if sentence.startswith("With"):
        return has[people[0]] + n == has[people[-1]]
    if sentence.startswith("For each"):
        return has[people[1]] == n * has[people[0]]
    if len(people) == 1:
        return has[people[0]] == n
    x, y = (has[one] for one in people)
    return {"more": x == y + n, "fewer": x == y - n, "times": x == n * y}[re.search("more|fewer|times", sentence)[0]]


@given(seed=st.integers(), comparisons=st.integers(1, 8))
def test_every_sentence_holds_for_what_is_found(seed: int, comparisons: int) -> None:
    problem = TASK.problem(random.Random(seed), comparisons)
    *sentences, question, _ = re.split(r"(?<=[.?]) ", problem.statement)
    assert len(sentences) == comparisons + 1
    (start,) = (one for one in sentences if len(re.findall(r"\b[A-Z][a-z]+", one)) == 1)
    has = {re.match(r"[A-Z][a-z]+", start)[0]: int(re.search(r"\d+", start)[0])}
    for line in problem.steps:
        expression, _, result = line.partition(": ")[2].partition(" = ")
        assert eval(expression) == int(result)
        if not line.startswith("together"):
            has[line.partition(":")[0]] = int(result)
    assert all(holds(one, has) for one in sentences)
    asked = re.findall(r"[A-Z][a-z]+", question.replace("How", "").replace("What", ""))
    assert problem.answer == str(has[asked[0]] if asked else sum(has.values()))


def test_the_number_that_is_given_stands_anywhere() -> None:
    rng = random.Random(5)
    places = Counter()
    for _ in range(400):
        sentences = TASK.problem(rng, 3).statement.split(". ")
        places[next(at for at, one in enumerate(sentences) if re.fullmatch(r"\w+ (has|owns) \d+ \w+", one))] += 1
    assert set(places) == {0, 1, 2, 3}
    assert min(places.values()) > 50


def test_a_solution_by_hand_is_accepted() -> None:
    statement = (
        "Hugo has 3 times as many beads as Kira. With 2 beads more, Luis would have as many as Hugo. Kira has 4 beads."
        " How many beads are there together? Answer with an integer."
    )
    problem = Problem("comparisons", statement, (), "26", statement)
    assert TASK.check_solution(problem, "Hugo: 4 * 3 = 12\nLuis: 12 - 2 = 10\ntogether: 4 + 12 + 10 = 26\n26")
    assert not TASK.check_solution(problem, "Hugo: 4 * 3 = 12\nLuis: 12 + 2 = 14\ntogether: 4 + 12 + 14 = 30\n30")
    assert TASK.resolve(statement.replace("as Kira", "as Dario")) is None
    assert TASK.resolve(statement.replace("4 beads", "4 badges")) is None
