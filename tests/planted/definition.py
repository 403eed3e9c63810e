"""What `minhash_dedup` means by "alike", written down in plain Python: units, shingles, Jaccard.

Tests of the kernels' answers need a second opinion that shares no code and no table with them; this one asks
`unicodedata` and sets. Beside it stands a definition that knows nothing of units: 5-grams of the raw text's words or
characters. Costs about a second for 2 MB of text.
"""

import functools
import re
import sys
import unicodedata
from collections.abc import Hashable, Set

NGRAM = 5
# Scripts that put no space between words: a character is a unit. Unicode 15.1, Blocks.txt.
OWN_UNIT = (
    *((0x0E00, 0x0E7F), (0x0E80, 0x0EFF), (0x0F00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF)),
    *((0x3040, 0x30FF), (0x31F0, 0x31FF), (0x3005, 0x3007), (0x2E80, 0x2FDF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF)),
    *((0xA000, 0xA48C), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F), (0xF900, 0xFAFF), (0x1B000, 0x1B16F), (0x20000, 0x323AF)),
)


@functools.lru_cache(maxsize=1 << 16)
def folded(character: str) -> str:
    """A character in its compatibility form and default case, without the marks U+0300 to U+036F; "" if invisible."""
    invisible = unicodedata.category(character) == "Cf" and character != "\u200b"  # the space without a width
    if invisible or "\ufe00" <= character <= "\ufe0f":
        return ""
    return _bare(_bare(character).casefold())


def _bare(text: str) -> str:
    return "".join(part for part in unicodedata.normalize("NFKD", text) if not "\u0300" <= part <= "\u036f")


@functools.cache
def _unit() -> re.Pattern[str]:
    """A unit of folded text: a character of a script without spaces with its marks, or a run of other letters."""

    def own(code: int) -> bool:
        return any(first <= code <= last for first, last in OWN_UNIT)

    marks = _ranges([code for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code))[0] == "M"])
    counted = [code for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code))[0] in "LN"]
    alone, joined = _ranges([c for c in counted if own(c)]), _ranges([c for c in counted if not own(c)])
    return re.compile(f"[{alone}][{marks}]*|[{joined}{marks}]+")


def _ranges(codes: list[int]) -> str:
    found: list[list[int]] = []
    for code in codes:
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in found)


def units(text: str) -> list[str]:
    """The units of a text, in order."""
    return _unit().findall("".join(map(folded, text)))


def shingles(text: str, ngram: int = NGRAM) -> frozenset[Hashable]:
    """The distinct runs of `ngram` units; of a text that has fewer, the text itself."""
    found = units(text)
    if len(found) < ngram:
        return frozenset([text])
    return frozenset(zip(*(found[start:] for start in range(ngram)), strict=False))


def raw_words(text: str) -> frozenset[Hashable]:
    """5-grams of what stands between white space, as it stands."""
    found = text.split()
    return frozenset(zip(*(found[start:] for start in range(5)), strict=False)) or frozenset([text])


def raw_characters(text: str) -> frozenset[Hashable]:
    """5-grams of characters, as they stand."""
    return frozenset(text[start : start + 5] for start in range(len(text) - 4)) or frozenset([text])


def jaccard(one: Set[Hashable], other: Set[Hashable]) -> float:
    """Size of the intersection over size of the union."""
    common = len(one & other)
    return common / (len(one) + len(other) - common)


class Alike:
    """Jaccard of documents by one definition, each document's set made once.

    Args:
        texts: by id.
        sets: the definition: the set of a text.
    """

    def __init__(self, texts: dict[str, str], sets=shingles) -> None:
        self._texts, self._sets = texts, sets
        self._made: dict[str, frozenset[Hashable]] = {}

    def of(self, identity: str) -> frozenset[Hashable]:
        """The set of a document."""
        if identity not in self._made:
            # 64-bit hashes of the members: a tenth of the memory, and equal members stay equal.
            self._made[identity] = frozenset(map(hash, self._sets(self._texts[identity])))
        return self._made[identity]

    def __call__(self, one: str, other: str) -> float:
        """The Jaccard of two documents."""
        return jaccard(self.of(one), self.of(other))
