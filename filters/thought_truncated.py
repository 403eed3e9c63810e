"""The step `thought_truncated`: drops traces that were cut off, in the thought or before the answer behind it.

A trace without its end teaches a model to think and never to answer; readers say in the metadata which thoughts were
never closed, and samplers why they stopped.
Costs a search of the metadata; only metadata that names one of the reasons is parsed.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import numpy as np
import orjson
from pydantic import Field, field_validator

from .rules import Filter, Rule, Scores

if TYPE_CHECKING:
    from .document import DocumentBatch

Cause = Literal["closed", "answered", "finished"]

SOURCE: Final = "the recipe"
UNCLOSED: Final = "unclosed_thought"
"""What a reader of reasoning records calls a thought without its end, in the metadata's `repairs`."""

_RULES: Final[tuple[Cause, ...]] = ("closed", "answered", "finished")
_REASONS: Final = ("finish_reason", "finish_reasons", "stop_reason", "finishReason")  # fields of samplers
_ENDS: Final = """
length max_tokens max_length max_new_tokens model_length max_output_tokens max_completion_tokens
model_context_window_exceeded
"""
_CUT_OFF: Final = frozenset(_ENDS.split())


class ThoughtTruncated(Filter):
    """Keeps a record that was not cut off.

    Each rule scores 1 or 0: `closed` is 0 where the reader found a thought without its end, `answered` where a turn
    has a thought and no answer behind it, `finished` where the metadata's `finish_reason` (`finish_reasons`,
    `stop_reason`, `finishReason`; of a list all) says that the tokens ran out. Records without a thought are judged by
    the last alone.
    """

    version: ClassVar[int] = 2
    bounds: ClassVar[tuple[str, ...]] = ("allow",)

    allow: tuple[Cause, ...] = Field(default=(), description="rules that are measured and drop nothing")

    @field_validator("allow")
    @classmethod
    def _each_once(cls, allow: tuple[Cause, ...]) -> tuple[Cause, ...]:
        return tuple(sorted(set(allow)))

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Three rules; what `allow` names has no bound."""
        return tuple(
            Rule(name, partial(self._score, name), None if name in self.allow else 1.0, None, SOURCE) for name in _RULES
        )

    def scores(self, batch: DocumentBatch) -> dict[str, Scores]:
        """float64[n] for each rule's name, 0 or 1."""
        from .turns import sums

        thoughts, replies = batch.turns.thoughts, batch.turns.replies
        silent = (thoughts.stop > thoughts.start) & ~_visible(replies)
        found = {
            "closed": np.ones(len(batch)),
            "answered": (sums(silent.astype(np.int64), thoughts.ends) == 0).astype(np.float64),
            "finished": np.ones(len(batch)),
        }
        for row, metadata in _metadata(batch):
            found["closed"][row] = UNCLOSED not in (metadata.get("repairs") or ())
            found["finished"][row] = not any(_ran_out(metadata.get(name)) for name in _REASONS)
        return found

    def _score(self, name: str, batch: DocumentBatch) -> Scores:
        return self.scores(batch)[name]


def _visible(spans: Any) -> Any:
    """bool[m]: whether a text holds anything but white space."""
    from .turns import counts

    return counts(spans)[1] > 0


def _metadata(batch: DocumentBatch) -> list[tuple[int, dict[str, Any]]]:
    """The metadata that may say something, with its row."""
    import pyarrow.compute as pc

    column = batch.column("metadata")
    named = pc.match_substring_regex(column, f"{UNCLOSED}|{'|'.join(_REASONS)}")
    rows = np.flatnonzero(np.asarray(pc.fill_null(named, False), np.bool_)).tolist()
    return [(row, orjson.loads(column[row].as_py())) for row in rows]


def _ran_out(reason: object) -> bool:
    if isinstance(reason, list):
        return bool(reason) and all(_ran_out(one) for one in reason)
    return isinstance(reason, str) and reason.lower().rpartition(".")[2] in _CUT_OFF  # FinishReason.LENGTH
