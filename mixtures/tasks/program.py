"""Programs in plain words: a start, operations in order, and the state after each; what their families share.

Every operation is computed twice, in two ways, so that a slip in one shows as soon as a solution is checked. Costs
about 3 microseconds an operation.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from .family import Casting, Solution, Wordings

S = TypeVar("S")
Arguments = Mapping[str, str]


@dataclass(frozen=True)
class Operation(Generic[S]):
    """One operation: its name in worked lines, its wordings, and what it does, in two ways."""

    name: str
    wordings: Wordings
    draw: Callable[[random.Random, S], Arguments | None]
    """Arguments for a state; None where the operation would say nothing or be unclear."""
    apply: Callable[[S, Arguments], S]
    again: Callable[[S, Arguments], S]


@dataclass(frozen=True)
class Language(Generic[S]):
    """The operations of one kind of state, and how it is drawn, bounded and written."""

    story: Wordings
    """With the fields start and operations."""
    operations: Sequence[Operation[S]]
    draw: Callable[[random.Random], S]
    fits: Callable[[S], bool]
    show: Callable[[S], str]
    read: Callable[[str], S]

    def pose(self, rng: random.Random, steps: int) -> tuple[str, list[str], str]:
        """A program of `steps` operations, each of which changes the state and keeps it within bounds."""
        state = start = self.draw(rng)
        chain: list[tuple[Operation[S], Arguments]] = []
        lines = []
        while len(chain) < steps:
            operation = rng.choice(self.operations)
            arguments = operation.draw(rng, state)
            if arguments is None:
                continue
            after = operation.apply(state, arguments)
            if after == state or not self.fits(after):
                continue
            state = after
            chain.append((operation, arguments))
            lines.append(f"{operation.name.format(**arguments)}: {self.show(state)}")
        said = [operation.name.format(**arguments) for operation, arguments in chain]
        casting = Casting(f"{self.show(start)} {said}")
        worded = "; ".join(operation.wordings.say(casting, **arguments) for operation, arguments in chain)
        return self.story.say(casting, start=self.show(start), operations=worded), lines, self.show(state)

    def resolve(self, statement: str) -> Solution | None:
        """Reads the operations off the text and follows them by their second computation."""
        fields = self.story.read(statement)
        if fields is None:
            return None
        state, lines = self.read(fields["start"]), []
        for text in fields["operations"].split("; "):
            found = ((one, read) for one in self.operations if (read := one.wordings.read(text)) is not None)
            operation, arguments = next(found, (None, None))
            if operation is None or arguments is None:
                return None
            state = operation.again(state, arguments)
            lines.append(f"{operation.name.format(**arguments)}: {self.show(state)}")
        return lines, self.show(state)


def always(_rng: random.Random, _state: object) -> Arguments:
    """No arguments, for every state."""
    return {}


def number(low: int, high: int) -> Callable[[random.Random, object], Arguments]:
    """An argument `k` from `low` to `high`, for every state."""
    return lambda rng, _state: {"k": str(rng.randint(low, high))}
