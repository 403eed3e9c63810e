"""What opens and closes a reasoning in a Jinja template's text, found in the template's own renderings.

A template opens a reasoning with a tag of its own, and what a model is to write begins with it: where it is missed, it
is not learnt, and a trimmed record keeps a tag that nothing closes. So a turn is rendered with a reasoning and without
one, and the difference is the tag. Costs some thirty small renderings a template and process.

What stands before a reasoning is the turn's header, then the tag. Where the header ends is told by the first of these
that tells it:

1. the same turn without a reasoning, or an earlier one, if the header alone stands before its content;
2. the prompt that the template makes for an answer;
3. the tag behind the reasoning, if the last tag before it has the same name: `[/WHY]` and `[WHY]`, END and START;
4. where a turn without a reasoning, or without any text, begins to be another.

Where none does, the template writes an empty thought everywhere, in tags that are not alike.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from typing import Any, Final

from ...errors import RunError
from . import spans
from .builtin import REASONING_END, REASONING_START
from .messages import ASSISTANT, Message
from .renderings import Manner, manner_of, renderer, texts_of
from .spans import Key

_BRACKETS: Final = {"<": ">", "[": "]", "{": "}", "(": ")", "◁": "▷", "【": "】", "«": "»"}
_TAG: Final = re.compile(
    "|".join(rf"{re.escape(a)}[^\s{re.escape(a + b)}]*{re.escape(b)}" for a, b in _BRACKETS.items())
)
_EDGES: Final = re.compile(r"begin|start|open|end|close|stop|[\W_]")


@dataclass(frozen=True)
class Tags:
    """The tags that stand around a reasoning, shortest first, with the white space around them.

    `opening`: "" among them where a reasoning follows its turn's header; none where no tag could be told.
    `closing`: what stands between a reasoning and the content.
    """

    opening: tuple[str, ...]
    closing: tuple[str, ...]

    def begin(self, text: str) -> int | None:
        """Where the tag begins with which a text ends, white space aside; its length where a reasoning needs none.

        None: it ends with none of the tags.
        """
        named = [tag for tag in self.opening if tag.strip()]
        blank = [tag for tag in self.opening if tag and not tag.strip()]
        if (tag := next((tag for tag in (*named, *blank) if text.endswith(tag)), None)) is not None:
            return len(text) - len(tag)
        stripped = text.rstrip()
        loose = next((tag.rstrip() for tag in named if stripped.endswith(tag.rstrip())), None)
        if loose is not None:
            return len(stripped) - len(loose)
        return len(text) if "" in self.opening else None

    def read(self, reply: str) -> str:
        """A reply that begins with one of the tags, with its reasoning in `<think>` and `</think>`; others as they are.

        A reasoning that is not closed stays open.
        """
        text = reply.lstrip()
        opening = next((tag.strip() for tag in self.opening if tag.strip() and text.startswith(tag.strip())), None)
        if opening in (None, REASONING_START):
            return reply
        thought = text[len(opening) :]
        closed = [(at, tag.strip()) for tag in self.closing if tag.strip() and (at := thought.find(tag.strip())) >= 0]
        if not closed:
            return REASONING_START + thought
        at, closing = min(closed)
        return f"{REASONING_START}{thought[:at]}{REASONING_END}{thought[at + len(closing) :]}"


_ASKED: Final = Message("user", "a")
_THOUGHTS: Final = ("c", "Let me see.\n\nIt is so.")
_LATER: Final = Message(ASSISTANT, "e", "f")


def _places(thought: str) -> Iterator[tuple[tuple[Message, ...], int]]:
    """Conversations, and which turn's reasoning is looked at: the last, one before a user's, one behind a tool's."""
    said = Message(ASSISTANT, "b", thought)
    yield (_ASKED, said), 1
    yield (_ASKED, said, Message("user", "d"), _LATER), 1
    yield (_ASKED, _LATER, Message("tool", "d"), said), 3


