"""Weights to targets: how many tokens of each source a phase asks for, exactly.

All forms of a weight are linear in one written number (the tokens of the phase, of a group, of a source), so a target
is a fraction, and the smallest number that would include a source is one division. Costs nothing.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from typing import NamedTuple

from ...errors import ConfigError
from .weights import TOLERANCE, Group, Loss, PhaseSpec, PhaseWeight, exact, leaves_of

_ROOTS = Context(prec=40)  # decimal arithmetic is the same on every machine; floating point powers are not


class Linear(NamedTuple):
    """Tokens as a function of one written number: `fixed + slope * number`."""

    fixed: Fraction
    slope: Fraction

    def at(self, number: Fraction) -> Fraction:
        """Tokens."""
        return self.fixed + self.slope * number

    def plus(self, other: "Linear", sign: int = 1) -> "Linear":
        """The sum, or with `sign` -1 the difference."""
        return Linear(self.fixed + sign * other.fixed, self.slope + sign * other.slope)

    def times(self, factor: Fraction) -> "Linear":
        """The product."""
        return Linear(self.fixed * factor, self.slope * factor)


@dataclass(frozen=True)
class Budget:
    """What is divided among weights: tokens if the phase were as it is at its beginning throughout, and at its end.

    `key` names the written number that both are linear in, `owner` the weight that it stands at (empty for the
    phase), and `number` is its value (None where it has to be found). `key` is empty where the weights say it all.
    """

    start: Linear
    end: Linear
    key: str
    owner: str
    number: Fraction | None

    def part(self, start: Fraction, end: Fraction) -> "Budget":
        """A share of it."""
        return Budget(self.start.times(start), self.end.times(end), self.key, self.owner, self.number)

    def less(self, taken: "Sequence[Budget]") -> "Budget":
        """What others leave of it; those that hang on another number count as what they come to."""
        start, end = self.start, self.end
        for one in taken:
            same = one.owner == self.owner
            start = start.plus(one.start if same else one.constant(one.start), -1)
            end = end.plus(one.end if same else one.constant(one.end), -1)
        return Budget(start, end, self.key, self.owner, self.number)

    def constant(self, tokens: Linear) -> Linear:
        """The same tokens as a number."""
        return tokens if self.number is None else Linear(tokens.at(self.number), Fraction(0))


@dataclass(frozen=True)
class Leaf:
    """What a phase asks of one source.

    `start` and `end` are tokens if the phase were as at its beginning, or its end, throughout; the target is their
    mean, which is the integral of both changes that there are. `key`, `owner` and `number` as in `Budget`.
    """

    source: str
    start: Linear
    end: Linear
    key: str
    owner: str
    number: Fraction | None
    loss: Loss
    max_epochs: int | None
    min_tokens: int
    where: str

    @property
    def name(self) -> str:
        """The source's."""
        return self.source

    @property
    def mean(self) -> Linear:
        """Tokens over the whole phase."""
        return self.start.plus(self.end).times(Fraction(1, 2))

    def target(self, tokens: Fraction) -> Fraction:
        """Tokens; `tokens` is the phase's, used where its number had to be found."""
        return self.mean.at(tokens if self.number is None else self.number)

    def shares(self, tokens: Fraction) -> tuple[Fraction, Fraction]:
        """Shares of the phase's tokens at its beginning and at its end."""
        number = tokens if self.number is None else self.number
        return self.start.at(number) / tokens, self.end.at(number) / tokens

    def smallest(self, above: Fraction) -> int | None:
        """The smallest written number whose target is more than `above` tokens; None where no number would do."""
        fixed, slope = self.mean
        return math.floor((above - fixed) / slope) + 1 if slope > 0 else None


@dataclass(frozen=True)
class PhaseTargets:
    """What a phase asks of its sources: `tokens` is None where `sequences` says how long it is."""

    spec: PhaseSpec
    tokens: Fraction | None
    leaves: tuple[Leaf, ...]

    @property
    def any_length(self) -> bool:
        """Whether the weights would still sum to 1 if the phase had another length."""
        own = sum((leaf.mean.slope for leaf in self.leaves if not leaf.owner), Fraction(0))
        whole = exact(self.spec.fraction) if self.spec.fraction is not None else Fraction(1)
        return abs(own - whole) <= TOLERANCE * whole


