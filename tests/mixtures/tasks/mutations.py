"""Worked replies made wrong: by a digit of the answer, a step changed, swapped, cut off or added."""

import random
import re
from collections.abc import Callable

from midtrain.mixtures.tasks import Problem

Lines = list[str]


def reply(problem: Problem) -> str:
    return "\n".join([*problem.steps, problem.answer])


def _another_digit(rng: random.Random, text: str) -> str | None:
    """Another digit in the place of one; a 0 in front of nothing else may become one too."""
    places = [match.start() for match in re.finditer(r"\d", text)]
    if not places:
        return None
    at = rng.choice(places)
    return text[:at] + rng.choice([digit for digit in "0123456789" if digit != text[at]]) + text[at + 1 :]


def _another_letter(rng: random.Random, text: str) -> str:
    at = rng.choice([at for at, letter in enumerate(text) if letter.isalpha()])
    return text[:at] + rng.choice([letter for letter in "abcdefghij" if letter != text[at]]) + text[at + 1 :]


def _changed(rng: random.Random, text: str) -> str:
    return _another_digit(rng, text) or _another_letter(rng, text)


def answer_changed(rng: random.Random, problem: Problem) -> Lines:
    return [*problem.steps, _changed(rng, problem.answer)]


def step_changed(rng: random.Random, problem: Problem) -> Lines:
    at = rng.randrange(len(problem.steps))
    return [*problem.steps[:at], _changed(rng, problem.steps[at]), *problem.steps[at + 1 :], problem.answer]


def steps_swapped(rng: random.Random, problem: Problem) -> Lines | None:
    pairs = [at for at in range(len(problem.steps) - 1) if problem.steps[at] != problem.steps[at + 1]]
    if not pairs:
        return None  # the solution is one line, or the same line again and again: swapped it is still right
    at = rng.choice(pairs)
    lines = list(problem.steps)
    lines[at], lines[at + 1] = lines[at + 1], lines[at]
    return [*lines, problem.answer]


def truncated(rng: random.Random, problem: Problem) -> Lines:
    return [*problem.steps[: rng.randrange(len(problem.steps))], problem.answer]


def extra_step(rng: random.Random, problem: Problem) -> Lines:
    at = rng.randrange(len(problem.steps) + 1)
    return [*problem.steps[:at], rng.choice(problem.steps), *problem.steps[at:], problem.answer]


MUTATIONS: tuple[Callable[[random.Random, Problem], Lines | None], ...] = (
    answer_changed,
    step_changed,
    steps_swapped,
    truncated,
    extra_step,
)


def mutated(rng: random.Random, problem: Problem) -> str:
    """A reply that is wrong by construction: its lines are others than those of the solution."""
    while True:
        lines = rng.choice(MUTATIONS)(rng, problem)
        if lines is not None:
            assert lines != [*problem.steps, problem.answer]
            return "\n".join(lines)
