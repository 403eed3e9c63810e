r"""Finds the final answer in a reply: `\boxed{…}`, `#### 18`, `<answer>`, `The answer is …`, `A: 18`, a last number.

A reply argues before it answers, and the numbers of the argument are not its answer; what a writer marks as the answer
comes first, and the last number is a last resort that says so. Where an answer is announced that is no value and begins
with none (`the answer is that Tom pays 12 dollars for 3`), there is none: a number of it may be any of its numbers.
Costs a scan of the text's end; linear in its length.
"""

import re
import unicodedata
from dataclasses import dataclass, replace
from typing import Final, Literal

from .explanations import explained, leading
from .groups import parted
from .guesses import last
from .normalise import closing, normalise
from .sentences import SHORT, numbered, predicate, stands, with_words
from .values import Text

Rule = Literal[
    "boxed", "hashes", "tag", "heading", "said", "label", "letter", "bold", "predicate", "whole", "math", "number"
]

_BOX: Final = re.compile(r"\\(?:boxed|fbox|framebox)\s*")
_HASHES: Final = re.compile(r"^[ \t]*####[ \t]*(\S[^\n]*)$", re.MULTILINE)
_TAG: Final = re.compile(r"<answer>([^<]*)</answer>", re.IGNORECASE)
_KEY: Final = re.compile(r"\"(?:final_)?answer\"\s*:\s*\"?([^\"{},\n]+)", re.IGNORECASE)
# What a reply ends in and sets in bold, where nothing is announced.
_BOLD: Final = re.compile(r"\*\*([^*\n]+)\*\*[\s.]*\Z")
_HEADING: Final = re.compile(
    r"^(?:#{1,4}[ \t]*|\*\*)(?:final )?answer:?(?:\*\*)?[ \t\r]*\n\s*(\S[^\n]*)", re.IGNORECASE | re.MULTILINE
)
# What may stand between words that call it the answer and the answer: two blank lines at most.
_GAP: Final = r"[ \t\r]*+(?:\n[ \t\r]*+){0,3}(?=(\S))"
_SAID: Final = re.compile(
    r"(?:\b(?:final|correct)?[ ]?answer[*_]{0,2}+[ ]*(?:is|[:：=-])[*_]{0,2}+:?+(?:[ ]*the (?:final )?answer is:?+)?+)"
    + _GAP,
    re.IGNORECASE,
)
_SUPPOSED: Final = re.compile(
    r"\b(?:if|whether|unless|suppose|assume|assuming)(?: that)?(?: the| my| our| your)?\s*\Z", re.I
)
_ITEM: Final = re.compile(r"(?<=\n)[-*•][ \t]+(?=\S)")  # a list's, where a line begins; no minus
_NEXT_ITEM: Final = re.compile(r"[ \t\r]*\n(?:[ \t\r]*\n)?[ \t]*[-*•][ \t]+\S")
_BEGUN: Final = re.compile(r"\banswer[*_]{0,2}[ ]*(?:is|[:：])", re.IGNORECASE)
_ELSEWHERE: Final = (
    *("答", "选", "選", "답", "ntwort", "ösung", "rgebnis", "éponse", "espuesta", "isposta", "esposta", "твет"),
    *("evap", "الجواب", "الإجابة"),
)
_SAID_ELSEWHERE: Final = re.compile(
    r"(?:答案[*_]{0,2}+(?:是|为|為|[ ]*[:：])|(?:故|应|應|所以|因此)(?:选|選)(?:择|擇)?[ ]*[:：]?(?=[ ]*[(（]?[A-J])"
    r"|答え(?:は|[ ]*[:：])"
    r"|답(?:은|[ ]*[:：])|\b(?:Antwort|Lösung|Ergebnis)[*_]{0,2}+(?:[ ](?:ist|lautet|beträgt)|[ ]*[:：])[:：]?"
    r"|\bréponse[*_]{0,2}+(?: finale)?(?: est(?: donc)?|[ ]*[:：])|\brespuesta[*_]{0,2}+(?: final)?(?: es|[ ]*[:：])"
    r"|\b(?:risposta (?:finale )?è|resposta (?:final )?é)|\bcevap[*_]{0,2}+[ ]*[:：]?"
    r"|(?:الجواب|الإجابة)(?: (?:النهائية?|الصحيحة?))?(?: (?:هو|هي)|[ ]*[:：])"
    r"|\bответ[*_]{0,2}+[ ]*[:：—-])[*_]{0,2}+[:：]?+" + _GAP,
    re.IGNORECASE,
)
_LABEL: Final = re.compile(r"^[ \t]*A:[ \t]*(\S[^\n]*)$", re.MULTILINE)
# A letter of a multiple choice that a reply ends in: `Answer D`, `ANS:A`, `Option B`, or alone on the last line.
_LETTER: Final = re.compile(
    r"(?:\b(?i:answer|ans|option|choice)[*_]{0,2}(?:\s+(?i:is|will be))?\s*[-:=.]?\s*(?:(?i:option|choice)\s+)?|\n\s*)"
    r"[(\[*]*([A-J])[)\]*.]*\s*\Z"
)
_SENTENCE_END: Final = re.compile(
    r"(?<=[^\s.])(?<!\bi\.e)(?<!\bi\. e)\.(?:\s|\*|$)|(?:です)?。|(?:です|입니다|이다)[.\s]*$"
    r"|(?<=[\dA-J])['’][dt][iıuü]r\b| şık\w*|\s(?:I hope it is correct)"
)
_DIGIT: Final = re.compile(r"(?![0-9])\d")
# Brackets with nothing in them are an answer, other punctuation is none.
_EMPTY: Final = re.compile(r"\\?\{\s*\\?\}|\[\s*\]|\(\s*\)")
# What stands between boxes that are one answer together.
_PART: Final = re.compile(r"\(?(?:1|a|A|i)\)[\s$:]*\Z")
_JOINT: Final = re.compile(
    r"\s*\$?[\s.;,]*\(?(?:[2-6]|[b-fB-F]|i{2,3}|iv)\)[\s$:]*\Z|"
    r"\s*\$?\s*(?:[,;]?\s*(?:or|and|\\text\{\s*(?:or|and)\s*\})|[,;])\s*\$?\s*(?:[A-Za-z](?:_\{?\w\}?)?\s*=\s*)?\Z"
)
_MARKS: Final[tuple[tuple[Rule, re.Pattern[str]], ...]] = (
    ("hashes", _HASHES),
    ("tag", _TAG),
    ("tag", _KEY),
    ("heading", _HEADING),
    ("said", _SAID),
    ("said", _SAID_ELSEWHERE),
    ("label", _LABEL),
)
_BETWEEN: Final = 40  # characters between boxes that stand together
_TAIL: Final = 80  # characters of a reply's end in which a letter alone is looked for
_LAST: Final = 2_000  # characters of a reply's end in which an answer is guessed at
_OPENERS: Final = {"$": "$", "$$": "$$", "\\[": "\\]", "\\(": "\\)"}


