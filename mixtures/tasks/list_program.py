"""Lists of integers changed by operations in order, with the list written down after each.

The same state in writing as in `string_program`, with arithmetic and order in place of letters. Difficulty is the
number of operations, 1 to 12. A start of four numbers from -9 to 30 already has 2,560,000 forms, and starts have up to
seven; the number of problems of one operation is above 10^7. Costs about 6 microseconds an operation.
"""

import itertools
import random
import re

from .family import Family, Wordings
from .program import Arguments, Language, Operation, always, number

LARGEST = 999
SIZES = range(2, 11)
NUMBER = r"(?:0|-?[1-9]\d*)"
LIST = rf"{NUMBER}(?:, {NUMBER})*"
STORY = Wordings(
    (
        "Start with the list {start}. In this order: {operations}. Which list is left?"
        " Answer with its numbers, separated by commas.",
        "Take the numbers {start} and do the following one after the other: {operations}."
        " Answer with the numbers that are left, separated by commas.",
        "The list {start} is changed step by step: {operations}. What does it become?"
        " Answer with its numbers, separated by commas.",
    ),
    start=LIST,
    operations="[-a-z0-9;, ]+",
)

Numbers = tuple[int, ...]


def _words(*templates: str) -> Wordings:
    return Wordings(templates, k=r"-?\d+")


def _part(rng: random.Random, state: Numbers) -> Arguments:
    return {"k": str(rng.randint(2, max(2, len(state) - 1)))}


def _bound(rng: random.Random, state: Numbers) -> Arguments:
    return {"k": str(rng.choice(state))}


def _divisor(rng: random.Random, state: Numbers) -> Arguments | None:
    return {"k": str(rng.randint(3, 12))} if min(state) >= 0 else None


def _k(arguments: Arguments) -> int:
    return int(arguments["k"])


def _inserted(state: Numbers, sign: int) -> Numbers:
    ordered: list[int] = []
    for one in state:
        at = sum(sign * other <= sign * one for other in ordered)
        ordered.insert(at, one)
    return tuple(ordered)


def _running(state: Numbers) -> Numbers:
    return tuple(sum(state[: at + 1]) for at in range(len(state)))


def _unique(state: Numbers) -> Numbers:
    return tuple(one for at, one in enumerate(state) if one not in state[:at])


OPERATIONS: tuple[Operation[Numbers], ...] = (
    Operation(
        "add {k} to each",
        _words("add {k} to every number", "increase each number by {k}"),
        number(2, 20),
        lambda s, g: tuple(one + _k(g) for one in s),
        lambda s, g: tuple(map(_k(g).__add__, s)),
    ),
    Operation(
        "subtract {k} from each",
        _words("subtract {k} from every number", "decrease each number by {k}"),
        number(2, 20),
        lambda s, g: tuple(one - _k(g) for one in s),
        lambda s, g: tuple(map((-_k(g)).__add__, s)),
    ),
    Operation(
        "multiply each by {k}",
        _words("multiply every number by {k}", "replace each number by {k} times itself"),
        number(2, 4),
        lambda s, g: tuple(one * _k(g) for one in s),
        lambda s, g: tuple(sum([one] * _k(g)) for one in s),
    ),
    Operation(
        "negate",
        _words("change the sign of every number", "multiply each number by -1"),
        always,
        lambda s, _: tuple(-one for one in s),
        lambda s, _: tuple(0 - one for one in s),
    ),
    Operation(
        "reverse",
        _words("reverse the list", "put the numbers in the opposite order"),
        always,
        lambda s, _: tuple(s[len(s) - 1 - at] for at in range(len(s))),
        lambda s, _: s[::-1],
    ),
    Operation(
        "sort up",
        _words("sort it in ascending order", "put the numbers in order from the smallest to the largest"),
        always,
        lambda s, _: _inserted(s, 1),
        lambda s, _: tuple(sorted(s)),
    ),
    Operation(
        "sort down",
        _words("sort it in descending order", "put the numbers in order from the largest to the smallest"),
        always,
        lambda s, _: _inserted(s, -1),
        lambda s, _: tuple(sorted(s, reverse=True)),
    ),
    Operation(
        "even only",
        _words("keep only the even numbers", "remove all odd numbers"),
        always,
        lambda s, _: tuple(one for one in s if one % 2 == 0),
        lambda s, _: tuple(one for one in s if not one & 1),
    ),
    Operation(
        "odd only",
        _words("keep only the odd numbers", "remove all even numbers"),
        always,
        lambda s, _: tuple(one for one in s if one % 2 == 1),
        lambda s, _: tuple(one for one in s if one & 1),
    ),
    Operation(
        "without those above {k}",
        _words("remove every number greater than {k}", "keep only the numbers that are at most {k}"),
        _bound,
        lambda s, g: tuple(one for one in s if one <= _k(g)),
        lambda s, g: tuple(itertools.filterfalse(_k(g).__lt__, s)),
    ),
    Operation(
        "first {k} to the end",
        _words("move the first {k} numbers to the end", "put the first {k} numbers behind the others"),
        _part,
        lambda s, g: tuple(s[(at + _k(g)) % len(s)] for at in range(len(s))),
        lambda s, g: s[_k(g) :] + s[: _k(g)],
    ),
    Operation(
        "without the first",
        _words("drop the first number", "remove the first number"),
        always,
        lambda s, _: tuple(one for at, one in enumerate(s) if at),
        lambda s, _: s[1:],
    ),
    Operation(
        "append {k}",
        _words("append {k}", "add the number {k} at the end"),
        number(-9, 30),
        lambda s, g: (*s, _k(g)),
        lambda s, g: tuple(itertools.chain(s, (_k(g),))),
    ),
    Operation(
        "running sums",
        _words(
            "replace every number by the sum of the numbers up to it, itself included",
            "replace the list by its running sums",
        ),
        always,
        lambda s, _: _running(s),
        lambda s, _: tuple(itertools.accumulate(s)),
    ),
    Operation(
        "remainders by {k}",
        _words("replace every number by its remainder on division by {k}", "reduce each number modulo {k}"),
        _divisor,
        lambda s, g: tuple(one - one // _k(g) * _k(g) for one in s),
        lambda s, g: tuple(one % _k(g) for one in s),
    ),
    Operation(
        "without repeats",
        _words("remove repeated numbers, keeping the first of each", "drop every number that has occurred before"),
        always,
        lambda s, _: _unique(s),
        lambda s, _: tuple(dict.fromkeys(s)),
    ),
)


def _show(state: Numbers) -> str:
    return ", ".join(map(str, state))


LANGUAGE = Language(
    STORY,
    OPERATIONS,
    lambda rng: tuple(rng.randint(-9, 30) for _ in range(rng.randint(4, 7))),
    lambda state: len(state) in SIZES and max(map(abs, state)) <= LARGEST,
    _show,
    lambda text: tuple(map(int, text.split(", "))),
)
TASK = Family("list_program", 1, 12, LANGUAGE.pose, LANGUAGE.resolve, re.compile(LIST, re.ASCII))
