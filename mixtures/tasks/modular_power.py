"""Powers modulo a number, by repeated squaring along the bits of the exponent.

A large exponent cannot be worked out by multiplying on, so the method has to be followed: square for every bit,
multiply where it is 1, reduce each time. Difficulty is the number of squarings, 1 to 16: exponents from 2^d to 2^(d+1);
moduli to 99 below difficulty 4, then to 999. Of difficulty 4 there are 16 exponents and more than 490,000 pairs of base
and modulus: more than 7 * 10^6 problems. Costs about 8 microseconds a problem.
"""

import random

from .family import Casting, Family, Solution, Wordings

FORMAT = " Answer with an integer from 0 to {last}."
WORDINGS = Wordings(
    [
        one + FORMAT
        for one in (
            "What is {base}^{exponent} modulo {modulus}?",
            "Compute {base}^{exponent} mod {modulus} by repeated squaring.",
            "Find the remainder of {base}^{exponent} on division by {modulus}.",
        )
    ],
    base=r"\d+",
    exponent=r"\d+",
    modulus=r"\d+",
    last=r"\d+",
)


def _pose(rng: random.Random, squarings: int) -> tuple[str, list[str], str]:
    modulus = rng.randrange(11, 100 if squarings < 4 else 1000)
    base = rng.randrange(2, modulus)
    exponent = rng.randrange(1 << squarings, 2 << squarings)
    bits = f"{exponent:b}"
    lines = [f"{exponent} in binary: {bits}", f"bit 1: {base}"]
    value = base
    for bit in bits[1:]:
        square = value * value
        lines.append(f"square: {value} * {value} = {square} = {square // modulus} * {modulus} + {square % modulus}")
        value = square % modulus
        if bit == "1":
            product = value * base
            lines.append(
                f"bit 1: {value} * {base} = {product} = {product // modulus} * {modulus} + {product % modulus}"
            )
            value = product % modulus
    casting = Casting(f"{base} {exponent} {modulus}")
    statement = WORDINGS.say(casting, base=base, exponent=exponent, modulus=modulus, last=modulus - 1)
    return statement, lines, str(value)


def _resolve(statement: str) -> Solution | None:
    """Each value is the power for the bits so far, worked out by itself."""
    fields = WORDINGS.read(statement)
    if fields is None or int(fields["last"]) != int(fields["modulus"]) - 1:
        return None
    base, exponent, modulus = (int(fields[name]) for name in ("base", "exponent", "modulus"))
    lines = [f"{exponent} in binary: {exponent:b}", f"bit 1: {base}"]
    for shift in reversed(range(exponent.bit_length() - 1)):
        so_far = exponent >> shift
        lines.append(_reduced("square", pow(base, so_far >> 1, modulus), None, modulus))
        if so_far & 1:
            lines.append(_reduced("bit 1", pow(base, so_far - 1, modulus), base, modulus))
    return lines, str(pow(base, exponent, modulus))


def _reduced(what: str, left: int, right: int | None, modulus: int) -> str:
    right = left if right is None else right
    quotient, rest = divmod(left * right, modulus)
    return f"{what}: {left} * {right} = {left * right} = {quotient} * {modulus} + {rest}"


TASK = Family("modular_power", 1, 16, _pose, _resolve)
