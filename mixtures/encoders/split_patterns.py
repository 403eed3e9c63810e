"""The regular expressions that tokenizers cut texts by, read into a small tree.

A pattern decides the ids of every text, so what is not understood exactly is refused and never approximated: the caller
then leaves the tokenizer to its library. Costs a millisecond a pattern, most of it for the masks.

Understood: alternatives, groups, `(?i:…)` over ASCII letters, sets with ranges, escapes and `\\p{…}`, the quantifiers
`? * + {m,n}`, possessive ones where giving nothing back changes nothing, and looking ahead at one character.
"""

from dataclasses import dataclass
from typing import Final, Union

import numpy as np

from . import character_classes as characters
from .character_classes import Mask

_ESCAPED: Final = {"r": "\r", "n": "\n", "t": "\t", "f": "\f", "v": "\v"}
_OTHER_CASES: Final = {"s": 0x17F, "k": 0x212A}  # simple case folding: ſ and the Kelvin sign
_FOLD_TO_SEVERAL: Final = ("ss", "st", "ff", "fi", "fl")  # pairs that a case-insensitive pattern also finds as ß, ﬆ, …
_LARGEST_COUNT: Final = 64


class NotUnderstoodError(Exception):
    """A construct outside the subset; the text says which."""


@dataclass(frozen=True, eq=False)
class Set:
    """One character of a set."""

    mask: Mask


@dataclass(frozen=True, eq=False)
class Ahead:
    """The next character is of a set, which is not consumed; at the end of the text, `at_end` decides."""

    mask: Mask
    at_end: bool


@dataclass(frozen=True, eq=False)
class Sequence:
    """One behind the other."""

    items: tuple["Node", ...]


@dataclass(frozen=True, eq=False)
class Choice:
    """The first alternative that leads to a match."""

    options: tuple["Node", ...]


@dataclass(frozen=True, eq=False)
class Repeat:
    """As many as there are, at least `low` and at most `high` (None: no bound)."""

    node: "Node"
    low: int
    high: int | None
    possessive: bool = False


Node = Union[Set, Ahead, Sequence, Choice, Repeat]  # noqa: UP007


def parse(pattern: str, *, end_of_text: bool = False) -> Node:
    """The tree of a pattern.

    Args:
        pattern: the regular expression.
        end_of_text: whether `$` means the end of the text (as in Rust); elsewhere it is refused.

    Raises:
        NotUnderstoodError: something outside the subset.
    """
    reader = _Reader(pattern, end_of_text)
    node = reader.choice(ignore_case=False)
    if reader.at < len(pattern):
        raise NotUnderstoodError(f"an unmatched ) at character {reader.at}")
    return node


