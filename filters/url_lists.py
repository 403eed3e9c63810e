"""Block lists made into what the kernels look up, once what could never be found is refused.

A list has up to millions of lines, so only hashes stay, and one in another layout would block nothing without a word.
Costs about half a second per million domains, and 8 to 16 bytes for each.

Hashes have 64 bits (FNV-1a, finished as in MurmurHash3): an address that stands in no list of n entries is taken for
one that does with a probability of about 3 n / 2^64, for n = 5 million 8e-13: one in a billion addresses would be with
a probability of .001. It is no cryptographic hash: an address can be made on purpose to be dropped.
"""

from __future__ import annotations

import contextlib
import re
from collections import deque
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from ..errors import ConfigError, RunError
from .url_list_files import Listed, count_lines, lines, pieces

if TYPE_CHECKING:
    from collections.abc import Sequence

Hashes = npt.NDArray[np.uint64]

WORDS: Final = ("words", "soft_words", "subwords")
_EXPECTED: Final = {
    "domains": "a domain or an IP address alone (what has a path belongs to urls)",
    "urls": "host and path, such as site.example/page",
}
_LEAST_SLOTS: Final = 16
_NO_SIGN: Final = re.compile(r"[^a-z0-9]+")
_WIDE_LINE: Final = re.compile(rb"[^\n]*[\x80-\xff][^\n]*")
_HOST: Final = re.compile(r"^([\x00-\x20]*(?:[A-Za-z0-9+.\-]*://|//)?(?:[^/?#\\@]*@)*)([^/?#\\:]*)")


def check(listed: Listed, kind: str, entries_needed: bool) -> None:
    """Reads a list.

    Args:
        listed: files or entries.
        kind: `domains`, `urls`, …
        entries_needed: whether a file without an entry is an error.

    Raises:
        ConfigError: a file cannot be read, an entry can never be found, or there is none.
    """
    for path in listed.files:
        if not _count(Listed((path,), ()), kind, path) and entries_needed:
            raise _empty(path)
    if listed.entries and not _count(Listed((), listed.entries), kind, ""):
        raise _empty("the recipe")


def _empty(where: str) -> ConfigError:
    return ConfigError("the list has no entry and would block nothing", where=where, fix="get it anew, or take it out")


def _count(listed: Listed, kind: str, path: str) -> int:
    """The entries of one file, or of the recipe; arguments and errors as of `check`."""
    if kind == "expressions":
        expression(listed)
    elif kind in WORDS:
        normalised(listed)
    else:
        return _count_addresses(listed, kind, path)
    return sum(1 for _ in lines(listed))


def _count_addresses(listed: Listed, kind: str, path: str) -> int:
    """As `_count`; a list in another layout (a hosts file, Adblock's, a table) would block nothing."""
    from .kernels import url_kernels

    entries, wrong, line, first = 0, 0, 1, ("", "")
    for piece in pieces(listed):
        here, odd, at = url_kernels.check_lines(np.frombuffer(piece, np.uint8), kind == "urls")
        if odd and not wrong:
            number = line + piece.count(b"\n", 0, at)
            first = (
                piece[at:].partition(b"\n")[0].decode(errors="replace").strip(),
                f"{path}:{number}" if path else "the recipe",
            )
        entries, wrong, line = entries + here, wrong + odd, line + piece.count(b"\n")
    if wrong:
        raise ConfigError(
            f"{wrong:,} of {entries:,} entries {'are no address' if kind == 'urls' else 'are no domain'}; the first",
            where=first[1],
            seen=first[0],
            expected=_EXPECTED[kind],
            fix="correct them; # begins a comment at the start of a line alone",
        )
    return entries


def slots(listed: Listed) -> int:
    """Slots of the table for a list: a power of two, more than 4/3 of the lines."""
    return max(_LEAST_SLOTS, 1 << (count_lines(listed) * 4 // 3).bit_length())


def table(listed: Listed, whole: bool) -> Hashes:
    """uint64[slots]: the list's domains, or its addresses where `whole`.

    Raises:
        ConfigError: a file cannot be read.
        RunError: a file grows while it is read.
    """
    from .kernels import url_kernels

    found, held = np.zeros(slots(listed), np.uint64), 0
    for piece in pieces(listed):
        held += piece.count(b"\n") + (not piece.endswith(b"\n"))
        if held >= len(found):
            raise RunError("the block lists grow while they are read", where=", ".join(listed.files))
        if not piece.isascii():
            piece = _WIDE_LINE.sub(lambda line: punycode(line[0].decode(errors="replace")).encode(), piece)
        url_kernels.add_lines(np.frombuffer(piece, np.uint8), whole, found)
    return found


def punycode(address: str) -> str:
    """The address with a host outside ASCII as the domain name system has it (IDNA 2003), in small letters."""
    match = _HOST.match(address)
    if match is None or match[2].isascii():
        return address
    host = match[2].lower()
    if len(host) <= 255:
        with contextlib.suppress(UnicodeError):
            host = host.encode("idna").decode()
    return match[1] + host + address[match.end() :]


def normalised(words: Listed) -> tuple[str, ...]:
    """Words in small letters without what is no letter or digit of ASCII, each once.

    Raises:
        ConfigError: of a word nothing is left, so that it could never be found.
    """
    found: dict[str, None] = {}
    for place, entry in lines(words):
        word = _NO_SIGN.sub("", entry.lower())
        if not word:
            raise ConfigError(
                f"{entry!r} has no letter or digit of ASCII: addresses are compared without all else",
                where=place,
                fix="remove it, or begin the line with #",
            )
        found[word] = None
    return tuple(found)


def word_table(words: Sequence[str]) -> Hashes:
    """uint64[slots]: the words."""
    from .kernels import url_kernels

    found = np.zeros(max(_LEAST_SLOTS, 1 << (len(words) * 2).bit_length()), np.uint64)
    encoded = [word.encode() for word in words]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    url_kernels.add_words(np.frombuffer(b"".join(encoded), np.uint8), offsets, found)
    return found


def automaton(words: Sequence[str]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.bool_]]:
    """What finds any of the words in one pass (Aho and Corasick 1975): uint32[states, 36], bool[states]."""
    moves: list[list[int]] = [[-1] * 36]
    accepts = [False]
    for word in words:
        node = 0
        for sign in word:
            column = ord(sign) - 97 if sign >= "a" else ord(sign) - 48 + 26
            if moves[node][column] < 0:
                moves[node][column] = len(moves)
                moves.append([-1] * 36)
                accepts.append(False)
            node = moves[node][column]
        accepts[node] = True
    fall = [0] * len(moves)
    waiting = deque([0])
    while waiting:
        node = waiting.popleft()
        accepts[node] |= accepts[fall[node]]
        for column, below in enumerate(moves[node]):
            elsewhere = moves[fall[node]][column] if node else 0
            if below < 0:
                moves[node][column] = elsewhere
            else:
                fall[below] = elsewhere
                waiting.append(below)
    return np.array(moves, np.uint32), np.array(accepts, np.bool_)


def expression(listed: Listed) -> str | None:
    """One expression for all, in RE2's syntax; None where there are none.

    Raises:
        ConfigError: one is broken, with its file and line.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    found = []
    for place, pattern in lines(listed):
        try:
            pc.match_substring_regex(pa.array([""]), pattern, ignore_case=True)
        except pa.ArrowInvalid as error:
            raise ConfigError(
                f"the expression cannot be read: {error}",
                where=place,
                seen=pattern,
                expected="a regular expression of RE2: no look-around, no back references",
            ) from None
        found.append(f"(?:{pattern})")
    return "|".join(found) or None
