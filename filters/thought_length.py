"""The step `thought_length`: bounds on the length of a record's thoughts, and on how much longer they are than answers.

Traces of a line teach no reasoning and those of a book fit no sequence; a thought that is shorter than its answer was
often written after it.
Costs a pass over the messages, about 1 ns a byte.
"""

from functools import partial
from typing import ClassVar, Final

import numpy as np
from pydantic import Field, model_validator

from ..config import Count
from .document import DocumentBatch
from .rules import Filter, Rule, Scores
from .turns import counts, sums

SOURCE: Final = "the recipe"
_BOUNDS: Final = (
    ("characters", "min_characters", "max_characters"),
    ("words", "min_words", "max_words"),
    ("lines", "min_lines", "max_lines"),
    ("ratio", "min_ratio", "max_ratio"),
)


class ThoughtLength(Filter):
    """Keeps a record whose thoughts, taken together, lie within every bound, the bounds included.

    Characters are Unicode code points, words what stands between white space, lines what stands between line feeds.
    The ratio is that of the characters of thoughts to those of answers, an answer of none counting as one. A record
    without a thought has 0 for all of these, and is kept unless `need_thought` is set.
    """

    version: ClassVar[int] = 1
    bounds: ClassVar[tuple[str, ...]] = ("need_thought", *(option for _, *ends in _BOUNDS for option in ends))

    need_thought: bool = Field(default=False, description="whether a record without a thought is dropped")
    min_characters: Count | None = Field(default=None, ge=0, description="Unicode code points")
    max_characters: Count | None = Field(default=None, ge=0)
    min_words: Count | None = Field(default=None, ge=0, description="pieces between white space")
    max_words: Count | None = Field(default=None, ge=0)
    min_lines: Count | None = Field(default=None, ge=0, description="pieces between line feeds")
    max_lines: Count | None = Field(default=None, ge=0)
    min_ratio: float | None = Field(default=None, ge=0, description="characters of thought for one of answer")
    max_ratio: float | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _can_judge(self) -> "ThoughtLength":
        if not self.need_thought and all(getattr(self, option) is None for _, *ends in _BOUNDS for option in ends):
            raise ValueError("no bound is given: set at least one, such as min_words: 50, or need_thought: true")
        for name, low, high in _BOUNDS:
            least, most = getattr(self, low), getattr(self, high)
            if least is not None and most is not None and least > most:
                raise ValueError(f"no thought can pass {name}: {low} {least} is above {high} {most}")
        return self

    @property
    def rules(self) -> tuple[Rule, ...]:
        """`thoughts`, their number, and one rule for each measure."""
        return (
            Rule("thoughts", partial(self._score, "thoughts"), 1.0 if self.need_thought else None, None, SOURCE),
            *(
                Rule(name, partial(self._score, name), getattr(self, low), getattr(self, high), SOURCE, exempt=0.0)
                for name, low, high in _BOUNDS
            ),
        )

    def scores(self, batch: DocumentBatch) -> dict[str, Scores]:
        """float64[n] for each rule's name, from one pass over the messages."""
        thoughts, replies = batch.turns.thoughts, batch.turns.replies
        characters, words = counts(thoughts)
        said, _ = counts(replies)
        feeds = np.flatnonzero(thoughts.text == 10)
        lines = np.searchsorted(feeds, thoughts.stop) - np.searchsorted(feeds, thoughts.start)
        there = (thoughts.stop > thoughts.start).astype(np.int64)
        measured = {"thoughts": there, "characters": characters, "words": words, "lines": (lines + 1) * there}
        found = {name: sums(values, thoughts.ends).astype(np.float64) for name, values in measured.items()}
        return {**found, "ratio": found["characters"] / np.maximum(sums(said, replies.ends), 1)}

    def _score(self, name: str, batch: DocumentBatch) -> Scores:
        return self.scores(batch)[name]
