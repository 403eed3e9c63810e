"""Takes off what explains an answer behind it: `12 because 3*4=12`, `$12$, which is even`, `12 boxes with 3 left`.

The numbers of an explanation are none of the answer, and what stands before it is all that is compared.
Costs a few searches of a short text, and a reading of what stands before each cut that is found.
"""

import re
from fractions import Fraction
from typing import Final

from .dates import Clock, Day
from .normalise import normalise
from .reading import read
from .values import Choice, Formula, Group, Interval, Number, Ratio, Relation, Text, Truth, Value

_EXPLAINS: Final = re.compile(
    r"(?<![A-Za-z0-9\\])(?:because|since|due to|given that|which (?:is|are|was|were|has|have|equals|means|gives|makes)"
    r"|i\.\s?e\b\.?|that is,|namely|as (?:it|they|this|there|we|he|she)|(?<=, )as(?= )|(?<=\()as(?= )"
    r"|weil|denn|parce que|porque|так как|потому что)(?![A-Za-z])|因[为為]",
    re.IGNORECASE,
)
_JOINTS: Final = " \t,，;:(（—–-"
_MOST_WORDS: Final = 3  # of an answer in words that an explanation is taken off
_ROUNDED: Final = Fraction(1, 50)  # what `1/3, i.e. 0.33` may differ by
_PROSE: Final = re.compile(r"[A-Za-z]{2,}(?:['’][a-z]+)?,? +[a-z']{2,},? +[A-Za-z0-9$'\\\\(]+")
_SIGNS: Final = re.compile(r"[0-9\\$]")
# Where the value that an announcement begins with may end: `12: each …`, `12 boxes with …`. Left out is what makes
# another value of it: `2 for every 3`, `12 by 3`, `5 in the evening`, `12 with remainder 3`, `12 if x > 0`.
_CUT: Final = re.compile(
    r"(?<=\S):\s+(?=[^\d\s])|;\s+(?=[A-Za-z])|,\s+(?=[A-Za-z]{2})|\s[–—-]+\s+(?=[A-Za-z]{2})"
    r"|\s\((?!\s*(?:mod|base|or|and)\b)(?=[^()]*\)[\s.*]*\Z)"
    r"|\s(?=(?:(?:of )?(?:which|whom)|where|while|after|before|during|until|so|that|(?<!for )(?<!to )(?<!in )each"
    r"|with(?! (?:a |an )?remainder)|for(?! every| each \d| \d+ (?:of|to))|(?:on|at|by|from)(?! [\d$])(?! night)"
    r"|in (?:each|his|her|their|its|this|a|an|all|the(?! (?:morning|afternoon|evening)))"
    r"|to (?:each|his|her|their|the nearest)|of (?:them|these|those)"
    r"|and (?:he|she|it|they|we|each|so|then|there|that))\b(?!\s+of \d))",
    re.IGNORECASE,
)
# What takes a value back, or puts another one beside it.
_TAKES_BACK: Final = re.compile(
    r"\b(?:wait|no(?=[,.!:;]| it\b| [-−$]?\d)|nope|rather|actually|sorry|correction|instead|i mean|but"
    r"|maybe|perhaps|possibly|alternatively|not sure|otherwise|(?:could|might|may) (?:also |well )?be)\b",
    re.IGNORECASE,
)
_ANOTHER: Final = re.compile(r"(?:[,;]|\band|\bor)\s+[-−$€£]*\d", re.IGNORECASE)
_VALUES: Final = (Number, Clock, Day, Interval, Ratio, Relation, Choice)  # what an announcement may begin with


def explained(answer: str, marked: bool) -> tuple[int, int] | None:
    """Where the answer before an explanation stands; None where none stands behind one.

    Args:
        answer: a line with an answer at its start.
        marked: whether a writer calls it the answer; where not, only what is no word is told from a sentence's start.
    """
    found = _EXPLAINS.search(answer)
    if found is None:
        return None
    head = answer[: found.start()].rstrip(_JOINTS)
    start = 2 if head.startswith("**") and head.count("**") == 1 else 0
    if _PROSE.search(head) or not any(sign.isalnum() for sign in head):
        return None
    value = read(normalise(head[start:]))
    if isinstance(value, Text | Truth):
        return (start, len(head)) if marked and len(head.split()) <= _MOST_WORDS else None
    if not marked and isinstance(value, Formula) and not _SIGNS.search(head):
        return None
    if isinstance(value, Group) and any(isinstance(item, Text) for item in value.items):
        return None
    return None if _says_another(value, answer[found.end() :]) else (start, len(head))


def leading(answer: str) -> tuple[int, int] | None:
    """Where the value stands that an announcement begins with: `12 boxes` of `12 boxes with 3 left over`.

    None where it begins with no value, or with several (`5 apples and 3 pears`), or takes back what it begins with.

    Args:
        answer: what is called the answer, which is no answer from its first word to its last.
    """
    explains = _EXPLAINS.search(answer)
    for cut in _CUT.finditer(answer):
        if explains is not None and explains.start() <= cut.end():
            return None
        head, rest = answer[: cut.start()].rstrip(_JOINTS), answer[cut.end() :]
        value = read(normalise(head))
        if isinstance(value, _VALUES) or (isinstance(value, Formula) and head.startswith(("$", "\\("))):
            another = (
                _says_another(value, rest)
                if cut[0].endswith("(")
                else _puts_another(rest, listed=cut[0].startswith(","))
            )
            return None if another or _TAKES_BACK.search(rest) else (0, len(head))
    return None


def _puts_another(rest: str, listed: bool) -> bool:
    """Whether a number stands beside the one before it: `and 3`; in words, too, behind a comma: `, thirteen`."""
    words = rest.removeprefix("and ").removeprefix("or ").split() if listed else []
    return _ANOTHER.search(rest) is not None or (bool(words) and isinstance(read(normalise(words[0])), Number))


def _says_another(value: Value, tail: str) -> bool:
    """Whether what follows is a number, and not the one before it: `half of it, which is 4`, no `which is 3 each`."""
    if isinstance(value, Choice):
        return False
    other = read(normalise(tail.strip(" ,:*").removesuffix(")")))
    if not isinstance(other, Number):
        return False
    if isinstance(value, Number) and other.unit not in ("", value.unit):
        return False
    return not isinstance(value, Number) or abs(value.value - other.value) > abs(other.value) * _ROUNDED
