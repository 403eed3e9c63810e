r"""Reads a number in any spelling as an exact rational: `1,234.50`, `1\frac{1}{2}`, `3 \times 10^4`, `eighteen`.

Floats would make 0.1 + 0.2 and 0.3 two answers and a third equal to 0.3333333333333333; rationals cannot.
Costs 1 microsecond for plain digits and about 20 for an expression; every size is bounded, so that a tower of powers is
refused and not computed.
"""

import re
from fractions import Fraction
from typing import Final

from . import decimals

MOST_DIGITS: Final = 1_000  # of a number as written, and of a power's result
MOST_DEPTH: Final = 40  # brackets within brackets

_PLAIN: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)\Z")
_GROUPED: Final = re.compile(
    r"[+-]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]*)?\Z|[+-]?[0-9]{1,3}(?:[ _][0-9]{3})+(?:\.[0-9]*)?\Z"
)
_MIXED: Final = re.compile(
    r"([+-]?)\s*([0-9]+)\s*(?:\\frac\{\s*([0-9]+)\s*\}\{\s*([0-9]+)\s*\}|(?<=\s)([0-9]+)\s*/\s*([0-9]+))\Z"
)
_PIECE: Final = re.compile(
    r"\s*(?:([0-9]+(?:,[0-9]{3})*(?:\.[0-9]*)?|\.[0-9]+)(?:[eE]([+-]?[0-9]{1,4})(?![0-9]))?|(\\frac|[-+*/^(){}!]))"
)

_ONES: Final = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS: Final = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES: Final = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
MULTIPLES: Final = {"dozen": 12, "hundred": 100, **_SCALES}
_WORDS: Final = {word: number for number, word in enumerate(_ONES)} | {
    word: 10 * number for number, word in enumerate(_TENS, 2)
}
_ORDINALS: Final = {
    "first": 1,
    "second": 2,
    "third": 3,
    "fifth": 5,
    "eighth": 8,
    "ninth": 9,
    "twelfth": 12,
    **{f"{word}th": number for number, word in enumerate(_ONES) if number > 3 and number not in (5, 8, 9, 12)},
    **{f"{word[:-1]}ieth": number for word, number in _WORDS.items() if word.endswith("ty")},
}
# What a part of a whole is called; a second is a time, and a quarter alone a coin.
_PARTS: Final = {
    "half": 2,
    "halves": 2,
    "quarter": 4,
    "quarters": 4,
    "third": 3,
    "thirds": 3,
    "hundredth": 100,
    "hundredths": 100,
    "thousandth": 1000,
    "thousandths": 1000,
    **{name: number for word, number in _ORDINALS.items() if number > 3 for name in (word, f"{word}s")},
}


def read(text: str) -> Fraction | None:
    """The rational that the text spells, None where it spells none or one that is too large.

    Args:
        text: normalised, without unit or currency.
    """
    if _PLAIN.match(text):
        return Fraction(text if text[-1] != "." else text[:-1]) if len(text) <= MOST_DIGITS else None
    if len(text) > MOST_DIGITS:
        return None
    if _GROUPED.match(text):
        return Fraction(re.sub("[, _]", "", text).rstrip("."))
    if mixed := _MIXED.match(text):
        down = int(mixed[4] or mixed[6])
        if down == 0:
            return None
        value = int(mixed[2]) + Fraction(int(mixed[3] or mixed[5]), down)
        return -value if mixed[1] == "-" else value
    if text[:1].isalpha():
        return spelled(text)
    if ("." in text or "," in text or "'" in text) and (
        found := decimals.repeating(text) or decimals.elsewhere(text)
    ) is not None:
        return found
    return _Reader.value(text)


def scaled(text: str) -> tuple[str, int]:
    """The text without a closing `million` or `dozen`, and what that multiplies by (1 where there is none)."""
    head, _, last = text.rpartition(" ")
    scale = MULTIPLES.get(last.lower())
    return (head, scale) if head and scale else (text, 1)


def spelled(text: str) -> Fraction | None:
    """The number that English words spell: `one hundred and five`, `two and a half`, `minus three`; None for others."""
    words = text.lower().replace("-", " ").split()
    if not words or len(words) > 20:
        return None
    if words[0] in ("a", "an") and words[1:2] and words[1] in MULTIPLES:
        words = ["one", *words[1:]]
    if words[0] in ("negative", "minus"):
        value = spelled(" ".join(words[1:]))
        return None if value is None or words[1] in ("negative", "minus") else -value
    return _broken(words) if words[-1] in _PARTS else _cardinal(words)


def ordinal(text: str) -> int | None:
    """The place that a word names (`fifth`, `twenty-first`), None where it names none."""
    *before, last = text.lower().replace("-", " ").split() or [""]
    value = _ORDINALS.get(last)
    if value is None or not before:
        return value
    tens = _cardinal(before)
    return int(tens) + value if tens is not None and value < 10 and tens % 10 == 0 else None


def part(word: str) -> int | None:
    """How many of the parts that a word names make one: 2 for `half`; None where it names none."""
    return _PARTS.get(word.lower())


