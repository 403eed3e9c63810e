"""Where the texts of a conversation stand in what a Jinja template made of it.

Each text is rendered once more between two private-use characters, which are then taken out: what is left must be the
rendering itself, else the template looks at the texts and the marks are moved inward until it does not. So what is
trained is never found by searching. Costs a second rendering; a text with outer white space, in a template that strips
it, a few more, on the logarithm of that white space's length.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal, NamedTuple

from ...errors import RunError
from .messages import Message

_FIRST, _LAST = 0xF0000, 0x10FFFF  # the two private planes
_PRIVATE: Final = re.compile(f"[{chr(_FIRST)}-{chr(_LAST)}]")


class Key(NamedTuple):
    """One text of a conversation: the message's number, and which of its two."""

    turn: int
    part: Literal["reasoning", "content"]


class Mark(NamedTuple):
    """Between which characters of a text its marks stand, and which of it they stand for: start <= first, stop >= last.

    The marks are at `first` and `last`; `start` and `stop` bound what the template is known to write.
    """

    first: int
    last: int
    start: int
    stop: int


@dataclass(frozen=True)
class Interval:
    """A text in a rendering: characters `start` to `stop` are those of `key`."""

    start: int
    stop: int
    key: Key


Texts = Mapping[Key, str]
Render = Callable[[Texts], str]


def locate(texts: Texts, render: Render) -> tuple[str, dict[Key, list[Interval]]]:
    """The rendering, and where it has each text; a text that it does not have has no interval.

    Args:
        texts: of the conversation, in order.
        render: the template; equal texts give equal renderings.

    Raises:
        RunError: the template changes with the marks wherever they stand, or cuts a text apart.
    """
    plain = render(texts)
    marker = _Marker(texts, plain, render)
    marks: dict[Key, Mark | None] = {key: Mark(0, len(text), 0, len(text)) for key, text in texts.items()}
    if not marker.fits(marks):
        # Those that a template is likely to look at come first: most often no others need to be tried.
        likely = [key for key, text in texts.items() if text != text.strip() or not text]
        unclear = marker.strip(marks, likely)
        for group in (
            unclear,
            [key for key in likely if key not in unclear],
            [key for key in texts if key not in likely],
        ):
            for key in group:
                marks[key] = marker.mark(key)
            if marker.fits(marks):
                break
        else:
            raise RunError(
                "the template's text changes when marks stand around the messages' texts",
                seen="the rendering without marks is not the rendering with marks taken out",
                expected="a template that writes the texts as they are",
                fix="name a template that does, or a built-in one",
            )
    return plain, marker.intervals(marks)


