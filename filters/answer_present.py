r"""The step `answer_present`: keeps records whose last reply says what its answer is.

A trace that ends without an answer cannot be verified, and one that gives it in the thought alone teaches to stop
there. What counts is a mark that a writer sets: `\boxed`, `####`, <answer>, "The answer is"; the last number of a
text is a guess, and has to be asked for.
Costs 10 to 50 microseconds a record.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final, Literal

import numpy as np
from pydantic import Field, field_validator

from .rules import Filter, Rule, Scores

if TYPE_CHECKING:
    from .document import DocumentBatch

Mark = Literal[
    "boxed", "hashes", "tag", "heading", "said", "label", "letter", "bold", "predicate", "whole", "math", "number"
]

SOURCE: Final = "the recipe"
_ALL: Final[tuple[Mark, ...]] = ("boxed", "hashes", "tag", "heading", "said", "label", "letter", "bold", "whole")


class AnswerPresent(Filter):
    """Keeps a record whose last turn is the assistant's, says something, and marks its answer.

    Each rule scores 1 or 0: `reply` is 0 where there is no reply, or white space alone; `answer` where it marks no
    answer in one of the ways in `accept`: `boxed`, `hashes` (####), `tag` (<answer>), `heading`, `said` ("the answer
    is"), `label` (A:), `letter` (of a choice), `bold` (at the end), `whole` (a reply short enough to be one), and the
    guesses `predicate` ("The statement is true."), `math` (the last formula) and `number` (the last number).
    """

    version: ClassVar[int] = 4

    accept: tuple[Mark, ...] = Field(default=_ALL, min_length=1, description="what counts as an answer")

    @field_validator("accept")
    @classmethod
    def _each_once(cls, accept: tuple[Mark, ...]) -> tuple[Mark, ...]:
        return tuple(sorted(set(accept)))

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Two rules."""
        return tuple(Rule(name, partial(self._score, name), 1.0, None, SOURCE) for name in ("reply", "answer"))

    def scores(self, batch: DocumentBatch) -> dict[str, Scores]:
        """float64[n] for each rule's name, 0 or 1."""
        from .answers import extract
        from .turns import texts

        last = batch.turns.last
        rows = np.flatnonzero(last >= 0)
        found = {"reply": np.zeros(len(batch)), "answer": np.zeros(len(batch))}
        for row, reply in zip(rows.tolist(), texts(batch.turns.replies, last[rows]), strict=True):
            found["reply"][row] = bool(reply.strip())
            answer = extract(reply)
            found["answer"][row] = answer is not None and answer.rule in self.accept
        return found

    def _score(self, name: str, batch: DocumentBatch) -> Scores:
        return self.scores(batch)[name]
