"""Lengths of thoughts are Python's own counts, added up over a record's turns; a record without one is kept."""

from collections.abc import Callable

import numpy as np
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.filters.document import DocumentBatch
from midtrain.filters.thought_length import ThoughtLength

Make = Callable[..., DocumentBatch]
TEXT = st.text(st.sampled_from("ab 日\n\u3000é"), max_size=12)


def test_counts_are_those_of_python(make_traces: Make) -> None:
    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.lists(st.tuples(TEXT, TEXT), max_size=3), max_size=4))
    def check(records: list[list[tuple[str, str]]]) -> None:
        messages = [
            [{"role": "assistant", "content": reply, "reasoning": thought or None} for thought, reply in record]
            for record in records
        ]
        scores = ThoughtLength(min_words=1).scores(make_traces(messages))
        for row, record in enumerate(records):
            thoughts = [thought for thought, _ in record if thought]
            characters, answered = sum(map(len, thoughts)), sum(len(reply) for _, reply in record)
            assert scores["thoughts"][row] == len(thoughts)
            assert scores["characters"][row] == characters
            assert scores["words"][row] == sum(len(thought.split()) for thought in thoughts)
            assert scores["lines"][row] == sum(thought.count("\n") + 1 for thought in thoughts)
            assert scores["ratio"][row] == characters / max(answered, 1)

    check()


def test_bounds_are_included_and_records_without_a_thought_pass(make_traces: Make) -> None:
    step = ThoughtLength(min_words=2, max_ratio=2)
    batch = make_traces([("q", "one two", "three four"), ("q", "one", "two"), ("q", None, "x"), ("q", "a b c", "d")])
    decision = step.decide(batch)
    assert decision.keep.tolist() == [True, False, True, False]
    assert [step.rules[rule].name for rule in decision.rule if rule >= 0] == ["words", "ratio"]
    assert decision.value[3] == 5
    needed = ThoughtLength(need_thought=True)
    assert needed.decide(batch).keep.tolist() == [True, True, False, True]
    assert needed.decide(make_traces([None])).keep.tolist() == [False]


@pytest.mark.parametrize("options", [{}, {"min_words": 3, "max_words": 2}, {"min_ratio": 2.0, "max_ratio": 1.0}])
def test_what_cannot_judge_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(pydantic.ValidationError, match=r"no bound is given|no thought can pass"):
        ThoughtLength(**options)


def test_real_traces_are_as_long_as_they_are_said_to_be(real_traces: Make) -> None:
    batch = real_traces("r1_distill_long_think", {"transcript": "text"})
    scores = ThoughtLength(min_words=1).scores(batch)
    assert len(batch) == 500
    assert (scores["thoughts"] == 1).all()
    assert np.median(scores["characters"]) == 3081
    assert scores["characters"].sum() == sum(
        len(turn["reasoning"]) for own in batch.column("messages").to_pylist() for turn in own
    )
