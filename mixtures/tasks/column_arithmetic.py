"""Addition, subtraction, multiplication and long division, written out digit by digit with carries and borrows.

A model adds long numbers only where it has learned to carry, so every column is a line, and the carry stands in it.
Difficulty is the number of digits of the first number, 1 to 12; the second has at most as many, in products and
divisors at most half as many. There are 90,000 first numbers of five digits; in each of the four operations at least
90 second ones go with each, so more than 3 * 10^7 problems of five digits. Costs about 10 microseconds a problem.
"""

import random
import re

from .family import Casting, Family, Solution, Wordings

INTEGER_ANSWER = " Answer with an integer."
QUOTIENT_ANSWER = ' Answer in the form "Q remainder R".'
WORDINGS = {
    "+": Wordings(
        [
            one + INTEGER_ANSWER
            for one in (
                "Add {a} and {b}, column by column.",
                "What is {a} + {b}? Write out every column.",
                "Work out the sum of {a} and {b} digit by digit.",
            )
        ],
        a=r"\d+",
        b=r"\d+",
    ),
    "-": Wordings(
        [
            one + INTEGER_ANSWER
            for one in (
                "Subtract {b} from {a}, column by column.",
                "What is {a} - {b}? Write out every column.",
                "Work out the difference of {a} and {b} digit by digit.",
            )
        ],
        a=r"\d+",
        b=r"\d+",
    ),
    "*": Wordings(
        [
            one + INTEGER_ANSWER
            for one in (
                "Multiply {a} by {b}, digit by digit.",
                "What is {a} * {b}? Write out every column.",
                "Work out the product of {a} and {b} by long multiplication.",
            )
        ],
        a=r"\d+",
        b=r"\d+",
    ),
    "/": Wordings(
        [
            one + QUOTIENT_ANSWER
            for one in (
                "Divide {a} by {b} by long division.",
                "What is {a} / {b}, with remainder? Bring down one digit after the other.",
                "How often does {b} go into {a}, and what is left? Use long division.",
            )
        ],
        a=r"\d+",
        b=r"\d+",
    ),
}


