"""The step `thought_repetition`: drops traces that go round in circles.

A model that loops until its tokens run out is the commonest fault of sampled traces, and training on one teaches the
loop. Shares of lines, sentences and n-grams that stood before find it anywhere; the period of a thought's end finds it
whatever it is made of, one word over and over included.
Costs about 10 ns a byte of thought.
"""

from functools import partial
from typing import Annotated, ClassVar, Final

import numpy as np
from pydantic import Field

from .document import DocumentBatch, Spans
from .rules import Filter, Rule, Scores
from .turns import largest

SOURCE: Final = "the recipe; the defaults are set on real traces, see docs"
_MEASURES: Final = ("duplicate_lines", "duplicate_sentences", "duplicate_ngrams", "tail")  # in the kernel's order
_Share = Annotated[float, Field(ge=0, le=1)]


class ThoughtRepetition(Filter):
    """Keeps a record of which no thought repeats more than the bounds allow; each is of the worst thought.

    `tail` is the share of a thought that its longest periodic end takes: one that says its period four times or more,
    in 100 bytes at least, all digits being alike. Words of n-grams stand between white space; each sign of Chinese and
    Japanese is one. Records without a thought have 0 everywhere.
    """

    version: ClassVar[int] = 2
    bounds: ClassVar[tuple[str, ...]] = (
        "max_duplicate_lines", "max_duplicate_sentences", "max_duplicate_ngrams", "max_tail",
    )  # fmt: skip

    max_duplicate_lines: _Share | None = Field(default=0.3, description="share of bytes in lines that stood before")
    max_duplicate_sentences: _Share | None = Field(
        default=0.3, description="share of bytes in sentences that stood before"
    )
    max_duplicate_ngrams: _Share | None = Field(default=0.4, description="share of words in n-grams that stood before")
    max_tail: _Share | None = Field(default=0.05, description="share of the thought in a periodic end")
    ngram: int = Field(default=8, ge=2, le=64, description="words of an n-gram")
    replies: bool = Field(default=False, description="whether the replies are measured too")

    @property
    def rules(self) -> tuple[Rule, ...]:
        """One rule for each measure; a bound of null takes it away."""
        return tuple(
            Rule(name, partial(self._score, name), None, getattr(self, f"max_{name}"), SOURCE) for name in _MEASURES
        )

    def scores(self, batch: DocumentBatch) -> dict[str, Scores]:
        """float64[n] for each rule's name, from one pass over the thoughts."""
        turns = batch.turns
        values = self._measure(turns.thoughts)
        if self.replies:
            values = np.maximum(values, self._measure(turns.replies))
        return {name: largest(values[:, place], turns.thoughts.ends) for place, name in enumerate(_MEASURES)}

    def _measure(self, spans: Spans) -> Scores:
        """float64[m, 4]: what the kernel says of m texts."""
        from .kernels import loop_kernels

        longest = int((spans.stop - spans.start).max(initial=0))
        values = np.zeros((len(spans), loop_kernels.MEASURES))
        fail, table = np.empty(longest + 1, np.int32), np.empty(2 * loop_kernels.room(longest), np.uint64)
        loop_kernels.measure(spans.text, spans.start, spans.stop, self.ngram, fail, table, values)
        return values

    def _score(self, name: str, batch: DocumentBatch) -> Scores:
        return self.scores(batch)[name]
