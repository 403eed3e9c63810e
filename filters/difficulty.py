"""The step `difficulty`: keeps records whose problem is solved as often as it should be.

A problem that a model always solves teaches it nothing, and one that it never solves is out of reach or wrong. Corpora
say how often it was solved when it was sampled, or hold the samples: then the rate is the share of a problem's traces
that end in the gold answer. A record without a rate has a reason of its own.
Costs a microsecond a record; from answers, what `answer_agreement` and the statements of `problem_dedup` cost, and a
barrier in front of the step.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import numpy as np
import orjson
from pydantic import Field, model_validator

from ..config import Count
from ..errors import RunError
from .document import SCORE_PREFIX, place
from .pass_rate import is_stated, pass_rate
from .rules import Filter, Rule, Scores

if TYPE_CHECKING:
    from .answer_agreement import AnswerAgreement
    from .document import DocumentBatch

SOURCE: Final = "the recipe"
UNKNOWN: Final = -1.0
SOLVED: Final = (
    f"{SCORE_PREFIX}difficulty.solved"  # share of a problem's traces that are right, null where none is told
)
TRACES: Final = f"{SCORE_PREFIX}difficulty.traces"  # that it is a share of

_ONLY: Final = {
    "metadata": ("field", "of"),
    "answers": ("gold", "no_answer", "min_traces", "seconds", "memory_limit"),
}


class Difficulty(Filter):
    """Keeps a record whose problem's pass rate lies between `low` and `high`, both included.

    Rule `known` scores 0 where there is no pass rate and 1 elsewhere; rule `pass_rate` scores the rate, -1 where there
    is none. In the metadata a rate is a number, also as text, or a list with the outcome of each sample: truth values
    or numbers; "n/a" and its kind say that none is stated.

    From answers, records of one statement (the same words, numbers, formulas and brackets in their normal form) are
    traces of one problem, whatever their sources, and the rate is the share of right ones among those whose answer can
    be told from the gold one; all traces of a problem have its rate. Copies of a trace count as often as they stand
    there. Where one statement has two gold answers, each trace is held against its own.
    """

    version: ClassVar[int] = 2
    bounds: ClassVar[tuple[str, ...]] = ("low", "high", "missing")

    from_: Literal["metadata", "answers"] = Field(
        default="metadata", alias="from", description="what says how often a problem was solved"
    )
    field: str = Field(default="pass_rate", min_length=1, description="the key of the metadata that holds it")
    of: float = Field(default=1.0, gt=0, description="the value of a problem that is always solved: 100 for percent")
    gold: str = Field(default="answer", min_length=1, description="`answer`, or the key of the metadata that holds it")
    no_answer: Literal["wrong", "left_out"] = Field(
        default="wrong", description="what a trace that gives no answer counts as"
    )
    min_traces: Count = Field(default=2, ge=1, description="traces that can be told from which on a rate is known")
    seconds: float = Field(default=3.0, gt=0, le=60, description="wall clock for a pair of answers with formulas")
    memory_limit: Count = Field(default=512_000_000, ge=1 << 27, description="bytes that a formula may take")
    low: float = Field(default=0.0, ge=0, le=1)
    high: float = Field(default=1.0, ge=0, le=1)
    missing: Literal["drop", "keep"] = Field(default="drop", description="what becomes of a record without a pass rate")

    @model_validator(mode="after")
    def _fits_together(self) -> Difficulty:
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}: no pass rate lies between")
        for origin, names in _ONLY.items():
            misplaced = [name for name in names if name in self.model_fields_set]
            if origin != self.from_ and misplaced:
                raise ValueError(f"{misplaced[0]} belongs to from: {origin}, and the rates are from {self.from_}")
        return self

    @property
    def needs_all(self) -> bool:
        """Where the rates are from answers."""
        return self.from_ == "answers"

    @property
    def agreement(self) -> AnswerAgreement:
        """The step that tells right traces from wrong ones."""
        from .answer_agreement import AnswerAgreement

        return AnswerAgreement(gold=self.gold, seconds=self.seconds, memory_limit=self.memory_limit)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Two rules."""
        known = Rule("known", partial(self._score, "known"), 1.0 if self.missing == "drop" else None, None, SOURCE)
        rate = partial(self._score, "pass_rate")
        return known, Rule("pass_rate", rate, self.low, self.high, SOURCE, exempt=UNKNOWN)

    @property
    def score_columns(self) -> tuple[str, ...]:
        """From answers `SOLVED` and `TRACES`."""
        return (SOLVED, TRACES) if self.needs_all else ()

    def check(self) -> None:
        """Looks whether answers can be compared.

        Raises:
            ConfigError: they are to be, and math-verify is not installed.
        """
        if self.needs_all:
            self.agreement.check()

    def scores(self, batch: DocumentBatch) -> dict[str, Scores]:
        """float64[n] for each rule's name.

        Raises:
            RunError: a pass rate is no share of `of`; from answers, nobody has counted them.
        """
        rates = self._counted(batch) if self.needs_all else self._told(batch)
        return {"known": (rates != UNKNOWN).astype(np.float64), "pass_rate": rates}

    def _counted(self, batch: DocumentBatch) -> Scores:
        names = batch.record_batch.schema.names
        if TRACES not in names or batch.column(TRACES).null_count:
            raise RunError(
                "the traces of a problem were not counted",
                where="difficulty with from: answers",
                seen=f"no {TRACES}",
                fix="this is a fault of midtrain: please report it with the recipe",
            )
        solved, traces = (np.asarray(batch.column(name).fill_null(UNKNOWN), np.float64) for name in (SOLVED, TRACES))
        return np.where(traces >= self.min_traces, solved, UNKNOWN)

    def _told(self, batch: DocumentBatch) -> Scores:
        rates = np.full(len(batch), UNKNOWN)
        for row, text in enumerate(batch.column("metadata").to_pylist()):
            value = orjson.loads(text).get(self.field) if text else None
            if is_stated(value):
                rates[row] = self._rate(value, row, batch)
        return rates

    def _rate(self, value: Any, row: int, batch: DocumentBatch) -> float:
        rate = pass_rate(value, self.of)
        if rate is not None:
            return rate
        raise RunError(
            f"{self.field} is no pass rate",
            where=place(batch.record_batch, row),
            seen=repr(value)[:100],
            expected=f"a number from 0 to {self.of:g}, or a list of outcomes",
            fix="name another field, say in `of` which value stands for always solved, or take rates from: answers",
        )

    def _score(self, name: str, batch: DocumentBatch) -> Scores:
        return self.scores(batch)[name]
