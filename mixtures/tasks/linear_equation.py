"""Linear equations in one unknown with an integer solution: brackets expanded, terms collected, moved and divided.

Each line is an equation with the same solution as the one before, and the last puts the solution back into both sides.
Difficulty is the shape: 1 `x + b = c`, 2 `ax + b = c`, 3 unknowns on both sides, 4 a bracket, 5 a bracket and unknowns
on both sides, 6 and above a bracket more each; to 10. Of difficulty 4 there are 8 factors, 40 terms in the bracket, 40
beside it and 40 solutions, 512,000 problems; of difficulty 5 seven to eight times as many. Costs about 15 microseconds
a problem.
"""

import random
import re

from .family import Casting, Family, Solution, Wordings

LETTERS = "abkmnptwxyz"
FORMAT = " Answer with the value of {letter} alone."
WORDINGS = Wordings(
    [
        one + FORMAT
        for one in (
            "Solve {equation} for {letter}.",
            "Find the number {letter} for which {equation}.",
            "What is {letter} if {equation}?",
            "For which {letter} does {equation} hold?",
        )
    ],
    equation=r"[-+0-9a-z() ]+ = [-+0-9a-z() ]+",
    letter="[a-z]",
)
TERMS = [*range(-20, 0), *range(1, 21)]
FACTORS = range(2, 10)
Part = tuple[int, int, int]
"""factor * (coefficient x + constant), the factor 1 where there is no bracket."""


def _pose(rng: random.Random, shape: int) -> tuple[str, list[str], str]:
    solution = rng.choice(TERMS)
    left: list[Part] = []
    right: list[Part] = []
    if shape < 4:
        left = [(1, 1 if shape == 1 else rng.choice(FACTORS), 0), (1, 0, rng.choice(TERMS))]
    else:
        left = [(rng.choice(FACTORS), 1, rng.choice(TERMS)) for _ in range(max(1, shape - 4))]
        left.append((1, 0, rng.choice(TERMS)))
    coefficient = sum(factor * inner for factor, inner, _ in left)
    if shape in (3, 5) or shape > 5:
        right = [(1, rng.choice([c for c in range(2, 10) if c != coefficient]), 0)]
    value = sum(factor * (inner * solution + constant) for factor, inner, constant in left)
    constant = value - sum(inner * solution for _, inner, _ in right)
    if constant or not right:
        right.append((1, 0, constant))
    core = f"{left} {right}"
    casting = Casting(core)
    letter = casting.one(LETTERS)
    return (
        WORDINGS.say(casting, equation=f"{_side(left, letter)} = {_side(right, letter)}", letter=letter),
        _lines(left, right, letter, solution, value),
        str(solution),
    )


def _lines(left: list[Part], right: list[Part], letter: str, solution: int, value: int) -> list[str]:
    lines = []
    if any(factor != 1 for factor, _, _ in left):
        expanded = [
            one
            for factor, inner, constant in left
            for one in ((1, factor * inner, 0), (1, 0, factor * constant))
            if one[1] or one[2]
        ]
        lines.append(f"expand: {_side(expanded, letter)} = {_side(right, letter)}")
    a, b = _collected(left)
    c, d = _collected(right)
    rest = f"{d} {_signed(-b)}" if b else f"{d}"
    unknowns = f"{_linear(a, 0, letter)} {_signed(-c, letter)}" if c else _linear(a, 0, letter)
    return [
        *lines,
        f"collect: {_linear(a, b, letter)} = {_linear(c, d, letter)}",
        f"move: {unknowns} = {rest}",
        f"combine: {_linear(a - c, 0, letter)} = {d - b}",
        f"divide: {letter} = {d - b} / {a - c} = {solution}",
        f"check: left side {value}, right side {c * solution + d}",
    ]


def _collected(parts: list[Part]) -> tuple[int, int]:
    return sum(factor * inner for factor, inner, _ in parts), sum(factor * constant for factor, _, constant in parts)


