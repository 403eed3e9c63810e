"""The last number and the last box of a reply, and what counts as the same answer."""

import gzip
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain.trainer.evaluation.questions import Question, final_box, final_number, from_record


@pytest.mark.parametrize(
    ("reply", "number"),
    [
        ("The answer is 18.", "18"),
        ("#### 1,234,567", "1,234,567"),
        ("costs $12.50 in all.", "12.50"),
        ("16-3=13", "13"),
        ("so 16-3", "3"),
        ("it fell to -7 degrees", "-7"),
        ("x = -0.5", "-0.5"),
        ("f(2)-1", "1"),
        ("1,2 and 3,45", "45"),
        ("none", None),
        ("", None),
        ("<think>\n5", None),
        ("<think>\n5</think>\n\nsix", None),
        ("<think>\n5</think>\n\n6 apples", "6"),
    ],
)
def test_the_last_number(reply: str, number: str | None) -> None:
    assert final_number(reply) == number


@pytest.mark.parametrize(
    ("reply", "box"),
    [
        (r"\boxed{5}", "5"),
        (r"so $\boxed{\frac{1}{2}}$, not \boxed.", r"\frac{1}{2}"),
        (r"first \boxed{1}, then \boxed{x^{2}+1}.", "x^{2}+1"),
        (r"\boxed 7.", "7"),
        (r"\boxed{\text{never closed}", None),
        (r"\boxed{1} and \boxed{2", "1"),
        ("17", None),
        (r"<think>\boxed{3}", None),
        (r"<think>\boxed{3}</think>\boxed{}", ""),
    ],
)
def test_the_last_box(reply: str, box: str | None) -> None:
    assert final_box(reply) == box


@given(
    st.recursive(st.text("ab\\ ", max_size=5), lambda inner: st.tuples(inner, inner).map(lambda p: f"{p[0]}{{{p[1]}}}"))
)
def test_a_box_holds_what_was_put_into_it(inner: str) -> None:
    assert final_box(f"text {{ \\boxed{{{inner}}} }} more") == inner


def judged(answer: str, by: str, reply: str) -> str:
    return Question("1", "?", answer, by).judge(reply).kind  # type: ignore[arg-type]


def test_answers_are_compared_by_value_or_spelling() -> None:
    assert judged("1000", "number", "it is 1,000.00") == "passed"
    assert judged("18", "number", "it is 81") == "wrong"
    assert judged("18", "number", "eighteen") == "no answer"
    assert judged(r"\frac{1}{2}", "boxed", r"\boxed{ \frac {1}{2} }") == "passed"
    assert judged(r"\frac{1}{2}", "boxed", r"\boxed{0.5}") == "wrong"
    assert judged("1000", "boxed", r"\boxed{1,000}") == "passed"
    assert judged("5", "boxed", "5") == "no answer"


def test_records_of_both_published_forms() -> None:
    gsm = from_record({"question": "How many?", "answer": "2+2=<<2+2=4>>4\n#### 4"}, "a")
    assert gsm == Question("a", "How many?", "4", "number")
    math = from_record({"problem": "What?", "solution": r"It is $\boxed{\sqrt{2}}$."}, "b")
    assert math == Question("b", "What?", r"\sqrt{2}", "boxed")
    assert from_record({"question": "What?", "answer": r"\sqrt{2}"}, "c") == Question(
        "c", "What?", r"\sqrt{2}", "boxed"
    )
    assert from_record({"question": "What?", "solution": "no box"}, "d") is None
    assert from_record({"question": "What?", "answer": " "}, "d") is None
    assert from_record({"question": 5, "answer": "5"}, "d") is None


@pytest.mark.parametrize(("name", "count"), [("gsm8k_test", 1319), ("math_test", 5000)])
def test_the_published_solutions_are_judged_right_and_others_wrong(
    benchmark_files: Path, name: str, count: int
) -> None:
    with gzip.open(benchmark_files / f"{name}.jsonl.gz", "rt") as stream:
        records = [json.loads(line) for line in stream]
    questions = [from_record(record, record["id"]) for record in records]
    assert len(questions) == count
    for question, record in zip(questions, records, strict=True):
        assert question is not None
        # GSM8K's solutions end in the calculation of the answer; behind it stands its unit at times.
        said = record["solution"] if question.by == "boxed" else f"{record['solution']}\n#### {record['answer']}"
        assert question.judge(said).kind == "passed"
        other = re.sub(r"[0-9]", lambda digit: str((int(digit.group()) + 1) % 10), question.answer) + "1"
        assert question.judge(f"{said} {other} \\boxed{{{other}}}").kind == "wrong"
