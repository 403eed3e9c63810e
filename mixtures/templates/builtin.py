"""The built-in templates: chatml, zaya and plain.

Written as pieces and not as Jinja, they need no second rendering, and a prompt is a prefix of its answered conversation
token by token. Costs a few small strings a message.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from .messages import ASSISTANT, Message, Piece, Rendered

TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"
REASONING_START, REASONING_END = "<think>", "</think>"
SPECIAL_TOKENS: Final = (TURN_START, TURN_END, REASONING_START, REASONING_END)
"""What chatml and zaya need of a tokenizer: each is one token, and none can come from ordinary text."""

BETWEEN: Final = "\n\n"
"""Between the texts of a conversation in plain, as in the text column of a reasoning record."""


def render_turns(name: str, messages: Sequence[Message]) -> Rendered:
    """A conversation that was checked, in the built-in template of this name."""
    if name == "plain":
        return _plain(messages)
    turn = _TURNS[name]
    return Rendered(tuple(piece for at, message in enumerate(messages) for piece in turn(message, at)))


def render_prompt(name: str, messages: Sequence[Message], answer_directly: bool) -> Rendered:
    """What a model is given to answer; nothing is trained. Plain text has no tag that could open a reasoning."""
    pieces = [Piece(p.text, p.special, False, p.part, p.turn) for p in render_turns(name, messages).pieces]
    if name == "plain":
        return Rendered((*pieces, *([Piece(BETWEEN, False, False)] if pieces else [])))
    pieces += _opening(ASSISTANT)
    if not answer_directly:
        pieces += [Piece(REASONING_START, True, False), Piece("\n", False, False)]
    elif name == "zaya":
        pieces += _NO_REASONING
    return Rendered(tuple(pieces))


def opening(name: str, answer_directly: bool) -> str:
    """What of a reply a prompt has already written: the tag that opens its reasoning, or nothing."""
    return "" if name == "plain" or answer_directly else f"{REASONING_START}\n"


def _opening(role: str) -> list[Piece]:
    return [Piece(TURN_START, True, False), Piece(f"{role}\n", False, False)]


def _turn(message: Message, number: int, without: Sequence[Piece] = ()) -> list[Piece]:
    """`<|im_start|>role\\n…<|im_end|>\\n`, with `without` where an assistant's turn has no reasoning.

    The role's line, and the line breaks within the tags, are pieces of their own: a prompt ends there, and a merge
    across that place would give the model tokens that it never saw in training, or leave a cut no place to be.
    """
    trained = message.role == ASSISTANT
    pieces = _opening(message.role)
    if trained and message.reasoning is not None and message.has_reasoning:
        pieces += [
            Piece(REASONING_START, True, True),
            Piece("\n", False, True),
            Piece(message.reasoning, False, True, "reasoning", number),
            Piece("\n", False, True),
            Piece(REASONING_END, True, True),
            Piece("\n\n", False, True),
        ]
    elif trained:
        pieces += without
    if message.content:
        pieces.append(Piece(message.content, False, trained, "content" if trained else "other", number))
    return [*pieces, Piece(TURN_END, True, trained), Piece("\n", False, False)]


_NO_REASONING: Final = (
    Piece(REASONING_START, True, False),
    Piece("\n\n", False, False),
    Piece(REASONING_END, True, False),
    Piece("\n\n", False, False),
)


def _zaya_turn(message: Message, number: int) -> list[Piece]:
    """As chatml, but an assistant's turn always has a block for its reasoning: an empty one is context, not trained."""
    return _turn(message, number, _NO_REASONING)


_TURNS: Final[Mapping[str, Callable[[Message, int], list[Piece]]]] = {"chatml": _turn, "zaya": _zaya_turn}
NAMES: Final = (*_TURNS, "plain")


def _plain(messages: Sequence[Message]) -> Rendered:
    """The texts with blank lines between; the end of document is trained where the assistant speaks last."""
    pieces: list[Piece] = []
    for number, message in enumerate(messages):
        trained = message.role == ASSISTANT
        texts = [(message.reasoning or "" if message.has_reasoning else "", "reasoning"), (message.content, "content")]
        told = [(text, part) for text, part in texts if text]
        for at, (text, part) in enumerate(told):
            if pieces:
                pieces.append(Piece(BETWEEN, False, trained and at > 0))
            pieces.append(
                Piece(text, False, trained, "reasoning" if part == "reasoning" else "content", number)
                if trained
                else Piece(text, False, False, "other", number)
            )
    return Rendered(tuple(pieces), end_trained=bool(messages) and messages[-1].role == ASSISTANT)
