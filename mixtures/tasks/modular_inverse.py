"""Inverses modulo a number, by Euclid's algorithm extended.

Each line is one division and the coefficient that goes with its remainder, so that coefficient * number and remainder
are the same modulo the modulus; the last line puts the inverse back. Difficulty is the number of divisions less one, 1
to 12: the quotients are drawn, so it is exact, and the more there are the smaller they are. Of difficulty 4 there are
20^4 * 19 = 3,040,000 problems, of 5 2,737,152, of 6 4,251,528, then 6^7 * 5 and more. Costs about 8 microseconds a
problem.
"""

import random

from .family import Casting, Family, Solution, Wordings

FORMAT = " Answer with an integer from 1 to {last}."
WORDINGS = Wordings(
    [
        one + FORMAT
        for one in (
            "Find the inverse of {number} modulo {modulus}.",
            "Which number times {number} leaves the remainder 1 on division by {modulus}?",
            "Solve {number} * x = 1 mod {modulus} for x.",
        )
    ],
    number=r"\d+",
    modulus=r"\d+",
    last=r"\d+",
)


LARGEST = {5: 12, 6: 9}
"""The largest quotient by difficulty; 20 below, 6 beyond."""


def _pose(rng: random.Random, difficulty: int) -> tuple[str, list[str], str]:
    largest = LARGEST.get(difficulty, 20 if difficulty < 5 else 6)
    quotients = [rng.randint(1, largest) for _ in range(difficulty)]
    quotients.append(rng.randint(2, largest))
    remainders = [0, 1]
    for quotient in reversed(quotients):
        remainders.append(quotient * remainders[-1] + remainders[-2])
    remainders.reverse()
    modulus, number = remainders[0], remainders[1]
    lines, before, now = [], 0, 1
    for at, quotient in enumerate(quotients):
        before, now = now, before - quotient * now
        lines.append(f"{remainders[at]} = {quotient} * {remainders[at + 1]} + {remainders[at + 2]}, coefficient {now}")
    inverse = before % modulus
    lines.append(f"remainder 1 has coefficient {before}: {before} mod {modulus} = {inverse}")
    lines.append(f"check: {number} * {inverse} = {number * inverse} = {number * inverse // modulus} * {modulus} + 1")
    casting = Casting(f"{number} {modulus}")
    return WORDINGS.say(casting, number=number, modulus=modulus, last=modulus - 1), lines, str(inverse)


def _resolve(statement: str) -> Solution | None:
    """Divides again; each coefficient is the remainder times the inverse, brought to the size and sign it must have."""
    fields = WORDINGS.read(statement)
    if fields is None or int(fields["last"]) != int(fields["modulus"]) - 1:
        return None
    number, modulus = int(fields["number"]), int(fields["modulus"])
    try:
        inverse = pow(number, -1, modulus)
    except ValueError:
        return None
    lines, above, below, sign = [], modulus, number, 1
    coefficient = 1
    while below:
        quotient, rest = divmod(above, below)
        sign = -sign
        last, coefficient = coefficient, sign * (rest * inverse * sign % modulus or modulus)
        lines.append(f"{above} = {quotient} * {below} + {rest}, coefficient {coefficient}")
        above, below = below, rest
    lines.append(f"remainder 1 has coefficient {last}: {last} mod {modulus} = {inverse}")
    product = number * inverse
    lines.append(f"check: {number} * {inverse} = {product} = {(product - 1) // modulus} * {modulus} + 1")
    return lines, str(inverse)


TASK = Family("modular_inverse", 1, 12, _pose, _resolve)