class _Marker:
    """The marks of one conversation: two characters a text, of a block that occurs in no text."""

    def __init__(self, texts: Texts, plain: str, render: Render) -> None:
        self.texts, self.plain, self._render = texts, plain, render
        self._keys = list(texts)
        used = sorted({ord(one) for text in (plain, *texts.values()) for one in _PRIVATE.findall(text)})
        size = 2 * len(self._keys)
        blocks = range(_FIRST, _LAST + 2 - max(size, 1), max(size, 1))
        free = (at for at in blocks if bisect_left(used, at) == bisect_left(used, at + size))
        base = next(free, None)
        if base is None:
            raise RunError(
                "the conversation leaves no private-use characters for marks",
                seen=f"{len(self._keys):,} texts, {len(used):,} different private-use characters in them",
                fix="drop the record in the recipe",
            )
        self._base, self._last = base, plain
        self._all = re.compile(f"[{chr(base)}-{chr(base + max(size, 1) - 1)}]")

    def fits(self, marks: Mapping[Key, Mark | None]) -> bool:
        """Whether the rendering with marks is the one without."""
        self._last = self._marked(marks)
        return self._all.sub("", self._last) == self.plain

    def _marked(self, marks: Mapping[Key, Mark | None]) -> str:
        texts = dict(self.texts)
        for number, key in enumerate(self._keys):
            mark = marks.get(key)
            if mark is not None:
                text = texts[key]
                opening, closing = chr(self._base + 2 * number), chr(self._base + 2 * number + 1)
                texts[key] = text[: mark.first] + opening + text[mark.first : mark.last] + closing + text[mark.last :]
        return self._render(texts)

    def strip(self, marks: dict[Key, Mark | None], likely: Sequence[Key]) -> list[Key]:
        """Marks all these texts within their outer white space, as a template that strips every text needs them.

        Returns:
            Those of which this does not tell what is left: all where the rendering changes, else those that have
            white space of their own beside them.
        """
        stripped: dict[Key, Mark | None] = dict(marks)
        for key in likely:
            text = self.texts[key]
            first, last = len(text) - len(text.lstrip()), len(text.rstrip())
            if first >= last:
                return list(likely)
            stripped[key] = Mark(first, last, first, last)
        if not self.fits(stripped):
            return list(likely)
        marks |= stripped
        found = self.intervals(stripped)
        return [key for key in likely if any(self._is_beside(key, one) for one in found[key])]

    def _is_beside(self, key: Key, interval: Interval) -> bool:
        """Whether the rendering has, right beside a text, the white space that the text has there."""
        text, before, after = (
            self.texts[key],
            self.plain[max(interval.start - 1, 0) : interval.start],
            self.plain[interval.stop : interval.stop + 1],
        )
        first, last = len(text) - len(text.lstrip()), len(text.rstrip())
        return bool(first and before == text[first - 1]) or bool(text[last:] and after == text[last])

    def mark(self, key: Key) -> Mark | None:
        """The widest marks of one text with which the rendering stays the same; None where there are none."""
        text = self.texts[key]
        if self._alone(key, 0, len(text)):
            return Mark(0, len(text), 0, len(text))
        first, last = len(text) - len(text.lstrip()), len(text.rstrip())
        if first >= last:
            within = [at for at in (len(text), 0) if self._alone(key, at, at)]
            return Mark(within[0], within[0], within[0], within[0]) if within else None
        if self._alone(key, first, last):
            start = _smallest(first, lambda at: self._alone(key, at, last))
            more = _smallest(len(text) - last, lambda left: self._alone(key, first, len(text) - left))
            return Mark(start, len(text) - more, start, len(text) - more)
        # The template looks at how the text begins or ends: one place within tells where the rest must be.
        size = last - first
        places = (first + size // 2, first + size // 4, first + 3 * size // 4)
        return next((Mark(at, at, first, last) for at in places if self._alone(key, at, at)), None)

    def _alone(self, key: Key, first: int, last: int) -> bool:
        return self.fits({key: Mark(first, last, first, last)})

    def intervals(self, marks: Mapping[Key, Mark | None]) -> dict[Key, list[Interval]]:
        """Where the rendering has each text, for the marks that were last found to fit.

        Raises:
            RunError: it has a part of one.
        """
        found: dict[Key, list[Interval]] = {key: [] for key in self._keys}
        opened: dict[int, int] = {}
        for removed, match in enumerate(self._all.finditer(self._last)):
            number, closes = divmod(ord(match.group()) - self._base, 2)
            at = match.start() - removed
            if not closes:
                if number in opened:
                    raise _torn(self._keys[number])
                opened[number] = at
                continue
            key = self._keys[number]
            mark = marks[key]
            if number not in opened or mark is None:
                raise _torn(key)
            start = opened.pop(number) - (mark.first - mark.start)
            found[key].append(Interval(start, at + (mark.stop - mark.last), key))
            self._check_anchor(found[key][-1], mark)
        if opened:
            raise _torn(self._keys[next(iter(opened))])
        return found

    def _check_anchor(self, interval: Interval, mark: Mark) -> None:
        """A text that is marked within stands around its marks in full."""
        if (mark.first, mark.last) == (mark.start, mark.stop):
            return
        if self.plain[max(interval.start, 0) : interval.stop] != self.texts[interval.key][mark.start : mark.stop]:
            raise _torn(interval.key)


def _smallest(most: int, fits: Callable[[int], bool]) -> int:
    """The smallest of 0 to `most` that fits; `most` does, and so do all above one that does."""
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return high


def _torn(key: Key) -> RunError:
    return RunError(
        f"the template cuts the {key.part} of message {key.turn} apart and drops a part of it",
        fix="take what it splits at (such as </think>) out of the text in the recipe, or name another template",
    )


def check_order(found: Mapping[Key, Sequence[Interval]], messages: Sequence[Message], plain: str) -> list[Interval]:
    """All intervals as they stand, if they stand in the order of the messages.

    Raises:
        RunError: a text stands before one of an earlier message, or within another.
    """
    ordered = sorted(_all(found), key=lambda one: (one.start, one.stop, one.key.turn, one.key.part == "content"))
    for before, after in pairwise(ordered):
        if after.start < before.stop:
            raise RunError(f"the template writes messages {before.key.turn} and {after.key.turn} into one another")
    latest = Key(-1, "reasoning")
    for interval in ordered:
        key = interval.key
        if (key.turn, key.part == "content") < (latest.turn, latest.part == "content"):
            raise RunError(
                f"the template writes the {latest.part} of message {latest.turn} ({messages[latest.turn].role}) before "
                f"the {key.part} of message {key.turn} ({messages[key.turn].role})",
                seen=plain[:80],
                expected="the messages in their order",
                fix="put system messages first in the recipe, or name another template",
            )
        latest = key
    return ordered


def _all(found: Mapping[Key, Sequence[Interval]]) -> Iterator[Interval]:
    for intervals in found.values():
        yield from intervals
