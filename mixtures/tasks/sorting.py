"""Sorting by a named algorithm, the list written down after every step.

The answer is easy to check and the steps are what is learned: which algorithm was asked decides what the list looks
like in between. Difficulty is the length of the list less one, 1 to 15: so many insertions, selections or passes, and
about its logarithm of merges. Numbers are different and below 100, or 1,000 from difficulty 8. Two numbers of 100 in
four algorithms and two directions are 79,200 problems; three are 7,761,600, and each number more gives at least 50
times as many. Costs about 10 microseconds a problem.
"""

import random
import re
from collections.abc import Callable

from .family import Casting, Family, Solution, Wordings

FORMAT = " Answer with the numbers alone, separated by commas."
WORDINGS = Wordings(
    [
        one + FORMAT
        for one in (
            "Sort {numbers} {direction} by {algorithm}, and show the list after every {step}.",
            "Use {algorithm} to sort the list {numbers} {direction}; write the list after each {step}.",
            "Put {numbers} in {direction} order with {algorithm}, one line for each {step}.",
        )
    ],
    numbers=r"\d+(?:, \d+)+",
    direction="ascending|descending",
    algorithm="insertion sort|selection sort|bubble sort|merge sort",
    step="insertion|selection|pass|merge",
)
STEPS = {"insertion sort": "insertion", "selection sort": "selection", "bubble sort": "pass", "merge sort": "merge"}
"""In the order of their names; selection moves the smallest to the front, bubble sort always makes all its passes, and
merge sort doubles the width of the runs each time."""


def _pose(rng: random.Random, difficulty: int) -> tuple[str, list[str], str]:
    algorithm = rng.choice(tuple(STEPS))
    direction = rng.choice(("ascending", "descending"))
    numbers = rng.sample(range(100 if difficulty < 8 else 1000), difficulty + 1)
    written = _listed(numbers)
    lines = _SORTS[algorithm](list(numbers), -1 if direction == "descending" else 1)
    casting = Casting(f"{algorithm} {direction} {written}")
    statement = WORDINGS.say(casting, numbers=written, direction=direction, algorithm=algorithm, step=STEPS[algorithm])
    return statement, lines, lines[-1].partition(": ")[2]


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))


def _insertion(numbers: list[int], sign: int) -> list[str]:
    lines = []
    for at in range(1, len(numbers)):
        moved, place = numbers[at], at
        while place and sign * numbers[place - 1] > sign * moved:
            numbers[place] = numbers[place - 1]
            place -= 1
        numbers[place] = moved
        lines.append(f"insert {moved} at {place + 1}: {_listed(numbers)}")
    return lines


def _selection(numbers: list[int], sign: int) -> list[str]:
    lines = []
    for at in range(len(numbers) - 1):
        best = at
        for place in range(at + 1, len(numbers)):
            if sign * numbers[place] < sign * numbers[best]:
                best = place
        numbers.insert(at, numbers.pop(best))
        lines.append(f"select {numbers[at]} for place {at + 1}: {_listed(numbers)}")
    return lines


def _bubble(numbers: list[int], sign: int) -> list[str]:
    lines = []
    for number in range(1, len(numbers)):
        swaps = 0
        for place in range(len(numbers) - number):
            if sign * numbers[place] > sign * numbers[place + 1]:
                numbers[place], numbers[place + 1] = numbers[place + 1], numbers[place]
                swaps += 1
        lines.append(f"pass {number}, swaps {swaps}: {_listed(numbers)}")
    return lines


def _merge(numbers: list[int], sign: int) -> list[str]:
    lines, width = [], 1
    while width < len(numbers):
        merged: list[int] = []
        for start in range(0, len(numbers), 2 * width):
            left, right = numbers[start : start + width], numbers[start + width : start + 2 * width]
            while left and right:
                merged.append(left.pop(0) if sign * left[0] < sign * right[0] else right.pop(0))
            merged += left + right
        numbers, width = merged, 2 * width
        lines.append(f"runs of {width}: {_listed(numbers)}")
    return lines


_SORTS: dict[str, Callable[[list[int], int], list[str]]] = {
    "insertion sort": _insertion,
    "selection sort": _selection,
    "bubble sort": _bubble,
    "merge sort": _merge,
}


def _resolve(statement: str) -> Solution | None:
    """What the list must be after each step, from its order alone; nothing is moved."""
    fields = WORDINGS.read(statement)
    if fields is None or STEPS[fields["algorithm"]] != fields["step"]:
        return None
    numbers = [int(one) for one in fields["numbers"].split(", ")]
    if len(set(numbers)) < len(numbers):
        return None
    down = fields["direction"] == "descending"
    lines = _after(fields["algorithm"], numbers, down)
    return lines, _listed(sorted(numbers, reverse=down))


def _after(algorithm: str, numbers: list[int], down: bool) -> list[str]:
    lines = []
    best = sorted(numbers, reverse=down)
    size = len(numbers)
    if algorithm == "insertion sort":
        for at in range(1, size):
            ordered = sorted(numbers[: at + 1], reverse=down)
            place = ordered.index(numbers[at]) + 1
            lines.append(f"insert {numbers[at]} at {place}: {_listed(ordered + numbers[at + 1 :])}")
    elif algorithm == "selection sort":
        for at in range(1, size):
            rest = [one for one in numbers if one not in best[:at]]
            lines.append(f"select {best[at - 1]} for place {at}: {_listed(best[:at] + rest)}")
    elif algorithm == "bubble sort":
        # A number moves one place to the front for each pass while something that belongs behind it stands before it.
        for done in range(1, size):
            before = _passed(numbers, done - 1, down)
            now = _passed(numbers, done, down)
            swaps = sum(now.index(one) < at for at, one in enumerate(before))
            lines.append(f"pass {done}, swaps {swaps}: {_listed(now)}")
    else:
        width = 2
        while width < 2 * size:
            runs = [sorted(numbers[at : at + width], reverse=down) for at in range(0, size, width)]
            lines.append(f"runs of {width}: {_listed([one for run in runs for one in run])}")
            width *= 2
    return lines


def _passed(numbers: list[int], passes: int, down: bool) -> list[int]:
    """After p passes place i holds what is best of the first i + p + 1 numbers and not yet placed before it."""
    waiting, placed = sorted(numbers[:passes], reverse=down), []
    for one in numbers[passes:]:
        waiting = sorted([*waiting, one], reverse=down)
        placed.append(waiting.pop(0))
    return placed + waiting


TASK = Family("sorting", 1, 15, _pose, _resolve, re.compile(r"\d+(?:, \d+)*", re.ASCII))
