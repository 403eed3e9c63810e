"""Rule, Decision, Filter, Transform and Barrier: the forms that every step of a recipe takes.

A rule's score and the bounds that judge it are apart, so that a report can show what another threshold would have done
and a score can be kept as a column. A rule set may decide faster than by its scores, if the answer is the same.
Costs nothing but the scores: a decision is a few comparisons per document and rule.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..config import Section
from ..errors import RunError
from .document import DocumentBatch

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rule:
    """One measurable property of a document, and the values of it that are kept.

    Args:
        name: what reports and score columns call it.
        score: a batch of n documents to float64[n], never NaN.
        low: the smallest score that is kept, None for no such bound.
        high: the largest score that is kept, None for no such bound.
        source: where the bounds come from.
        exempt: one score that is kept although it lies outside the bounds.
    """

    name: str
    score: Callable[[DocumentBatch], Scores]
    low: float | None
    high: float | None
    source: str
    exempt: float | None = None

    def breaks(self, scores: Scores) -> npt.NDArray[np.bool_]:
        """bool[n]: which of the scores (float64[n]) are not kept."""
        outside = np.zeros(len(scores), np.bool_)
        if self.low is not None:
            outside |= scores < self.low
        if self.high is not None:
            outside |= scores > self.high
        return outside if self.exempt is None else outside & (scores != self.exempt)


@dataclass(frozen=True, eq=False)
class Decision:
    """What a rule set says about each document of a batch.

    Args:
        keep: bool[n].
        rule: int16[n], the place in `Filter.rules` of the first rule that the document breaks, -1 where it is kept.
        value: float64[n], the document's score under that rule, NaN where it is kept.
        threshold: float64[n], the bound that the score breaks, NaN where it is kept.
        reasons: what `rule` points into where the step has no table of rules: a reason has a name, but no score and
            no bound, and NaN for both.
    """

    keep: npt.NDArray[np.bool_]
    rule: npt.NDArray[np.int16]
    value: Scores
    threshold: Scores
    reasons: tuple[str, ...] | None = None


def first_broken(rules: tuple[Rule, ...], scores: dict[str, Scores], documents: int) -> Decision:
    """The decision that scores give: the first rule, in their order, that a document breaks.

    Args:
        rules: the rules, at most 32,767.
        scores: float64[n] for each rule's name.
        documents: n.

    Raises:
        RunError: a score is missing, has another length, or is NaN.
    """
    broken = np.full(documents, -1, np.int16)
    values, thresholds = np.full(documents, np.nan), np.full(documents, np.nan)
    for place, rule in enumerate(rules):
        score = scores.get(rule.name)
        if score is None or score.shape != (documents,):
            raise RunError(
                f"rule {rule.name} has no score for every document",
                seen=None if score is None else f"{list(score.shape)}",
                expected=f"[{documents}]",
            )
        if np.isnan(score).any():
            raise RunError(
                f"rule {rule.name} gives a score that is not a number", where=f"row {int(np.isnan(score).argmax())}"
            )
        new = (broken < 0) & rule.breaks(score)
        low, high = (np.nan if bound is None else bound for bound in (rule.low, rule.high))
        broken[new] = place
        values[new] = score[new]
        thresholds[new] = np.where(score[new] < low, low, high)
    return Decision(broken < 0, broken, values, thresholds)


class Filter(Section):
    """A step that looks at one document at a time; the options that a recipe may give are its fields.

    `version` is part of the fingerprint of what the step writes: raise it with every change of a score or decision.
    `bounds` names the options that another decision can be made with from scores that are there; every other option
    makes new scores. A step with `scored` False has its decision kept in place of scores, and no bounds.
    """

    version: ClassVar[int] = 1
    bounds: ClassVar[tuple[str, ...]] = ()  # options that scores are only compared with
    scored: ClassVar[bool] = True  # whether its decision follows from a score for each rule
    looked_up: ClassVar[float] = 0.0  # share of a text's bytes of which it looks chunks up in the process's cache

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules in the order in which they are applied."""
        raise NotImplementedError

    @property
    def needs_all(self) -> bool:
        """Whether it judges by columns that follow from all documents: the pipeline makes them in a barrier before."""
        return False

    @property
    def scoring(self) -> dict[str, Any]:
        """The options that columns and scores depend on, as plain JSON values: all but the bounds."""
        return self.model_dump(mode="json", exclude=set(self.bounds))

    @property
    def score_columns(self) -> tuple[str, ...]:
        """Names of the float64 columns that `annotate` adds."""
        return ()

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the files that the step reads beside the documents; what is in them is part of its fingerprint."""
        return ()

    @property
    def memory(self) -> int:
        """Bytes that a process holds for the step alone beside its documents: a model, a table."""
        return 0

    def check(self) -> None:
        """Looks at what only files can tell, before a run starts.

        Raises:
            ConfigError: a file that the options need is missing or does not fit them.
        """

    def annotate(self, batch: DocumentBatch) -> DocumentBatch:
        """The batch with the columns that the step adds; called before `scores` and `decide`."""
        return batch

    def shared_texts(self, batch: DocumentBatch) -> dict[str, list[str]]:
        """Of each of the n documents texts that others may share, by what they are, for a report; most have none."""
        return {}

    def scores(self, batch: DocumentBatch) -> dict[str, Scores]:
        """float64[n] for each rule's name."""
        return {rule.name: rule.score(batch) for rule in self.rules}

    def measure(self, batch: DocumentBatch) -> tuple[DocumentBatch, dict[str, Scores]]:
        """The n documents as the step leaves them, and float64[n] for each rule's name."""
        annotated = self.annotate(batch)
        return annotated, self.scores(annotated)

    def decide(self, batch: DocumentBatch) -> Decision:
        """Which of the n documents are kept, and for the others the first rule that they break."""
        return self.decide_scores(self.scores(batch), len(batch))

    def decide_scores(self, scores: dict[str, Scores], documents: int) -> Decision:
        """What `decide` says of documents with these scores, which may have been computed with other bounds.

        Args:
            scores: float64[n] for each rule's name.
            documents: n.
        """
        return first_broken(self.rules, scores, documents)


