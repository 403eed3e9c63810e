"""The turns of a batch are those of its messages, whatever slice of which buffers the batch is."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.filters.document import SCHEMA, DocumentBatch
from midtrain.filters.turns import counts, largest, sums, texts

TURN = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["system", "user", "assistant", "tool"]),
        "content": st.text(max_size=5),
        "reasoning": st.none() | st.text(min_size=1, max_size=5),
    }
)
MESSAGES = st.lists(st.none() | st.lists(TURN, max_size=4), max_size=6)


def said(messages: list[Any], role: str, field: str) -> list[list[str]]:
    return [[turn[field] or "" for turn in own or [] if turn["role"] == role] for own in messages]


def by_document(spans: Any) -> list[list[str]]:
    found, ends = texts(spans, np.arange(len(spans))), [0, *spans.ends.tolist()]
    return [found[start:stop] for start, stop in pairwise(ends)]


def test_turns_are_those_of_the_messages(make_traces: Callable[..., DocumentBatch]) -> None:
    @settings(max_examples=200, deadline=None)
    @given(MESSAGES, st.integers(0, 3), st.integers(0, 3))
    def check(messages: list[Any], before: int, behind: int) -> None:
        batch = make_traces(messages)
        stop = max(len(messages) - behind, 0)
        start = min(before, stop)
        part = DocumentBatch(batch.record_batch.slice(start, stop - start))
        own = messages[start:stop]
        turns = part.turns
        assert by_document(turns.thoughts) == said(own, "assistant", "reasoning")
        assert by_document(turns.replies) == said(own, "assistant", "content")
        assert by_document(turns.prompts) == said(own, "user", "content")
        last = [replies[-1:] for replies in said(own, "assistant", "content")]
        assert [texts(turns.replies, np.array([place]))[:] if place >= 0 else [] for place in turns.last] == last
        assert turns.thoughtful.tolist() == [any(thoughts) for thoughts in said(own, "assistant", "reasoning")]

    check()


def test_filtered_batches_have_their_own_turns(make_traces: Callable[..., DocumentBatch]) -> None:
    batch = make_traces([("a", "b", "c"), None, ("d", None, "e"), ("f", "g", "h")])
    assert batch.turns is batch.with_column("score.x", np.zeros(4)).turns
    kept = batch.keep(np.array([False, True, True, True]))
    assert by_document(kept.turns.thoughts) == [[], [""], ["g"]]
    changed = batch.with_column("messages", pa.nulls(4, SCHEMA.field("messages").type))
    assert by_document(changed.turns.thoughts) == [[], [], [], []]


def test_pieces_are_counted_and_added_up(make_traces: Callable[..., DocumentBatch]) -> None:
    messages = [{"role": "assistant", "content": "日本 a", "reasoning": None}] * 2
    batch = make_traces([messages, None, messages[:1]])
    characters, words = counts(batch.turns.replies)
    assert characters.tolist() == [4, 4, 4]
    assert words.tolist() == [2, 2, 2]
    assert sums(characters, batch.turns.replies.ends).tolist() == [8, 0, 4]
    assert largest(np.array([1.0, 3.0, 2.0]), batch.turns.replies.ends).tolist() == [3, 0, 2]
    assert counts(make_traces([]).turns.thoughts)[0].tolist() == []