class _Reader:
    def __init__(self, pattern: str, end_of_text: bool) -> None:
        self.pattern = pattern
        self.end_of_text = end_of_text
        self.at = 0

    def choice(self, ignore_case: bool) -> Node:
        options = [self.sequence(ignore_case)]
        while self._take("|"):
            options.append(self.sequence(ignore_case))
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def sequence(self, ignore_case: bool) -> Node:
        items: list[Node] = []
        start = self.at
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)":
            items.append(self._quantified(self._atom(ignore_case)))
        if ignore_case and any(pair in self.pattern[start : self.at].lower() for pair in _FOLD_TO_SEVERAL):
            raise NotUnderstoodError("letters under (?i:…) that fold together with one other character")
        for position, item in enumerate(items):
            if isinstance(item, Repeat) and item.possessive:
                _check_possessive(item, items[position + 1 :])
        return Sequence(tuple(items))

    def _take(self, text: str) -> bool:
        found = self.pattern.startswith(text, self.at)
        self.at += len(text) if found else 0
        return found

    def _next(self) -> str:
        if self.at >= len(self.pattern):
            raise NotUnderstoodError("an end where something must follow")
        self.at += 1
        return self.pattern[self.at - 1]

    def _atom(self, ignore_case: bool) -> Node:
        if self._take("(?i:"):
            return self._closed(self.choice(ignore_case=True))
        if self._take("(?:"):
            return self._closed(self.choice(ignore_case))
        for text, negative in (("(?!", True), ("(?=", False)):
            if self._take(text):
                inner = self._closed(self.choice(ignore_case))
                mask = _single(inner)
                if mask is None:
                    raise NotUnderstoodError("looking ahead at more than one character")
                return Ahead(~mask if negative else mask, at_end=negative)
        sign = self._next()
        if sign == "(":
            if self.pattern.startswith("?", self.at):
                raise NotUnderstoodError(f"the group ({self.pattern[self.at : self.at + 3]}")
            return self._closed(self.choice(ignore_case))
        if sign == "[":
            return Set(self._set(ignore_case))
        if sign == "\\":
            return Set(self._escape(ignore_case))
        if sign == "$" and self.end_of_text:
            return Ahead(np.zeros(characters.CODE_POINTS, np.bool_), at_end=True)
        if sign in ".^$*+?{}]":
            raise NotUnderstoodError(f"{sign!r} at character {self.at - 1}")
        return Set(_letter(sign, ignore_case))

    def _closed(self, node: Node) -> Node:
        if not self._take(")"):
            raise NotUnderstoodError("a group that is not closed")
        return node

    def _quantified(self, node: Node) -> Node:
        bounds: tuple[int, int | None] | None = None
        counted = False
        for sign, pair in (("?", (0, 1)), ("*", (0, None)), ("+", (1, None))):
            if self._take(sign):
                bounds = pair
                break
        else:
            if self._take("{"):
                bounds, counted = self._counts(), True
        if bounds is None:
            return node
        if isinstance(node, Ahead):
            raise NotUnderstoodError("looking ahead more than once")
        possessive = self._take("+")
        if possessive and counted and not self.end_of_text:
            raise NotUnderstoodError("{…}+, which some engines read as a repetition of the repetition")
        if self.at < len(self.pattern) and self.pattern[self.at] in "?*+{":
            raise NotUnderstoodError("a quantifier behind a quantifier")
        return Repeat(node, *bounds, possessive)

    def _counts(self) -> tuple[int, int | None]:
        inside, closed, rest = self.pattern[self.at :].partition("}")
        low, comma, high = inside.partition(",")
        if not closed or not low.isdecimal() or (high and not high.isdecimal()):
            raise NotUnderstoodError("{ that is no count")
        self.at = len(self.pattern) - len(rest)
        bounds = int(low), int(high) if high else (None if comma else int(low))
        if max(bounds[0], bounds[1] or 0) > _LARGEST_COUNT or (bounds[1] is not None and bounds[1] < bounds[0]):
            raise NotUnderstoodError(f"the count {{{inside}}}")
        return bounds

    def _escape(self, ignore_case: bool) -> Mask:
        sign = self._next()
        if sign in "pP":
            if not self._take("{"):
                raise NotUnderstoodError("\\p without braces")
            name, closed, rest = self.pattern[self.at :].partition("}")
            self.at = len(self.pattern) - len(rest)
            mask = characters.has_property(name.removeprefix("^")) if closed else None
            if mask is None or ignore_case:
                raise NotUnderstoodError(f"the property {name}" + (" under (?i:…)" if ignore_case else ""))
            return ~mask if (sign == "P") != name.startswith("^") else mask
        if sign in "sS":
            return characters.white_space() if sign == "s" else ~characters.white_space()
        if sign in _ESCAPED:
            return characters.of(ord(_ESCAPED[sign]))
        if sign.isalnum() or not sign.isascii():
            raise NotUnderstoodError(f"\\{sign}")
        return characters.of(ord(sign))

    def _set(self, ignore_case: bool) -> Mask:
        negative = self._take("^")
        mask = np.zeros(characters.CODE_POINTS, np.bool_)
        first = True
        while first or not self.pattern.startswith("]", self.at):
            if self.pattern.startswith("]", self.at) or self.pattern.startswith("&&", self.at):
                raise NotUnderstoodError("] or && within a set")
            for doubled in ("--", "~~", "||"):
                if self.pattern.startswith(doubled, self.at):
                    raise NotUnderstoodError(f"{doubled} within a set")
            mask |= self._member(ignore_case)
            first = False
        self.at += 1
        return ~mask if negative else mask

    def _member(self, ignore_case: bool) -> Mask:
        sign = self._next()
        if sign == "[":
            raise NotUnderstoodError("a set within a set")
        low = self._escape(ignore_case) if sign == "\\" else _letter(sign, ignore_case)
        if not self.pattern.startswith("-", self.at) or self.pattern.startswith("-]", self.at):
            return low
        self.at += 1
        sign = self._next()
        high = self._escape(False) if sign == "\\" else characters.of(ord(sign))
        if ignore_case or low.sum() != 1 or high.sum() != 1 or low.argmax() > high.argmax():
            raise NotUnderstoodError("a range that is none, or one under (?i:…)")
        mask = np.zeros(characters.CODE_POINTS, np.bool_)
        mask[low.argmax() : high.argmax() + 1] = True
        return mask


def _letter(sign: str, ignore_case: bool) -> Mask:
    if not ignore_case:
        return characters.of(ord(sign))
    if not sign.isascii():
        raise NotUnderstoodError(f"{sign!r} under (?i:…)")
    cases = {ord(sign.lower()), ord(sign.upper())}
    return characters.of(*cases, *([_OTHER_CASES[sign.lower()]] if sign.lower() in _OTHER_CASES else []))


def _single(node: Node) -> Mask | None:
    """The set that a node is, where it is exactly one character."""
    if isinstance(node, Set):
        return node.mask
    if isinstance(node, Sequence) and len(node.items) == 1:
        return _single(node.items[0])
    return None


def _check_possessive(repeat: Repeat, behind: list[Node]) -> None:
    """A possessive quantifier gives nothing back: the same as a greedy one where nothing behind could use it.

    Raises:
        NotUnderstoodError: it may not be the same.
    """
    mask = _single(repeat.node)
    for item in behind:
        if mask is None:
            break
        if isinstance(item, Ahead):
            if not item.mask.any():  # the end: what was given back would stand before it
                return
            break
        optional = isinstance(item, Repeat) and item.low == 0
        inner = _single(item.node if isinstance(item, Repeat) else item)
        if inner is None or (mask & inner).any():
            break
        if not optional:
            return
    else:
        if mask is not None:
            return
    raise NotUnderstoodError("a possessive quantifier whose characters may also stand behind it")
