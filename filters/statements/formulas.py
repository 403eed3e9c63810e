"""The numbers and formulas of a statement, what its brackets hold together, and where its formulas stand.

Words may differ a little between two spellings of a problem; its formulas may not, nor may they change places.
Costs about 20 microseconds a statement beside its pieces.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from .spelling import BREAKS, FUNCTIONS, OPERATORS, PIECE, counted, variable

Words = tuple[str, ...]
Group = str | list[str]  # a word or a break, or the pieces of a formula

BEFORE: Final = 4  # words before a formula, at most, by which its place is told
AFTER: Final = 2  # and behind it

_GROUP: Final = re.compile(r"([({\[])([^(){}\[\]]*)([)}\]])")


def formulas(groups: Iterable[Group]) -> list[str]:
    """Each run of numbers, signs, functions and single letters, its pieces apart by a space."""
    return [" ".join(group) for group in groups if isinstance(group, list)]


def brackets(plain: str) -> list[str]:
    """What brackets and braces hold together, sorted: each group that holds a sign of formulas, or an interval.

    A brace is a bracket here, since `\\frac{a+b}{c}` is (a+b)/c; which ends an interval has is told.

    Args:
        plain: of a statement.
    """
    found = list[str]()
    while group := _GROUP.search(plain):
        pieces = PIECE.findall(group[2])
        single = all(counted(piece) or piece in OPERATORS or piece in FUNCTIONS or piece in BREAKS for piece in pieces)
        ends = group[1] + group[3]
        if single and any(piece in OPERATORS for piece in pieces[1:]):
            found.append("".join(pieces))
        elif single and pieces.count(",") == 1 and ends in ("[]", "[)", "(]", "()"):
            found.append(ends + "".join(pieces))
        before, after = plain[: group.start()].rstrip(), plain[group.end() :].lstrip()
        while before[-1:] + after[:1] in ("{}", "()"):  # `{(x + 1)}` is one group
            before, after = before[:-1].rstrip(), after[1:].lstrip()
        plain = f"{before} {group[2]} {after}"
    return sorted(found)


def exchanged(one: Sequence[Group], other: Sequence[Group]) -> bool:
    """Whether two statements of the same formulas have them in each other's places: then they are two problems.

    A formula's place is told by the words of its sentence around it, up to `BEFORE` and `AFTER`. Where the same words
    stand around one formula of each statement, and it is not the same one, they have changed places; unless more of
    the words before it say that it is where it was.

    Args:
        one, other: their groups, as of `grouped`.
    """
    mine, theirs = _places(one), _places(other)
    for (before, after), (formula, leading) in mine.items():
        found = theirs.get((before, after)) if after is not None and formula else None
        if found is None or found[0] in ("", formula):
            continue
        longer = (leading[len(leading) - size :] for size in range(len(before) + 1, len(leading) + 1))
        if not any(theirs.get((words, None), ("", ()))[0] == formula for words in longer):
            return True
    return False


def _places(groups: Sequence[Group]) -> dict[tuple[Words, Words | None], tuple[str, Words]]:
    """The formula at each place, empty where the same words stand around several, and all words that lead to it.

    A place is the words before it and those behind, or None for whatever stands there.
    """
    found: dict[tuple[Words, Words | None], tuple[str, Words]] = {}
    for sentence in _sentences(groups):
        if not any(isinstance(group, str) for group in sentence):
            continue
        words = [group if isinstance(group, str) else "#" for group in sentence]
        for place, group in enumerate(sentence):
            if isinstance(group, str):
                continue
            formula, after = " ".join(group), tuple(words[place + 1 : place + 1 + AFTER])
            leading = tuple(words[max(place - BEFORE, 0) : place])
            for size in range(1, max(len(leading), 1) + 1):
                before = leading[max(len(leading) - size, 0) :]
                for around in ((before, after), (before, None)):
                    found[around] = ("" if around in found else formula, leading)
    return found


def _sentences(groups: Iterable[Group]) -> Iterator[list[Group]]:
    """The words and formulas of each sentence."""
    sentence: list[Group] = []
    for group in groups:
        if group in (".", "?"):
            yield sentence
            sentence = []
        elif isinstance(group, list) or group not in BREAKS:
            sentence.append(group)


def grouped(pieces: Iterable[str]) -> Iterator[Group]:
    """Words and breaks as they are, each formula as a list of its pieces; a break behind them all."""
    run: list[str] = []
    for piece in [*pieces, "."]:
        if piece in OPERATORS or piece in FUNCTIONS or piece[0].isdigit() or variable(piece):
            run.append(piece)
            continue
        if not run:
            yield piece
            continue
        first, last = 0, len(run)
        while first < last and run[first] in ("a", "i"):  # words more often than variables
            first += 1
        while last > first and run[last - 1] in ("a", "i"):
            last -= 1
        yield from run[:first]
        if first < last:
            yield run[first:last]
        yield from run[last:]
        yield piece
        run = []
