"""Tells a sentence from an answer, and finds what a sentence in words says of its subject: `The triangle is isosceles.`

A reply without a mark is an answer alone, a sentence with a number in it, or a sentence of words; what is not told
apart is compared as words, and a right answer is taken for a wrong one.
Costs a few searches of a short text, and a reading of it.
"""

import re
from typing import Final

from .dates import Clock, Day
from .normalise import normalise
from .reading import read
from .values import Choice, Excluding, Formula, Group, Interval, Number, Text, Truth

SHORT: Final = 200  # characters that may be an answer as they stand

_PROSE: Final = re.compile(r"[A-Za-z]{2,}(?:['’][a-z]+)?,? +[a-z']{2,},? +[A-Za-z0-9$']+ +[A-Za-z0-9'(*$=+-]+")
_SENTENCE: Final = re.compile(r"[.!。]\s*\Z")
_FORMULA: Final = re.compile(r"\$[^$\n]{1,200}\$")
_ELSEWHERE: Final = re.compile(r"[\u0400-\u1fff\u3040-\u9fff\uac00-\ud7a3]{2}")  # letters of other scripts; not Greek
_PREDICATE: Final = re.compile(
    r"(?:[^.!?]*\s)?(?:is|are|equals?|was|were)\s+(?:therefore |thus |then |an? )?([^.!?]+)[.!]?\Z"
)
_COPULA: Final = re.compile(r"\b(?:is|are|equals?|was|were|be|been)\b")
# `Alice is the knight.`: either side may be the answer.
_NAMED: Final = re.compile(r"(?!(?:It|This|That|He|She|They|There|Here)\b)[A-Z]\w* (?:is|are|was|were)\b")
# Sentences that deny, suppose or weigh what they say.
_DENIES: Final = re.compile(
    r"\b(?:not|never|cannot|false that|wrong|incorrect|untrue|if|whether|assum\w*|suppos\w*|n?either|nor"
    r"|claims?|unless|would|could|might|may|should|except|but|than)\b|n't",
    re.IGNORECASE,
)
_MOST_WORDS: Final = 3  # of what a sentence says of its subject
_WHOLE: Final = (Number, Truth, Clock, Day, Interval, Excluding)  # what a sentence may be as a whole


def stands(answer: str) -> bool:
    """Whether a text is an answer from its first word to its last, and no sentence with an answer in it."""
    return not _PROSE.search(answer) or isinstance(read(normalise(answer)), _WHOLE)


def with_words(answer: str) -> bool:
    """Whether words are read beside, or as, an answer: `12; each gets 3`."""
    value = read(normalise(answer[:SHORT]))
    return isinstance(value, Text) or (isinstance(value, Group) and any(isinstance(item, Text) for item in value.items))


def numbered(answer: str) -> bool:
    """Whether a text is a sentence with a number in it that is read as nothing but words: `It costs $3.50.`

    In another script, words before a formula are no name of its left side: `解得 $x=3$。`
    """
    if not _SENTENCE.search(answer) or not any(sign.isdigit() for sign in answer):
        return False
    if not answer.isascii() and len(_FORMULA.findall(answer)) == 1 and _ELSEWHERE.search(_FORMULA.sub("", answer)):
        return True
    return (" " in answer or not answer.isascii()) and with_words(answer)


def predicate(sentence: str) -> tuple[int, int] | None:
    """Where a sentence says in words what its subject is: `true` of `The statement is true.`; None for any other text.

    Args:
        sentence: one line; with two verbs, a denial or a number in what is said, it is none.
    """
    match = _PREDICATE.match(sentence)
    if match is None or any(sign in match[1] for sign in "0123456789$\\"):
        return None
    if len(_COPULA.findall(sentence)) != 1 or _DENIES.search(sentence) or not with_words(sentence):
        return None
    value = read(normalise(match[1]))
    last = match[1].split()[-1]
    word = (
        isinstance(value, Text)
        and last not in ("answer", "correct")
        and len(match[1].split()) <= _MOST_WORDS
        and not _NAMED.match(sentence)
    )
    word = word and (last[0].isupper() or not re.search("[0-9$]", sentence))
    letters = isinstance(value, Group) and all(isinstance(item, Formula | Choice) for item in value.items)
    return match.span(1) if word or letters or isinstance(value, (*_WHOLE, Choice)) else None
