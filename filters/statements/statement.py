"""The normal form of a problem's statement, and the units by which two statements are taken for one problem.

A unit holds the hash of all that must be equal, so that statements of other numbers have none in common and are never
candidates. Costs about 100 microseconds a statement, in plain Python.
"""

import functools
import re
from dataclasses import dataclass
from typing import Final

import xxhash

from .clauses import Clause, clauses
from .formulas import Group, brackets, formulas, grouped
from .spelling import BREAKS, pieces_of, plain_of
from .telling import PRESENT
from .words import ASKING, meaning

FEW: Final = 2  # numbers and formulas; a statement of fewer is told by the order of its words as well
WORDS: Final = 2  # in a unit of such a statement
FEWEST: Final = 3  # words that are left of a statement without those of asking, else these are kept

_CAPITALS: Final = re.compile(r"(?<![A-Za-z\\])[A-Z]{2,8}(?![A-Za-z])")
_SHORT: Final = frozenset(["GCD", "GCF", "HCF", "LCM"])
_SMALL: Final = re.compile(r"(?<![A-Za-z\\])[a-z]{3}")


@dataclass(frozen=True)
class Statement:
    """A statement that is read once for all that is asked of it."""

    text: str

    @functools.cached_property
    def plain(self) -> str:
        """As it is typed on a keyboard: `spelling.plain_of`."""
        return plain_of(self.text)

    @functools.cached_property
    def pieces(self) -> list[str]:
        """Its words, numbers, signs and breaks: `spelling.pieces_of`."""
        return pieces_of(self.plain)

    @functools.cached_property
    def words(self) -> list[str]:
        """Its pieces without breaks: the normal form."""
        return [piece for piece in self.pieces if piece not in BREAKS]

    @functools.cached_property
    def groups(self) -> list[Group]:
        """Its words and breaks, and the pieces of each formula: `formulas.grouped`."""
        return list(grouped(self.pieces))

    @functools.cached_property
    def formulas(self) -> list[str]:
        """Its numbers and formulas, sorted."""
        return sorted(formulas(self.groups))

    @functools.cached_property
    def clauses(self) -> list[Clause]:
        """Its clauses: `clauses.clauses`."""
        return clauses(self.groups)

    def units(self) -> list[int]:
        """As `units`."""
        asked = sorted([*_named(self.text), *(PRESENT[word] for word in self.words if word in PRESENT)])
        told = xxhash.xxh3_64_intdigest("\n".join([*self.formulas, *asked, *brackets(self.plain)]).encode())
        words = [meaning(word) for word in self.words if word not in ASKING]
        if len(words) < FEWEST:
            words = [meaning(word) for word in self.words]
        size = 1 if len(self.formulas) >= FEW else min(WORDS, max(len(words), 1))
        runs = {" ".join(words[start : start + size]) for start in range(len(words) - size + 1)}
        return sorted(xxhash.xxh3_64_intdigest(run.encode(), told) for run in runs)


def normal(statement: str) -> str:
    """The statement in its normal form: folded words, numbers, signs, one space between; `normal` of it is itself.

    Case, accents, punctuation, brackets, white space, delimiters of formulas and spellings of LaTeX are gone. Numbers
    are in digits without separators of thousands and zeros that say nothing; from zero to ninety-nine also worded ones.
    """
    return " ".join(Statement(statement).words)


def units(statement: str) -> list[int]:
    """64-bit hashes of what a statement is compared by: all differ from those of other numbers or formulas.

    A unit is the meaning of a word, but for words of asking, or a run of `WORDS` where there are fewer than `FEW`
    numbers and formulas. In each is the hash of the multiset of these, of groups in brackets, of names in capitals, and
    of words whose mere presence makes another question (`telling.PRESENT`: the sum, the product; the least, the
    greatest). A formula is a run of numbers, signs, functions and single letters: also a variable that is asked for,
    so that "find $x$" and "find $y$" behind the same equations are two problems.
    """
    return Statement(statement).units()


def _named(statement: str) -> list[str]:
    """Words of capitals: points, segments, triangles; no short names of words; none where no letter is a small one."""
    if not _SMALL.search(statement):
        return []
    return [name for name in _CAPITALS.findall(statement) if name not in _SHORT]