def _signed(number: int, letter: str = "") -> str:
    size = "" if letter and abs(number) == 1 else str(abs(number))
    return f"{'-' if number < 0 else '+'} {size}{letter}"


def _linear(coefficient: int, constant: int, letter: str) -> str:
    """`3x - 4`, without what is 0."""
    unknown = {0: "", 1: letter, -1: f"-{letter}"}.get(coefficient, f"{coefficient}{letter}")
    if not constant:
        return unknown or "0"
    return f"{unknown} {_signed(constant)}" if unknown else str(constant)


def _side(parts: list[Part], letter: str) -> str:
    text = ""
    for factor, inner, constant in parts:
        inside = _linear(inner, constant, letter)
        one = inside if factor == 1 else f"{factor}({inside})"
        if not text:
            text = one
        elif one.startswith("-"):
            text += f" - {one[1:]}"
        else:
            text += f" + {one}"
    return text


_TERM = re.compile(r"([-+]?) ?(?:(\d+)\(([a-z]) ([-+]) (\d+)\)|(\d*)([a-z])|(\d+)) ?")
Terms = list[tuple[int, int]]


def _resolve(statement: str) -> Solution | None:
    """Reads the terms off the text, and evaluates both sides at 0 and 1 to get coefficients and constants."""
    fields = WORDINGS.read(statement)
    if fields is None:
        return None
    letter = fields["letter"]
    left, right = fields["equation"].split(" = ")
    first, second = _read(left), _read(right)
    if first is None or second is None or set(re.findall("[a-z]", fields["equation"])) != {letter}:
        return None
    b, d = _at(first, 0), _at(second, 0)
    a, c = _at(first, 1) - b, _at(second, 1) - d
    if a == c or (d - b) % (a - c):
        return None
    x = (d - b) // (a - c)
    bare = [term for k, constant in first for term in ((k, 0), (0, constant)) if any(term)]
    expand = [f"expand: {_joined(bare, letter)} = {right}"] if "(" in left else []
    moved = [(a, 0)] if c == 0 else [(a, 0), (-c, 0)]
    constants = str(d) if b == 0 else f"{d} {'-' if b > 0 else '+'} {abs(b)}"
    lines = [
        *expand,
        f"collect: {_joined([(a, 0), (0, b)], letter)} = {_joined([(c, 0), (0, d)], letter)}",
        f"move: {_joined(moved, letter)} = {constants}",
        f"combine: {_joined([(a - c, 0)], letter)} = {d - b}",
        f"divide: {letter} = {d - b} / {a - c} = {x}",
        f"check: left side {_at(first, x)}, right side {_at(second, x)}",
    ]
    return lines, str(x)


def _read(side: str) -> Terms | None:
    """Coefficient and constant of each term of a side, brackets multiplied out."""
    terms: Terms = []
    at = 0
    while at < len(side):
        match = _TERM.match(side, at)
        if match is None:
            return None
        sign = -1 if match[1] == "-" else 1
        if match[2]:
            factor = sign * int(match[2])
            terms.append((factor, factor * int(match[4] + match[5])))
        elif match[7]:
            terms.append((sign * int(match[6] or 1), 0))
        else:
            terms.append((0, sign * int(match[8])))
        at = match.end()
    return terms


def _at(terms: Terms, x: int) -> int:
    return sum(k * x + constant for k, constant in terms)


def _joined(terms: Terms, letter: str) -> str:
    text = ""
    for k, constant in terms:
        number = k or constant
        if not number:
            continue
        size = letter if abs(number) == 1 and k else f"{abs(number)}{letter if k else ''}"
        if text:
            text += f" {'-' if number < 0 else '+'} {size}"
        else:
            text = f"-{size}" if number < 0 else size
    return text or "0"


TASK = Family("linear_equation", 1, 10, _pose, _resolve)
