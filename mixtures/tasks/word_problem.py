"""Short stories about a number that grows and shrinks: found and lost, doubled and tripled, one sentence a step.

They ask for the same kind of reasoning as `modular_chain` in the wording of school problems and with numbers up to 60;
doubling and tripling alternate with getting and giving, so that the order of the steps matters. Costs about 8
microseconds a problem.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import RunError
from .problem import Problem, check_steps, integer_answer, worked_lines

NAMES = (
    ("Ada", "She"),
    ("Ben", "He"),
    ("Eva", "She"),
    ("Jack", "He"),
    ("Kim", "She"),
    ("Leo", "He"),
    ("Mary", "She"),
    ("Max", "He"),
    ("Rose", "She"),
    ("Sam", "He"),
    ("Tina", "She"),
    ("Tom", "He"),
)
OBJECTS = ("apples", "balls", "books", "cards", "coins", "cups", "eggs", "keys", "nuts", "pens", "stamps", "stones")
WORDINGS = {
    "+": ("finds {} more", "gets {} more", "buys {} more"),
    "-": ("gives away {}", "loses {}", "sells {}"),
}
MULTIPLES = {2: "doubles them", 3: "triples them"}
STARTS = range(2, 20)
AMOUNTS = range(2, 10)
"""What is got or given in one step."""
LARGEST = 60
MOST_STEPS = 12
FACT_VALUES = range(2, 41)
"""What the facts start from: most values that a story passes through, and few enough facts."""
MOST_DRAWS = 100_000

Step = tuple[str, int]

_STATEMENT = re.compile(r"[A-Z][a-z]+ has (\d+) ([a-z]+)\. (.*)\. How many \2 now\?")
_SENTENCE = re.compile(r"(?:She|He) (finds|gets|buys|gives away|loses|sells|doubles|triples) (?:(\d)(?: more)?|them)")


@dataclass(frozen=True)
class WordProblem:
    """The family of these stories; 14,530 chains of four steps, 99,717 of five and millions of nine and more."""

    name: str = "word_problem"
    version: int = 1

    def problem(self, rng: random.Random, steps: int) -> Problem:
        """A story of `steps` steps; all numbers from 1 to 60 (the answer may be 0), else it is drawn again.

        Raises:
            ConfigError: fewer than 1 or more than 12 steps.
        """
        check_steps(self.name, steps, MOST_STEPS)
        start, chain = _draw_chain(rng, steps)
        return _problem(self.name, rng, start, chain)

    def facts(self) -> tuple[Problem, ...]:
        """The stories of one step from each of 2 to 40, one wording each: 674."""
        rng = random.Random(self.name)
        operations = [(sign, amount) for sign in "+-" for amount in AMOUNTS] + [("*", by) for by in MULTIPLES]
        return tuple(
            _problem(self.name, rng, start, [step])
            for start in FACT_VALUES
            for step in operations
            if _apply(start, *step) >= 0
        )

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


TASK = WordProblem()


def _draw_chain(rng: random.Random, steps: int) -> tuple[int, list[Step]]:
    """A start and its steps, such that nothing is left to 0 before the end: what is multiplied has to matter."""
    for _ in range(MOST_DRAWS):
        start = rng.choice(STARTS)
        multiply = rng.random() < 0.5
        chain: list[Step] = []
        for _ in range(steps):
            chain.append(("*", rng.choice(tuple(MULTIPLES))) if multiply else (rng.choice("+-"), rng.choice(AMOUNTS)))
            multiply = not multiply
        if _fits(start, chain):
            return start, chain
    raise RunError("no story was found whose numbers stay within 60", where="word_problem", seen=f"{steps} steps")


def _fits(value: int, chain: Sequence[Step]) -> bool:
    for sign, operand in chain[:-1]:
        value = _apply(value, sign, operand)
        if not 1 <= value <= LARGEST:
            return False
    return 0 <= _apply(value, *chain[-1]) <= LARGEST


def _apply(value: int, sign: str, operand: int) -> int:
    if sign == "*":
        return value * operand
    return value + operand if sign == "+" else value - operand


def _problem(name: str, rng: random.Random, start: int, chain: Sequence[Step]) -> Problem:
    person, pronoun = rng.choice(NAMES)
    things = rng.choice(OBJECTS)
    sentences = [f"{person} has {start} {things}."]
    lines = []
    value = start
    for sign, operand in chain:
        wording = MULTIPLES[operand] if sign == "*" else rng.choice(WORDINGS[sign]).format(operand)
        sentences.append(f"{pronoun} {wording}.")
        result = _apply(value, sign, operand)
        lines.append(f"{value} {sign} {operand} = {result}")
        value = result
    sentences.append(f"How many {things} now?")
    core = " ".join([str(start), *(f"{sign}{operand}" for sign, operand in chain)])
    return Problem(name, " ".join(sentences), tuple(lines), str(value), core)


def _read(statement: str) -> tuple[list[str], str] | None:
    """The lines and the answer of a story, worked out from its sentences alone."""
    match = _STATEMENT.fullmatch(statement)
    if match is None:
        return None
    value, lines = int(match[1]), []
    for text in match[3].split(". "):
        sentence = _SENTENCE.fullmatch(text)
        if sentence is None:
            return None
        verb, number = sentence[1], int(sentence[2] or 0)
        if verb in ("doubles", "triples"):
            number = 2 if verb == "doubles" else 3
            sign, result = "*", number * value
        elif verb in ("finds", "gets", "buys"):
            sign, result = "+", value + number
        else:
            sign, result = "-", value - number
        lines.append(f"{value} {sign} {number} = {result}")
        value = result
    return lines, str(value)