@dataclass(frozen=True, slots=True)
class Extracted:
    """A final answer and where it stands.

    Args:
        answer: its text, as it stands.
        rule: what found it; `bold`, `predicate` (`… is true.`), `math` (the last formula) and `number` are guesses.
        start, stop: its place in the reply, in characters.
    """

    answer: str
    rule: Rule
    start: int
    stop: int


def extract(text: str) -> Extracted | None:
    """The final answer of a reply or of a gold solution; None where there is none.

    Args:
        text: a whole reply, or an answer alone, which is given back as it stands (rule `whole`).
    """
    found = _found(text if text.isascii() else _DIGIT.sub(_ascii_digit, text))
    return found and replace(found, answer=text[found.start : found.stop])


def _ascii_digit(digit: re.Match[str]) -> str:
    return str(unicodedata.decimal(digit[0]))


def _found(text: str) -> Extracted | None:
    if found := _boxed(text):
        return found
    if (letter := _LETTER.search(text, max(0, len(text) - _TAIL))) and "####" not in text:
        return Extracted(letter[1], "letter", letter.start(1), letter.end(1))
    found, unread = _announced(text)
    if found or unread:
        return found
    if (bold := _BOLD.search(text, max(0, len(text) - SHORT))) and not with_words(bold[1]):
        return _trimmed(text, bold.start(1), bold.end(1), "bold")
    found = _trimmed(text, 0, len(text), "whole")
    if found is None:
        return None
    if len(found.answer) <= SHORT and "\n" in found.answer and parted(normalise(found.answer), Text) is not None:
        return found
    short = len(found.answer) <= SHORT and "\n" not in found.answer
    if short and (begun := _BEGUN.search(found.answer)) and not _says(found.answer[begun.end() :]):
        return None
    if short and (alone := _alone(found)) is not None:
        return alone
    if short and (said := predicate(found.answer)) is not None:
        return _trimmed(found.answer, *said, "predicate", found.start)
    if short and stands(found.answer) and not numbered(found.answer):
        return found
    guess = last(text[-_LAST:])
    start = max(0, len(text) - _LAST)
    if guess is None:
        return found if short else None
    return _trimmed(text, start + guess.start, start + guess.stop, guess.rule)


def _announced(text: str) -> tuple[Extracted | None, bool]:
    """The last answer that is announced, and whether one is announced and cannot be read.

    Behind one that cannot be read only a later one counts.
    """
    unread = -1
    for rule, pattern in _MARKS:
        if pattern is _SAID_ELSEWHERE and not any(word in text for word in _ELSEWHERE):
            continue
        until = len(text)
        for match in reversed(list(pattern.finditer(text))):
            start, stop = _place(text, match, rule, until)
            until = match.start()
            if start <= unread or (rule == "said" and _SUPPOSED.search(text, max(0, until - _TAIL), until)):
                continue
            found = _marked(text, start, stop, rule)
            if isinstance(found, Extracted):
                return found, False
            if found is False:
                unread = start
    return None, unread >= 0


