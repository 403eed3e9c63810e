"""What the traces of a curation came to where steps took pass rates from answers: right, wrong, or untold, by source.

A rate says nothing of the traces that it leaves out, and a source of which half cannot be told from its gold answers
has rates of the other half. Costs a small read a step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from .curation import Curation
from .pass_rates import OUTCOMES


@dataclass(frozen=True)
class Outcomes:
    """The traces that came to a step.

    Args:
        stage, step: which.
        problems: that they are of.
        sources: of each source the number of traces by outcome, those of `pass_rates.OUTCOMES` that there are.
    """

    stage: str
    step: str
    problems: int
    sources: dict[str, dict[str, int]]


def read(curation: Curation) -> tuple[Outcomes, ...]:
    """The outcomes of every step that took rates from answers, in order."""
    found = []
    for stage, rates in curation.rates.items():
        step = rates.manifest.stage.removesuffix("-rates")
        found.append(Outcomes(stage, step, int(rates.counts["problems"]), rates.counts["outcomes"]))
    return tuple(found)


def by_source(outcomes: Sequence[Outcomes]) -> list[list[str]]:
    """A row a source of each step: its traces by outcome."""
    rows = [["traces", "problems", *(name.replace("_", " ") for name in OUTCOMES)]]
    for one in outcomes:
        rows.append([one.step, f"{one.problems:,}", *[""] * len(OUTCOMES)])
        for source, own in one.sources.items():
            rows.append([f"  {source}", "", *(f"{own.get(name, 0):,}" for name in OUTCOMES)])
    return rows