class Transform(Filter):
    """A step that rewrites texts and looks at one document at a time; what it keeps goes on with its new text.

    Decision and scores are of the texts as they came. A document's `messages` do not follow its text, so a text that
    was made of messages must stay as it is; the pipeline sees to that.
    """

    @property
    def rewrites(self) -> bool:
        """Whether a text may change: then a recipe cannot apply the step to sources that have messages."""
        return True

    def apply(self, batch: DocumentBatch) -> DocumentBatch:
        """The n documents in their order with their new texts, those included that `decide` does not keep."""
        raise NotImplementedError

    def measure(self, batch: DocumentBatch) -> tuple[DocumentBatch, dict[str, Scores]]:
        """As every filter's, with the new texts; the scores are of the texts as they came."""
        annotated, scores = super().measure(batch)
        return self.apply(annotated), scores

    def rewrite(self, batch: DocumentBatch) -> tuple[DocumentBatch, Decision]:
        """`apply` and `decide` of one batch; the text of a document that is not kept may be any."""
        return self.apply(batch), self.decide(batch)


class Barrier(Section):
    """A step that has to see all documents before it can say anything about one; the pipeline makes the exchange.

    `version` is part of the fingerprint of what the step writes: raise it with every change of a decision. `unrecorded`
    names the options that are no part of it: those that only say when a run is to fail, and an index, whose version is.
    """

    version: ClassVar[int] = 1
    rewrites: ClassVar[bool] = False  # whether a text may change: then no source may be made of messages
    unrecorded: ClassVar[frozenset[str]] = frozenset()

    def check(self) -> None:
        """Looks at what no single option can tell, before a run starts.

        Raises:
            ConfigError: the options do not fit each other, or a file that they need.
        """
