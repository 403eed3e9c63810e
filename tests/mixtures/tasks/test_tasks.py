"""The streams: pure functions of their number, twins, nothing held out among them."""

import itertools
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import ConfigError
from midtrain.mixtures.tasks import Form, Record, evaluation_problems, generate, held_out, names, task

BOTH = ["modular_chain", "word_problem"]
FAMILIES = [
    "column_arithmetic",
    "comparisons",
    "date_arithmetic",
    "linear_equation",
    "linear_system",
    "list_program",
    "logic_grid",
    "modular_chain",
    "modular_inverse",
    "modular_power",
    "sorting",
    "string_program",
    "sum_of_products",
    "word_problem",
]


def drawn(form: Form, count: int, steps: tuple[int, ...] = (4, 5), seed: int = 7, start: int = 0) -> list[Record]:
    return list(generate(BOTH, form, steps, start, count, seed))


def test_the_families_are_the_modules_of_the_package() -> None:
    assert names() == FAMILIES
    assert [task(name).name for name in FAMILIES] == FAMILIES


@pytest.mark.parametrize(
    "name", ["word_problems", "../word_problem", "problem", "family", "gym", "word problem", "", "__init__"]
)
def test_an_unknown_family_is_an_error_that_names_those_known(name: str) -> None:
    with pytest.raises(ConfigError, match=f"expected: one of {', '.join(FAMILIES)}, or reasoning_gym.NAME"):
        task(name)


def test_the_nearest_family_is_suggested() -> None:
    with pytest.raises(ConfigError, match=r"did you mean word_problem\?"):
        task("wordproblem")


def test_a_worked_record_reasons_in_its_steps_and_answers_with_the_number() -> None:
    ids = set()
    for identifier, problem, messages in drawn("worked", 50):
        user, assistant = messages
        assert user == {"role": "user", "content": problem.statement, "reasoning": None}
        assert assistant == {"role": "assistant", "content": problem.answer, "reasoning": "\n".join(problem.steps)}
        assert len(problem.steps) in (4, 5)
        ids.add(identifier)
    assert len(ids) == 100


def test_answer_only_records_are_the_twins_of_the_worked_ones_in_the_same_order() -> None:
    worked, twins = drawn("worked", 300), drawn("answer_only", 300)
    assert [(identifier, problem) for identifier, problem, _ in worked] == [(i, p) for i, p, _ in twins]
    for (_, _, (user, reasoned)), (_, _, (same, bare)) in zip(worked, twins, strict=True):
        assert user == same
        assert bare == {**reasoned, "reasoning": None}


@given(start=st.integers(0, 40), count=st.integers(0, 40))
@settings(max_examples=20)
def test_a_record_depends_on_its_number_not_on_where_the_stream_was_cut(start: int, count: int) -> None:
    assert drawn("worked", count, start=start) == drawn("worked", 80)[2 * start : 2 * (start + count)]


def test_a_family_gives_the_same_records_alone_and_beside_another() -> None:
    alone = list(generate(["word_problem"], "worked", [5, 4], 0, 30, 7))
    assert alone == [record for record in drawn("worked", 30) if record[1].task == "word_problem"]


def test_records_are_the_same_in_every_process() -> None:
    script = "from midtrain.mixtures.tasks import generate, evaluation_problems\n"
    script += f"print(list(generate({BOTH}, 'worked', [4, 5], 0, 20, 7)))\n"
    script += "print(evaluation_problems('word_problem', [4], 5, 1))"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert outputs == {f"{drawn('worked', 20)}\n{evaluation_problems('word_problem', [4], 5, 1)}\n"}


def test_seeds_and_steps_give_other_problems_and_other_ids() -> None:
    streams = [drawn("worked", 50), drawn("worked", 50, seed=8), drawn("worked", 50, steps=(4,))]
    for one, other in itertools.combinations(streams, 2):
        assert not {i for i, _, _ in one} & {i for i, _, _ in other}
        assert [p for _, p, _ in one] != [p for _, p, _ in other]


@pytest.mark.parametrize("steps", [(1,), (1, 2), (4, 5)])
def test_no_record_is_a_problem_for_evaluation(steps: tuple[int, ...]) -> None:
    records = drawn("worked", 3500, steps=steps)
    assert len(records) == 7000
    assert not any(held_out(problem.statement) for _, problem, _ in records)
    assert not any(held_out(problem.core) for _, problem, _ in records)


@pytest.mark.parametrize("name", BOTH)
def test_evaluation_problems_are_held_out_distinct_and_never_trained_on(name: str) -> None:
    problems = evaluation_problems(name, [4, 5], 300, seed=1)
    statements = {problem.statement for problem in problems}
    assert len(statements) == len(problems) == 300
    assert all(held_out(statement) for statement in statements)
    assert {len(problem.steps) for problem in problems} == {4, 5}
    trained = [problem for _, problem, _ in generate([name], "worked", [4, 5], 0, 3000, 1)]
    assert not statements & {problem.statement for problem in trained}
    assert not {problem.steps for problem in problems} & {problem.steps for problem in trained}  # in no wording
    assert evaluation_problems(name, [5, 4], 100, seed=1) == problems[:100]
    assert evaluation_problems(name, [4, 5], 100, seed=2) != problems[:100]


def test_more_problems_than_a_family_has_is_an_error_with_their_number() -> None:
    exist = sum(held_out(fact.statement) for fact in task("modular_chain").facts())
    assert len(evaluation_problems("modular_chain", [1], exist, seed=1)) == exist > 0
    with pytest.raises(ConfigError, match=f"seen: +{exist} distinct held-out problems"):
        evaluation_problems("modular_chain", [1], exist + 1, seed=1)


def test_facts_come_round_after_round_each_once_in_another_order() -> None:
    records = list(generate(BOTH, "fact", [1], 0, 3, 7))
    known = [fact for name in BOTH for fact in task(name).facts()]
    rounds = [records[at : at + len(known)] for at in range(0, len(records), len(known))]
    assert len(rounds) == 3
    for one in rounds:
        assert sorted(problem.statement for _, problem, _ in one) == sorted(fact.statement for fact in known)
    assert len({tuple(problem.statement for _, problem, _ in one) for one in rounds}) == 3
    assert len({identifier for identifier, _, _ in records}) == len(records)
    assert all(
        messages[1] == {"role": "assistant", "content": problem.answer, "reasoning": None}
        for _, problem, messages in records
    )
    assert rounds[1] == list(generate(BOTH, "fact", [], 1, 1, 7))


@pytest.mark.parametrize(
    ("form", "steps", "message"),
    [
        ("worked", (), "no number of steps"),
        ("answer_only", (4, 4), "a number of steps stands twice"),
        ("fact", (4, 5), "facts have one step"),
        ("solved", (4,), "expected: worked, answer_only, fact"),
        ("worked", (0,), "expected: 1 to"),
        ("worked", (65,), "expected: 1 to"),
    ],
)
def test_bad_requests(form: Form, steps: tuple[int, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        next(generate(BOTH, form, steps, 0, 1, 1))


def test_a_negative_range_is_an_error() -> None:
    with pytest.raises(ConfigError, match="negative number of records"):
        generate(BOTH, "worked", [4], -1, 1, 1)
