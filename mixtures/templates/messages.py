"""Conversations: turns, and the pieces that a template makes of them, which say what is special and what is trained.

Reasoning is stored apart from content and meets its tags only in a template, and what each piece is comes from the
messages, so a loss mask cannot be empty because of a marker that was not found, nor can a message forge a turn. Costs a
few small strings a message; nothing is parsed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ...config import did_you_mean
from ...errors import RunError

ASSISTANT: Final = "assistant"
ROLES: Final = ("system", "developer", "user", ASSISTANT, "tool")

Part = Literal["reasoning", "content", "other"]
"""Of a piece: an assistant's reasoning, its content, or anything else."""

EarlierReasoning = Literal["keep", "drop", "template"]
"""Reasoning of assistant turns before the last user turn: kept (an error where the template drops it), never given to
the template, or left to it."""


@dataclass(frozen=True)
class Message:
    """One turn; `reasoning` is the assistant's thinking without tags (None, or white space alone: there is none)."""

    role: str
    content: str
    reasoning: str | None = None

    @property
    def has_reasoning(self) -> bool:
        """Whether it carries any."""
        return self.reasoning is not None and bool(self.reasoning.strip())

    @property
    def says_something(self) -> bool:
        """Whether content or reasoning is more than white space."""
        return bool(self.content.strip()) or self.has_reasoning


@dataclass(frozen=True)
class Piece:
    """A run of text that is encoded apart from its neighbours.

    `special`: the text is exactly one special token; other pieces never become a special token, whatever they spell.
    `trained`: its tokens count in the loss under `loss: assistant`.
    `part`, `turn`: whose text it is: an assistant's reasoning or content of that message, from 0; else `other`.
    """

    text: str
    special: bool
    trained: bool
    part: Part = "other"
    turn: int = 0


@dataclass(frozen=True)
class Rendered:
    """A conversation as pieces, in order, none empty; `end_trained`: the end of document behind it counts too."""

    pieces: tuple[Piece, ...]
    end_trained: bool = False

    @property
    def text(self) -> str:
        """The pieces joined."""
        return "".join(piece.text for piece in self.pieces)

    @property
    def trained_bytes(self) -> int:
        """UTF-8 bytes of the trained pieces, their special tokens' spelling included."""
        return sum(len(piece.text.encode()) for piece in self.pieces if piece.trained)


def check(messages: Sequence[Message]) -> None:
    """Raises RunError where no assistant turn says anything, a role is unknown, or another's turn has reasoning."""
    check_turns(messages)
    if not any(message.role == ASSISTANT and message.says_something for message in messages):
        raise RunError(
            "no trained text: no assistant turn has content or reasoning",
            seen=f"{len(messages)} messages, roles " + (", ".join(m.role for m in messages[:8]) or "none"),
            expected="at least one assistant turn that is not empty",
            fix="drop the record in the recipe, or correct the fields that its messages are read from",
        )


def check_turns(messages: Sequence[Message]) -> None:
    """Raises RunError where a role is unknown, or a turn of another role than the assistant's carries reasoning."""
    for message in messages:
        if message.role not in ROLES:
            raise RunError(
                f"unknown role {message.role!r}",
                seen=message.role,
                expected="one of " + ", ".join(ROLES),
                fix=did_you_mean(message.role, ROLES, "map the role in the recipe's fields"),
            )
        if message.role != ASSISTANT and message.has_reasoning:
            raise RunError(
                f"a turn of the role {message.role} carries reasoning",
                seen=repr(message.reasoning)[:80],
                expected="reasoning in assistant turns only",
            )


def asked(messages: Sequence[Message]) -> Sequence[Message]:
    """The turns that a model answers; where the last is the assistant's, it is the answer, and left out.

    Raises:
        RunError: there is none.
    """
    turns = messages[:-1] if messages and messages[-1].role == ASSISTANT else messages
    if not turns:
        raise RunError("no prompt: there is no turn to answer", seen=f"{len(messages)} messages")
    return turns


def without_earlier(messages: Sequence[Message]) -> list[Message]:
    """The messages without the reasoning of assistant turns that stand before the last user turn."""
    last = max((at for at, message in enumerate(messages) if message.role == "user"), default=0)
    return [Message(one.role, one.content) if at < last else one for at, one in enumerate(messages)]
