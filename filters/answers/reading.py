"""Reads a normalised answer into a value: which kind it is, and what its parts are.

The kinds overlap in writing (`(1, 2)` is a point or an interval, `3:30` a time or a ratio, `5 m` a length or a
product), so the order in which they are tried is the grammar; it stands in `read`.
Costs 1 microsecond for a plain number, 20 to 60 for the rest; brackets are followed to a bounded depth.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

from . import dates, decimals, numbers
from .groups import both_signs, bracketed, matrix, named_set, parted, several, union
from .normalise import closing
from .quantities import quantity, stretch
from .relations import Read, bound, relation
from .values import (
    Based,
    Choice,
    Family,
    Formula,
    Group,
    Number,
    Ratio,
    Residue,
    Text,
    Truncated,
    Truth,
    Unclear,
    Value,
)

MOST_DEPTH: Final = 6
_LONGEST: Final = 300  # characters of a residue, a family of formulas or a vector
MOST_BASED: Final = 1_000  # digits in a named base

_CHOICE: Final = re.compile(
    r"(?:(?i:option|choice|answer)\s+)?[(\[]?\s*([A-J]|[abcdfgh])\s*[)\]]?[.:]?\Z"
)  # e, i: numbers
_CHOICE_AND: Final = re.compile(
    r"(?:(?i:option|choice)\s+)?(?:\(([A-J])\)|([A-J])[).:])\s*(?!(?:and|or)\b|[,&/])(\S.*)\Z"
)
_TRUTH: Final = re.compile(
    r"(?:(yes|true|ja|oui|s[ií]|да|evet|是的?|네|예|نعم)|no|false|nein|non|нет|hayır|不是|否|아니요|아니오|لا)(?!\w)"
    r"(?![,;]\s*(?:and\s+)?(?:yes|no|true|false)\.?\Z)([.,;:!].*)?\Z",
    re.IGNORECASE | re.DOTALL,
)
_BASED: Final = re.compile(
    r"(-?)\(?([0-9][0-9A-Za-z]*|[A-Z][0-9A-Z]+)\)?(?:\s*_\s*\{?\s*|\s+\(?(?:in )?base[ -])([0-9]{1,2}|[a-z]+)\s*[})]?\Z"
)
_RESIDUE: Final = re.compile(
    r"(?:\S.*?\s*(?:\\equiv(?![A-Za-z])|≡)\s*)?(\S.*?)\s*\(?\s*(?:\\p?b?mod|\bmod(?:ulo)?)(?![A-Za-z])\s*\{?\s*([0-9]+)\s*\}?\s*\)?\Z"
)
_FAMILY: Final = re.compile(
    r"(?:[a-z]\s*=\s*)?(\S.*?)\s*[,;(]\s*(?:where\s+|for\s+)?(?:any\s+)?([a-z])\s*(?:\\in|\bin|∈|is)\s*"
    r"(?:\\mathbb\s*\{?\s*Z\s*\}?|\\Z|Z|ℤ|an (?:arbitrary )?integer)\s*\)?\Z"
)
_BASIS: Final = re.compile(
    r"\s*([+-]?)\s*([^+-]*?)\s*(?:\\(?:hat|vec|bar)\s*\{?)?\s*\\?([ijk])(?:math)?\s*\}?(?=\s*(?:[+-]|\Z))"
)
_CASES: Final = re.compile(r"(?:[A-Za-z][^=]{0,9}=\s*)?\\begin\{cases\}(.*)\\end\{cases\}\Z", re.DOTALL)
_PREFIXED: Final = re.compile(r"0([xb])([0-9a-fA-F]+)\Z")
_RATIO: Final = re.compile(r"[0-9./ ]+(?:(?::|\bto\b)[0-9./ ]+)+\Z")
_ABOUT: Final = re.compile(
    r"(?:(?:\\approx(?![A-Za-z])|approximately\b|about\b|around\b|roughly\b|exactly\b|nearly\b|almost\b|≈|~|=)\s*)+(?=\S)",
    re.IGNORECASE,
)
_WORD: Final = re.compile(r"[^\W\d_]{3,}")
_FUNCTIONS: Final = frozenset(
    (
        *("sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan"),
        *("log", "exp", "sqrt", "lim", "max", "min", "gcd", "lcm", "mod"),
    )
)
_FORMULA_SIGNS: Final = frozenset("^_+*/=|<>()[]{}!\\0123456789")
_DIFFERENCE: Final = re.compile(r"[A-Za-z](?:\s*-\s*[A-Za-z])+\Z")
_LOOSE: Final = re.compile(r"[^\w\s]+", re.ASCII)
_NEGATIVE: Final = re.compile(r"(?:negative|minus)\s+(?=[0-9.$\\])", re.IGNORECASE)
_REMAINDER: Final = re.compile(r"([0-9]+),?\s+(?:R|r|rem|(?:with )?(?:a )?remainder(?: of)?)\.?\s*([0-9]+)\Z")
_INFINITY: Final = re.compile(r"(?:\+|(-|negative |minus ))?(?:infinity|inf|\\infty)\Z", re.IGNORECASE)
_ARTICLE: Final = re.compile(r"^(?:the|a|an)\s+(?=\S)")
_ENDLESS: Final = re.compile(
    r"(?:there are )?(?:infinite(?:ly many)?|an infinite number of)(?: (?:such|other|real|possible))*(?: [a-z]+)?\Z"
    r"|.{0,6}(?:无穷多|无数|无限多)个?(?:解|组解)?\Z|бесконечно много(?: решений)?\Z"
)
_NOTHING: Final = re.compile(
    r"(?:(?:there (?:is|are)|has|have) )?no (?:(?:real|integer|such|positive) )*(?:solutions?|roots?|numbers?|values?)"
    r"(?: exists?)?\Z|none\Z|empty set\Z|(?:方程|不等式|原方程)?(?:组)?无(?:实数)?[解根]\Z"
    r"|нет (?:решений|корней)\Z|(?:решений|корней) нет\Z"
    r"|keine (?:reelle )?lösung(?:en)?\Z|(?:no hay|sin) solución(?:es)?\Z"
    r"|(?:aucune|pas de) solution\Z|çözüm yok(?:tur)?\Z"
)


def read(text: str, top: bool = True, depth: int = 0) -> Value:
    """The value of a normalised answer.

    Args:
        text: what `normalise` gives.
        top: whether it is a whole answer: inside a set, `b` is no choice and `2:3` no time.
        depth: how many brackets it stands in.
    """
    if top and ("-" in text or "/" in text) and (found := dates.day(text) or stretch(text)) is not None:
        return found
    whole = text[:1] in ("(", "[", "{") and closing(text, 0) == len(text) - 1
    if not whole and (value := numbers.read(text)) is not None:
        return Number(value)
    if depth > MOST_DEPTH:
        return Formula(text)
    if about := _ABOUT.match(text):
        return read(text[about.end() :], top, depth)
    if (cases := _CASES.match(text)) and "&" in cases[1]:
        return _piecewise(cases[1], lambda inner: read(inner, False, depth + 1))
    if cases:
        return read(", ".join(case.strip(" ,&") for case in cases[1].split("\\\\") if case.strip()), top, depth + 1)
    if negative := _NEGATIVE.match(text):
        return read(f"-{text[negative.end() :]}", top, depth)
    if "\\approx" in text and (exact := text.partition("\\approx")[0].strip()):
        return read(exact, top, depth)

    def part(inner: str) -> Value:
        return read(inner.strip(), False, depth + 1)

    if "mod" in text and len(text) <= _LONGEST and (residue := _residue(text)) is not None:
        return residue
    if len(text) <= _LONGEST and ("Z" in text or "ℤ" in text or "integer" in text) and (family := _FAMILY.match(text)):
        return Family(family[1], family[2])
    if top and (standing := _standing(text, part)) is not None:
        return standing
    return (
        _based(text)
        or quantity(text)
        or matrix(text, part)
        or _vector(text, part)
        or union(text, part)
        or several(text, part)
        or relation(text, part)
        or bracketed(text, part)
        or named_set(text, part)
        or both_signs(text, part)
        or _expression(text)
        or Text(fold(text))
    )


def _residue(text: str) -> Residue | None:
    r"""`x \equiv 3 \pmod 7`."""
    match = _RESIDUE.match(text)
    value = None if match is None else numbers.read(match[1])
    return Residue(value, Fraction(int(match[2]))) if match and value is not None and int(match[2]) else None


def _vector(text: str, part: Read) -> Group | None:
    """`2 i - 3 j + k` as its coordinates; without a j it is no vector."""
    if "j" not in text or len(text) > _LONGEST:
        return None
    place, found = 0, dict[str, str]()
    while match := _BASIS.match(text, place):
        if match[3] in found or (place and not match[1]) or re.search("[ijk]", match[2]):
            return None
        found[match[3]] = f"{match[1]}{match[2] or 1}".removeprefix("+")
        place = match.end()
    if place != len(text) or "j" not in found or len(found) < 2:
        return None
    return Group("tuple", tuple(part(found.get(name, "0")) for name in ("ijk" if "k" in found else "ij")))


def _piecewise(cases: str, part: Read) -> Group:
    """The formula and the condition of each case; their order says nothing."""
    rows = [case.split("&", 1) for case in cases.split("\\\\") if case.strip()]
    pairs = [[cell.strip(" ,;") for cell in (*row, "")[:2]] for row in rows]
    said = [(formula, re.sub(r"^(?:if|when|for|as)\s+", "", condition)) for formula, condition in pairs]
    return Group(
        "bare",
        tuple(
            Group(
                "tuple",
                (part(formula), Unclear("otherwise") if "wise" in condition or not condition else part(condition)),
            )
            for formula, condition in said
        ),
    )


def fold(text: str) -> str:
    """Words without case, articles and punctuation."""
    words = " ".join(_LOOSE.sub(" ", text.casefold()).split()) or text.strip().casefold()
    words = _ARTICLE.sub("", words)
    if _NOTHING.match(words):
        return "no solution"
    if _ENDLESS.match(words):
        return "infinitely many"
    return "does not exist" if words == "dne" else words


def _standing(text: str, part: Read) -> Value | None:
    """What only a whole answer can be: parts, a choice, yes or no, a time, a day, a range, a ratio."""
    if (parts := parted(text, part)) is not None:
        return parts
    if match := _CHOICE.match(text):
        return Choice(match[1].upper())
    if match := _CHOICE_AND.match(text):
        return Choice(match[1] or match[2], match[3])
    if match := _TRUTH.match(text):
        return Truth(match[1] is not None, not (match[2] or "").strip(".!"))
    if match := _PREFIXED.match(text):
        base = 16 if match[1] == "x" else 2
        return Number(Fraction(int(match[2], base))) if base == 16 or set(match[2]) <= {"0", "1"} else None
    if match := _REMAINDER.match(text):
        return Text(f"{match[1]} remainder {match[2]}")
    if match := _INFINITY.match(text):
        return Formula("-\\infty" if match[1] else "\\infty")
    if (ends := decimals.truncated(text)) is not None:
        return Truncated(*ends)
    return dates.clock(text) or dates.day(text) or stretch(text) or bound(text, part) or _ratio(text)


def _ratio(text: str) -> Ratio | None:
    if not _RATIO.match(text):
        return None
    parts = [numbers.read(part.strip()) for part in re.split(r":|\bto\b", text)]
    return Ratio(tuple(part for part in parts if part is not None)) if all(parts) else None


def _based(text: str) -> Based | None:
    """Digits of a named base."""
    if (match := _BASED.match(text)) is None:
        return None
    spelled = Fraction(int(match[3])) if match[3].isdigit() else numbers.spelled(match[3])
    base, digits = int(spelled or 0), match[2].upper()
    if not 2 <= base <= 36 or len(digits) > MOST_BASED or not all(int(digit, 36) < base for digit in digits):
        return None
    return Based(match[1] + (digits.lstrip("0") or "0"), base, int(match[1] + digits, base))


def _expression(text: str) -> Formula | None:
    if "\\" in text or "^" in text:
        return Formula(text)
    if any(word.lower() not in _FUNCTIONS for word in _WORD.findall(text)):
        return None
    if _DIFFERENCE.match(text):
        return Formula(text)
    return Formula(text) if len(text) <= 2 or not _FORMULA_SIGNS.isdisjoint(text) else None