def _broken(words: list[str]) -> Fraction | None:
    """`two thirds`, `one and a half`, `three quarters`, `half`."""
    *words, last = words
    if not words:
        return Fraction(1, 2) if last == "half" else None
    whole: Fraction | None = Fraction(0)
    if "and" in words[1:]:
        place = len(words) - 1 - words[::-1].index("and")
        whole, words = _cardinal(words[:place]), words[place + 1 :]
    up = Fraction(1) if words in (["a"], ["an"]) else _cardinal(words)
    if whole is None or up is None or (up != 1 and last[-1] not in "sf"):  # twenty fifth is a place
        return None
    return whole + up / _PARTS[last]


def _cardinal(words: list[str]) -> Fraction | None:
    """`one hundred and five`."""
    total = group = 0
    before = ""
    for word in words:
        if word == "and" and before and before not in _WORDS:
            continue
        if word in _WORDS:
            if before in _WORDS and not (before in _TENS and 0 < _WORDS[word] < 10):
                return None
            group += _WORDS[word]
        elif word == "hundred" and 0 < group < 100:
            group *= 100
        elif word in _SCALES and group:
            total, group = total + group * _SCALES[word], 0
        elif word == "dozen" and group:
            group *= 12
        else:
            return None
        before = word
    return Fraction(total + group) if before and words[-1] != "and" else None


class _Refused(Exception):
    """The text is no rational expression, or one that is too large."""


class _Reader:
    """Sums, products, quotients and powers of numbers, by recursive descent; the depth is bounded."""

    def __init__(self, pieces: list[str | Fraction]) -> None:
        self.pieces, self.place, self.depth = pieces, 0, 0

    @classmethod
    def value(cls, text: str) -> Fraction | None:
        pieces: list[str | Fraction] = []
        place = 0
        while place < len(text):
            match = _PIECE.match(text, place)
            if match is None:
                return None
            if match[1]:
                number = Fraction(match[1].replace(",", "").rstrip("."))
                power = int(match[2] or 0)
                if abs(power) > MOST_DIGITS:
                    return None
                pieces.append(number * Fraction(10) ** power)
            else:
                pieces.append(match[3])
            place = match.end()
        reader = cls(pieces)
        try:
            value = reader.sum()
        except (_Refused, ZeroDivisionError):
            return None
        return value if reader.place == len(pieces) else None

    def sum(self) -> Fraction:
        value = self.product()
        while (sign := self.peek()) in ("+", "-"):
            self.place += 1
            value = value + self.product() if sign == "+" else value - self.product()
        return value

    def product(self) -> Fraction:
        value = self.signed()
        while (sign := self.peek()) is not None and sign not in ("+", "-", ")", "}"):
            if sign in ("*", "/"):
                self.place += 1
                value = value * self.signed() if sign == "*" else value / self.signed()
            elif sign in ("(", "\\frac") and not isinstance(self.pieces[self.place - 1], Fraction):
                value *= self.power()  # a product without a sign; a number before a fraction is a mixed number
            elif sign == "(":
                value *= self.power()
            else:
                raise _Refused
            self.bound(value)
        return value

    def signed(self) -> Fraction:
        sign = 1
        while (piece := self.peek()) in ("+", "-"):
            sign = -sign if piece == "-" else sign
            self.place += 1
        return sign * self.power()

    def power(self) -> Fraction:
        base = self.atom()
        if self.peek() == "!":
            self.place += 1
            base = self.factorial(base)
        if self.peek() != "^":
            return base
        self.place += 1
        self.enter()
        if self.peek() == "{":
            exponent = self.atom()
        else:
            sign = 1
            if self.peek() == "-":
                sign, self.place = -1, self.place + 1
            exponent = sign * self.power()
        self.depth -= 1
        if exponent.denominator != 1 or (base == 0 and exponent <= 0):
            raise _Refused
        size = max(base.numerator.bit_length(), base.denominator.bit_length())
        if size * abs(exponent) > 4 * MOST_DIGITS:
            raise _Refused
        return base ** int(exponent)

    def atom(self) -> Fraction:
        piece = self.peek()
        self.place += 1
        if isinstance(piece, Fraction):
            return piece
        if piece == "\\frac":
            up = self.atom()
            return up / self.atom()
        if piece not in ("(", "{"):
            raise _Refused
        self.enter()
        value = self.sum()
        if self.peek() != (")" if piece == "(" else "}"):
            raise _Refused
        self.place += 1
        self.depth -= 1
        return value

    def factorial(self, of: Fraction) -> Fraction:
        if of.denominator != 1 or not 0 <= of <= 100:
            raise _Refused
        value = 1
        for factor in range(2, int(of) + 1):
            value *= factor
        return Fraction(value)

    def enter(self) -> None:
        self.depth += 1
        if self.depth > MOST_DEPTH:
            raise _Refused

    def bound(self, value: Fraction) -> None:
        if max(value.numerator.bit_length(), value.denominator.bit_length()) > 4 * MOST_DIGITS:
            raise _Refused

    def peek(self) -> str | Fraction | None:
        return self.pieces[self.place] if self.place < len(self.pieces) else None
