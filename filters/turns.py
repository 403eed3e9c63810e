"""The turns of a batch's messages as offsets into the Arrow buffers: thoughts, replies, prompts.

Filters of traces judge the thought and the answer apart, which a document's text holds joined; a Python object for
each turn would cost more than what they measure.
Costs a comparison of each turn's role and 32 bytes an assistant's turn; no text is copied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from .document import Spans
from .texts import text_view

if TYPE_CHECKING:
    from .rules import Scores

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Turns:
    """What the n documents of a batch say, by turn.

    Args:
        thoughts: the reasoning of each assistant turn, of no bytes where there is none.
        replies: the content of the same turns, in the same order.
        prompts: the content of each user turn.
        last: int64[n], which of the assistant turns is each document's last; -1 where it has none.
        thoughtful: bool[n], whether any turn of the document has a reasoning.
    """

    thoughts: Spans
    replies: Spans
    prompts: Spans
    last: Int64
    thoughtful: npt.NDArray[np.bool_]


def find_turns(messages: pa.Array[Any]) -> Turns:
    """The turns of a column of messages, n rows; a null row has none."""
    lengths = np.asarray(pc.fill_null(pc.list_value_length(messages), 0), np.int64)
    starts = np.asarray(messages.offsets, np.int64)[:-1]
    ends = np.cumsum(lengths)
    places = np.arange(int(lengths.sum())) + np.repeat(starts - (ends - lengths), lengths)
    values = messages.values
    roles = values.field("role")
    assistant, user = (
        np.asarray(pc.fill_null(pc.equal(roles, role), False), np.bool_)[places] for role in ("assistant", "user")
    )
    own = np.concatenate([[0], np.cumsum(assistant)])[ends]
    thoughts = _spans(values.field("reasoning"), places[assistant], own)
    last = np.where(np.diff(own, prepend=0) > 0, own - 1, -1)
    asked = np.concatenate([[0], np.cumsum(user)])[ends]
    return Turns(
        thoughts,
        _spans(values.field("content"), places[assistant], own),
        _spans(values.field("content"), places[user], asked),
        last,
        sums(thoughts.stop - thoughts.start, own) > 0,
    )


def _spans(texts: pa.Array[Any], places: Int64, ends: Int64) -> Spans:
    """The texts at some places, as spans of the buffer; null as no bytes."""
    data, offsets = text_view(texts)
    valid = np.asarray(texts.is_valid(), np.bool_)[places]
    start = offsets[places]
    return Spans(start, np.where(valid, offsets[places + 1], start), ends, data)


def owners(ends: Int64) -> Int64:
    """int64[m]: the document of each of m pieces; `ends` as in `Spans`."""
    return np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))


def sums(values: npt.NDArray[Any], ends: Int64) -> npt.NDArray[Any]:
    """[n]: the sum of each document's pieces (values: [m])."""
    total = np.concatenate([np.zeros(1, values.dtype), np.cumsum(values)])
    return np.asarray(np.diff(total[ends], prepend=total[:1]))


def largest(values: Scores, ends: Int64) -> Scores:
    """float64[n]: the largest value of each document's pieces (float64[m]), 0 where it has none."""
    found = np.zeros(len(ends))
    np.maximum.at(found, owners(ends), values)
    return found


def counts(spans: Spans) -> tuple[Int64, Int64]:
    """Characters (code points) and words (pieces between white space) of m spans: int64[m] each."""
    from .kernels import length_kernels

    if not len(spans):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    bounds = np.stack([spans.start, spans.stop], axis=1).ravel()
    characters, words = length_kernels.count(spans.text, np.ascontiguousarray(bounds))
    return characters[::2], words[::2]


def texts(spans: Spans, places: Int64) -> list[str]:
    """Some of the spans as strings."""
    view = spans.text.data
    pairs = zip(spans.start[places].tolist(), spans.stop[places].tolist(), strict=True)
    return [str(view[start:stop], "utf-8") for start, stop in pairs]
