"""What a phase takes of each source in whole sequences, and what it must not take.

A source that would not appear, would repeat more than allowed or would be less than was asked for is a refusal with the
number that would do, found along the very draws; all of a plan's are collected, so that its table can be shown beside
them. Costs one count of the draws; of a phase that is so many sequences long, about two.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from ...errors import ConfigError
from .quotas import NOTHING, Quota
from .targets import Leaf, PhaseTargets


class Run(Protocol):
    """A source on its way through the phases, as far as a phase has to know it; `SourceRun` is one."""

    def measure(self, target: Fraction, before: Quota = NOTHING) -> Quota:
        """The draws whose tokens come nearest to a target, `before` among them."""

    def tokens_at(self, draw: int) -> int:
        """Tokens in a sequence that is still to be drawn."""

    def epochs_after(self, sequences: int) -> int:
        """Epochs that so many draws more would have begun."""

    def left(self, max_epochs: int) -> int:
        """Tokens that may still be drawn within so many epochs."""


@dataclass(frozen=True)
class Allotment:
    """A phase in sequences: the tokens that its shares are of, a quota a leaf, what is wrong with them."""

    tokens: Fraction
    quotas: tuple[Quota, ...]
    refusals: tuple[ConfigError, ...]


def allot(targets: PhaseTargets, runs: "Sequence[Run | None]", collect: bool) -> Allotment:
    """The quotas of a phase. Runs stay where they are.

    Args:
        targets: what is asked of each source.
        runs: one a leaf; None takes nothing, for a reason that the caller knows.
        collect: whether a source that cannot be packed is a refusal like others, and not raised at once.

    Raises:
        ConfigError: a source cannot be packed.
    """
    phase = _Phase(targets, runs, collect)
    tokens, quotas = phase.quotas()
    refusals = phase.absent(tokens, quotas)
    refusals += [
        error for one in zip(targets.leaves, runs, quotas, strict=True) for error in phase.refused(tokens, *one)
    ]
    return Allotment(tokens, tuple(quotas), tuple(phase.failed + refusals))


class _Phase:
    """The counting of one phase, with what failed in it."""

    def __init__(self, targets: PhaseTargets, runs: "Sequence[Run | None]", collect: bool) -> None:
        self.targets = targets
        self.leaves = targets.leaves
        self.runs = list(runs)
        self.failed: list[ConfigError] = []
        for number, (leaf, run) in enumerate(zip(self.leaves, runs, strict=True)):
            if run is not None and (leaf.mean.slope > 0 or leaf.mean.fixed > 0 or leaf.key == "epochs"):
                try:
                    run.tokens_at(0)
                except ConfigError as wrong:
                    self.failed.append(at_leaf(targets, leaf, wrong))
                    self.runs[number] = None
                    if not collect:
                        raise self.failed[-1] from None

    def quotas(self) -> tuple[Fraction, list[Quota]]:
        """The phase's tokens, and the quotas of its leaves."""
        tokens, sequences = self.targets.tokens, self.targets.spec.sequences
        if tokens is not None:
            return tokens, self.at(tokens)
        assert sequences is not None  # noqa: S101 - resolve leaves one of the two
        fixed = self.at(Fraction(0))
        if _total(fixed) > sequences:
            self.failed.append(
                self.targets.spec.error(
                    "what is written in tokens and epochs takes more sequences than the phase has",
                    seen=f"{_total(fixed):,} sequences",
                    expected=f"at most {sequences:,}",
                    fix="a longer phase, or less of them",
                )
            )
            return Fraction(0), fixed
        found, low, high = self.around(sequences)
        over = sequences - _total(low)
        quotas = []
        for run, below, above in zip(self.runs, low, high, strict=True):
            more = min(over, above.sequences - below.sequences)
            over -= more
            drawn = range(below.sequences, below.sequences + more)
            quotas.append(Quota(below.sequences + more, below.tokens + _tokens(run, drawn)))
        return Fraction(found), quotas

    def at(self, tokens: Fraction, before: Sequence[Quota] | None = None) -> list[Quota]:
        """The quotas if the phase had so many tokens."""
        known = before or [NOTHING] * len(self.leaves)
        return [
            run.measure(leaf.target(tokens), one) if run is not None and leaf.target(tokens) > 0 else NOTHING
            for leaf, run, one in zip(self.leaves, self.runs, known, strict=True)
        ]

    def around(self, sequences: int) -> tuple[int, list[Quota], list[Quota]]:
        """The most tokens whose quotas are at most so many sequences; those quotas, and those of one token more."""
        low, high = 0, (sequences + len(self.leaves)) * self.targets.spec.sequence_length
        below = self.at(Fraction(low))
        above = self.at(Fraction(high), below)
        while _total(above) <= sequences:
            if not any(
                run is not None and leaf.mean.slope > 0 for leaf, run in zip(self.leaves, self.runs, strict=True)
            ):
                return low, below, below
            low, below, high = high, above, 2 * high
            above = self.at(Fraction(high), below)
        halve = False
        while high - low > 1:
            wanted, held = sequences - _total(below) + 1, _total(above) - _total(below)
            middle = (low + high) // 2 if halve else low + (high - low) * wanted // (held + 1)
            middle = min(max(middle, low + 1), high - 1)
            found = self.at(Fraction(middle), below)
            if _total(found) <= sequences:
                halve = (middle - low) * 2 < high - low and not halve
                low, below = middle, found
            else:
                halve = (high - middle) * 2 < high - low and not halve
                high, above = middle, found
        return low, below, above

    def absent(self, tokens: Fraction, quotas: Sequence[Quota]) -> list[ConfigError]:
        """Sources that would not appear."""
        found = [
            (leaf, run)
            for leaf, run, quota in zip(self.leaves, self.runs, quotas, strict=True)
            if run is not None and not quota.sequences and (leaf.target(tokens) > 0 or leaf.mean.slope > 0)
        ]
        numbers = [self.smallest(leaf, Fraction(run.tokens_at(0), 2)) for leaf, run in found]
        of_phase = [number for (leaf, _), number in zip(found, numbers, strict=True) if not leaf.owner]
        errors = []
        for (leaf, run), number in zip(found, numbers, strict=True):
            share = f"{float(leaf.target(tokens)):,.6g} of {float(tokens):,.10g} tokens"
            fix = self.advice(leaf, number, "that includes it")
            if not leaf.owner and len(of_phase) > 1 and None not in of_phase:
                fix += f"; {max(one for one in of_phase if one is not None)} includes all {len(of_phase)}"
            errors.append(
                self.targets.spec.error(
                    "the source would not appear: its share is at most half of a sequence",
                    leaf,
                    seen=f"{share}; its next sequence holds {run.tokens_at(0):,}",
                    expected="at least one sequence",
                    fix=fix,
                )
            )
        return errors

    def refused(self, tokens: Fraction, leaf: Leaf, run: Run | None, quota: Quota) -> list[ConfigError]:
        """A source that would repeat too often, or be less than its `min_tokens`."""
        errors: list[ConfigError] = []
        if run is None or not quota.sequences:
            return errors
        epochs = run.epochs_after(quota.sequences)
        if leaf.max_epochs is not None and epochs > leaf.max_epochs:
            errors.append(
                self.targets.spec.error(
                    "the source would repeat more often than max_epochs allows",
                    leaf,
                    seen=f"{math.ceil(leaf.target(tokens)):,} tokens requested",
                    expected=f"at most {run.left(leaf.max_epochs):,} tokens, all that it has left in "
                    f"max_epochs: {leaf.max_epochs}",
                    fix=f"max_epochs: {epochs} would do (counted over all phases so far); or a smaller share or phase",
                )
            )
        if quota.tokens < leaf.min_tokens:
            number = self.smallest(leaf, _enough(run, leaf.min_tokens))
            errors.append(
                self.targets.spec.error(
                    "the source would have fewer tokens than its min_tokens",
                    leaf,
                    seen=f"{quota.tokens:,} tokens",
                    expected=f"at least {leaf.min_tokens:,}",
                    fix=self.advice(leaf, number, "that gives it so many"),
                )
            )
        return errors

    def smallest(self, leaf: Leaf, above: Fraction) -> Fraction | int | None:
        """The smallest written number whose target is more than so many tokens; None where there is none."""
        if leaf.mean.slope <= 0:
            return None
        if leaf.key == "epochs":
            return (above - leaf.mean.fixed) / leaf.mean.slope
        number = leaf.smallest(above)
        if leaf.key != "sequences" or leaf.owner or number is None:
            return number
        # Which of the sequences that one token more brings in is the first beyond `above`.
        index = self.leaves.index(leaf)
        run = self.runs[index]
        assert run is not None  # noqa: S101 - one that is absent or too small was measured
        below, at = self.at(Fraction(number - 1)), self.at(Fraction(number))
        earlier = sum(high.sequences - low.sequences for low, high in zip(below[:index], at[:index], strict=True))
        return _total(below) + earlier + at[index].sequences - below[index].sequences

    def advice(self, leaf: Leaf, number: Fraction | int | None, what: str) -> str:
        """How to mend a weight that comes to too little."""
        if number is None:
            return "give it a weight of its own"
        if leaf.key == "epochs":
            digits = 10 ** max(0, 3 - math.floor(math.log10(number)))  # three that count, rounded up
            return f"epochs: {(math.floor(number * digits) + 1) / digits:g} is the smallest number {what}"
        if leaf.owner:
            return f"tokens: {number} at {leaf.owner} is the smallest number {what}"
        if not self.targets.any_length:
            return f"a larger share; or share: rest at one weight, and {leaf.key}: {number}"
        return f"{leaf.key}: {number} is the smallest phase {what} at this share"


def at_leaf(targets: PhaseTargets, leaf: Leaf, wrong: ConfigError) -> ConfigError:
    """An error of a source, at the weight that asks for it."""
    inside = wrong.where.partition(", ")[2]  # of "source web, part 3"
    what = f"{inside}: {wrong.what}" if inside else wrong.what
    return targets.spec.error(what, leaf, seen=wrong.seen, expected=wrong.expected, fix=wrong.fix or None)


def _total(quotas: Sequence[Quota]) -> int:
    return sum(quota.sequences for quota in quotas)


def _tokens(run: Run | None, draws: range) -> int:
    return sum(run.tokens_at(draw) for draw in draws) if run is not None else 0


def _enough(run: Run, tokens: int) -> Fraction:
    """What a target has to be more than for at least so many tokens."""
    found = run.measure(Fraction(tokens))
    if found.tokens >= tokens:
        return found.tokens - Fraction(run.tokens_at(found.sequences - 1), 2)
    return found.tokens + Fraction(run.tokens_at(found.sequences), 2)
