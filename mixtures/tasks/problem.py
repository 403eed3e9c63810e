"""A generated problem, what a family of them has to offer, and how the answer in a reply is read.

A model's reasoning can be measured only on problems whose answers are certain and that it cannot have seen, so each
family solves its own problems and checks replies exactly, and the statement alone decides who may see a problem.
Costs one hash of the statement (about 1 microsecond) beyond making the problem.
"""

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import xxhash

from ...errors import ConfigError

HELD_OUT_MODULUS = 20
"""One statement in 20 belongs to evaluation: 5 % of what is drawn."""

THINK_START = "<think>"
THINK_END = "</think>"

_INTEGER = re.compile(r"0|-?[1-9][0-9]*")


@dataclass(frozen=True)
class Problem:
    """One problem with its solution: `steps` are the worked lines in order, `answer` what a reply has to end in.

    `core` is the problem apart from its wording: other names and verbs for the same numbers and operations share it.
    """

    task: str
    statement: str
    steps: tuple[str, ...]
    answer: str
    core: str

    @property
    def trainable(self) -> bool:
        """Whether it may be trained on: neither its statement nor its core belongs to evaluation."""
        return not held_out(self.statement) and not held_out(self.core)

    @property
    def unseen(self) -> bool:
        """Whether it may be evaluated on: it was never trained on, in no form and no wording."""
        return held_out(self.statement) and held_out(self.core)


def distinct_unseen(drawn: Iterable[Problem | None], count: int, patience: int, name: str, where: str) -> list[Problem]:
    """The first `count` distinct problems among those drawn that may be evaluated on.

    Args:
        drawn: problems without end, or None where a draw gave none.
        count: how many are asked for.
        patience: draws in a row that may bring none.
        name: of the family.
        where: what of it is drawn from, for an error.

    Raises:
        ConfigError: there are too few.
    """
    found, misses = dict[str, Problem](), 0
    for problem in drawn:
        if len(found) == count or misses == patience:
            break
        if problem is None or not problem.unseen or problem.statement in found:
            misses += 1
            continue
        misses = 0
        found[problem.statement] = problem
    if len(found) < count:
        raise ConfigError(
            f"{name} has too few problems for evaluation",
            where=where,
            seen=f"{len(found)} distinct held-out problems",
            expected=count,
            fix="ask for fewer samples, for more steps, or leave the task out",
        )
    return list(found.values())


class Task(Protocol):
    """A family of problems with one wording, one solver and one verifier; frozen and without state."""

    @property
    def name(self) -> str:
        """The name in YAML, which is that of the family's module."""

    @property
    def version(self) -> int | str:
        """Raised with every change of a problem or its wording: what was generated is kept by it."""

    def problem(self, rng: random.Random, steps: int) -> Problem:
        """A problem of difficulty `steps`, held out or not; a pure function of the state of `rng`.

        `steps` is the number of steps in `modular_chain` and `word_problem`; the others say what it is for them.

        Raises:
            ConfigError: the family has no problem of so many steps.
        """

    def facts(self) -> tuple[Problem, ...]:
        """All one-step facts, in a fixed order; fewer than 1,000 over all families.

        Raises:
            ConfigError: the family has none.
        """

    def parse(self, reply: str) -> str | None:
        """The answer that a reply gives, None where it gives none."""

    def verify(self, problem: Problem, reply: str) -> bool:
        """True where the reply's answer is exactly the problem's."""

    def check_solution(self, problem: Problem, text: str) -> bool:
        """True where a reply is a whole worked solution with the right answer: every step is worked out again."""


def held_out(text: str) -> bool:
    """True where a statement or a core belongs to evaluation: xxh3-64 of its UTF-8 bytes is 0 modulo 20."""
    return xxhash.xxh3_64_intdigest(text.encode()) % HELD_OUT_MODULUS == 0


def last_line(reply: str) -> str | None:
    """The last line of a reply without the white space around it; None where it says nothing after its reasoning.

    Reasoning that was never closed makes the reply one without an answer: lenience would credit replies that were cut
    off in the middle of a calculation.
    """
    _, closed, after = reply.rpartition(THINK_END)
    if not closed and THINK_START in reply:
        return None
    lines = after.strip().splitlines()
    return lines[-1].strip() if lines else None


def integer_answer(reply: str) -> str | None:
    """The integer that stands alone on the last line of a reply, after its reasoning if there is one.

    White space around it does not count. Leading zeros, signs of zero and words beside the number make the reply one
    without an answer: what was trained is a bare number.
    """
    line = last_line(reply)
    return line if line is not None and _INTEGER.fullmatch(line) else None


def worked_lines(reply: str) -> tuple[list[str], str] | None:
    """The lines of a worked reply and the answer on its last line; None where there is no answer after reasoning.

    The reasoning may stand between its tags, or bare above the answer. Empty lines and white space around lines do not
    count. Between tags the answer alone may follow.
    """
    before, closed, after = reply.rpartition(THINK_END)
    if not closed:
        if THINK_START in reply:
            return None
        lines = [line.strip() for line in reply.splitlines() if line.strip()]
        return (lines[:-1], lines[-1]) if lines else None
    answer = [line.strip() for line in after.splitlines() if line.strip()]
    if len(answer) != 1:
        return None
    reasoning = before.strip().removeprefix(THINK_START)
    return [line.strip() for line in reasoning.splitlines() if line.strip()], answer[0]


def check_steps(task: str, steps: int, most: int) -> None:
    """Raises ConfigError unless the family `task` has problems of `steps` steps, which are 1 to `most`."""
    if not 1 <= steps <= most:
        raise ConfigError(
            f"{task} has no problems of this many steps", where="steps", seen=steps, expected=f"1 to {most}"
        )
