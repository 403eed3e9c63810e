"""Powers: the answer is Python's, every product and remainder is right, each value used is the one before."""

import random
import re

from hypothesis import given
from hypothesis import strategies as st
from midtrain.mixtures.tasks.modular_power import TASK

LINE = re.compile(r"(square|bit 1): (\d+) \* (\d+) = (\d+) = (\d+) \* (\d+) \+ (\d+)")


@given(seed=st.integers(), squarings=st.integers(1, 16))
def test_the_lines_lead_to_the_power(seed: int, squarings: int) -> None:
    problem = TASK.problem(random.Random(seed), squarings)
    base, exponent, modulus = map(int, re.findall(r"\d+", problem.statement)[:3])
    assert problem.answer == str(base**exponent % modulus)
    assert problem.steps[:2] == (f"{exponent} in binary: {exponent:b}", f"bit 1: {base}")
    value, power = base, 1
    for line in problem.steps[2:]:
        what, left, right, product, quotient, by, rest = LINE.fullmatch(line).groups()
        assert int(left) == value
        assert int(right) == (value if what == "square" else base)
        assert int(product) == int(left) * int(right) == int(quotient) * int(by) + int(rest)
        assert (int(by), int(rest) < modulus) == (modulus, True)
        value, power = int(rest), power * 2 if what == "square" else power + 1
    assert power == exponent
    assert sum(line.startswith("square") for line in problem.steps) == squarings
