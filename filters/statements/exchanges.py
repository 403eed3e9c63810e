"""Words that have changed places around what relates them: the ratio of boys to girls, and that of girls to boys.

Two statements may have the same words and say other things: who pays whom, what is compared with what, from where to
where. A phrase that moves as a whole, or an item of a list, changes nothing, and its words have other ones between
them then. Costs about 30 microseconds a pair of statements.
"""

import re
from collections import Counter
from collections.abc import Iterable
from itertools import combinations, pairwise, zip_longest
from typing import Final

from .clauses import FORMULA, Clause, Words
from .spelling import FUNCTIONS
from .telling import members
from .words import CURRENCIES, FILLERS, FUNCTION_WORDS, meaning

SPAN: Final = 14  # words between two that have changed places, at most

LISTED: Final = 20  # words of a list, at most

_LETTER: Final = re.compile(r"(?<![\w\\])(?:[A-Z]|(?<=\$)[a-z](?=\$))(?!\w)")
_END: Final = re.compile(r"[.?!](?!\d)")
_LISTING: Final = (",", "and")
_BEING: Final = ("is", "are", "was", "were", "be", "been", "being")
_ARTICLES: Final = ("a", "an")
_SIDED: Final = frozenset(map(meaning, ("divide", "raise", "subtract", "exceed", "then")))

Pair = tuple[Clause, Clause]


def displaced(pairs: Iterable[Pair], beside: bool = False) -> tuple[str, str] | None:
    """Two words that have changed places in a clause, with the same words between them; None where none have.

    Args:
        pairs: clauses of two statements, each with the one in its place.
        beside: whether words side by side count, which are a list as a rule: are all bloops lazzies.
    """
    for one, other in pairs:
        if not one.words or not other.words:
            continue
        mine, theirs = _bare(one.words), _bare(other.words)
        if mine != theirs and (found := _turned(mine, theirs) or _permuted(mine, theirs, beside)) is not None:
            return found
    return None


def lettered(one: str, other: str) -> bool:
    """Whether the same single letters stand in another order in some sentence: A pays B, B pays A.

    Only where A is one of several: as the article it is a word among pieces, and the others are formulas there.

    Args:
        one, other: the texts of two statements.
    """
    mine, theirs = _LETTER.findall(one), _LETTER.findall(other)
    if len(mine) < 2 or sorted(mine) != sorted(theirs) or mine == theirs or {"A", "a"}.isdisjoint(mine):
        return False
    told, others = (Counter(map(tuple, map(_LETTER.findall, _END.split(text)))) for text in (one, other))
    return {letters: count for letters, count in told.items() if len(set(letters)) > 1} != {
        letters: count for letters, count in others.items() if len(set(letters)) > 1
    }


def operated(one: list[str], other: list[str]) -> bool:
    """Whether a sentence about an operation whose sides are no equals has its words in another order.

    Divide 144 by the sum of 5 and 7 is not: divide the sum of 5 and 7 by 144; nor is what is done first done then.

    Args:
        one, other: the pieces of each statement.
    """
    mine = _operations(one)
    theirs = _operations(other) if mine else {}
    return any(theirs.get(words, order) != order for words, order in mine.items())


def _operations(pieces: list[str]) -> dict[tuple[str, ...], list[str]]:
    """The words of each sentence about such an operation, by the same words sorted."""
    found, start = dict[tuple[str, ...], list[str]](), 0
    for stop, piece in enumerate([*pieces, "."]):
        if piece in (".", "?"):
            words = [word for word in _bare(tuple(pieces[start:stop])) if word != "," and word not in CURRENCIES]
            start = stop + 1
            if not _SIDED.isdisjoint(words):
                found[tuple(sorted(words))] = words
    return found


def voices(pairs: Iterable[Pair]) -> str | None:
    """What is done in one clause and suffered in the other, by the same one: Mia paid Leo, Mia was paid by Leo."""
    for pair in pairs:
        one, other = (Counter(clause.words) for clause in pair)
        more = one["by"] - other["by"]
        if not more or more * sum(one[word] - other[word] for word in _BEING) <= 0:
            continue
        mine, theirs = (next(filter(_names_something, _bare(clause.words)), None) for clause in pair)
        if mine is not None and mine == theirs:
            return mine
    return None


def turned_round(pairs: Iterable[Pair]) -> tuple[str, str] | None:
    """Two words on the other side each of what a clause says something to be: that an even one is a multiple of 3.

    One of them before, one behind; what is said with a definite article is the same the other way round.

    Args:
        pairs: clauses of two statements, each with the one in its place.
    """
    for one, other in pairs:
        (subject, said), (theirs, of_theirs) = _sides(one.words), _sides(other.words)
        before, behind = (subject & of_theirs) - said - theirs, (said & theirs) - subject - of_theirs
        if before and behind:
            return min(before), min(behind)
    return None


