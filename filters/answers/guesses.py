"""Guesses the answer of a reply that marks none: its last formula or number, with those that it stands with.

A reply that announces nothing still ends in its answer more often than not; where its end offers several, none is one.
Costs a few searches of the reply's end.
"""

import re
from typing import Final, Literal, NamedTuple

from . import numbers
from .normalise import normalise
from .numbers import MULTIPLES
from .units import measures

_NUMBER: Final = re.compile(
    r"[-−]?[$€£]?(?<![0-9A-Za-z_.])(?:[0-9]+[ ]+(?=[0-9]+/[0-9]))?"
    r"(?:[0-9]{1,3}(?:[ ][0-9]{3})+(?![0-9])|[0-9]+(?:[.,][0-9]+)*|\.[0-9]+)(?:\s*/\s*[0-9]+)?(?:\s?[%°])?"
)
_FORMULA: Final = re.compile(r"\$\$?(?! )[^$\n]{1,200}(?<! )\$\$?(?!\w)|\\\((?:[^\\\n]|\\[^)\n]){1,200}\\\)")
_ONE: Final = r"(?:\$[^$\n]{1,60}\$|[-−]?[$€£]?[0-9]+(?:[.,/][0-9]+)*[%°]?)"
# What a number is one of several with: `4 apples or maybe `, `3, 4 and `.
_CALLED: Final = r"(?:\b[A-Za-z]\s*=\s*)?"
_ALTERNATIVE: Final = re.compile(
    rf"(?<![\w.]){_CALLED}(?:{_ONE},\s+)*{_ONE}(?:(?:\s+[a-z]+){{0,2}},?\s+(?:and/)?or|,?\s+and)\s+"
    rf"(?:(?:also|maybe|perhaps|possibly|even|it|is|could|might|be)\s+)*{_CALLED}\Z"
)
# What a number is a part of: `3:`, `1 out of `, `3 hours and `, the last one with a unit behind the number, too.
_RATIO: Final = re.compile(r"(?<![\w.])(?<!from )(?:[0-9]+(?:\.[0-9]+)?(?:\s*:\s*|\s+(?:to|out of)\s+)|1\s+in\s+)\Z")
_MEASURE: Final = r"(?!(?:and|[Ii]n)\b)([A-Za-z]{2,}),?"
_COMPOUND: Final = re.compile(
    rf"(?<![\w.])[0-9]+(?:\.[0-9]+)? +{_MEASURE}(?:(?: +and)? +[0-9]+(?:\.[0-9]+)? +{_MEASURE})*(?: +and)? +\Z"
)
# What belongs to a number behind it: a scale, half a day, a unit.
_SCALE: Final = re.compile(rf"\s+(?:{'|'.join(MULTIPLES)})\b", re.IGNORECASE)
_SHARE: Final = re.compile(r"\s*per ?cent\b", re.IGNORECASE)
_HALF_DAY: Final = re.compile(
    r"\s?[ap](?:\.\s?m\b\.?|m\b)|\s+in the (?:morning|afternoon|evening)\b|\s+o'clock\b", re.IGNORECASE
)
_UNIT_WORD: Final = re.compile(r"(?: ?/ ?| per | ?)(?:[^\W\d_]|[°$€£¥])+(?:\s?\^\s*\{?-?[1-9]\}?|[²³])?")
_MOST_UNIT_WORDS: Final = 4
_MONTH: Final = (
    "(?:January|February|March|April|May|June|July|August|September|October|November|December"
    r"|(?:Jan|Feb|Mar|Apr|Aug|Sept?|Oct|Nov|Dec)\b)"
)
_DATE: Final = re.compile(
    rf"\b(?:{_MONTH}\.?\s+[0-9]{{1,2}}(?:st|nd|rd|th)?(?:,?\s+[0-9]{{4}})?"
    rf"|[0-9]{{1,2}}(?:st|nd|rd|th)?\s+(?:of\s+)?{_MONTH}(?:,?\s+[0-9]{{4}})?)\b"
)
# A formula that no dollars stand around, up to the last number: `10√3`, `2^n - 1`.
_BARE: Final = re.compile(r"(?:[0-9.,√πθ+−*/^×·()²³ -]|(?<![A-Za-z'])[b-zB-HJ-Z](?![A-Za-z']))+\Z")
_INSIDE: Final = "\\{}_^"  # before a part of a formula in LaTeX
_STRONG: Final = re.compile(r"[√π^²³]")
_BARE_REST: Final = re.compile(r"(?:[a-z](?![A-Za-z'])|[π²³)\]])*")
_AFTER: Final = re.compile(r"(?![A-Za-z'])")
_ATTACHED: Final = re.compile(r"(?<=[0-9])[A-Za-z](?![\w'])")  # `2.5g`, `3x`: a unit or a factor
_LETTERS: Final = re.compile(r"[A-Za-z]+(?:-[A-Za-z]+)?")
_MOST_SPELLED: Final = 8  # words of a number in words
_HEDGE: Final = re.compile(
    r"\b(?:also possible|(?:could|might|may) (?:also |well )?be|(?:maybe|perhaps|possibly|alternatively|not sure))\b",
    re.IGNORECASE,
)
# Words before a number that compute with it, or say that it is not the one.
_NOT_ALONE: Final = re.compile(
    r"\b(?:(?:root|power|logarithm|log|sine|cosine|tangent|factorial|square|cube|value) of(?: the)?|divided by|times"
    r"|multiplied by|minus|plus|over|(?:more|less|greater|fewer|rather|other) than|at least|at most|up to|not"
    r"|instead of)\s+\Z",
    re.IGNORECASE,
)
# Other languages' denials in the sentence of a number: `答案不是5`, `La respuesta no es 5`.
_DENIED: Final = re.compile(
    r"不是|并非|不等于|ではな|じゃな|아니|아닙|ليس|\bn'est pas\b"
    r"|\b(?:no (?:es|son|vale)|non (?:è|sono)|nicht|не|değil\w*)\b",
    re.IGNORECASE,
)
_SENTENCE: Final = re.compile(r"(?<=[.!?])\s+|\n")
_NEAR: Final = 120  # characters before a number in which one that it stands with is looked for