def _pose(rng: random.Random, digits: int) -> tuple[str, list[str], str]:
    sign = rng.choice("+-*/")
    a = rng.randrange(10 ** (digits - 1), 10**digits)
    if sign in "+-":
        b = rng.randrange(1, 10 ** rng.randint(1, digits))
    else:
        b = rng.randrange(2, 10 ** rng.randint(1, max(1, digits // 2)))
    if sign != "/" and a < b:  # of the two orders of a sum or a product one is asked
        a, b = b, a
    lines, answer = {"+": _add, "-": _subtract, "*": _multiply, "/": _divide}[sign](a, b)
    statement = WORDINGS[sign].say(Casting(f"{a} {sign} {b}"), a=a, b=b)
    return statement, lines, answer


def _columns(a: int, b: int) -> list[tuple[int, int]]:
    """The digits of both numbers by column, the last column first; missing digits are 0."""
    upper, lower = str(a)[::-1], str(b)[::-1]
    long = max(len(upper), len(lower))
    return [(int(x), int(y)) for x, y in zip(upper.ljust(long, "0"), lower.ljust(long, "0"), strict=True)]


def _add(a: int, b: int) -> tuple[list[str], str]:
    carry, lines, written = 0, [], ""
    for number, (x, y) in enumerate(_columns(a, b), 1):
        total = x + y + carry
        lines.append(f"column {number}: {x} + {y} + {carry} = {total}, write {total % 10}, carry {total // 10}")
        written, carry = str(total % 10) + written, total // 10
    answer = f"{carry}{written}" if carry else written
    return [*lines, f"{a} + {b} = {answer}"], answer


def _subtract(a: int, b: int) -> tuple[list[str], str]:
    borrow, lines, written = 0, [], ""
    for number, (x, y) in enumerate(_columns(a, b), 1):
        left = x - y - borrow
        digit, taken = (left, 0) if left >= 0 else (left + 10, 1)
        lines.append(f"column {number}: {x} - {y} - {borrow} = {left}, write {digit}, borrow {taken}")
        written, borrow = str(digit) + written, taken
    answer = written.lstrip("0") or "0"
    return [*lines, f"{a} - {b} = {answer}"], answer


def _multiply(a: int, b: int) -> tuple[list[str], str]:
    lines: list[str] = []
    total = ""
    for place, y in enumerate(map(int, reversed(str(b)))):
        if y == 0:
            lines.append(f"digit {place + 1} of {b} is 0: nothing to add")
            continue
        carry, written = 0, "0" * place
        for number, x in enumerate(map(int, reversed(str(a))), 1):
            product = x * y + carry
            lines.append(
                f"column {number}: {x} * {y} + {carry} = {product}, write {product % 10}, carry {product // 10}"
            )
            written, carry = str(product % 10) + written, product // 10
        written = f"{carry}{written}" if carry else written
        lines.append(f"{a} * {y}{'0' * place} = {written}")
        if total:
            added, total = _add(int(total), int(written))
            lines += added
        else:
            total = written
    return [*lines, f"so {a} * {b} = {total}"], total


def _divide(a: int, b: int) -> tuple[list[str], str]:
    left, lines, written = 0, [], ""
    for digit in str(a):
        here, times = left * 10 + int(digit), 0
        while (times + 1) * b <= here:
            times += 1
        left = here - times * b
        lines.append(f"bring down {digit}: {here} = {times} * {b} + {left}, write {times}")
        written += str(times)
    quotient = written.lstrip("0") or "0"
    return [*lines, f"{a} = {quotient} * {b} + {left}"], f"{quotient} remainder {left}"


def _resolve(statement: str) -> Solution | None:
    for sign, wordings in WORDINGS.items():
        if fields := wordings.read(statement):
            a, b = int(fields["a"]), int(fields["b"])
            return {"+": _check_sum, "-": _check_difference, "*": _check_product, "/": _check_quotient}[sign](a, b)
    return None


def _check_sum(a: int, b: int) -> Solution:
    """Whole numbers alone: what is carried into a column is what the numbers' ends add up to beyond it."""
    lines = []
    for k in range(max(len(str(a)), len(str(b)))):
        unit = 10**k
        x, y, carry = a // unit % 10, b // unit % 10, (a % unit + b % unit) // unit
        total = x + y + carry
        lines.append(
            f"column {k + 1}: {x} + {y} + {carry} = {total}, write {(a + b) // unit % 10}, carry {total // 10}"
        )
    return [*lines, f"{a} + {b} = {a + b}"], str(a + b)


def _check_difference(a: int, b: int) -> Solution:
    lines = []
    for k in range(len(str(a))):
        unit = 10**k
        x, y, borrow = a // unit % 10, b // unit % 10, int(a % unit < b % unit)
        digit, taken = (a - b) // unit % 10, int(a % (10 * unit) < b % (10 * unit))
        lines.append(f"column {k + 1}: {x} - {y} - {borrow} = {x - y - borrow}, write {digit}, borrow {taken}")
    return [*lines, f"{a} - {b} = {a - b}"], str(a - b)


def _check_product(a: int, b: int) -> Solution:
    lines = []
    for place in range(len(str(b))):
        y = b // 10**place % 10
        if y == 0:
            lines.append(f"digit {place + 1} of {b} is 0: nothing to add")
            continue
        for k in range(len(str(a))):
            unit = 10**k
            carry = a % unit * y // unit
            product = a // unit % 10 * y + carry
            digit, on = a * y // unit % 10, a % (10 * unit) * y // (10 * unit)
            lines.append(f"column {k + 1}: {a // unit % 10} * {y} + {carry} = {product}, write {digit}, carry {on}")
        factor = y * 10**place
        lines.append(f"{a} * {factor} = {a * factor}")
        if b % 10**place:
            lines += _check_sum(a * (b % 10**place), a * factor)[0]
    return [*lines, f"so {a} * {b} = {a * b}"], str(a * b)


def _check_quotient(a: int, b: int) -> Solution:
    lines = []
    digits = len(str(a))
    for k in reversed(range(digits)):
        digit, here = a // 10**k % 10, a // 10 ** (k + 1) % b * 10 + a // 10**k % 10
        lines.append(f"bring down {digit}: {here} = {here // b} * {b} + {here % b}, write {a // 10**k // b % 10}")
    return [*lines, f"{a} = {a // b} * {b} + {a % b}"], f"{a // b} remainder {a % b}"


TASK = Family(
    "column_arithmetic", 1, 12, _pose, _resolve, re.compile(r"(?:0|[1-9]\d*)(?: remainder (?:0|[1-9]\d*))?", re.ASCII)
)
