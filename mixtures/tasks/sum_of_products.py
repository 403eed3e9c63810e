"""Stories about sums of products: what is bought, travelled, planted or read, and what is left of a given number.

They ask for a plan as well as for arithmetic: multiply each pair, add them up, take the sum from what there was.
Difficulty is the number of pairs, 1 to 8. A count has 11 values, the second number at least 41, what is left 101: one
pair gives 45,551 problems, two about 10^7, in each of four themes, and of all orders of the pairs one is told. What is
held out in one theme is in all. Costs about 10 microseconds a problem.
"""

import random
import re
from dataclasses import dataclass

from .family import Casting, Family, Solution, Wordings

NAMES = ("Amir", "Bella", "Carlos", "Dora", "Emil", "Fatima", "Goran", "Hana", "Ines", "Jonas", "Lena", "Noor")
COUNTS = range(2, 13)
SPARE = range(101)
FORMAT = " Answer with an integer."


@dataclass(frozen=True)
class Theme:
    """One kind of story: its things, the wording of a pair, of a whole story, and the values of the second number."""

    things: tuple[str, ...]
    pair: Wordings
    story: Wordings
    seconds: range


def _theme(things: tuple[str, ...], pair: str, stories: tuple[str, ...], seconds: range) -> Theme:
    return Theme(
        things,
        Wordings((pair,), n=r"\d+", thing="|".join(things), each=r"\d+"),
        Wordings([story + FORMAT for story in stories], name="|".join(NAMES), pairs=".+", whole=r"\d+"),
        seconds,
    )


THEMES = (
    _theme(
        ("lamps", "chairs", "plates", "hats", "brushes", "tickets", "kites", "drums", "bowls", "scarves"),
        "{n} {thing} at {each} coins each",
        (
            "{name} has {whole} coins and buys {pairs}. How many coins are left?",
            "At the market {name} buys {pairs} and pays with {whole} coins. How many coins does {name} get back?",
        ),
        range(3, 61),
    ),
    _theme(
        ("by bus", "by train", "by van", "by truck", "by coach", "by taxi", "by car", "by motorbike"),
        "{n} hours {thing} at {each} km an hour",
        (
            "{name} has a journey of {whole} km ahead and travels {pairs}. How many km are left?",
            "The journey of {name} is {whole} km long: {name} goes {pairs}. How far is it still, in km?",
        ),
        range(20, 91),
    ),
    _theme(
        ("beans", "onions", "carrots", "tulips", "roses", "leeks", "beets", "herbs", "ferns", "peppers"),
        "{n} rows of {thing} with {each} in each",
        (
            "{name} has {whole} seedlings and plants {pairs}. How many seedlings remain?",
            "Of {whole} seedlings {name} sets {pairs}. How many are not planted?",
        ),
        range(5, 46),
    ),
    _theme(
        ("novels", "diaries", "atlases", "plays", "letters", "reports", "poems", "legends"),
        "{n} days of {thing} with {each} pages a day",
        (
            "{name} wants to read {whole} pages and has read for {pairs}. How many pages are still to be read?",
            "A shelf of {whole} pages waits for {name}, who reads for {pairs}. How many pages remain unread?",
        ),
        range(6, 81),
    ),
)


def _pose(rng: random.Random, pairs: int) -> tuple[str, list[str], str]:
    number = rng.randrange(len(THEMES))
    theme = THEMES[number]
    drawn = sorted((rng.choice(COUNTS), rng.choice(theme.seconds)) for _ in range(pairs))
    spare = rng.choice(SPARE)
    whole = spare + sum(count * each for count, each in drawn)
    casting = Casting(f"{number} {drawn} {whole}")
    chosen = casting.some(drawn, pairs)  # of all orders of the pairs one is told
    lines, total = [], 0
    for at, (count, each) in enumerate(chosen):
        lines.append(f"{count} * {each} = {count * each}")
        if at:
            lines.append(f"{total} + {count * each} = {total + count * each}")
        total += count * each
    lines.append(f"{whole} - {total} = {spare}")
    name = casting.one(NAMES)
    things = casting.some(theme.things, pairs)
    said = [theme.pair.say(casting, n=n, thing=thing, each=m) for thing, (n, m) in zip(things, chosen, strict=True)]
    return theme.story.say(casting, name=name, pairs=_joined(said), whole=whole), lines, str(spare)


def _joined(said: list[str]) -> str:
    return said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"


_BETWEEN = re.compile(r", | and ")


def _resolve(statement: str) -> Solution | None:
    """Reads the pairs off the story; sums are worked out from the front again for every line."""
    for theme in THEMES:
        story = theme.story.read(statement)
        if story is None:
            continue
        read = [theme.pair.read(one) for one in _BETWEEN.split(story["pairs"])]
        products = [(one["n"], one["each"], int(one["n"]) * int(one["each"])) for one in read if one]
        if len(products) != len(read):
            return None
        lines = []
        for at, (count, each, product) in enumerate(products):
            lines.append(f"{count} * {each} = {product}")
            if at:
                before = sum(one for _, _, one in products[:at])
                lines.append(f"{before} + {product} = {before + product}")
        total, whole = sum(one for _, _, one in products), int(story["whole"])
        return [*lines, f"{whole} - {total} = {whole - total}"], str(whole - total)
    return None


def _core(statement: str, lines: list[str]) -> str:
    """The products in order of size and what there was: the same numbers are one problem in every theme."""
    return " ".join([*sorted(line for line in lines if "*" in line), lines[-1].partition(" - ")[0]])


TASK = Family("sum_of_products", 2, 8, _pose, _resolve, core=_core)