def _sides(words: Words) -> tuple[set[str], set[str]]:
    """What stands before the first "is a" of a clause and behind it, by meaning; nothing where there is none."""
    for place, pair in enumerate(pairwise(words)):
        if pair[0] in _BEING and pair[1] in _ARTICLES:
            mine, theirs = (set(_bare(own)) - FUNCTION_WORDS for own in (words[:place], words[place + 2 :]))
            return mine, theirs
    return set(), set()


def in_turn(one: list[str], other: list[str]) -> tuple[str, str] | None:
    """Two words of a list that the other statement has in the other order, in a sentence that tells of them in turn.

    Such a sentence says respectively, or has a list of numbers as well: Ann and Bob have 3 and 5 apples.

    Args:
        one, other: the pieces of each statement.
    """
    mine = _listed(one)
    theirs = _listed(other) if mine else {}
    return next((pair for pair in mine if pair[::-1] in theirs and pair not in theirs), None)


def _listed(pieces: list[str]) -> dict[tuple[str, str], None]:
    """Each two words beside commas or and, in their order, of the sentences that tell of them in turn."""
    found = dict[tuple[str, str], None]()
    if "and" not in pieces or not ("respectively" in pieces or _numbers_listed(pieces)):
        return found
    start = 0
    for stop, piece in enumerate([*pieces, "."]):
        if piece not in (".", "?"):
            continue
        own = pieces[start:stop]
        sentence = [one for one, behind in zip_longest(own, own[1:]) if (one, behind) != (",", "and")]
        start = stop + 1
        couples = [
            (sentence[at - 1], sentence[at + 1]) for at in range(1, len(sentence) - 1) if sentence[at] in _LISTING
        ]
        if "respectively" in sentence or _numbers_listed(sentence):
            words = list(dict.fromkeys(meaning(word) for couple in couples for word in couple if _is_word(word)))
            found.update(dict.fromkeys(combinations(words[:LISTED], 2)))
    return found


def _numbers_listed(pieces: list[str]) -> bool:
    """Whether a comma or and stands between two numbers."""
    at = -1
    for _ in range(pieces.count("and")):
        at = pieces.index("and", at + 1)
        before = pieces[at - 2 : at - 1] if pieces[at - 1 : at] == [","] else pieces[at - 1 : at]
        if before and before[0][0].isdigit() and at + 1 < len(pieces) and pieces[at + 1][0].isdigit():
            return True
    return False


def _is_word(piece: str) -> bool:
    return len(piece) > 1 and piece.isalpha() and piece not in FUNCTIONS and piece not in FUNCTION_WORDS


def permuted_names(one: list[str], other: list[str], names: frozenset[str]) -> bool:
    """Whether two statements differ by names of both that are exchanged wherever they stand, and each stands twice.

    Days, months and other members of a series are no such names.

    Args:
        one, other: all words of each in their order.
        names: those of both.
    """
    if len(one) != len(other):
        return False
    changed = {mine: theirs for mine, theirs in zip(one, other, strict=True) if mine != theirs}
    if not changed or not names.issuperset(changed) or set(changed) != set(changed.values()):
        return False
    return [changed.get(word, word) for word in one] == other and all(
        one.count(word) > 1 and not members(word) for word in changed
    )


def _bare(words: Words) -> list[str]:
    """The meanings of words, without articles and forms of to be and to do, which relate nothing."""
    return [word if word.startswith(FORMULA) else meaning(word) for word in words if word not in FILLERS]


def _names_something(word: str) -> bool:
    return word not in FUNCTION_WORDS and not word.startswith(FORMULA)


def _turned(one: list[str], other: list[str]) -> tuple[str, str] | None:
    """Two words, each once in either clause, in another order and with the same words between them."""
    place = {word: number for number, word in enumerate(other)}
    known = [(number, word) for number, word in enumerate(one) if word in place]
    if all(place[word] <= place[later] for (_, word), (_, later) in pairwise(known)):
        return None
    counts, others = Counter(one), Counter(other)
    known = [(number, word) for number, word in known if others[word] == counts[word] == 1 and _names_something(word)]
    for first, (start, word) in enumerate(known):
        for stop, partner in known[first + 1 :]:
            if stop - start > SPAN:
                break
            begin, end = place[partner], place[word]
            if not 0 < end - begin - 1 == stop - start - 1:
                continue
            between = one[start + 1 : stop]
            if between == other[begin + 1 : end] and not _moved(between, one[:start], other[:begin]):
                return word, partner
    return None


def _moved(between: list[str], before: list[str], behind: list[str]) -> bool:
    """Whether the same preposition leads either word, so that phrases have moved: in May in Rome."""
    return len(between) == 1 and between[0] in FUNCTION_WORDS and between == before[-1:] == behind[-1:]


def _permuted(one: list[str], other: list[str], beside: bool) -> tuple[str, str] | None:
    """Words that stand in each other's places in a clause that is the same else; whether also side by side."""
    if len(one) != len(other):
        return None
    places = [place for place, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1]]
    gone, come = [one[place] for place in places], [other[place] for place in places]
    if sorted(gone) != sorted(come) or not all(map(_names_something, gone)):
        return None
    return (gone[0], come[0]) if beside or any(later - place > 1 for place, later in pairwise(places)) else None
