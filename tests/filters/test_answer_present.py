"""A reply has to mark its answer; guesses count where they are asked for."""

from collections.abc import Callable

import pydantic
import pytest
from midtrain.filters.answer_present import AnswerPresent
from midtrain.filters.document import DocumentBatch

Make = Callable[..., DocumentBatch]
LONG = "I would add two and two, and then look at what comes out of it, which seems right to me. " * 4


@pytest.mark.parametrize(
    ("reply", "rule"),
    [
        (r"So it is \boxed{4}.", None),
        ("2+2\n#### 4", None),
        ("<answer>4</answer>", None),
        ("The answer is 4.", None),
        ("4", None),
        (" \n", "reply"),
        (LONG, "answer"),
        (f"{LONG} That makes 4 of them all together", "answer"),
    ],
)
def test_an_answer_is_marked(make_traces: Make, reply: str, rule: str | None) -> None:
    step = AnswerPresent()
    decision = step.decide(make_traces([("q", r"so \boxed{4}", reply)]))
    assert (step.rules[decision.rule[0]].name if not decision.keep[0] else None) == rule


def test_guesses_and_single_marks_are_options(make_traces: Make) -> None:
    batch = make_traces([("q", "t", f"{LONG} That makes 4 of them all together"), ("q", "t", r"\boxed{4}"), None])
    assert AnswerPresent(accept=("number", "boxed")).decide(batch).keep.tolist() == [True, True, False]
    assert AnswerPresent(accept=("hashes",)).decide(batch).keep.tolist() == [False, False, False]
    with pytest.raises(pydantic.ValidationError):
        AnswerPresent(accept=())


def test_the_last_turn_is_asked(make_traces: Make) -> None:
    turns = [{"role": "assistant", "content": text, "reasoning": None} for text in (r"\boxed{4}", LONG)]
    assert AnswerPresent().decide(make_traces([turns, turns[::-1]])).keep.tolist() == [False, True]


def test_solutions_of_gsm8k_all_have_one(real_traces: Make) -> None:
    assert AnswerPresent().decide(real_traces("gsm8k_gpt3_model_solutions")).keep.mean() > 0.995