def _place(text: str, match: re.Match[str], rule: Rule, until: int) -> tuple[int, int]:
    """Where what a mark points at starts and stops: with its line, or where the next announcement starts."""
    start, stop = match.span(1)
    if rule == "said":
        line = text.find("\n", start, start + _LAST)
        stop = max(stop, min(until, line if line >= 0 else min(len(text), start + _LAST)))
    return start, stop


def _marked(text: str, start: int, stop: int, rule: Rule) -> Extracted | Literal[False] | None:
    """The answer in what a mark points at; None where that is punctuation alone, False where it cannot be read."""
    if rule == "heading" and (said := list(_SAID.finditer(text, start, stop))):
        return _marked(text, said[-1].start(1), stop, "said")
    if text[start:stop].strip() in _OPENERS:
        stop = _block_end(text, start, stop)
    if (tag := text.find("</", start, stop)) >= 0:
        stop = tag
    if item := _ITEM.match(text, start, stop):
        if _NEXT_ITEM.match(text, stop):
            return False
        start = item.end()
    if rule == "said" and (end := _SENTENCE_END.search(text, start, stop)):
        stop = end.start()
    found = _trimmed(text, *_inside_emphasis(text, start, stop), rule)
    if found is None:
        return None
    if (alone := _alone(found)) is not None:
        return alone
    whole = stands(found.answer[:SHORT])
    if whole and not with_words(found.answer):
        return found
    if place := leading(found.answer[:SHORT]):
        return _trimmed(found.answer, *place, rule, found.start) or False
    return found if whole else False


def _inside_emphasis(text: str, start: int, stop: int) -> tuple[int, int]:
    """The place without half a pair of `**` at an end, whose other half stands outside of it."""
    line = text[start:stop].strip()
    if line.count("**") != 1:
        return start, stop
    if line.startswith("**"):
        return text.index("**", start) + 2, stop
    return (start, text.index("**", start)) if line.endswith("**") else (start, stop)


def _alone(found: Extracted) -> Extracted | None:
    """An answer without the explanation behind it; None where there is none."""
    place = explained(found.answer[:SHORT], marked=found.rule != "whole")
    return None if place is None else _trimmed(found.answer, *place, found.rule, found.start)


def _block_end(text: str, start: int, stop: int) -> int:
    """The end of a displayed formula that opens on one line and goes on below."""
    closer = _OPENERS[text[start:stop].strip()]
    end = text.find(closer, stop, stop + _LAST)
    return stop if end < 0 else end + len(closer)


def _boxed(text: str) -> Extracted | None:
    r"""What the last box holds that closes; of a box in a box, what the inner one holds. `\boxed 5` holds one word.

    Boxes that stand together (`\boxed{1} or \boxed{2}`) are one answer, with all between the first and the last.
    """
    boxes = [(box.start(), *inner) for box in list(_BOX.finditer(text))[-20:] if (inner := _inner(text, box.end()))]
    if not boxes:
        return None
    first = len(boxes) - 1
    while first and _JOINT.match(text[boxes[first - 1][2] : boxes[first][0]][:_BETWEEN].removeprefix("}")):
        first -= 1
    said = {text[start:stop].strip() for _, start, stop in boxes[first:]}
    if len(said) > 1:
        begun = boxes[first][0]
        if part := _PART.search(text, max(0, begun - _BETWEEN), begun):
            begun = part.start()
        return _trimmed(text, begun, boxes[-1][2] + (text[boxes[-1][2] : boxes[-1][2] + 1] == "}"), "boxed")
    return _trimmed(text, boxes[-1][1], boxes[-1][2], "boxed")


def _inner(text: str, start: int) -> tuple[int, int] | None:
    """Where what a box holds starts and stops; None where it does not close, or holds nothing."""
    if text[start : start + 1] != "{":
        bare = re.compile(r"[^\s$.]+").match(text, start)
        return bare.span() if bare else None
    stop = _closing_brace(text, start)
    return (start + 1, stop) if stop > start + 1 and _says(text[start + 1 : stop]) else None


def _closing_brace(text: str, start: int) -> int:
    depth = 0
    for place in range(start, len(text)):
        character = text[place]
        if character in "{}" and text[place - 1] != "\\":
            depth += 1 if character == "{" else -1
            if depth == 0:
                return place
    return closing(text, start)


def _trimmed(text: str, start: int, stop: int, rule: Rule, before: int = 0) -> Extracted | None:
    """What stands there without white space around it; None for nothing and for punctuation alone.

    `before` is how many characters stand before the text.
    """
    while start < stop and text[start].isspace():
        start += 1
    while stop > start and text[stop - 1].isspace():
        stop -= 1
    answer = text[start:stop]
    return Extracted(answer, rule, before + start, before + stop) if _says(answer) else None


def _says(answer: str) -> bool:
    """Whether a text is more than punctuation."""
    signs = (unicodedata.category(sign)[0] not in "PZC" and sign not in "$`^" for sign in answer)
    return any(signs) or _EMPTY.search(answer) is not None
