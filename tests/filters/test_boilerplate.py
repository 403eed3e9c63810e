"""Refusals, talk about itself and set phrases are counted where they are said, and nowhere else."""

from collections.abc import Callable

import pytest
from midtrain.filters.boilerplate import Boilerplate
from midtrain.filters.document import DocumentBatch

Make = Callable[..., DocumentBatch]


@pytest.mark.parametrize(
    ("thought", "reply", "rule"),
    [
        ("Add two and two to get four.", "It is 4.", None),
        (None, "It is 4.", None),
        ("Okay, so I need to add two and two.", "4", None),
        ("Add two and two to get four.", "I'm sorry, but I can't help with that.", "refusals"),
        (None, "I cannot assist with this request.", "refusals"),
        (None, "I’m unable to do sums.", "refusals"),
        (None, "**I'm sorry, but I can't help with that.**", "refusals"),
        (None, "I apologize, but I cannot fulfill this request.", "refusals"),
        (None, "Unfortunately, I can't help you with this.", "refusals"),
        (None, "Unfortunately, I cannot see a shorter way; so I count. 4", None),
        (None, "I cannot create a triangle with sides of 1, 2 and 5.", None),
        (None, "I can’t answer 7, because the sum is 8.", None),
        (None, "I can’t answer that.", "refusals"),
        (None, "I cannot generate such content.", "refusals"),
        (None, "He said: I cannot assist with this request.", None),
        (None, "As an AI language model, I have no opinion.", "self_talk"),
        ("As a large language model I add two and two.", "4", "self_talk"),
        (None, "It serves as an aid to memory.", None),
        (None, "4. I hope this helps!", None),
        ("...", "4", "thought_letters"),
        ("日本", "4", "thought_letters"),
        ("日本語で考えてみましょう。", "4", None),
    ],
)
def test_phrases_have_their_rules(make_traces: Make, thought: str | None, reply: str, rule: str | None) -> None:
    step = Boilerplate()
    decision = step.decide(make_traces([("I cannot help. As an AI?", thought, reply)]))
    assert (step.rules[decision.rule[0]].name if not decision.keep[0] else None) == rule


def test_closings_and_own_phrases_are_counted(make_traces: Make) -> None:
    batch = make_traces([("q", "Step by STEP (1), step by step (2).", "I hope this helps. Feel free to ask."), None])
    scores = Boilerplate(phrases=("step by step (", "a.c")).scores(batch)
    assert scores["closings"].tolist() == [2, 0]
    assert scores["phrases"].tolist() == [2, 0]
    assert scores["thought_letters"].tolist() == [22, 0]
    assert Boilerplate(phrases=("step by step",)).decide(batch).keep.tolist() == [False, True]
    assert Boilerplate(max_closings=1).decide(batch).keep.tolist() == [False, True]
    assert Boilerplate(min_thought_letters=None).decide(make_traces([("q", "…", "x")])).keep.all()


@pytest.mark.parametrize(
    ("reply", "opening", "closing"),
    [
        ("Sure!  Here it is:\n2 + 2 = 4.\n\nI hope\tthis HELPS. ", "sure!", "i hope this helps."),
        ("The answer is 1,234.5.", "the answer is #.", "the answer is #."),
        ("Let us see\n\nso it is 7", "let us see", "so it is #"),
        ("  ", "", ""),
        ("So:\n\\[ 4 \\]", "so:", ""),
        ("好。 是 3。", "好。", "是 #。"),
        ("é" * 700, "é" * 160, "é" * 160),
    ],
)
def test_a_reply_has_a_first_and_a_last_sentence(make_traces: Make, reply: str, opening: str, closing: str) -> None:
    found = Boilerplate().shared_texts(make_traces([("q", "Sure! A thought.", reply), None]))
    assert found == {"opening": [opening, ""], "closing": [closing, ""]}
