"""What a step says of one document, rule by rule: value, bounds, and which rule decided.

A run leaves a document at the first rule that it breaks and records that one; a person who asks why wants all of them.
Costs what the rules cost on one document, or nothing where its scores stand in columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from ..filters.document import DocumentBatch
from ..filters.rules import Decision, Filter
from . import scoring
from .judging import attempt, described, reasons
from .recipe import Step

KEPT, DROPPED, RAISED, NOT_REACHED = "kept", "dropped", "raised", "not reached"


@dataclass(frozen=True)
class RuleVerdict:
    """One rule of one document.

    Args:
        rule: its name.
        value: the document's; None where the rule has none, or it is not known.
        low, high: the bounds, None for none.
        verdict: `kept`, `dropped` (this rule did it), `breaks` (the value is outside, and an earlier rule had dropped
            the document), `outside` (the value is outside, and the step makes an exception), or empty where unknown.
        source: where the bounds come from.
    """

    rule: str
    value: float | None
    low: float | None
    high: float | None
    verdict: str
    source: str


@dataclass(frozen=True)
class StepVerdict:
    """One step of one document.

    Args:
        step: its name.
        place: which of the steps of that name it is, from 1.
        outcome: `kept`, `dropped`, `raised`, or `not reached`: an earlier step dropped the document, and the verdicts
            say what this one would have said.
        rules: in their order.
        partner: the document that was kept in its place; `partner_source` is its source, where the run recorded it,
            and `partner_became` says what became of it.
        error: what the step raised.
    """

    step: str
    place: int
    outcome: str
    rules: tuple[RuleVerdict, ...] = ()
    partner: str | None = None
    partner_source: str | None = None
    partner_became: str = ""
    error: str = ""

    @property
    def label(self) -> str:
        """The step's name, with its place where it is not the first of that name."""
        return self.step if self.place == 1 else f"{self.step}.{self.place}"


@dataclass
class Trail:
    """What is known of one document on its way.

    Args:
        source: that it comes from.
        part: the number of the part that it stands in.
        steps: the verdicts so far.
        ended: how it left the chain, for people; empty while it goes on.
        cause: the step that it left in, and the rule.
        notes: what one has to know to read the verdicts.
    """

    source: str
    part: int
    steps: list[StepVerdict] = field(default_factory=list)
    ended: str = ""
    cause: tuple[str, str] = ("", "")
    notes: list[str] = field(default_factory=list)

    def add(self, verdict: StepVerdict) -> None:
        """Takes a step's verdict; behind one that dropped the document it only says what it would have been."""
        if self.ended:
            verdict = replace(verdict, outcome=NOT_REACHED)
        elif verdict.outcome == DROPPED:
            rule = next(one.rule for one in verdict.rules if one.verdict == DROPPED)
            self.cause, self.ended = (verdict.step, rule), f"dropped by {verdict.label}.{rule}"
        elif verdict.outcome == RAISED:
            self.cause, self.ended = (verdict.step, ""), f"set aside: {verdict.label} raised an error"
        self.steps.append(verdict)


def by_columns(row: pa.RecordBatch, steps: Sequence[Step], trail: Trail) -> None:
    """Adds the verdicts of steps whose scores stand in the columns of the one row."""
    failed = row.column(scoring.FAILED)[0].as_py()
    for place, step, options in scoring.filters(steps):
        if trail.source not in step.sources:
            continue
        if failed is not None and place >= failed:
            if place == failed:
                trail.add(StepVerdict(step.name, step.place, RAISED, error=str(row.column(scoring.ERROR)[0].as_py())))
            continue
        decision, names = scoring.decide(row, step, options)
        values = {rule.name: scoring.value_of(row, step, rule.name) for rule in options.rules if options.scored}
        trail.add(_verdict(step, options, decision, names, values))


def by_text(document: pa.RecordBatch, steps: Sequence[Step], trail: Trail) -> pa.RecordBatch:
    """Adds the verdicts of steps on the text of the one document.

    Returns:
        The document behind the last step that could be asked.
    """
    batch = DocumentBatch(document)
    for _, step, options in scoring.filters(steps):
        if trail.source not in step.sources:
            continue
        if trail.ended and not options.scored:
            trail.add(StepVerdict(step.name, step.place, NOT_REACHED))
            trail.notes.append(f"{step.label} has no scores and may leave any text: what follows it is not known")
            break
        after, verdict = _asked(step, options, batch)
        trail.add(verdict)
        if after is None:
            break
        batch = after
    return batch.record_batch


def recorded(step: str, place: int, row: Mapping[str, object]) -> StepVerdict:
    """The verdict that the record of a dropped document holds."""
    value, threshold = (row[name] for name in ("value", "threshold"))
    low = high = None
    if isinstance(value, float) and isinstance(threshold, float):
        low, high = (threshold, None) if value < threshold else (None, threshold)
    known = value if isinstance(value, float) else None
    rule = RuleVerdict(str(row["rule"]), known, low, high, DROPPED, "")
    partner, source = (row.get(name) for name in ("partner", "partner_source"))
    partner, source = (None if one is None else str(one) for one in (partner, source))
    return StepVerdict(step, place, DROPPED, (rule,), partner, source)


def _asked(step: Step, options: Filter, document: DocumentBatch) -> tuple[DocumentBatch | None, StepVerdict]:
    """The one document as a step leaves it, None where it raises, and what it says."""
    if options.scored:
        ((after, scores),) = attempt(options, document, scoring.measured)
        if isinstance(scores, Exception):
            return None, StepVerdict(step.name, step.place, RAISED, error=described(scores))
        values = {name: float(score[0]) for name, score in scores.items()}
        decision = options.decide_scores(scores, 1)
        return after, _verdict(step, options, decision, reasons(options, decision), values)
    ((after, verdict),) = attempt(options, document)
    if isinstance(verdict, Exception):
        return None, StepVerdict(step.name, step.place, RAISED, error=described(verdict))
    return after, _verdict(step, options, verdict, reasons(options, verdict), {})


def _verdict(
    step: Step, options: Filter, decision: Decision, names: Sequence[str], values: Mapping[str, float]
) -> StepVerdict:
    """What a decision on one document says; `names` has the rule that drops it, if one does."""
    if not options.scored:
        if not names:
            return StepVerdict(step.name, step.place, KEPT)
        numbers = (float(one[0]) for one in (decision.value, decision.threshold))
        value, threshold = (one if np.isfinite(one) else None for one in numbers)
        return recorded(
            step.name, step.place, {"rule": names[0], "value": value, "threshold": threshold, "partner": None}
        )
    rules = []
    for rule in options.rules:
        value = values[rule.name]
        low, high = (None if bound is None else float(bound) for bound in (rule.low, rule.high))
        outside = bool(rule.breaks(np.array([value]))[0])
        verdict = KEPT if not outside else "breaks" if names else "outside"
        if names and rule.name == names[0]:
            verdict = DROPPED
        rules.append(RuleVerdict(rule.name, value, low, high, verdict, rule.source))
    return StepVerdict(step.name, step.place, DROPPED if names else KEPT, tuple(rules))
