"""Chains of + - * modulo 10, applied from left to right: `7 + 4 * 3 - 9 * 7 mod 10, left to right =`.

Sums alone let a small model add all terms at once without reasoning, so additions and multiplications alternate: no two
neighbouring steps can be merged into one, and swapping them always changes the answer. Costs about 6 microseconds a
problem.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from .problem import Problem, check_steps, integer_answer, worked_lines

MODULUS = 10
TERMS = (1, 2, 3, 4, 6, 7, 8, 9)
"""What is added or subtracted: 0 would be no step, and adding 5 commutes with every odd factor modulo 10."""
FACTORS = (2, 3, 4, 7, 8, 9)
"""0 and 1 are no steps, 5 forgets too much, and 6 commutes with adding an even term.

With a term t and a factor f of these lists, swapping them changes the answer by t (f - 1), which 5 does not divide, nor
what later factors make of it. Even answers are about twice as frequent as odd ones, which a model can learn without any
reasoning: without that the control would have nothing to learn.
"""
MOST_STEPS = 64

Step = tuple[str, int]

_STATEMENT = re.compile(rf"(\d)((?: [-+*] \d)+) mod {MODULUS}, left to right =")
_STEP = re.compile(r"([-+*]) (\d)")


@dataclass(frozen=True)
class ModularChain:
    """The family of these chains; 184,320 problems of four steps, 2,027,520 of five."""

    name: str = "modular_chain"
    version: int = 1

    def problem(self, rng: random.Random, steps: int) -> Problem:
        """A chain of `steps` steps from a random digit; additive and multiplicative steps alternate.

        Raises:
            ConfigError: fewer than 1 or more than 64 steps.
        """
        check_steps(self.name, steps, MOST_STEPS)
        start = rng.randrange(MODULUS)
        multiply = rng.random() < 0.5
        chain: list[Step] = []
        for _ in range(steps):
            chain.append(("*", rng.choice(FACTORS)) if multiply else (rng.choice("+-"), rng.choice(TERMS)))
            multiply = not multiply
        return _problem(self.name, start, chain)

    def facts(self) -> tuple[Problem, ...]:
        """The 220 chains of one step."""
        operations = [(sign, term) for sign in "+-" for term in TERMS] + [("*", factor) for factor in FACTORS]
        return tuple(_problem(self.name, start, [step]) for start in range(MODULUS) for step in operations)

    def parse(self, reply: str) -> str | None:
        """The integer on the last line of the reply; None where there is none."""
        return integer_answer(reply)

    def verify(self, problem: Problem, reply: str) -> bool:
        """True where the reply's integer is the problem's answer."""
        return self.parse(reply) == problem.answer

    def check_solution(self, problem: Problem, text: str) -> bool:
        """True where every line follows from the statement and the line before, and the last gives the answer."""
        read = _read(problem.statement)
        return read is not None and worked_lines(text) == read


TASK = ModularChain()


def _problem(name: str, start: int, chain: Sequence[Step]) -> Problem:
    value = start
    lines = []
    for sign, operand in chain:
        result = _apply(value, sign, operand)
        lines.append(f"{value} {sign} {operand} = {result}")
        value = result
    terms = " ".join(f"{sign} {operand}" for sign, operand in chain)
    statement = f"{start} {terms} mod {MODULUS}, left to right ="
    return Problem(name, statement, tuple(lines), str(value), core=statement)


def _apply(value: int, sign: str, operand: int) -> int:
    if sign == "*":
        return value * operand % MODULUS
    return (value + operand if sign == "+" else value - operand) % MODULUS


def _read(statement: str) -> tuple[list[str], str] | None:
    """The lines and the answer of a statement, worked out from it alone: values are kept whole, and reduced to show."""
    match = _STATEMENT.fullmatch(statement)
    if match is None:
        return None
    whole, lines = int(match[1]), []
    for sign, digit in _STEP.findall(match[2]):
        before, operand = whole, int(digit)
        whole = {"+": before + operand, "-": before - operand, "*": before * operand}[sign]
        lines.append(f"{before % MODULUS} {sign} {digit} = {whole % MODULUS}")
    return lines, str(whole % MODULUS)