class Guess(NamedTuple):
    """Where a guess stands, in characters of the text, and what it is."""

    start: int
    stop: int
    rule: Literal["math", "number"]


def last(text: str) -> Guess | None:
    """The last formula between its dollars, or the last number where that stands behind it.

    With others that it stands with (`3 or 4`); None where there is neither, where others are said to be possible, and
    where it is a part of a formula in words (`the square root of 2`).

    Args:
        text: the end of a reply.
    """
    formula = number = None
    for formula in _FORMULA.finditer(text):  # noqa: B007 - the last one is wanted
        pass
    for number in _NUMBER.finditer(text):  # noqa: B007
        pass
    rule: Literal["math", "number"] = (
        "number" if formula is None or (number and number.end() > formula.end()) else "math"
    )
    found = number if rule == "number" else formula
    if _hedged(text) or (found and _denied(text, found.start(), found.end())):
        return None
    if found is None:
        return _spelled(text)
    begun, near = found.start(), max(0, found.start() - _NEAR)
    if _NOT_ALONE.search(text, near, begun):
        return None
    if (others := _ALTERNATIVE.search(text, near, begun) or _RATIO.search(text, near, begun)) is not None:
        stop = _behind(text, found.end()) if rule == "number" and others[0].rstrip().endswith(":") else found.end()
        return Guess(others.start(), stop, rule)
    if rule == "math":
        return Guess(begun, found.end(), rule)
    return _whole(text, near, begun, found.end())


def _whole(text: str, near: int, begun: int, end: int) -> Guess:
    """A number with what belongs to it: the rest of a date or a bare formula before it, a unit or a scale behind it."""
    for date in _DATE.finditer(text, near):
        if date.start() <= begun < date.end():
            return Guess(date.start(), date.end(), "number")
    rest = _BARE_REST.match(text, end)
    stop = rest.end() if rest and _AFTER.match(text, rest.end()) else end
    if _STRONG.search(text, near, stop) and (bare := _BARE.search(text, near, end)):
        formula = text[bare.start() : stop].lstrip(" .,+*/)")
        inside = not bare[0][0].isspace() and bare.start() and text[bare.start() - 1] in _INSIDE
        if not inside and formula[:1] != "^" and _STRONG.search(formula):
            return Guess(stop - len(formula), stop, "number")
    stop = _behind(text, end)
    if (others := _COMPOUND.search(text, near, begun)) and stop > end:
        names = re.findall(r"[A-Za-z]{2,}", others[0])
        if all(measures(name) for name in names if name != "and"):
            return Guess(others.start(), stop, "number")
    return Guess(begun, stop, "number")


def _spelled(text: str) -> Guess | None:
    """A number in words at the end of a sentence, with one word behind it at most: `So it takes **five** days.`"""
    words = list(_LETTERS.finditer(text))
    for stop in (len(words), len(words) - 1):
        for start in range(max(0, stop - _MOST_SPELLED), stop):
            said = " ".join(word[0] for word in words[start:stop])
            if said.lower() not in ("one", "second", "third") and numbers.spelled(said) is not None:
                begun, end = words[start].start(), words[stop - 1].end()
                alone = not _NOT_ALONE.search(text, max(0, begun - _NEAR), begun)
                return Guess(begun, _behind(text, end), "number") if alone else None
    return None


def _behind(text: str, end: int) -> int:
    """Where a number ends with its unit, scale or half of the day: those that are known."""
    if found := _HALF_DAY.match(text, end) or _SHARE.match(text, end):
        return found.end()
    if found := _SCALE.match(text, end):
        end = found.end()
    stop = place = attached.end() if (attached := _ATTACHED.match(text, end)) else end
    for _ in range(_MOST_UNIT_WORDS):
        if (word := _UNIT_WORD.match(text, place)) is None:
            break
        place = word.end()
        name = text[end:place].strip()
        name = name if name.isalpha() else normalise(name)
        if measures(name) and (name.split()[-1] != "in" or not text[place:].strip(" .")):
            stop = place
    return stop


def _denied(text: str, begun: int, end: int) -> bool:
    """Whether a number's sentence denies something, in another language than English, of which `_NOT_ALONE` knows."""
    start = max(text.rfind(stop, 0, begun) for stop in (". ", "。", "\n", ", ", "，")) + 1
    return _DENIED.search(text, start, min(len(text), end + _NEAR // 4)) is not None


def _hedged(text: str) -> bool:
    """Whether the last sentences say that the answer may be one number or another."""
    numbers = 0
    for sentence in reversed(_SENTENCE.split(text.rstrip())):
        if not _HEDGE.search(sentence):
            break
        numbers += len(_NUMBER.findall(sentence))
    return numbers > 1
