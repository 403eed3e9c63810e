"""A family of problems whose worked solutions can be checked line by line, made of three functions.

A solution is trusted only where two computations agree: the one that wrote it while the problem was drawn, and another
that starts from the statement alone. So each family brings both, and what is the same for all families stands here.
Costs one hash of a problem's numbers, from which its wording follows, beside what the family's own functions cost.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import xxhash

from ...errors import ConfigError
from .problem import Problem, check_steps, last_line, worked_lines

T = TypeVar("T")

INTEGER = re.compile(r"0|-?[1-9][0-9]*")
Solution = tuple[list[str], str]
"""Worked lines in order, and the answer."""


class Casting:
    """Names, verbs and phrasings that follow from what a problem is about.

    One problem has one wording, so it cannot stand in training under one and in evaluation under another, and its
    statement is its core.
    """

    def __init__(self, core: str) -> None:
        self._left = xxhash.xxh3_128_intdigest(core.encode())

    def one(self, options: Sequence[T]) -> T:
        """One of the options; 128 bits are enough for about 30 choices of ten."""
        self._left, at = divmod(self._left, len(options))
        return options[at]

    def some(self, options: Sequence[T], count: int) -> list[T]:
        """`count` of the options, all different, in an order of their own."""
        left = list(options)
        chosen = []
        for _ in range(count):
            self._left, at = divmod(self._left, len(left))
            chosen.append(left.pop(at))
        return chosen


class Wordings:
    """Ways to say one thing, which can be read back: fields stand in braces, and each has a pattern."""

    def __init__(self, templates: Sequence[str], **fields: str) -> None:
        self.templates = tuple(templates)
        self._patterns = [re.compile(_pattern(template, fields)) for template in templates]

    def say(self, casting: Casting, **values: object) -> str:
        """One of the wordings, filled in."""
        return casting.one(self.templates).format(**values)

    def read(self, text: str) -> dict[str, str] | None:
        """The fields of a text in one of the wordings; None where it is in none of them."""
        for pattern in self._patterns:
            if match := pattern.fullmatch(text):
                return match.groupdict()
        return None


def _pattern(template: str, fields: dict[str, str]) -> str:
    pieces: list[str] = []
    known: set[str] = set()
    for at, piece in enumerate(re.split(r"\{(\w+)\}", template)):
        if at % 2 == 0:
            pieces.append(re.escape(piece))
        elif piece in known:
            pieces.append(f"(?P={piece})")
        else:
            known.add(piece)
            pieces.append(f"(?P<{piece}>{fields[piece]})")
    return "".join(pieces)


@dataclass(frozen=True)
class Family:
    """One family: `pose` draws a problem and writes its solution, `resolve` works it out from the statement alone."""

    name: str
    version: int
    most_steps: int
    pose: Callable[[random.Random, int], tuple[str, list[str], str]]
    """A statement, its worked lines and its answer, of a difficulty that has been checked."""
    resolve: Callable[[str], Solution | None]
    """The lines and the answer that a statement asks for; None where it is no statement of the family."""
    answers: re.Pattern[str] = INTEGER
    """What an answer looks like, whole."""
    core: Callable[[str, list[str]], str] | None = None
    """A problem apart from its wording, from its statement and worked lines; None where a problem has one wording."""

    def problem(self, rng: random.Random, steps: int) -> Problem:
        """A problem of difficulty `steps`.

        Raises:
            ConfigError: fewer than 1 or more than `most_steps`.
        """
        check_steps(self.name, steps, self.most_steps)
        statement, lines, answer = self.pose(rng, steps)
        core = statement if self.core is None else self.core(statement, lines)
        return Problem(self.name, statement, tuple(lines), answer, core)

    def facts(self) -> tuple[Problem, ...]:
        """None.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            f"{self.name} has no facts",
            where="form",
            seen="fact",
            expected="modular_chain or word_problem",
            fix="ask for worked or answer_only",
        )

    def parse(self, reply: str) -> str | None:
        """The answer that stands alone on the last line of a reply; None where there is none of the right form."""
        line = last_line(reply)
        return line if line is not None and self.answers.fullmatch(line) else None

    def verify(self, problem: Problem, reply: str) -> bool:
        """True where the reply's answer is exactly the problem's."""
        return self.parse(reply) == problem.answer

    def check_solution(self, problem: Problem, text: str) -> bool:
        """True where the reply is a whole worked solution: every step is worked out again from the statement.

        The lines have to be those of the family's procedure, none missing, none more, and in order.
        """
        solution = self.resolve(problem.statement)
        return solution is not None and worked_lines(text) == (solution[0], solution[1])
