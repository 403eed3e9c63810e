"""Chat templates: messages rendered to text in pieces that say what is special and what is trained.

Reasoning is stored apart from content and meets its tags only here, and the loss mask comes from the messages
themselves, so it cannot be empty because of a marker that was not found, nor can a message forge a turn. Costs a few
small strings a message; nothing is parsed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..config import did_you_mean
from ..errors import ConfigError, RunError

TEMPLATES = ("chatml",)

TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"
REASONING_START, REASONING_END = "<think>", "</think>"
SPECIAL_TOKENS = (TURN_START, TURN_END, REASONING_START, REASONING_END)
"""What a template needs of a tokenizer: each is one token, and none can come from ordinary text."""

ASSISTANT = "assistant"
ROLES = ("system", "developer", "user", ASSISTANT, "tool")


@dataclass(frozen=True)
class Message:
    """One turn; `reasoning` is the assistant's thinking without tags (None, or white space alone: there is none)."""

    role: str
    content: str
    reasoning: str | None = None


@dataclass(frozen=True)
class Piece:
    """A run of text that is encoded apart from its neighbours.

    `special`: the text is exactly one special token; other pieces never become a special token, whatever they spell.
    `trained`: its tokens count in the loss under `loss: assistant`.
    """

    text: str
    special: bool
    trained: bool


@dataclass(frozen=True)
class Rendered:
    """A conversation as pieces, in order; none is empty."""

    pieces: tuple[Piece, ...]

    @property
    def text(self) -> str:
        """The pieces joined."""
        return "".join(piece.text for piece in self.pieces)

    @property
    def trained_bytes(self) -> int:
        """UTF-8 bytes of the trained pieces, their special tokens' spelling included."""
        return sum(len(piece.text.encode()) for piece in self.pieces if piece.trained)


def check_template(template: str) -> None:
    """Raises ConfigError where no template has this name."""
    if template in TEMPLATES:
        return
    raise ConfigError(
        f"unknown template {template}",
        seen=template,
        expected="one of " + ", ".join(TEMPLATES),
        fix=did_you_mean(template, TEMPLATES),
    )


def render(template: str, messages: Sequence[Message]) -> Rendered:
    """A conversation as training text; every assistant turn is trained, its end of turn included.

    Args:
        template: a name in TEMPLATES.
        messages: the turns in order.

    Raises:
        ConfigError: no such template.
        RunError: no assistant turn says anything, a role is unknown, or a turn of another role carries reasoning.
            The caller adds the document's id.
    """
    check_template(template)
    if not any(message.role == ASSISTANT and _says_something(message) for message in messages):
        raise RunError(
            "no trained text: no assistant turn has content or reasoning",
            seen=f"{len(messages)} messages, roles " + (", ".join(m.role for m in messages[:8]) or "none"),
            expected="at least one assistant turn that is not empty",
            fix="drop the record in the recipe, or correct the fields that its messages are read from",
        )
    return Rendered(tuple(piece for message in messages for piece in _turn(message)))


def prompt(template: str, messages: Sequence[Message], answer_directly: bool) -> Rendered:
    """What a model is given to answer: the conversation up to the text that it is to write; nothing is trained.

    The tokens are a prefix of those of `render` for the same messages with the answer behind them.

    Args:
        template: a name in TEMPLATES.
        messages: the turns so far; where the last is the assistant's, it is the answer, and left out.
        answer_directly: False opens the reasoning, True leaves it to the model to begin as it likes.

    Raises:
        ConfigError: no such template.
        RunError: there is no turn to answer, a role is unknown, or a turn of another role carries reasoning.
    """
    check_template(template)
    asked = messages[:-1] if messages and messages[-1].role == ASSISTANT else messages
    if not asked:
        raise RunError("no prompt: there is no turn to answer", seen=f"{len(messages)} messages")
    pieces = [Piece(p.text, p.special, False) for message in asked for p in _turn(message)]
    pieces += _opening(ASSISTANT)
    if not answer_directly:
        pieces += [Piece(REASONING_START, True, False), Piece("\n", False, False)]
    return Rendered(tuple(pieces))


def _says_something(message: Message) -> bool:
    return bool(message.content.strip()) or _has_reasoning(message)


def _has_reasoning(message: Message) -> bool:
    return message.reasoning is not None and bool(message.reasoning.strip())


def _opening(role: str) -> list[Piece]:
    return [Piece(TURN_START, True, False), Piece(f"{role}\n", False, False)]


def _turn(message: Message) -> list[Piece]:
    """`<|im_start|>role\\n…<|im_end|>\\n`.

    The role's line, and the line break that opens a reasoning, are pieces of their own: a prompt ends there, and a
    merge across that place would give the model tokens that it never saw in training.
    """
    if message.role not in ROLES:
        raise RunError(
            f"unknown role {message.role!r}",
            seen=message.role,
            expected="one of " + ", ".join(ROLES),
            fix=did_you_mean(message.role, ROLES, "map the role in the recipe's fields"),
        )
    trained = message.role == ASSISTANT
    pieces = _opening(message.role)
    if _has_reasoning(message):
        if not trained:
            raise RunError(
                f"a turn of the role {message.role} carries reasoning",
                seen=repr(message.reasoning)[:80],
                expected="reasoning in assistant turns only",
            )
        pieces += [
            Piece(REASONING_START, True, True),
            Piece("\n", False, True),
            Piece(f"{message.reasoning}\n", False, True),
            Piece(REASONING_END, True, True),
            Piece(f"\n\n{message.content}", False, True),
        ]
    elif message.content:
        pieces.append(Piece(message.content, False, trained))
    return [*pieces, Piece(TURN_END, True, trained), Piece("\n", False, False)]
