"""Strings of letters changed by operations in order, with the string written down after each.

Tokens hide letters, so a model has to learn to take words apart and to keep a state in writing. Difficulty is the
number of operations, 1 to 12. There are 26^4 to 26^8 strings to start from, more than 456,976 of each length: with one
operation of 13 more than 2 * 10^11 problems. Costs about 6 microseconds an operation.
"""

import random
import re

from .family import Family, Wordings
from .program import Arguments, Language, Operation, always, number

ALPHABET = "abcdefghijklmnopqrstuvwxyz"
LONGEST = 12
SHORTEST = 3
STORY = Wordings(
    (
        "Start with the string {start}. In this order: {operations}. Which string is left?"
        " Answer with the string alone.",
        "Take the letters {start} and do the following one after the other: {operations}."
        " Answer with the string alone.",
        "The string {start} is changed step by step: {operations}. What does it become? Answer with the string alone.",
    ),
    start="[a-z]+",
    operations="[a-z0-9;, ]+",
)


def _words(*templates: str) -> Wordings:
    return Wordings(templates, k=r"\d+", a="[a-z]", b="[a-z]", w="[a-z]+")


def _part(rng: random.Random, state: str) -> Arguments:
    return {"k": str(rng.randint(2, max(2, len(state) - 2)))}


def _letter(rng: random.Random, state: str) -> Arguments:
    return {"a": rng.choice(state)}


def _letters(rng: random.Random, state: str) -> Arguments:
    return {"a": rng.choice(state), "b": rng.choice(ALPHABET)}


def _word(rng: random.Random, _state: str) -> Arguments:
    return {"w": "".join(rng.choices(ALPHABET, k=rng.randint(2, 3)))}


def _k(arguments: Arguments) -> int:
    return int(arguments["k"])


def _turned(state: str) -> str:
    turned = ""
    for letter in state:
        turned = letter + turned
    return turned


def _shifted(state: str, places: int) -> str:
    return "".join(ALPHABET[(ALPHABET.index(letter) + places) % 26] for letter in state)


def _shifted_again(state: str, places: int) -> str:
    return state.translate(str.maketrans(ALPHABET, ALPHABET[places:] + ALPHABET[:places]))


OPERATIONS: tuple[Operation[str], ...] = (
    Operation(
        "reverse", _words("reverse it", "write it backwards"), always, lambda s, _: _turned(s), lambda s, _: s[::-1]
    ),
    Operation(
        "first {k} to the end",
        _words("move the first {k} letters to the end", "put the first {k} letters behind the others"),
        _part,
        lambda s, g: "".join(s[(at + _k(g)) % len(s)] for at in range(len(s))),
        lambda s, g: s[_k(g) :] + s[: _k(g)],
    ),
    Operation(
        "last {k} to the front",
        _words("move the last {k} letters to the front", "put the last {k} letters before the others"),
        _part,
        lambda s, g: "".join(s[(at - _k(g)) % len(s)] for at in range(len(s))),
        lambda s, g: s[-_k(g) :] + s[: -_k(g)],
    ),
    Operation(
        "without the first {k}",
        _words("drop the first {k} letters", "cut off the first {k} letters"),
        _part,
        lambda s, g: "".join(one for at, one in enumerate(s) if at >= _k(g)),
        lambda s, g: s[_k(g) :],
    ),
    Operation(
        "without the last {k}",
        _words("drop the last {k} letters", "cut off the last {k} letters"),
        _part,
        lambda s, g: "".join(one for at, one in enumerate(s) if at < len(s) - _k(g)),
        lambda s, g: s[: -_k(g)],
    ),
    Operation(
        "append {w}",
        _words("append {w}", "add {w} at the end"),
        _word,
        lambda s, g: s + g["w"],
        lambda s, g: f"{s}{g['w']}",
    ),
    Operation(
        "prepend {w}",
        _words("put {w} in front", "add {w} at the beginning"),
        _word,
        lambda s, g: g["w"] + s,
        lambda s, g: f"{g['w']}{s}",
    ),
    Operation(
        "{a} becomes {b}",
        _words("replace every {a} by {b}", "change each {a} into {b}"),
        _letters,
        lambda s, g: "".join(g["b"] if one == g["a"] else one for one in s),
        lambda s, g: s.replace(g["a"], g["b"]),
    ),
    Operation(
        "without {a}",
        _words("remove every {a}", "delete each {a}"),
        _letter,
        lambda s, g: "".join(one for one in s if one != g["a"]),
        lambda s, g: s.replace(g["a"], ""),
    ),
    Operation(
        "double {a}",
        _words("double every {a}", "write each {a} twice"),
        _letter,
        lambda s, g: "".join(one + one if one == g["a"] else one for one in s),
        lambda s, g: s.replace(g["a"], 2 * g["a"]),
    ),
    Operation(
        "ends swapped",
        _words("swap the first and the last letter", "exchange its first and last letters"),
        always,
        lambda s, _: "".join(s[-1] if at == 0 else s[0] if at == len(s) - 1 else one for at, one in enumerate(s)),
        lambda s, _: s[-1] + s[1:-1] + s[0],
    ),
    Operation(
        "sorted",
        _words("sort the letters alphabetically", "put the letters into alphabetical order"),
        always,
        lambda s, _: "".join(letter * s.count(letter) for letter in ALPHABET),
        lambda s, _: "".join(sorted(s)),
    ),
    Operation(
        "shifted by {k}",
        _words("shift every letter {k} places on in the alphabet, with a after z"),
        number(2, 5),
        lambda s, g: _shifted(s, _k(g)),
        lambda s, g: _shifted_again(s, _k(g)),
    ),
)


LANGUAGE = Language(
    STORY,
    OPERATIONS,
    lambda rng: "".join(rng.choices(ALPHABET, k=rng.randint(4, 8))),
    lambda state: SHORTEST <= len(state) <= LONGEST,
    str,
    str,
)
TASK = Family("string_program", 1, 12, LANGUAGE.pose, LANGUAGE.resolve, re.compile("[a-z]+"))
