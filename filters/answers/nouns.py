"""Tells nouns behind numbers apart: 12 apples are not 12 oranges, and 12 red apples may be the 12 apples.

A noun measures nothing, so a number without one agrees with the same number of anything; two that count different
things may be one question's answer in two words or two answers, which nobody can tell here.
Costs a few microseconds, for numbers that are equal and have two nouns.
"""

import re
from typing import Final

_STEM_ENDS: Final = (("ies", "y"), ("ves", "f"), ("ves", "fe"), ("es", ""), ("s", ""))
_IRREGULAR: Final = {
    "people": "person",
    "children": "child",
    "men": "man",
    "women": "woman",
    "mice": "mouse",
    "geese": "goose",
    "teeth": "tooth",
    "oxen": "ox",
    "dice": "die",
    "vertices": "vertex",
}
# Words that count anything.
_ANYTHING: Final = frozenset(
    ("unit", "units", "square", "cubic", "item", "items", "thing", "things", "object", "objects", "number", "numbers")
)
_SKIPPED: Final = frozenset(("a", "an", "the", "of", "whole", "full", "more", "extra"))
# Words behind which nothing is said of what is counted.
_ENDS: Final = frozenset(
    (
        *("in", "to", "per", "at", "on", "for", "from", "with", "and", "or", "by", "as", "than", "is", "are"),
        *("was", "were", "be", "each", "every", "left", "remaining", "total", "altogether", "away", "ago"),
        *("old", "that", "which", "who", "he", "she", "it", "they", "we", "you", "i", "have", "has", "had"),
    )
)
_WORD: Final = re.compile(r"[a-z]+")


def differ(one: str, other: str) -> bool:
    """Whether two nouns behind equal numbers count different things.

    Args:
        one: what stands behind the number, which is no known unit: `red apples`, `pieces of candy left`.
        other: the same of the other side.
    """
    first, second = _counted(one), _counted(other)
    if not first or not second:
        return False
    fewer, more = sorted((first, second), key=len)
    return not all(any(word & candidate for candidate in more) for word in fewer)


def _counted(unit: str) -> list[frozenset[str]]:
    """The stems that each word of what is counted may have; empty where it is anything."""
    found = []
    for word in _WORD.findall(unit.lower()):
        if word in _ENDS:
            break
        if word not in _SKIPPED:
            found.append(word)
    return [] if _ANYTHING.issuperset(found) else [_stems(word) for word in found]


def _stems(word: str) -> frozenset[str]:
    stems = {word, _IRREGULAR.get(word, word)}
    stems |= {
        word.removesuffix(end) + new for end, new in _STEM_ENDS if word.endswith(end) and len(word) > len(end) + 1
    }
    return frozenset(stems)
