"""Conversations through a Jinja template: its text as pieces, with what is special and what is trained.

The text is the one that transformers renders; the mask comes from where each message's text stands in it, and what the
template cannot say of a conversation is an error, since it would be missing in training without a sign. Costs two
renderings a conversation.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from typing import Any, Final

from ...errors import RunError
from . import sandbox, spans, thought_tags, turn_ends
from .messages import ASSISTANT, EarlierReasoning, Message, Piece, Rendered
from .renderings import Manner, manner_of, renderer, texts_of
from .spans import Interval, Key

_TRIAL: Final = (Message("user", "a"), Message(ASSISTANT, "b"))


@dataclass(frozen=True)
class Jinja:
    """A template's text and all that its rendering hangs on.

    Args:
        name: for errors.
        text: the Jinja.
        options: variables for it, as JSON.
        earlier: the policy for the reasoning of earlier turns.
        tags: write reasoning with tags into the content, where the template has no place for it.
        special: the tokenizer's special tokens; None knows them by their forms.
    """

    name: str
    text: str
    options: str
    earlier: EarlierReasoning
    tags: bool
    special: frozenset[str] | None

    def render(self, messages: Sequence[Message]) -> Rendered:
        """A checked conversation as pieces.

        Raises:
            RunError: see the module; it names the template and the message.
        """
        try:
            plain, ordered = self._located(messages)
            return self._pieces(messages, plain, ordered, self._trained(messages, plain, ordered))
        except RunError as error:
            raise self._named(error) from None

    def prompt(self, messages: Sequence[Message], answer_directly: bool) -> Rendered:
        """What a model is given to answer: the template's generation prompt behind the messages; nothing is trained.

        The template's `enable_thinking` is set, unless the options say it; `strftime_now` is that of now, unless they
        say a date.
        """
        more: dict[str, Any] = {"add_generation_prompt": True, "enable_thinking": not answer_directly}
        more["strftime_now"] = sandbox.clock(None)
        try:
            plain, found = self._found(messages, more)
            ordered = sorted((one for many in found.values() for one in many), key=lambda one: one.start)
            return self._pieces(messages, plain, ordered, [])
        except RunError as error:
            raise self._named(error) from None

    def written(self, messages: Sequence[Message]) -> str:
        """The text alone, without looking for what is trained.

        Raises:
            RunError: the template refuses the conversation.
        """
        try:
            return renderer(self.text, self.options, messages, "field", {})(texts_of(messages))
        except RunError as error:
            raise self._named(error) from None

    def opening(self, answer_directly: bool) -> str:
        """What of a reply a prompt has already written: the tag that opens its reasoning, or nothing."""
        text = self.prompt(_TRIAL[:1], answer_directly).text
        if self.manner != "none":
            at = self._tags.begin(text)
            return "" if at is None else text[at:]
        before = takewhile(lambda piece: piece.part != "content", self.render(_TRIAL).pieces)
        header = "".join(piece.text for piece in before)
        return text.removeprefix(header) if text.startswith(header) else ""

    def read(self, reply: str) -> str:
        """A reply with its reasoning in `<think>` and `</think>`, if it stands in the template's own tags."""
        return reply if self.manner == "none" else self._tags.read(reply)

    @property
    def _tags(self) -> thought_tags.Tags:
        return thought_tags.tags_of(self.text, self.options, self.tags)

    @property
    def manner(self) -> Manner:
        """How it takes reasoning, by trial."""
        return manner_of(self.text, self.options, self.tags)

    def _named(self, error: RunError) -> RunError:
        return RunError(
            f"template {self.name}: {error.what}",
            where=error.where,
            seen=error.seen,
            expected=error.expected,
            fix=error.fix,
        )

    def _found(self, messages: Sequence[Message], more: Mapping[str, Any]) -> tuple[str, dict[Key, list[Interval]]]:
        texts = texts_of(messages)
        if any(key.part == "reasoning" for key in texts) and self.manner == "none":
            turn = next(key.turn for key in texts if key.part == "reasoning")
            raise RunError(
                f"it cannot express reasoning, and message {turn} has some",
                expected="a template that reads reasoning_content, or leaves <think> in the content as it is",
                fix="earlier_reasoning, reasoning: tags or options of the template (such as skip_think: false); or "
                "name another template",
            )
        render = renderer(self.text, self.options, messages, self.manner, more)
        return spans.locate(texts, render)

    def _located(self, messages: Sequence[Message]) -> tuple[str, list[Interval]]:
        """The rendering and all intervals in order; every text is there that must be, once and as it is."""
        plain, found = self._found(messages, {})
        for key, intervals in found.items():
            message = messages[key.turn]
            if not intervals:
                self._check_absent(key, messages, plain)
            elif message.role == ASSISTANT:
                self._check_assistant(key, message, intervals, plain)
        return plain, spans.check_order(found, messages, plain)

    def _check_absent(self, key: Key, messages: Sequence[Message], plain: str) -> None:
        """Raises RunError where a text that the rendering does not have, or that no mark shows, would be lost."""
        message = messages[key.turn]
        what = f"message {key.turn} ({message.role})"
        if key.part == "reasoning":
            if self.earlier == "template" and not _is_last(key.turn, messages):
                return
            raise RunError(
                f"it drops the reasoning of {what}",
                expected="every reasoning that it is given" if self.earlier == "keep" else "the last turn's reasoning",
                fix="earlier_reasoning: template or drop, options of the template, or another template",
            )
        if message.role == ASSISTANT and not message.content.strip():
            raise RunError(f"it cannot express an assistant turn without content: {what}", fix="drop the record")
        if message.content.strip():
            raise RunError(
                f"it cannot express the role {message.role} there: nothing of {what} is written",
                seen=", ".join(one.role for one in messages[:12]),
                fix="name a template that writes it, or drop the record in the recipe",
            )
        without = [one for at, one in enumerate(messages) if at != key.turn]
        if renderer(self.text, self.options, without, self.manner, {})(texts_of(without)) == plain:
            raise RunError(f"it cannot express an empty {message.role} turn: {what} is nowhere", fix="drop the turn")

    def _check_assistant(self, key: Key, message: Message, intervals: Sequence[Interval], plain: str) -> None:
        what = f"the {key.part} of message {key.turn}"
        if len(intervals) > 1:
            raise RunError(f"it writes {what} {len(intervals)} times")
        text = message.content if key.part == "content" else message.reasoning or ""
        written = plain[intervals[0].start : intervals[0].stop]
        if written not in text or written.strip() != text.strip():
            raise RunError(f"it changes {what}", seen=repr(written[:80]), expected=repr(text[:80]))

    def _trained(self, messages: Sequence[Message], plain: str, ordered: Sequence[Interval]) -> list[tuple[int, int]]:
        """The trained stretches: from an assistant's first text (and the tag before it) through its end of turn."""
        special = turn_ends.pattern(self.special)
        stretches = []
        for at, interval in enumerate(ordered):
            turn = interval.key.turn
            if messages[turn].role != ASSISTANT or (at and ordered[at - 1].key.turn == turn):
                continue
            last = at
            while last + 1 < len(ordered) and ordered[last + 1].key.turn == turn:
                last += 1
            start, stop = interval.start, ordered[last].stop
            if interval.key.part == "reasoning":
                before = ordered[at - 1].stop if at else 0
                start = before + self._opening(plain[before:start], turn)
            following = ordered[last + 1].start if last + 1 < len(ordered) else len(plain)
            end = turn_ends.first_end(plain[stop:following], special)
            if end is None:
                raise RunError(
                    f"no special token ends the turn of message {turn}: a model would not learn to stop",
                    seen=repr(plain[stop:following][:80]),
                    expected="a special token of the tokenizer behind the assistant's text",
                    fix="name the tokenizer of this template, or put the token into its file",
                )
            stretches.append((start, stop + end))
        return stretches

    def _opening(self, text: str, turn: int) -> int:
        """Where the tag begins that opens a turn's reasoning right behind the text."""
        known = self._tags
        if (at := known.begin(text)) is not None:
            return at
        told = ", ".join(repr(tag) for tag in known.opening)
        raise RunError(
            f"which tag opens the reasoning of message {turn} cannot be told: a model would not learn to write it",
            seen=repr(text[-80:]),
            expected=told or "no empty thought in turns without a reasoning, or a prompt that ends before the tag",
            fix="change the template: write nothing of a thought in a turn without one, or name the tags alike, such "
            "as [WHY] and [/WHY]",
        )

    def _pieces(
        self, messages: Sequence[Message], plain: str, ordered: Sequence[Interval], trained: Sequence[tuple[int, int]]
    ) -> Rendered:
        """The rendering cut at texts, special tokens and the bounds of what is trained."""
        special = turn_ends.pattern(self.special)
        bounds = [at for stretch in trained for at in stretch]
        pieces: list[Piece] = []
        at = 0
        for interval in (*ordered, None):
            for text, is_special in _between(plain, at, interval.start if interval else len(plain), bounds, special):
                pieces.append(Piece(text, is_special, _within(at, bounds)))
                at += len(text)
            if interval is None or interval.stop == interval.start:
                continue
            of_assistant = messages[interval.key.turn].role == ASSISTANT
            part = interval.key.part if of_assistant else "other"
            text, in_trained = plain[interval.start : interval.stop], of_assistant and _within(interval.start, bounds)
            pieces.append(Piece(text, False, in_trained, part, interval.key.turn))
            at = interval.stop
        return Rendered(tuple(pieces))


def _is_last(turn: int, messages: Sequence[Message]) -> bool:
    """Whether an assistant's turn is the last, with no user's behind it."""
    return all(message.role not in ("user", ASSISTANT) for message in messages[turn + 1 :])


def _between(plain: str, start: int, stop: int, bounds: Sequence[int], special: Any) -> Iterator[tuple[str, bool]]:
    """A stretch of the template's own text, cut at bounds and special tokens, which no bound splits."""
    cuts = [start, *bounds[bisect_right(bounds, start) : bisect_left(bounds, stop)], stop]
    for first, last in pairwise(cuts):
        yield from turn_ends.runs(plain[first:last], special)


def _within(at: int, bounds: Sequence[int]) -> bool:
    return bisect_right(bounds, at) % 2 == 1
