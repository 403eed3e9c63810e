"""Suspects a gold answer that independent samples contradict while they agree with each other.

Gold answers of scraped corpora are wrong now and then, and a checker that believes them keeps the one bad trace of a
problem and drops the good ones. Samples that err do so in different ways; where most of them give one answer and it is
not the gold one, a person should look. Costs a comparison of every sample with each answer that was given before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .compare import Symbols, agree


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Why a gold answer is suspected.

    Args:
        answer: what most samples say, as the first of them spells it.
        votes: the samples that say it.
        samples: those that say anything.
    """

    answer: str
    votes: int
    samples: int


def suspect(
    answers: Sequence[str | None], gold: str | None, least: int = 3, share: float = 0.75, symbols: Symbols | None = None
) -> Suspicion | None:
    """Whether samples of one problem agree with each other against its gold answer; None where they do not.

    Args:
        answers: the final answer of each sample, None where it gives none; of copies of a trace only one, since a copy
            is no second opinion.
        gold: the gold answer; nothing is suspected where it cannot be told from the samples' answer.
        least: votes that the samples' answer needs.
        share: of the samples that answer.
        symbols: what compares formulas; without them, formulas that are spelled differently are different votes.
    """
    groups: list[list[str]] = []
    given = [answer for answer in answers if answer and answer.strip()]
    for answer in given:
        own = next((group for group in groups if agree(answer, group[0], symbols).right), None)
        if own is None:
            groups.append([answer])
        else:
            own.append(answer)
    largest = max(groups, key=len, default=[])
    if len(largest) < least or len(largest) < share * len(given):
        return None
    if agree(largest[0], gold, symbols).value != "wrong":
        return None
    return Suspicion(largest[0], len(largest), len(given))
