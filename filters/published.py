"""Published: a filter whose rules are a table of names and the options that bound them, cited from one paper.

Most published rule sets are such a table, and what is made of it (rules with their sources, bounds as a kernel reads
them, the check that something can be kept) must not differ between them.
Costs nothing: a few objects per call.
"""

from functools import partial
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import model_validator

from .document import DocumentBatch
from .rules import Filter, Rule, Scores


class Published(Filter):
    """Keeps a document whose every score lies within its bounds, the bounds included; null takes a bound away.

    `rule_options` has a row for each rule, in the order in which they are applied: its name, and the option that is the
    smallest and the largest score that is kept (None where the rule has no such option). A rule without bounds stays
    among `rules`, so that a rule's number means the same in every recipe.
    """

    rule_options: ClassVar[tuple[tuple[str, str | None, str | None], ...]]
    paper: ClassVar[str]

    @property
    def rules(self) -> tuple[Rule, ...]:
        """One rule for each row of `rule_options`; its source is the paper where its options are as published."""
        return tuple(
            Rule(
                name,
                partial(self._score, name),
                self._bound(low),
                self._bound(high),
                self._source(low, high),
                self._exempt(name),
            )
            for name, low, high in self.rule_options
        )

    def bound_table(self) -> npt.NDArray[np.float64]:
        """float64[rules, 2]: the smallest and the largest score that is kept, infinite where there is no bound."""
        rows = [(self._bound(low), self._bound(high)) for _, low, high in self.rule_options]
        return np.array([[-np.inf if a is None else a, np.inf if b is None else b] for a, b in rows], np.float64)

    @model_validator(mode="after")
    def _can_keep_something(self) -> "Published":
        for name, low, high in self.rule_options:
            least, most = self._bound(low), self._bound(high)
            if least is not None and most is not None and least > most:
                raise ValueError(f"no document can pass {name}: {low} {least:g} is above {high} {most:g}")
        return self

    def _exempt(self, rule: str) -> float | None:
        """The score of that rule that is kept whatever the bounds are."""
        return None

    def _score(self, rule: str, batch: DocumentBatch) -> Scores:
        return self.scores(batch)[rule]

    def _bound(self, option: str | None) -> float | None:
        value = getattr(self, option) if option else None
        return None if value is None else float(value)

    def _source(self, low: str | None, high: str | None) -> str:
        published = all(
            getattr(self, option) == type(self).model_fields[option].default for option in (low, high) if option
        )
        return self.paper if published else f"the recipe; the rule is from {self.paper}"


def bounding(rule_options: tuple[tuple[str, str | None, str | None], ...]) -> tuple[str, ...]:
    """The options that bound a rule."""
    return tuple(option for _, *ends in rule_options for option in ends if option)


def shares(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> Scores:
    """part / whole for each of n documents, and 0 for a share of nothing: float64[n]."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


def judge_last(
    rule: int,
    bounds: npt.NDArray[np.float64],
    documents: npt.NDArray[np.int64],
    scores: Scores,
    rules: npt.NDArray[np.int16],
    values: Scores,
    thresholds: Scores,
) -> None:
    """Writes into a decision which of the documents that have broken no rule yet break the last one.

    Args:
        rule: the last rule's place.
        bounds: float64[2], the smallest and largest score that is kept.
        documents: int64[m], those that have broken no rule.
        scores: float64[m], theirs under this rule.
        rules, values, thresholds: int16[n], float64[n], float64[n], as in `Decision`; changed in place.
    """
    low, high = bounds
    broken = (scores < low) | (scores > high)
    documents, scores = documents[broken], scores[broken]
    rules[documents] = rule
    values[documents] = scores
    thresholds[documents] = np.where(scores < low, low, high)
