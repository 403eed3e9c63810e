"""Stories in which each has more, fewer or some times as many as another, told in no order, with one number given.

The order of the sentences is not that of the steps, so who depends on whom has to be found first. Difficulty is the
number of comparisons, 1 to 8. There are 29 numbers to start from, at least 19 comparisons with each number that comes,
and two questions: more than 29 * 19^4 * 2 = 7.5 * 10^6 problems of four comparisons, 19 times as many for each more.
Costs about 15 microseconds a problem.
"""

import random

from .family import Casting, Family, Solution, Wordings

NAMES = ("Aisha", "Bruno", "Celia", "Dario", "Elena", "Farid", "Gloria", "Hugo", "Ivana", "Jamal", "Kira", "Luis")
THINGS = ("marbles", "shells", "badges", "buttons", "postcards", "pebbles", "feathers", "beads", "puzzles", "comics")
STARTS = range(2, 31)
AMOUNTS = range(2, 21)
FACTORS = range(2, 5)
LARGEST = 500
_NAME, _THING, _NUMBER = "|".join(NAMES), "|".join(THINGS), r"\d+"
FIELDS = {"x": _NAME, "y": _NAME, "n": _NUMBER, "things": _THING}
GIVEN = Wordings(("{x} has {n} {things}.", "{x} owns {n} {things}."), **FIELDS)
RELATIONS = {
    "+": Wordings(
        ("{x} has {n} more {things} than {y}.", "If {x} gave away {n} {things}, {x} would have as many as {y}."),
        **FIELDS,
    ),
    "-": Wordings(
        ("{x} has {n} fewer {things} than {y}.", "With {n} {things} more, {x} would have as many as {y}."), **FIELDS
    ),
    "*": Wordings(
        ("{x} has {n} times as many {things} as {y}.", "For each of the {things} of {y}, {x} has {n}."), **FIELDS
    ),
}
FORMAT = " Answer with an integer."
QUESTIONS = {
    "one": Wordings((" How many {things} does {x} have?", " What is the number of {things} that {x} has?"), **FIELDS),
    "all": Wordings((" How many {things} are there together?", " How many {things} do they have in all?"), **FIELDS),
}


def _pose(rng: random.Random, comparisons: int) -> tuple[str, list[str], str]:
    values = [rng.choice(STARTS)]
    chain: list[tuple[str, int]] = []
    while len(chain) < comparisons:
        sign = rng.choice("++--*")
        n = rng.choice(FACTORS if sign == "*" else AMOUNTS)
        value = {"+": values[-1] + n, "-": values[-1] - n, "*": values[-1] * n}[sign]
        if 1 < value <= LARGEST:
            chain.append((sign, n))
            values.append(value)
    question = rng.choice(tuple(QUESTIONS))
    casting = Casting(f"{values[0]} {chain} {question}")
    names, things = casting.some(NAMES, comparisons + 1), casting.one(THINGS)
    told = [GIVEN.say(casting, x=names[0], n=values[0], things=things)]
    lines = []
    for at, (sign, n) in enumerate(chain):
        told.append(RELATIONS[sign].say(casting, x=names[at + 1], y=names[at], n=n, things=things))
        lines.append(f"{names[at + 1]}: {values[at]} {sign} {n} = {values[at + 1]}")
    answer = values[-1]
    if question == "all":
        answer = sum(values)
        lines.append(f"together: {' + '.join(map(str, values))} = {answer}")
    asked = QUESTIONS[question].say(casting, x=names[-1], things=things)
    return " ".join(casting.some(told, len(told))) + asked + FORMAT, lines, str(answer)


def _resolve(statement: str) -> Solution | None:
    """Reads every sentence, then goes from who is known to who is compared with them, until all are known."""
    body = statement.removesuffix(FORMAT)
    *sentences, asked = body.replace(". ", ".\n").splitlines()
    known: dict[str, int] = {}
    compared: dict[str, tuple[str, str, int]] = {}
    things = set()
    for text in sentences:
        if given := GIVEN.read(text):
            known[given["x"]] = int(given["n"])
            things.add(given["things"])
            continue
        found = ((sign, read) for sign, one in RELATIONS.items() if (read := one.read(text)))
        sign, read = next(found, ("", {}))
        if not read:
            return None
        compared[read["y"]] = (read["x"], sign, int(read["n"]))
        things.add(read["things"])
    question = next(((kind, read) for kind, one in QUESTIONS.items() if (read := one.read(f" {asked}"))), None)
    if question is None or len(known) != 1 or things != {question[1]["things"]} or body == statement:
        return None
    who, lines = next(iter(known)), []
    while who in compared:
        other, sign, n = compared.pop(who)
        known[other] = {"+": n + known[who], "-": known[who] - n, "*": n * known[who]}[sign]
        lines.append(f"{other}: {known[who]} {sign} {n} = {known[other]}")
        who = other
    if compared or len(known) != len(sentences):
        return None
    if question[0] == "one":
        return (lines, str(known[who])) if question[1]["x"] == who else None
    total = sum(known.values())
    return [*lines, f"together: {' + '.join(map(str, known.values()))} = {total}"], str(total)


TASK = Family("comparisons", 1, 8, _pose, _resolve)