def resolve(phase: PhaseSpec, available: Mapping[str, int]) -> PhaseTargets:
    """The targets of a phase.

    Args:
        phase: its weights.
        available: of every source, the tokens of one epoch at the phase's sequence length.

    Raises:
        ConfigError: shares that do not sum to 1, a share of nothing, others that leave nothing for the rest, a source
            that would have no part because it has no token.
    """
    divider = _Divider(phase, available)
    budget = divider.budget()
    leaves = tuple(divider.divide(budget, phase.weights, exact(phase.temperature), None))
    for leaf in leaves:
        bucket = "@" in leaf.source  # which may well be empty
        if not bucket and not available[leaf.source] and leaf.mean == Linear(Fraction(0), Fraction(0)):
            raise phase.error(
                f"{leaf.source} has nothing to be drawn in sequences of {phase.sequence_length:,} tokens",
                leaf,
                seen="epochs, or a part by size, of no token",
                fix="look at its where, held_out and too_long, or take it out of the phase",
            )
    tokens = None if phase.sequences is not None else sum((leaf.target(Fraction(0)) for leaf in leaves), Fraction(0))
    if budget.key and budget.number is not None:
        tokens = budget.start.at(budget.number)
    return PhaseTargets(phase, tokens, leaves)


class _Divider:
    """Divides the budgets of one phase."""

    def __init__(self, phase: PhaseSpec, available: Mapping[str, int]) -> None:
        self.phase = phase
        self.available = available

    def budget(self) -> Budget:
        """The phase's own; without a key where its weights alone say how long it is."""
        phase, one = self.phase, Linear(Fraction(0), Fraction(1))
        if phase.sequences is not None:
            return Budget(one, one, "sequences", "", None)
        if phase.tokens is None:
            return _NO_BUDGET
        if phase.fraction is not None:
            return _budget("total_tokens", "", one.times(exact(phase.fraction)), Fraction(phase.tokens))
        return _budget("tokens", "", one, Fraction(phase.tokens))

    def divide(
        self, budget: Budget, members: "Sequence[PhaseWeight | Group]", temperature: Fraction, group: Group | None
    ) -> Iterator[Leaf]:
        """The leaves below some weights, which share a budget."""
        taken = [self._taken(budget, member) for member in members]
        left = budget.less([one for one in taken if one is not None])
        waiting = [member for member, one in zip(members, taken, strict=True) if one is None]
        self._check(budget, left, waiting, group)
        sizes = {id(member): self._size(member, temperature) for member in waiting if member.share == "size"}
        whole = sum(sizes.values(), Fraction(0))
        for member, one in zip(members, taken, strict=True):
            if one is None:
                part = sizes[id(member)] / whole if member.share == "size" and whole else Fraction(1)
                one = left.part(part, part)
            if isinstance(member, Group):
                yield from self.divide(one, member.members, exact(member.temperature), member)
            else:
                yield self._leaf(member, one)

    def _taken(self, budget: Budget, member: "PhaseWeight | Group") -> Budget | None:
        """What a weight takes whatever the others do; None of one that takes what they leave."""
        if member.share in ("rest", "size"):
            return None
        if member.tokens is not None:
            return _budget("tokens", member.name, Linear(Fraction(0), Fraction(1)), Fraction(member.tokens))
        if isinstance(member, PhaseWeight) and member.epochs is not None:
            each = Linear(Fraction(0), Fraction(self.available[member.source]))
            return _budget("epochs", member.name, each, exact(member.epochs))
        if isinstance(member, Group) and member.share is None:
            below = [self._taken(_NO_BUDGET, one) for one in member.members]
            total = sum((one.start.at(one.number or Fraction(0)) for one in below if one is not None), Fraction(0))
            return _budget("", "", Linear(total, Fraction(0)), Fraction(0))
        for share in (member.share, member.to):
            if share is not None and not 0 <= share <= 1 + TOLERANCE:  # type: ignore[operator]
                raise self.phase.error("not a weight", member, seen=f"share {share}", expected="a share from 0 to 1")
        start = exact(member.share)  # type: ignore[arg-type]
        end = start if member.to is None else exact(member.to)
        if budget is _NO_BUDGET and (start or end):
            raise self._of_nothing(member)
        return budget.part(start, end)

    def _of_nothing(self, member: "PhaseWeight | Group") -> ConfigError:
        return self.phase.error(
            "a share of nothing: the phase has no length",
            member,
            seen=member.share,
            fix="give the phase tokens, sequences or a fraction, or each weight tokens or epochs",
        )

    def _check(
        self, budget: Budget, left: Budget, waiting: "Sequence[PhaseWeight | Group]", group: Group | None
    ) -> None:
        """Shares sum to 1, or something is left for those that take what is left."""
        if budget is _NO_BUDGET:
            if waiting:
                raise self._of_nothing(waiting[0])
            return  # the weights alone say how long the phase is
        if len(waiting) > 1 and any(one.share == "rest" for one in waiting):
            raise self.phase.error(
                "only one weight can take the rest, and none by size beside it",
                next(one for one in waiting if one.share == "rest"),
                seen=", ".join(one.name for one in waiting),
                fix="share: size at all of them divides it by their tokens",
            )
        if budget.number is None and not waiting and (left.start.fixed or left.end.fixed):
            raise self.phase.error(
                "the phase is as long as its sequences, and no weight takes what tokens and epochs leave",
                group,
                fix="write share: rest at one weight",
            )
        ends = [(_value(budget, budget.start), _value(left, left.start))]
        ends += [(_value(budget, budget.end), _value(left, left.end))]
        for whole, over in ends:
            if not whole:
                continue  # a group without a share
            if waiting and (over < 0 or not any(rest for _, rest in ends)):
                raise self.phase.error(
                    f"nothing is left for {', '.join(one.name for one in waiting)}",
                    waiting[0],
                    seen=f"the others take {float(100 * (1 - over / whole)):.6g} %",
                    expected="less than all of it",
                    fix="lower the other weights, or make the phase longer",
                )
            if not waiting and abs(over) > TOLERANCE * whole:
                raise self.phase.error(
                    f"the shares in the group {group.name} do not sum to 1" if group else "the weights do not sum to 1",
                    group,
                    seen=f"{float(1 - over / whole):.9g}",
                    expected="1 within 1e-06; tokens and epochs count as their share",
                    fix="correct them, or write share: rest at one of them",
                )

    def _size(self, member: "PhaseWeight | Group", temperature: Fraction) -> Fraction:
        """What a part by size is proportional to."""
        tokens = sum(self.available[one.source] for one in leaves_of([member]))
        return exact(member.factor) * root(tokens, temperature)

    def _leaf(self, weight: PhaseWeight, budget: Budget) -> Leaf:
        return Leaf(
            weight.source,
            budget.start,
            budget.end,
            budget.key,
            budget.owner,
            budget.number,
            weight.loss,
            weight.max_epochs,
            weight.min_tokens,
            weight.where,
        )


def root(number: int, degree: Fraction) -> Fraction:
    """number^(1/degree), to 40 digits, the same on every machine; exact where the degree is 1."""
    if degree == 1 or number == 0:
        return Fraction(number)
    power = _ROOTS.divide(Decimal(degree.denominator), Decimal(degree.numerator))
    return Fraction(_ROOTS.power(Decimal(number), power))


def _budget(key: str, owner: str, tokens: Linear, number: Fraction) -> Budget:
    return Budget(tokens, tokens, key, owner, number)


_NO_BUDGET = _budget("", "", Linear(Fraction(0), Fraction(0)), Fraction(0))


def _value(budget: Budget, tokens: Linear) -> Fraction:
    """Tokens; of a phase whose number has to be found, those of each of its tokens."""
    return tokens.slope if budget.number is None else tokens.at(budget.number)
