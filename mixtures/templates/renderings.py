"""A Jinja template as a function of a conversation's texts, and how it takes reasoning.

Where texts stand, what opens a reasoning and what a template refuses are all found by rendering; this is the one place
where messages become what templates are given. Costs a rendering a call.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Literal

import orjson

from ...errors import RunError
from . import sandbox, spans
from .builtin import REASONING_END, REASONING_START
from .messages import ASSISTANT, Message
from .spans import Key, Texts

Manner = Literal["field", "tags", "none"]
"""How a template takes reasoning: in a field of its own, with tags at the head of the content, or not at all."""

FIELDS: Final = ("reasoning_content", "thinking", "reasoning")  # one text under the names that templates read


def texts_of(messages: Sequence[Message]) -> dict[Key, str]:
    """The texts of a conversation, in the order in which a template is to write them."""
    texts: dict[Key, str] = {}
    for turn, message in enumerate(messages):
        if message.reasoning is not None and message.has_reasoning:
            texts[Key(turn, "reasoning")] = message.reasoning
        texts[Key(turn, "content")] = message.content
    return texts


def renderer(
    text: str, options: str, messages: Sequence[Message], manner: Manner, more: Mapping[str, Any]
) -> Callable[[Texts], str]:
    """The template as a function of the conversation's texts.

    Raises (the function):
        RunError: the template refuses the conversation, takes too long or grows too large.
    """
    compiled = sandbox.compiled(text)
    # What transformers gives to every template.
    given = {"tools": None, "documents": None, "add_generation_prompt": False, **more, **orjson.loads(options)}
    if isinstance(given.get("strftime_now"), str):
        given["strftime_now"] = sandbox.clock(given["strftime_now"])

    def render(texts: Texts) -> str:
        characters = sum(map(len, texts.values()))
        turns = [_as_chat(message, turn, texts, manner) for turn, message in enumerate(messages)]
        try:
            return compiled.render(characters, {**given, "messages": turns})
        except sandbox.REFUSALS as error:
            raise RunError(
                f"it refuses the conversation: {str(error) or type(error).__name__}",
                seen=", ".join(message.role for message in messages[:12]),
                fix="name a template that takes these roles in this order, or drop the record in the recipe",
            ) from None

    return render


def _as_chat(message: Message, turn: int, texts: Texts, manner: Manner) -> dict[str, str]:
    """A message as templates take it."""
    content, reasoning = texts[Key(turn, "content")], texts.get(Key(turn, "reasoning"))
    role = message.role
    if reasoning is not None and manner == "tags":
        # The marks of a blank content stand before the blank line, which a template may strip.
        after = f"\n\n{content}" if message.content.strip() else f"{content}\n\n"
        content = f"{REASONING_START}\n{reasoning}\n{REASONING_END}{after}"
    chat = {"role": role, "content": content}
    if manner == "field" and role == ASSISTANT:
        if reasoning is not None:
            chat |= dict.fromkeys(FIELDS, reasoning)
        elif REASONING_END in content:
            chat |= dict.fromkeys(FIELDS, "")  # else the template takes what stands before it for reasoning
    return chat


_TRIAL: Final = (Message("user", "a"), Message(ASSISTANT, "b", "c"))


@lru_cache(maxsize=64)
def manner_of(text: str, options: str, tags: bool) -> Manner:
    """How a template takes reasoning: by what it makes of a conversation with one."""
    if _shows(text, options, "field"):
        return "field"
    mentioned = any("think>" in literal for literal in sandbox.compiled(text).literals)
    if (mentioned or tags) and _shows(text, options, "tags"):
        return "tags"
    return "none"


def _shows(text: str, options: str, manner: Manner) -> bool:
    """Whether the trial's reasoning and content stand in its rendering, once each."""
    try:
        _, found = spans.locate(texts_of(_TRIAL), renderer(text, options, _TRIAL, manner, {}))
    except RunError:
        return False
    return all(len(intervals) == 1 for key, intervals in found.items() if key.turn == 1)
