"""Logic grids: who lives in which house, from clues that have one solution, found by elimination without a guess.

Each line takes one clue, or the rule that no two share a house, and says which houses are left for whom; so every
deduction can be checked by itself. Difficulty 1 to 6 is the size: people and kinds of things (each person has one of
each kind). A problem is counted once whatever its names: people are what house they turn out to have, so clues about
houses alone tell problems apart. Of four people with two kinds of things (difficulty 4) 204 clues are true, and a
problem is a set of about ten; of four that are taken in any order there are 7 * 10^7, and among 200,000 problems no two
were alike. Costs 22 microseconds a problem of difficulty 1, 55 of 6, where it has 24 clues and 66 lines.
"""

import random
import re

import numpy as np
import xxhash

from .family import Family, Solution, Wordings

SIZES = {1: (3, 2), 2: (4, 2), 3: (3, 3), 4: (4, 3), 5: (5, 3), 6: (5, 4)}
"""By difficulty: houses, and kinds of entities, the people among them."""
PEOPLE = ("Agnes", "Boris", "Clara", "David", "Edith", "Felix", "Greta", "Henri", "Irene", "Julio", "Karin", "Lukas")
THINGS = (
    ("drink", "the {0} drinker", ("cider", "cocoa", "coffee", "juice", "milk", "soda", "tea", "water")),
    ("pet", "the owner of the {0}", ("cat", "dog", "goat", "hamster", "horse", "parrot", "rabbit", "turtle")),
    ("instrument", "the {0} player", ("cello", "drum", "flute", "guitar", "harp", "horn", "organ", "piano")),
)
CLUES = (
    ("{x} lives in house {y}", "in house {y} lives {x}"),
    ("{x} does not live in house {y}", "house {y} is not that of {x}"),
    ("{x} and {y} are the same person", "{x} shares a house with {y}"),
    ("{x} and {y} are different people", "{x} does not share a house with {y}"),
    ("{x} lives next to {y}", "the houses of {x} and {y} are side by side"),
    ("{x} lives directly to the left of {y}", "{y} lives directly to the right of {x}"),
    ("{x} lives somewhere to the left of {y}", "{y} lives somewhere to the right of {x}"),
)
"""In the order of their kinds in `grid_kernels`; of the first two {y} is a house. All of second wordings whose first
one has an order, and those about houses, name {y} first."""
SETTING = Wordings(
    (
        "{n} people live in a row of houses, numbered 1 to {n} from left to right: {people}. {kinds}Clues: {clues}.",
        "Houses 1 to {n} stand in a row from left to right, and in each lives one of {people}. {kinds}Clues: {clues}.",
        "In {n} houses, numbered from left to right, live {people}, one in each. {kinds}We know: {clues}.",
    ),
    n=r"\d",
    people="[A-Za-z, ]+",
    kinds=r"(?:Each has a different [a-z]+: [a-z, ]+\. )*",
    clues="[^.]+",
)
VALUES = 8
"""Of each kind of things."""
SEED = 62
"""Bits of a seed, which has to be no negative number of 64 bits."""
QUESTION = " Who lives where? Answer with the names in the order of the houses, separated by commas."


_MIDDLES: dict[str, list[tuple[int, str, str, bool]]] = {}
"""By what stands between the two that a clue names: its kind, what stands before and behind, whether {y} is first."""
for _kind, _wording in ((kind, wording) for kind, wordings in enumerate(CLUES) for wording in wordings):
    _before, _first, _between, _, _behind = re.split(r"\{(.)\}", _wording)
    _MIDDLES.setdefault(_between, []).append((_kind, _before, _behind, _first == "y"))
_MIDDLE = re.compile("|".join(sorted(map(re.escape, _MIDDLES), key=len, reverse=True)))
_SAID = [re.sub(r"\{.\}", "%s", wording) for wordings in CLUES for wording in wordings]
_WHO = {thing: who for thing, who, _ in THINGS}
_OWNERS = {thing: [who.format(one) for one in values] for thing, who, values in THINGS}
_HOUSES = [", ".join(str(at + 1) for at in range(9) if mask >> at & 1) for mask in range(1 << 9)]
_HOUSE = {str(house): house - 1 for house in range(1, 10)}
_LEFT = [f"{house} is left to one: " for house in range(1, 10)]
_CLUES = [f"clue {number}: " for number in range(1, 100)]


