"""How an answer is read, and which statements are held out."""

import random

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from midtrain.errors import ConfigError
from midtrain.mixtures.tasks import generate, task
from midtrain.mixtures.tasks.problem import check_steps, held_out, integer_answer


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("7", "7"),
        ("  7 \n\n", "7"),
        ("-12", "-12"),
        ("0", "0"),
        ("3 * 3 = 9\n9 + 1 = 0\n</think>\n\n10", "10"),
        ("<think>\n3 * 3 = 9\n</think>\n\n 9\n", "9"),
        ("<think>\n</think>\nSo:\n42", "42"),
        ("</think>3</think>4", "4"),
        ("007", None),
        ("-0", None),
        ("+7", None),
        ("7.", None),
        ("7 8", None),
        ("1_0", None),
        ("٣", None),
        ("the answer is 7", None),
        ("7\nnuts", None),
        ("3 * 3 = 9\n</think>\n\n", None),
        ("<think>\n3 * 3 = 9\n9", None),
        ("3 * 3 = 9", None),
        ("", None),
        (" \n ", None),
    ],
)
def test_the_answer_is_a_bare_integer_on_the_last_line(reply: str, answer: str | None) -> None:
    assert integer_answer(reply) == answer


@given(value=st.integers(-(10**6), 10**6), reasoning=st.text(), space=st.text(alphabet=" \t\n", max_size=5))
def test_any_closed_reasoning_before_the_answer_is_passed_over(value: int, reasoning: str, space: str) -> None:
    assert integer_answer(f"<think>\n{reasoning}\n</think>{space}\n{value}{space}") == str(value)


@given(st.text())
def test_what_is_parsed_is_always_the_canonical_form_of_an_integer(reply: str) -> None:
    answer = integer_answer(reply)
    assert answer is None or (answer in reply and str(int(answer)) == answer)


@pytest.mark.parametrize("name", ["modular_chain", "word_problem"])
def test_verify_accepts_the_answer_and_nothing_else(name: str) -> None:
    family = task(name)
    problem = family.problem(random.Random(3), 4)
    worked = "\n".join(problem.steps)
    assert family.verify(problem, f"{worked}\n</think>\n\n{problem.answer}")
    assert family.verify(problem, problem.answer)
    assert not family.verify(problem, str(int(problem.answer) + 1))
    assert not family.verify(problem, f"0{problem.answer}")
    assert not family.verify(problem, f"<think>\n{worked}")
    assert not family.verify(problem, worked)
    assert not family.verify(problem, "")


@given(st.text())
def test_held_out_is_the_hash_of_the_statement_modulo_20(statement: str) -> None:
    assert held_out(statement) == (xxhash.xxh3_64(statement.encode("utf-8")).intdigest() % 20 == 0)


def test_one_statement_in_twenty_is_held_out() -> None:
    share = sum(held_out(f"statement {i}") for i in range(20_000)) / 20_000
    assert 0.045 < share < 0.055


def test_held_out_never_changes() -> None:
    # A change of the rule would put problems that models were trained on into their evaluation.
    assert [i for i in range(60) if held_out(str(i))] == [2, 51, 57]


@pytest.mark.parametrize("steps", [0, -1, 6])
def test_a_number_of_steps_out_of_range_is_named(steps: int) -> None:
    with pytest.raises(ConfigError, match=rf"seen: +{steps}\n +expected: +1 to 5"):
        check_steps("chains", steps, 5)


@pytest.mark.parametrize(
    ("name", "version", "digest"),
    [
        *(("modular_chain", 1, "1567dec0547b60d6"), ("word_problem", 1, "a7a0b67d09bda52f")),
        ("column_arithmetic", 1, "f297cf37ddc0d12f"),
        ("comparisons", 1, "8e99f0e654bdf8a6"),
        ("date_arithmetic", 1, "fed731f7e6f433f8"),
        ("linear_equation", 1, "d43d14ad12357e30"),
        ("linear_system", 1, "171dfa57a509aee3"),
        ("list_program", 1, "5574188ab00c15b2"),
        ("logic_grid", 2, "0dc0e27e6394cbcb"),
        ("modular_inverse", 1, "a3b13a022fdedc18"),
        ("modular_power", 1, "e6f908a550e2aef6"),
        ("sorting", 1, "e2de159b4183f274"),
        ("string_program", 1, "79c61abf2e0d1355"),
        ("sum_of_products", 2, "bb550e51e7ba61e1"),
    ],
)
def test_what_is_generated_changes_only_with_the_version(name: str, version: int, digest: str) -> None:
    """If this fails, raise the family's `version`: outputs that were curated before would be taken for the new ones."""
    told = [problem for _, problem, _ in generate([name], "worked", [1, 4, 5], 0, 200, seed=1)]
    facts = task(name).facts() if name in ("modular_chain", "word_problem") else ()
    assert task(name).version == version
    assert xxhash.xxh3_64_hexdigest(repr((told, facts)).encode()) == digest
