"""Weights: what a phase asks of each source, as it is written.

A weight may be a share, a number of tokens, epochs, what the others leave, or a part by size, alone or in nested
groups, and may change within the phase; `targets.py` makes tokens of it once sizes are known. Numbers are kept as they
are written, so that a tenth is a tenth. Costs nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, Protocol

from ...errors import ConfigError

Loss = Literal["all", "assistant"]
Change = Literal["linear", "cosine"]
Number = int | float | Fraction

TOLERANCE = Fraction(1, 10**6)  # how far written shares may be from 1


@dataclass(frozen=True)
class PhaseWeight:
    """A source's part in a phase: one of `share`, `tokens` and `epochs`.

    Args:
        source: its name.
        share: of the tokens of the phase, or of the group; `rest` is what the others leave, `size` a part of that in
            proportion to the source's tokens.
        loss: what is trained on.
        max_epochs: how often it may be seen over this phase and all before it; None is as often as it takes.
        tokens: that are asked for.
        epochs: that are asked for, from where the source stands.
        to: the share at the end of a phase that changes; `share` is then that at its beginning.
        min_tokens: fewer are an error.
        factor: what a part by size is multiplied with.
        where: `file:line` of the weight.
    """

    source: str
    share: Number | Literal["rest", "size"] | None = None
    loss: Loss = "assistant"
    max_epochs: int | None = 1
    tokens: int | None = None
    epochs: Number | None = None
    to: Number | None = None
    min_tokens: int = 0
    factor: Number = 1
    where: str = ""

    @property
    def name(self) -> str:
        """The source's."""
        return self.source


@dataclass(frozen=True)
class Group:
    """Weights within a weight: shares of the members are shares of the group; of tokens that its members name it is
    the sum. With `temperature` members by size have parts as their tokens to the power of 1 / temperature."""

    name: str
    members: "tuple[PhaseWeight | Group, ...]"
    share: Number | Literal["rest", "size"] | None = None
    tokens: int | None = None
    to: Number | None = None
    temperature: Number = 1
    factor: Number = 1
    where: str = ""


class Placed(Protocol):
    """What an error can be about: it has a name and a place in a file."""

    @property
    def name(self) -> str:
        """The source's, or the group's."""

    @property
    def where(self) -> str:
        """`file:line`; empty where there is no file."""


@dataclass(frozen=True)
class PhaseSpec:
    """A phase before the sizes of its sources are known.

    Args:
        name: of the phase.
        sequence_length: tokens a sequence.
        tokens: its length in tokens that are not padding; None where `sequences` says it, or all weights are tokens
            and epochs.
        weights: of its sources.
        sequences: its length in sequences.
        fraction: of `tokens`, which are then those of the whole mixture.
        temperature: of the weights by size that stand in no group.
        change: how shares get from one end of the phase to the other.
        where: `file:line` of the phase.
    """

    name: str
    sequence_length: int
    tokens: int | None
    weights: "tuple[PhaseWeight | Group, ...]"
    sequences: int | None = None
    fraction: Number | None = None
    temperature: Number = 1
    change: Change | None = None
    where: str = ""

    def record(self) -> dict[str, Any]:
        """All that the plan depends on, as plain values: no places in files, and in no order of the YAML's."""
        kept = {key: _plain(value) for key, value in vars(self).items() if key not in ("weights", "where")}
        return {**kept, "weights": _records(self.weights)}

    def sources(self) -> list[PhaseWeight]:
        """The weights of all sources, those in groups too, in the order in which they stand."""
        return list(leaves_of(self.weights))

    def error(self, what: str, weight: "PhaseWeight | Group | Placed | None" = None, **more: object) -> ConfigError:
        """An error at a weight, or at the phase."""
        place = (weight.where if weight else "") or self.where
        name = f"phase {self.name}, source {weight.name}" if weight else f"phase {self.name}"
        given = {key: value for key, value in more.items() if value is not None}
        if place:
            return ConfigError(f"{name}: {what}", where=place, **given)  # type: ignore[arg-type]
        return ConfigError(what, where=name, **given)  # type: ignore[arg-type]


def exact(number: Number) -> Fraction:
    """The number as it is written: 0.1 is a tenth, not the nearest double."""
    return Fraction(repr(number)) if isinstance(number, float) else Fraction(number)


def _records(members: "Sequence[PhaseWeight | Group]") -> dict[str, Any]:
    found = {}
    for member in members:
        kept = {key: _plain(value) for key, value in vars(member).items() if key not in ("members", "where")}
        found[member.name] = {**kept, "members": _records(member.members)} if isinstance(member, Group) else kept
    return found


def _plain(value: object) -> object:
    return str(exact(value)) if isinstance(value, (int, float, Fraction)) else value


def leaves_of(members: "Sequence[PhaseWeight | Group]") -> Iterator[PhaseWeight]:
    """The weights of sources among members, those in groups too."""
    for member in members:
        if isinstance(member, Group):
            yield from leaves_of(member.members)
        else:
            yield member