@lru_cache(maxsize=64)
def tags_of(text: str, options: str, tags: bool) -> Tags:
    """The tags of a template that can express reasoning; `options` and `tags` as of `Jinja`."""
    trial = _Trial(text, options, manner_of(text, options, tags))
    places = [place for thought in _THOUGHTS for place in _places(thought)]
    return Tags(*(_distinct(find(*place) for place in places) for find in (trial.opening, trial.closing)))


def _distinct(found: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(sorted({tag for tag in found if tag is not None}, key=lambda tag: (len(tag), tag)))


class _Trial:
    """A template, and what it writes between the texts of conversations made for the purpose."""

    def __init__(self, text: str, options: str, manner: Manner) -> None:
        self._text, self._options, self._manner = text, options, manner

    def opening(self, turns: Sequence[Message], at: int) -> str | None:
        """What opens the reasoning of a turn; None where it is not written, or its tag cannot be told."""
        last, own = Key(at - 1, "content"), Key(at, "content")
        before = self._between(turns, last, Key(at, "reasoning"))
        if before is None:
            return None
        said = [*turns[:at], Message(ASSISTANT, turns[at].content)]
        headers = [self._between([*said, *more], last, own) for more in (turns[at + 1 :], (_ASKED, _LATER))]
        if before in headers:
            return ""
        for header in (*headers, self._prompt(turns[:at])):
            if header not in (None, before) and before.startswith(header):  # a prompt may open the thought, too
                return before[len(header) :]
        behind = self.closing(turns, at)
        if behind is not None and (tag := _alike(before, behind)) is not None:
            return tag
        headers.append(self._between([*turns[:at], Message(ASSISTANT, "")], last, None))
        bounds = [bound for header in headers if header and (bound := _common(before, header)) is not None]
        return before[min(bounds) :] if bounds else None

    def closing(self, turns: Sequence[Message], at: int) -> str | None:
        """What stands between a turn's reasoning and its content; None where one of them is not written."""
        return self._between(turns, Key(at, "reasoning"), Key(at, "content"))

    def _prompt(self, turns: Sequence[Message]) -> str | None:
        """What the template's prompt for an answer writes behind the last text; None: nothing."""
        last = Key(len(turns) - 1, "content")
        written = self._between(turns, last, None, add_generation_prompt=True, enable_thinking=True)
        return None if written == self._between(turns, last, None) else written

    def _between(self, turns: Sequence[Message], one: Key, other: Key | None, **more: Any) -> str | None:
        """What stands between two texts, or behind one; None where one is not there once, or the template refuses."""
        try:
            plain, found = spans.locate(texts_of(turns), renderer(self._text, self._options, turns, self._manner, more))
        except RunError:
            return None
        first, second = found.get(one, []), [] if other is None else found.get(other, [])
        if len(first) != 1 or (other is not None and len(second) != 1):
            return None
        return plain[first[0].stop : second[0].start if second else len(plain)]


def _alike(before: str, behind: str) -> str | None:
    """The last tag of a text, if the one that closes the reasoning behind it has the same name."""
    closing = _TAG.match(behind.strip())
    opening = list(_TAG.finditer(before))
    if closing is None or not opening or before[opening[-1].end() :].strip():
        return None
    name, other = (_EDGES.sub("", one.lower()) for one in (opening[-1][0], closing[0]))
    return before[opening[-1].start() :] if name and name == other and opening[-1][0] != closing[0] else None


def _common(before: str, other: str) -> int | None:
    """Up to where two texts are the same, at a word's or a tag's bound; None where the same tags follow in both.

    There they differ before the header ends, as by a word behind the question, and tell nothing of where it does.
    """
    at = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, other, strict=False)))
    if not before[at:].strip():  # the same tag opens an empty thought there
        return None
    opened = max(before.rfind(bracket, 0, at) for bracket in _BRACKETS)
    if opened >= 0 and not re.search(r"\s", before[opened:at]) and not _TAG.match(before[opened:at]):
        at = opened
    while at > 0 and before[at - 1].isalnum() and before[at].isalnum():
        at -= 1
    shared = set(_TAG.findall(before[at:])) & set(_TAG.findall(other[at:]))
    return None if shared else at
