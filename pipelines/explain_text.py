"""What `explain` prints: a table of verdicts for each document, and the same as data."""

from collections.abc import Sequence
from dataclasses import asdict

from ..tables import Table, columns
from .verdicts import KEPT, NOT_REACHED, RuleVerdict, StepVerdict, Trail


def table(trails: Sequence[Trail], identity: str) -> Table:
    """The verdicts as a table for each document."""
    texts = []
    for trail in trails:
        rows = [["rule", "value", "low", "high", "verdict"]]
        for step in trail.steps:
            rows += [_row(step, rule) for rule in step.rules] or [_bare(step)]
        lines = [f"{identity} of source {trail.source}: {trail.ended}", *trail.notes]
        lines += [columns(rows)] if len(rows) > 1 else []
        lines += [_partner(step) for step in trail.steps if step.partner is not None]
        texts.append("\n".join(lines))
    data = [{"id": identity, **asdict(trail)} for trail in trails]
    return Table("\n\n".join(texts), {"documents": data})


def _partner(step: StepVerdict) -> str:
    """The document that was kept in this one's place."""
    similar = [f"{rule.value:.4f} similar, " for rule in step.rules if rule.value is not None]
    source = f" of source {step.partner_source}" if step.partner_source else ""
    return f"{step.label}: {''.join(similar) or 'the same, '}for {step.partner}{source}, {step.partner_became}"


def _row(step: StepVerdict, rule: RuleVerdict) -> list[str]:
    partner = f" for {step.partner}" if step.partner else ""
    verdict = rule.verdict + partner
    if step.outcome == NOT_REACHED:
        verdict = f"not reached ({'would be kept' if rule.verdict == KEPT else 'would be dropped'}{partner})"
    numbers = ["" if one is None else f"{one:.6g}" for one in (rule.value, rule.low, rule.high)]
    return [f"{step.label}.{rule.rule}", *numbers, verdict]


def _bare(step: StepVerdict) -> list[str]:
    return [step.label, "", "", "", f"{step.outcome}: {step.error}" if step.error else step.outcome]
