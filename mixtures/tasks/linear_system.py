"""Two linear equations in two unknowns with integer solutions, solved by elimination and put back.

The procedure is one: both equations are multiplied so that the second unknown has the same coefficient, subtracted,
divided, and the second unknown found from the first equation; the last line checks the second equation. Difficulty 1 to
10 widens the numbers: coefficients to 3 + difficulty, solutions to 4 times the difficulty, either sign. Of difficulty 4
there are 14^4 coefficients, of which more than nine in ten are independent, and 33^2 solutions; of the two orders of
the equations one is asked: more than 1.8 * 10^7 problems. Costs about 10 microseconds a problem.
"""

import random
import re

from .family import Casting, Family, Solution, Wordings

PAIRS = (("x", "y"), ("a", "b"), ("m", "n"), ("p", "q"), ("u", "v"), ("s", "t"))
FORMAT = ' Answer in the form "{x} = 1, {y} = 2".'
WORDINGS = Wordings(
    [
        one + FORMAT
        for one in (
            "Solve the system {first} and {second} for {x} and {y}.",
            "Find {x} and {y} with {first} and {second}.",
            "Which numbers {x} and {y} satisfy both {first} and {second}?",
        )
    ],
    first=r"-?\d*[a-z] [-+] \d*[a-z] = -?\d+",
    second=r"-?\d*[a-z] [-+] \d*[a-z] = -?\d+",
    x="[a-z]",
    y="[a-z]",
)


def _pose(rng: random.Random, difficulty: int) -> tuple[str, list[str], str]:
    coefficients = [n for n in range(-3 - difficulty, 4 + difficulty) if n]
    a, b, d, e = (rng.choice(coefficients) for _ in range(4))
    while a * e == b * d:
        d, e = rng.choice(coefficients), rng.choice(coefficients)
    x, y = (rng.randint(-4 * difficulty, 4 * difficulty) for _ in range(2))
    (a, b, c), (d, e, f) = sorted([(a, b, a * x + b * y), (d, e, d * x + e * y)])  # of the two orders one is asked
    casting = Casting(f"{a} {b} {c} {d} {e} {f}")
    u, v = casting.one(PAIRS)
    statement = WORDINGS.say(casting, first=_equation(a, b, c, u, v), second=_equation(d, e, f, u, v), x=u, y=v)
    determinant, rest = a * e - d * b, c * e - f * b
    lines = [
        f"first times {e}: {_equation(a * e, b * e, c * e, u, v)}",
        f"second times {b}: {_equation(d * b, e * b, f * b, u, v)}",
        f"subtract: {_term(determinant, u)} = {rest}",
        f"{u} = {rest} / {determinant} = {x}",
        f"first: {_term(b, v)} = {c} - ({a * x}) = {c - a * x}",
        f"{v} = {c - a * x} / {b} = {y}",
        f"check second: {d * x} + ({e * y}) = {f}",
    ]
    return statement, lines, f"{u} = {x}, {v} = {y}"


def _term(number: int, letter: str) -> str:
    return {1: letter, -1: f"-{letter}"}.get(number, f"{number}{letter}")


def _equation(a: int, b: int, c: int, u: str, v: str) -> str:
    return f"{_term(a, u)} {'-' if b < 0 else '+'} {_term(abs(b), v)} = {c}"


_EQUATION = re.compile(r"(-?)(\d*)([a-z]) ([-+]) (\d*)([a-z]) = (-?\d+)")


def _resolve(statement: str) -> Solution | None:
    """By Cramer's rule from the numbers in the text; the lines are those that elimination passes through."""
    fields = WORDINGS.read(statement)
    if fields is None:
        return None
    rows = []
    for text in (fields["first"], fields["second"]):
        match = _EQUATION.fullmatch(text)
        if match is None or (match[3], match[6]) != (fields["x"], fields["y"]):
            return None
        rows.append((int(f"{match[1]}{match[2] or 1}"), int(f"{match[4]}{match[5] or 1}"), int(match[7])))
    (a, b, c), (d, e, f) = rows
    below = a * e - b * d
    if below == 0 or (c * e - b * f) % below or (a * f - c * d) % below:
        return None
    x, y = (c * e - b * f) // below, (a * f - c * d) // below
    u, v = fields["x"], fields["y"]
    lines = [
        f"first times {e}: {_written(a * e, u)} {_added(b * e, v)} = {c * e}",
        f"second times {b}: {_written(b * d, u)} {_added(b * e, v)} = {b * f}",
        f"subtract: {_written(below, u)} = {x * below}",
        f"{u} = {x * below} / {below} = {x}",
        f"first: {_written(b, v)} = {c} - ({c - b * y}) = {b * y}",
        f"{v} = {b * y} / {b} = {y}",
        f"check second: {f - e * y} + ({f - d * x}) = {f}",
    ]
    return lines, f"{u} = {x}, {v} = {y}"


def _written(number: int, letter: str) -> str:
    sign, size = ("-" if number < 0 else ""), abs(number)
    return f"{sign}{size if size != 1 else ''}{letter}"


def _added(number: int, letter: str) -> str:
    return f"{'-' if number < 0 else '+'} {_written(abs(number), letter)}"


_INTEGER = r"(?:0|-?[1-9]\d*)"
TASK = Family("linear_system", 1, 10, _pose, _resolve, re.compile(rf"[a-z] = {_INTEGER}, [a-z] = {_INTEGER}", re.ASCII))
