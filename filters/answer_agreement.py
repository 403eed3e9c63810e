"""The step `answer_agreement`: keeps reasoning records whose last reply ends in the gold answer.

A sampled trace is worth training on where it is right; whether it is, is decided by what the answers mean, and where
that cannot be told the record has a reason of its own, so that nobody takes it for a wrong one.
Costs 50 microseconds for a record with plain numbers, 10 to 100 milliseconds for a formula, in a process with limits.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import numpy as np
from pydantic import Field, field_validator

from ..config import Count
from . import exact_json
from .rules import Filter, Rule, Scores

if TYPE_CHECKING:
    from .answers import Checker, Verdict
    from .document import DocumentBatch

Kept = Literal["right", "cannot_tell", "no_answer", "no_gold"]

SOURCE: Final = "the recipe"
_LIMITS: Final = frozenset({"time", "memory", "crash", "too long"})
_SYMPY: Final = 300_000_000  # bytes that the keeper and its worker hold without a formula

# One row for each rule, in the order in which they are applied: what has to be in `keep` for a record that breaks it to
# be kept, and which verdicts break it.
_RULES: Final[tuple[tuple[str, Kept | None], ...]] = (
    ("gold", "no_gold"),
    ("answer", "no_answer"),
    ("within_limits", "cannot_tell"),
    ("decided", "cannot_tell"),
    ("agreement", None),
)


class AnswerAgreement(Filter):
    """Keeps a record whose final answer agrees with its gold answer.

    Each rule scores 1 or 0: `gold` is 0 where a record has no gold answer, `answer` where its last reply gives none,
    `within_limits` where a formula took more time or memory than it may, `decided` where it could be compared in no
    other way, `agreement` where the answers differ. A rule behind the first that is 0 is 1.

    The limit of time is of wall clock: on a machine that is much slower, a formula near it may be told or not.
    """

    version: ClassVar[int] = 4
    bounds: ClassVar[tuple[str, ...]] = ("keep",)

    gold: str = Field(default="answer", min_length=1, description="`answer`, or the key of the metadata that holds it")
    keep: tuple[Kept, ...] = Field(default=("right",), description="what is kept; always right answers")
    seconds: float = Field(default=3.0, gt=0, le=60, description="wall clock for a pair with formulas")
    memory_limit: Count = Field(default=512_000_000, ge=1 << 27, description="bytes that a formula may take")

    @field_validator("keep")
    @classmethod
    def _keeps_right(cls, keep: tuple[Kept, ...]) -> tuple[Kept, ...]:
        if "right" not in keep:
            raise ValueError("right is missing: the step cannot drop what agrees and keep what does not")
        return tuple(sorted(set(keep)))

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Five rules; what `keep` names has no bound."""
        return tuple(
            Rule(name, functools.partial(self._score, name), None if kept in self.keep else 1.0, None, SOURCE)
            for name, kept in _RULES
        )

    @property
    def memory(self) -> int:
        """The processes that compare formulas."""
        return _SYMPY + self.memory_limit

    def check(self) -> None:
        """Looks whether formulas can be compared.

        Raises:
            ConfigError: math-verify is not installed.
        """
        _checker(self.seconds, self.memory_limit)

    def scores(self, batch: DocumentBatch) -> dict[str, Scores]:
        """float64[n] for each rule's name, 0 or 1."""
        found = {name: np.ones(len(batch)) for name, _ in _RULES}
        for row, verdict in enumerate(self.verdicts(batch)):
            if (rule := _broken(verdict)) is not None:
                found[rule][row] = 0.0
        return found

    def verdicts(self, batch: DocumentBatch) -> list[Verdict]:
        """What is said of each of the n records."""
        from .answers import extract

        pairs = []
        for reply, gold in zip(_replies(batch), self._golds(batch), strict=True):
            answer, wanted = (extract(text or "") for text in (reply, gold))
            pairs.append((answer.answer if answer else None, wanted.answer if wanted else None))
        return _checker(self.seconds, self.memory_limit).agree_all(pairs)

    def _golds(self, batch: DocumentBatch) -> list[str | None]:
        if self.gold == "answer":
            return _texts(batch, "answer")
        return [_text(exact_json.loads(text).get(self.gold)) if text else None for text in _texts(batch, "metadata")]

    def _score(self, name: str, batch: DocumentBatch) -> Scores:
        return self.scores(batch)[name]


@functools.cache
def _checker(seconds: float, memory: int) -> Checker:
    """The process's checker with these limits; its own processes end when this one does."""
    from .answers import Checker

    return Checker(1, seconds, memory)


def _broken(verdict: Verdict) -> str | None:
    if verdict.value == "right":
        return None
    if verdict.value == "wrong":
        return "agreement"
    if verdict.reason in ("no gold", "no answer"):
        return verdict.reason.removeprefix("no ")
    return "within_limits" if verdict.reason in _LIMITS else "decided"


def _replies(batch: DocumentBatch) -> list[str | None]:
    """What the last turn of each record says, None where it is not the assistant's."""
    found = []
    for messages in batch.column("messages").to_pylist():
        last = messages[-1] if messages else None
        found.append(last["content"] if last is not None and last["role"] == "assistant" else None)
    return found


def _texts(batch: DocumentBatch, column: str) -> list[str | None]:
    found: list[str | None] = batch.column(column).to_pylist()
    return found


def _text(value: Any) -> str | None:
    """A gold answer that JSON holds as a text, a number or a truth value."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else str(value) if isinstance(value, int | float) else None
