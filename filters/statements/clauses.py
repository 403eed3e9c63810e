"""The clauses of a statement, which of them ask, and what two statements have in each other's place.

Whoever words a problem anew may reorder it, so clauses are matched wherever they stand and compared word by word.
Costs about 100 microseconds a pair of statements.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Final

from .formulas import Group
from .spelling import BREAKS

Words = tuple[str, ...]

FORMULA: Final = "#"  # before a formula among words
MOST: Final = 100  # clauses that are left to match; of longer statements each stands with the one at its place
LARGEST: Final = 40_000  # words of a clause times those of the other, that are compared word by word

_JOINTS: Final = frozenset(["and", "or", "but", "while", "then", "if"])  # a clause begins with one
_ASKING: Final = "find determine compute calculate evaluate solve simplify express which who when where"
_ASKS: Final = frozenset(_ASKING.split())
_ASKS_INSIDE: Final = frozenset(["what", "how"])
_FORM: Final = "express enter give write round leave simplify put provide state note"  # of a sentence about the answer
_FORMS: Final = frozenset(_FORM.split())


@dataclass(frozen=True)
class Clause:
    """Words and formulas between two breaks or joints, and whether they are of the question."""

    words: Words
    asks: bool


@dataclass(frozen=True)
class Change:
    """Words of one statement, and those that the other has in their place; one may be none. Whether it is asked."""

    gone: Words
    come: Words
    asked: bool

    @property
    def moved(self) -> bool:
        """Whether formulas have changed with the words: then they stand elsewhere, and none has the other place."""
        mine, theirs = (sorted(word for word in own if word.startswith(FORMULA)) for own in (self.gone, self.come))
        return mine != theirs


def clauses(groups: Iterable[Group]) -> list[Clause]:
    """The clauses of a statement in their order, of its words and formulas (`formulas.grouped`).

    Those of a sentence with a question mark ask, from the first one that begins with a word of asking on, and so do
    those from such a word on elsewhere; the last sentence always does. One about the form of the answer never does.
    """
    sentences = [sentence for sentence in _sentences(groups) if sentence[0]]
    asked = [_first_asked(*sentence) for sentence in sentences]
    said = [number for number, (own, _) in enumerate(sentences) if not _about_the_answer(own)] or range(len(sentences))
    if sentences and asked[said[-1]] == len(sentences[said[-1]][0]):
        asked[said[-1]] = 0
    for number in set(range(len(sentences))).difference(said):
        asked[number] = len(sentences[number][0])
    return [
        Clause(clause, place >= first)
        for (own, _), first in zip(sentences, asked, strict=True)
        for place, clause in enumerate(own)
    ]


def _sentences(groups: Iterable[Group]) -> Iterator[tuple[list[Words], bool]]:
    """The clauses of each sentence, and whether it ends with a question mark."""
    own, clause = list[Words](), list[str]()
    for group in groups:
        word = group if isinstance(group, str) else f"{FORMULA}{' '.join(group)}"
        if (word in BREAKS or word in _JOINTS) and clause:
            own.append(tuple(clause))
            clause = []
        if word in (".", "?"):
            yield own, word == "?"
            own = []
        elif word not in BREAKS:
            clause.append(word)


def _about_the_answer(own: list[Words]) -> bool:
    """Whether a sentence says how to write the answer."""
    return own[0][0] in _FORMS and (own[0][0] in ("enter", "round") or any("answer" in clause for clause in own))


def _first_asked(own: list[Words], questions: bool) -> int:
    for place, clause in enumerate(own):
        if clause[0] in _ASKS or not _ASKS_INSIDE.isdisjoint(clause):
            return place
    return 0 if questions else len(own)


def pairs(one: list[Clause], other: list[Clause]) -> list[tuple[Clause, Clause]]:
    """The clauses of two statements that differ, each with the one in its place; none of those that both have."""
    both = Counter(clause.words for clause in one) & Counter(clause.words for clause in other)
    return list(_paired(_without(one, both), _without(other, both)))


def changes(differing: Iterable[tuple[Clause, Clause]]) -> Iterator[Change]:
    """What differs between clauses of two statements that stand in each other's place, as of `pairs`."""
    for clause, partner in differing:
        asked = clause.asks and partner.asks if clause.words and partner.words else clause.asks or partner.asks
        for gone, come in _differences(clause.words, partner.words):
            yield Change(gone, come, asked)


def _differences(one: Words, other: Words) -> Iterator[tuple[Words, Words]]:
    """The words of one clause that are not in the other, with those in their place; long ones are not looked into."""
    first = next((place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
    first = min(len(one), len(other)) if first is None else first
    one, other = one[first:], other[first:]
    if len(one) * len(other) > LARGEST:
        yield one, other
        return
    for kind, start, stop, begin, end in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        if kind != "equal":
            yield one[start:stop], other[begin:end]


def _without(own: list[Clause], equal: Counter[Words]) -> list[Clause]:
    """The clauses but for as many of each as are equal ones."""
    left, found = equal.copy(), list[Clause]()
    for clause in own:
        if left[clause.words]:
            left[clause.words] -= 1
        else:
            found.append(clause)
    return found


def _paired(one: list[Clause], other: list[Clause]) -> Iterator[tuple[Clause, Clause]]:
    """Each clause with the one of the other statement that shares most words, with an empty one where none does."""
    if max(len(one), len(other)) > MOST:
        yield from zip_longest(one, other, fillvalue=Clause((), False))
        return
    free = list(enumerate(set(clause.words) for clause in other))
    for clause in one:
        words = set(clause.words)
        best = max(free, key=lambda place: len(words & place[1]), default=None)
        if best is None or words.isdisjoint(best[1]):
            yield clause, Clause((), False)
            continue
        free.remove(best)
        yield clause, other[best[0]]
    for number, _ in free:
        yield Clause((), False), other[number]
