r"""Reads a number or a formula with its unit, currency or percent sign: `5 cm`, `$3`, `20%`, `2 hours 30 minutes`.

A unit is told from a factor only by what stands around it (`5 m` is a length, `5m` a product), and a word behind a
number may be no unit at all (`2 dozen`, `5 squared`), so all of them are known in one place.
Costs 2 to 10 microseconds.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

from . import numbers
from .units import ANGLES, CURRENCIES, measures
from .values import Between, Formula, Number, Unclear, Value

_TAIL: Final = re.compile(r"(?<!\\)(?<![^\W\d_])(?:[^\W\d_]|[%°¢€£$])(?:[^\W\d_]|[%°¢€£$ ./*-]|\^ *\{?-?[1-9]\}?)*\Z")
_ONE_LETTER: Final = re.compile(r"(?:[^\W\d_]|[^\W\d_m]\s?\^\s*\{?-?[1-9]\}?)\Z")
_COMPOUND: Final = re.compile(r"([0-9][0-9.,/ ]*)\s*([A-Za-z]+)\.?(?:,?\s+and\s+|,?\s+|\Z)")
_NOUN: Final = re.compile(
    r"(?:[A-Za-z][a-z']{2,}|of|in|a|an|to|at|on|or|by|is)(?:[ -](?:[A-Za-z][a-z']{2,}|of|in|a|an|as|to|at|on|by))*\Z"
)
# What other languages write behind a number: what is counted, or what makes another number of it.
_ELSEWHERE: Final = re.compile(r"(?!.*[A-Za-z])[^\W\d_]+(?: [^\W\d_]+)?\Z")
_RESCALED: Final = re.compile(
    r"(?:[十百千万亿億萬만억천백]|тыс|мил|млн|млрд|mil(?:le)?\b|mil(?:l[ijo]|[hjy])|tausend|bin\b|以|多|余|倍|分之|이상|이하|.*(?:아니|아닙)|не\b|不|من)",
    re.IGNORECASE,
)
_TURNS: Final = re.compile(r"\\?(?:sin|cos|tan|cot|sec|csc)(?![a-z])")
_SIGN: Final = re.compile(r"\\(?:le|ge|ne|in)(?![A-Za-z])|[=<>]")
_AND_PART: Final = re.compile(r"([0-9]+) and (?:a |an |one )([a-z]+)(?: ([A-Za-z].*))?\Z")
_PERCENT: Final = re.compile(r"(?:%|percent(?![a-z])|per cent(?![a-z]))\s*")
_PERCENT_OF: Final = re.compile(r"(\S+?)\s*(?:%|percent)\s+of\s+([0-9][0-9.,]*)\Z")
_CHANGE: Final = re.compile(
    r"\b(?:(decreased?|reduction|drop|loss|less|lower|fewer|off|discount)|increased?|more|gain|rise|growth)\b"
)
_RANGE: Final = re.compile(r"([0-9][0-9.,]*)(?:-|(?:\s+to\s+))([0-9][0-9.,]*)(?:\s+([A-Za-z]\D*))?\Z")
_BETWEEN: Final = re.compile(r"(?:any(?:where|thing) )?between\s+(\S.*?)\s+and\s+(\S.*)\Z", re.IGNORECASE)
_SHARE: Final = re.compile(r"([0-9]+) (?:in|out of) ([0-9]+)\Z")
_PLACE: Final = re.compile(r"([0-9]+)(?:st|nd|rd|th)\Z")
SHORT: Final = {"k": 10**3, "K": 10**3, "M": 10**6, "B": 10**9}
"""What a letter makes of the number that it stands behind."""

# Words behind a number that compute with it, and say nothing of what is counted.
_OPERATION_NAMES: Final = (
    "squared cubed factorial plus minus over choose divided multiplied root raised mod modulo remainder point below pi"
)
_OPERATORS: Final = frozenset([*_OPERATION_NAMES.split(), "to the"])


def quantity(text: str) -> Value | None:
    """A number or a formula with a currency before it, or a unit or a percent sign behind it; None for what is none."""
    if currency := CURRENCIES.match(text):
        return _money(text[currency.end() :], currency[1], currency[2])
    if text[:1].isalpha():
        return _spelled(text)
    if (compound := _compound(text)) is not None:
        return compound
    if found := _AND_PART.match(text):
        down = numbers.part(found[2])
        return None if down is None else Number(int(found[1]) + Fraction(1, down), found[3] or "")
    if found := _PERCENT_OF.match(text):
        share, whole = numbers.read(found[1]), numbers.read(found[2])
        return None if share is None or whole is None else Number(share * whole / 100)
    if (found := _SHARE.match(text)) and 0 < int(found[1]) <= int(found[2]):
        return Number(Fraction(int(found[1]), int(found[2])))
    if found := _PLACE.match(text):
        return Number(Fraction(int(found[1])))
    tail = _TAIL.search(text)
    return None if tail is None or tail.start() == 0 else _measured(text[: tail.start()], tail[0].strip())


def attached(text: str) -> str | None:
    """The letter that a number ends in without a blank: of `1,000g`; None for any other text."""
    return text[-1] if text[-1:].isascii() and text[-1:].isalpha() and numbers.read(text[:-1]) is not None else None


def stretch(text: str) -> Between | None:
    """`10-12`, `3 to 5 days`, `between 3 and 4`; None for anything else, and for the ratio `3 to 5`."""
    if found := _RANGE.match(text):
        low, high = numbers.read(found[1]), numbers.read(found[2])
        if low is None or high is None or low >= high or ("-" not in text and not found[3]):
            return None
        return Between(Number(low, found[3] or ""), Number(high, found[3] or ""))
    if (found := _BETWEEN.match(text)) is None:
        return None
    ends = [quantity(end) or _plain(end) for end in (found[1], found[2])]
    return Between(ends[0], ends[1]) if ends[0] is not None and ends[1] is not None else None


def _plain(text: str) -> Number | None:
    value = numbers.read(text)
    return None if value is None else Number(value)


def _money(text: str, sign: str, currency: str) -> Number | None:
    """What stands behind the sign of a currency; what it is for (`per hour`) is no part of it."""
    rest, scale = numbers.scaled(text)
    tail = _TAIL.search(rest)
    if tail and tail.start() and tail[0] in SHORT:
        rest, scale, tail = rest[: tail.start()], scale * SHORT[tail[0]], None
    if tail and tail.start():
        unit = tail[0].strip()
        head, before = numbers.scaled(rest[: tail.start()].rstrip(" /"))
        if measures(unit) or rest[tail.start() - 1] == "/" or (_NOUN.match(unit) and not _computes(unit)):
            rest, scale = head, scale * before
    value = numbers.read(rest)
    return None if value is None else Number((-value if sign else value) * scale, currency)


def _measured(head: str, unit: str) -> Value | None:
    """A number or a formula before a unit, a percent sign or a noun."""
    apart = head[-1:].isspace()
    head, scale = numbers.scaled(head.strip())
    first = unit.partition(" ")[0]
    if first in numbers.MULTIPLES:
        scale, apart, unit = numbers.MULTIPLES[first], True, unit.partition(" ")[2]
    percent = _PERCENT.match(unit)
    if percent:
        unit = unit[percent.end() :]
    known = not unit or bool(measures(unit)) or (percent is not None and bool(_NOUN.match(unit)))
    noun = known or _NOUN.match(unit) or _ELSEWHERE.match(unit)
    if (known and _ONE_LETTER.match(unit) and unit.isascii() and not apart and unit.strip("%°¢€£$")) or not noun:
        return None
    if head[-1:] in ("+", "-", "*", "/", "^", "=", "(", "<", ">") or (unit in ANGLES and _TURNS.search(head)):
        return None
    value = numbers.read(head)
    if value is not None and not known and _RESCALED.match(unit):
        return Unclear(f"{head} {unit}")
    first = unit.partition(" ")[0]
    if value is not None and not known and numbers.part(first) is not None:
        return _parts(value, first, unit)
    if value is not None and _computes(unit):
        return Unclear(f"{head} {unit}")
    if value is not None and (known or first not in ("and", "or", "to")):
        return Number(value * scale, _direction(unit) if percent else unit, percent is not None)
    formula = known and (unit or percent) and scale == 1 and head[:1] not in ("(", "[", "")
    if formula and not _SIGN.search(head) and "," not in head:
        return Formula(head, "" if percent else unit, percent is not None)
    return None


def _parts(value: Fraction, word: str, unit: str) -> Value:
    """`3 tenths`; `3 quarters` may be coins, and `2 halves` of a match."""
    if word in ("quarter", "quarters", "half", "halves"):
        return Unclear(f"{value} {unit}")
    return Number(value / (numbers.part(word) or 1), unit[len(word) :].strip())


def _direction(unit: str) -> str:
    """Whether a percentage is said to be taken off or added; nothing else is known of what stands behind it."""
    found = _CHANGE.search(unit)
    return "" if found is None else "less" if found[1] else "more"


def _computes(unit: str) -> bool:
    words = unit.split(" ")
    return words[0] in _OPERATORS or unit.startswith("to the power") or unit.endswith("below zero")


def _spelled(text: str) -> Value | None:
    """`three`, `twenty percent`, `five hundred meters`, `two thirds`, `fifth`."""
    words = text.split(" ")
    if len(words) > 12:
        return None
    if (place := numbers.ordinal(text)) is not None:
        return Number(Fraction(place))
    for stop in range(len(words), 0, -1):
        value = numbers.spelled(" ".join(words[:stop]))
        if value is None:
            continue
        unit = " ".join(words[stop:])
        if _computes(unit):
            return Unclear(text)
        of = value.denominator > 1 and unit.startswith("of the")
        if stop < len(words) and numbers.spelled(words[stop]) is not None:
            return None  # nineteen eighty-four
        if not unit.isascii() or any(sign.isdigit() for sign in unit):
            return None
        if words[stop : stop + 1] and words[stop] in ("and", "or", "to", "of") and not of:
            return None
        percent = unit in ("%", "percent")
        return Number(value, "" if percent else re.sub(r"^an? ", "", unit), percent)
    return None


def _compound(text: str) -> Number | None:
    """`2 hours 30 minutes`: a sum of one measure, in its first unit."""
    place = 0
    parts: list[tuple[Fraction | None, str]] = []
    while place < len(text):
        match = _COMPOUND.match(text, place)
        if match is None or len(parts) == 6:
            return None
        parts.append((numbers.read(match[1].strip()), match[2]))
        place = match.end()
    if len(parts) < 2:
        return None
    kinds = [dict(measures(unit)) for _, unit in parts]
    for what, first in kinds[0].items():
        if all(what in kind for kind in kinds) and all(value is not None for value, _ in parts):
            total = sum((value or 0) * kind[what] for (value, _), kind in zip(parts, kinds, strict=True))
            return Number(total / first, parts[0][1])
    return None