def _pose(rng: random.Random, difficulty: int) -> tuple[str, list[str], str]:
    from . import grid_kernels as kernels
    from .grid_lines import deduce

    n, kinds = SIZES[difficulty]
    clues = kernels.draw(rng.getrandbits(SEED), n, kinds)
    seed = xxhash.xxh3_64_intdigest(clues.tobytes(), difficulty) >> 64 - SEED
    chosen, told, forms = kernels.cast(seed, clues, n, kinds, len(PEOPLE), len(THINGS), VALUES)
    lines = deduce(n, chosen[kinds:], told)
    wording, *numbers = chosen.tolist()
    things = [THINGS[number] for number in numbers[: kinds - 1]]
    names = [PEOPLE[number] for number in numbers[kinds - 1 : kinds - 1 + n]]
    short, spoken, lists = list(names), list(names), ""
    for kind, (thing, _, values) in enumerate(things, 1):
        own = numbers[kinds - 1 + kind * n : kinds - 1 + kind * n + n]
        owners = _OWNERS[thing]
        short += [values[number] for number in own]
        spoken += [owners[number] for number in own]
        lists += f"Each has a different {thing}: {', '.join([values[number] for number in sorted(own)])}. "
    spoken += "123456789"[:n]
    pairs = enumerate(forms.tolist(), 1)
    said = "; ".join([f"({number}) {_SAID[form] % (spoken[one], spoken[two])}" for number, (form, one, two) in pairs])
    setting = SETTING.templates[wording % len(SETTING.templates)]
    statement = setting.format(n=n, people=", ".join(sorted(names)), kinds=lists, clues=said) + QUESTION
    why = [f"{at % n + 1} goes to {one}: " for at, one in enumerate(short)] + _LEFT[:n] + _CLUES[: len(told)]
    worked = [f"{why[reason]}{short[entity]} in {_HOUSES[mask]}" for reason, entity, mask in lines.tolist()]
    return statement, worked, ", ".join(names)


_LIST = re.compile(r"Each has a different ([a-z]+): ([a-z, ]+)\. ")


def _resolve(statement: str) -> Solution | None:
    """Reads lists and clues off the text, and works the lines out by other rules than those that made the problem."""
    from . import grid_check as kernels

    setting = SETTING.read(statement.removesuffix(QUESTION))
    if setting is None or not statement.endswith(QUESTION):
        return None
    n, names = max(int(setting["n"]), 1), setting["people"].split(", ")
    number = {one: at for at, one in enumerate(names)}
    for kind, listed in _LIST.findall(setting["kinds"]):
        who = _WHO.get(kind)
        if who is None or len(names) % n:
            return None
        number |= {who.format(one): at for at, one in enumerate(listed.split(", "), len(names))}
        names += listed.split(", ")
    clues = [_read_clue(text.partition(") ")[2], number, n) for text in setting["clues"].split("; ")]
    read = [clue for clue in clues if clue is not None]
    if len(names) % n or len(number) != len(names) or len(read) != len(clues):
        return None
    found, able = kernels.resolve(n, len(names), np.array(read, np.int64).reshape(-1, 3))
    if (able.sum(axis=1) != 1).any():
        return None  # not to be solved, or not without a contradiction
    lines = [f"{_why(names, *why)}: {names[one]} in {_HOUSES[mask]}" for *why, one, mask in found.tolist()]
    return lines, ", ".join([names[at] for at in able[:n].argmax(axis=0).tolist()])


def _why(names: list[str], kind: int, by: int, house: int) -> str:
    """The beginning of a line; arguments as `grid_check.resolve` gives them."""
    if kind == 0:
        return f"{house + 1} goes to {names[by]}"
    return f"{by + 1} is left to one" if kind == 1 else f"clue {by + 1}"


def _read_clue(text: str, number: dict[str, int], n: int) -> tuple[int, int, int] | None:
    """Kind, entity, and entity or house of a clue, of whatever wording; None where it says nothing of the grid."""
    found = _MIDDLE.search(text)
    if found is None:
        return None
    for kind, before, behind, turned in _MIDDLES[found[0]]:
        if text.startswith(before) and text.endswith(behind):
            one, other = text[len(before) : found.start()], text[found.end() : len(text) - len(behind)]
            x, y = (other, one) if turned else (one, other)
            place = _HOUSE.get(y, n) if kind < 2 else number.get(y, -1)
            if x in number and 0 <= place < (n if kind < 2 else len(number)):
                return kind, number[x], place
    return None


TASK = Family("logic_grid", 2, 6, _pose, _resolve, re.compile("[A-Z][a-z]+(?:, [A-Z][a-z]+)+"))
