"""Verdict: what the comparison of a final answer with the gold answer says, and why.

A checker that has only yes and no counts what it cannot read as wrong, and its users lose good documents without being
told; so there is a third value, and each has its reason.
Costs nothing.
"""

from dataclasses import dataclass
from typing import Literal

Value = Literal["right", "wrong", "cannot_tell"]

Reason = Literal[
    "same",  # right
    "different",  # wrong: another value
    "kind",  # wrong: another kind of answer, a text for a number
    "no gold",  # cannot tell: the gold answer is missing or empty
    "no answer",  # cannot tell: the reply gives none
    "too long",  # cannot tell: longer than `MOST_CHARACTERS`
    "needs symbols",  # cannot tell: an expression, and nothing here may work with symbols
    "ambiguous",  # cannot tell: an answer has more than one reading, and they differ: `101` beside `101_2`
    "needs options",  # cannot tell: the one is a letter of a multiple choice and the other is not
    "undecided",  # cannot tell: the formulas have no number, and algebra does not show them equal
    "unreadable",  # cannot tell: what the symbolic reader cannot read
    "time",  # cannot tell: the limit of time was reached
    "memory",  # cannot tell: the limit of memory was reached
    "crash",  # cannot tell: the process that compared them died
]

MOST_CHARACTERS = 2_000
"""Answers that are longer are compared as strings alone: a final answer of that length is a solution or a bomb."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a comparison says.

    Args:
        value: `right`, `wrong` or `cannot_tell`.
        reason: why, of a fixed vocabulary.
        rule: what was compared: `exact`, `number`, `quantity`, `choice`, `truth`, `text`, `date`, `time`, `ratio`,
            `base`, `tuple`, `set`, `interval`, `matrix`, `relation`, `symbolic`; empty where nothing was.
    """

    value: Value
    reason: Reason
    rule: str = ""

    @property
    def right(self) -> bool:
        """Whether the answers are known to agree."""
        return self.value == "right"


def right(rule: str) -> Verdict:
    """The answers agree."""
    return Verdict("right", "same", rule)


def wrong(rule: str, reason: Reason = "different") -> Verdict:
    """The answers are known to differ."""
    return Verdict("wrong", reason, rule)


def cannot_tell(reason: Reason, rule: str = "") -> Verdict:
    """Nothing is known."""
    return Verdict("cannot_tell", reason, rule)
