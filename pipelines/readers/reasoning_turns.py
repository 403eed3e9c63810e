"""The turns of a conversation, whatever its list looks like: OpenAI's messages, ShareGPT's, typed parts, a transcript.

Roles, keys and parts have many names in published data and one meaning here; a turn that a message cannot hold (a
tool's call, an image) is refused with its number, for to leave it out would change what was said.
Costs a look at each turn's keys.
"""

from typing import Any, Final

from .reasoning_markup import TRUNCATED, bare, has_tags, split, written
from .reasoning_wrappers import CHATML, CHATML_END, unwrapped, without_blank_lines, without_end
from .records import Unreadable, kind, required_text

Message = dict[str, str | None]
Messages = tuple[list[Message], list[str]]  # the turns, and the repairs that reading them took

ROLES: Final = ("system", "developer", "user", "assistant", "tool")
_NAMES: Final = {
    **{role: role for role in ROLES},
    **dict.fromkeys(("human", "prompter", "question"), "user"),
    **dict.fromkeys(("gpt", "model", "bot", "chatgpt", "ai"), "assistant"),
    **dict.fromkeys(("observation", "function_response", "function", "ipython"), "tool"),
}
THINKING_KEYS: Final = ("reasoning", "reasoning_content", "thinking")
TOOL_KEYS: Final = ("tool_calls", "function_call")
_KEYS, _SHARED_KEYS = ("role", "content", *THINKING_KEYS), ("from", "value", *THINKING_KEYS)
_TEXT_PARTS: Final = ("text", "input_text", "output_text")
_THOUGHT_PARTS: Final = ("thinking", "reasoning", "thought")
_HARMONY, _HARMONY_END = "<|start|>", "<|end|>"


def listed(turns: object, field: str, opened: bool = False) -> Messages:
    """The messages of a list of turns; `opened` as in `message`.

    Raises:
        Unreadable: it is no list of turns, or a turn cannot be read: its number and what is wrong.
    """
    if turns == []:
        raise Unreadable(f"field {field} is an empty list: the conversation has no turns")
    if not isinstance(turns, list):
        raise Unreadable(f"field {field} is {kind(turns)}, not a list of turns")
    messages, repairs = list[Message](), list[str]()
    for number, turn in enumerate(turns):
        message, own = _turn(turn, number, opened)
        messages.append(message)
        repairs += own
    return messages, repairs


def unread(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the turns hold beside role, content and reasoning, one mapping a turn; empty where they hold nothing."""
    left = []
    for turn in turns:
        read = _SHARED_KEYS if _is_shared(turn) else _KEYS
        left.append({key: value for key, value in turn.items() if key not in read and value is not None})
    return left if any(left) else []


def message(role: str, content: str, reasoning: str | None, opened: bool = False) -> tuple[Message, list[str]]:
    """A turn in the one form that is stored, and the repairs: an assistant's thought is taken out of its content.

    Args:
        role: one of `ROLES`.
        content: its text.
        reasoning: the thought that stands beside it.
        opened: whether the assistant's turns began in a thought that the prompt had opened.

    Raises:
        Unreadable: the thinking tags have no one meaning, or are such that the turn could not be read from its own
            rendering.
    """
    if role != "assistant":
        return {"role": role, "content": content, "reasoning": None}, []
    found, repairs = _apart(content, reasoning, opened)
    if any(part and _has_markup(part) for part in found) and not _is_kept(*found):
        raise Unreadable("tags within the text that cannot be told from those of a thought or a turn")
    thought, text = found
    return {"role": role, "content": text, "reasoning": thought}, repairs


def _has_markup(text: str) -> bool:
    return has_tags(text) or CHATML in text or without_end(text) != text


def _is_kept(thought: str | None, text: str) -> bool:
    """Whether a turn is read again as it is, from its rendering and from the fields that it is stored in."""
    try:
        return split(written(thought, text))[:2] == (thought, text) == _apart(text, thought, False)[0]
    except Unreadable:
        return False


def _apart(content: str, reasoning: str | None, opened: bool) -> tuple[tuple[str | None, str], list[str]]:
    """Thought and answer of an assistant's content, and of the reasoning beside it, which is text but for its ends."""
    thought = bare(reasoning or "")
    tagged = split(content, opened and reasoning is None if not thought.strip() else False)
    own = bare(tagged.reasoning or "")
    repairs = [*tagged.repairs, *(["nested_thoughts"] if own != (tagged.reasoning or "") else [])]
    if not thought.strip():
        return (own if own.strip() else None, tagged.content), list(dict.fromkeys(repairs))
    taken_off = ["tagged_reasoning"] if thought != str(reasoning).strip("\r\n") else []
    text = tagged.content
    if own.strip():
        if own.strip() != thought.strip():
            raise Unreadable("thinking tags beside a reasoning that says something else")
        taken_off += ["repeated_reasoning"]
        repairs = [name for name in repairs if name != TRUNCATED]
    else:
        text, more = unwrapped(without_blank_lines(text, tagged=False))
        repairs += more
    return (thought, text), list(dict.fromkeys([*taken_off, *repairs]))


def _turn(turn: object, number: int, opened: bool) -> tuple[Message, list[str]]:
    if not isinstance(turn, dict):
        raise Unreadable(f"turn {number} has no role among {', '.join(ROLES)}")
    shared = _is_shared(turn)
    name = turn.get("from" if shared else "role")
    if name in ("function_call", "tool_call"):
        raise Unreadable(f"turn {number} calls a tool, which a message cannot hold")
    role = _NAMES.get(name.lower()) if isinstance(name, str) and shared else name
    if not isinstance(role, str) or role not in ROLES:
        role = _NAMES.get(role, "") if isinstance(role, str) else ""
    if not role:
        raise Unreadable(f"turn {number} has no role among {', '.join(ROLES)}")
    if any(turn.get(key) for key in TOOL_KEYS):
        raise Unreadable(f"turn {number} calls a tool, which a message cannot hold")
    thoughts = [required_text(turn, key) for key in THINKING_KEYS if turn.get(key)]
    key = "value" if shared else "content"
    cut_off = bool(thoughts) and turn.get(key) is None  # a sampler's reply that ended in its thought
    content, parts = ("", []) if cut_off else _content(turn, key, number)
    thoughts = list(dict.fromkeys([*thoughts, *parts]))
    if len(thoughts) > 1:
        raise Unreadable(f"turn {number} has two different reasonings")
    if thoughts and role != "assistant":
        raise Unreadable(f"turn {number} has reasoning and is not the assistant's")
    return message(role, content, thoughts[0] if thoughts else None, opened)


def _is_shared(turn: dict[str, Any]) -> bool:
    """Whether a turn is written as ShareGPT's are."""
    return "from" in turn and "role" not in turn


def _content(turn: dict[str, Any], key: str, number: int) -> tuple[str, list[str]]:
    """The text of a turn and its thought, where the content is a list of typed parts; the thought as no or one text."""
    if not isinstance(turn.get(key), list):
        return required_text(turn, key), []
    texts, thoughts = list[str](), list[str]()
    for part in turn[key]:
        sort = part.get("type") if isinstance(part, dict) else None
        if sort in _TEXT_PARTS:
            texts.append(required_text(part, "text"))
        elif sort in _THOUGHT_PARTS and not texts:
            thoughts.append(required_text(part, next((name for name in (sort, "text") if part.get(name)), sort)))
        elif sort in _THOUGHT_PARTS:
            raise Unreadable(f"turn {number} has a thought between parts of its answer")
        elif sort in ("tool_use", "tool_call", "function_call"):
            raise Unreadable(f"turn {number} calls a tool, which a message cannot hold")
        else:
            raise Unreadable(f"turn {number} has a part of type {sort}, which is no text")
    return "".join(texts), ["\n\n".join(thoughts)] if thoughts else []


def transcript(text: str, field: str) -> Messages:
    """The messages of a text that is a whole conversation (ChatML, harmony), or one reply with its thought.

    Raises:
        Unreadable: it is neither, or there is text between the turns.
    """
    if text.lstrip().startswith(CHATML):
        return listed([_chatml(part, field) for part in _parts(text, CHATML)], field)
    if text.lstrip().startswith(_HARMONY):
        return listed(_harmony(text, field), field)
    one, repairs = message("assistant", text, None)
    if one["reasoning"] is None:
        raise Unreadable(f"field {field} is neither a conversation nor a reply with a thought")
    return [one], repairs


def _parts(text: str, mark: str) -> list[str]:
    """What follows each mark of a text that begins with one."""
    return text.lstrip().split(mark)[1:]


def _chatml(part: str, field: str) -> dict[str, str]:
    """A turn from behind its opening token on."""
    role, line, content = part.partition("\n")
    if not line or not content.rstrip().endswith(CHATML_END):
        raise Unreadable(f"field {field}: a turn that is not closed, or text outside of turns")
    return {"role": role.strip(), "content": content.rstrip().removesuffix(CHATML_END)}


def _harmony(text: str, field: str) -> list[dict[str, str]]:
    """The turns of a conversation in harmony; the assistant's messages that follow each other are one turn."""
    turns: list[dict[str, str]] = []
    for part in _parts(text, _HARMONY):
        if part.startswith("assistant"):
            if turns and turns[-1]["role"] == "assistant":
                turns[-1]["content"] += _HARMONY + part
            else:
                turns.append({"role": "assistant", "content": _HARMONY + part})
            continue
        role, message_mark, content = part.partition("<|message|>")
        if not message_mark or not content.rstrip().endswith(_HARMONY_END):
            raise Unreadable(f"field {field}: a turn that is not closed, or text outside of turns")
        turns.append({"role": role.strip(), "content": content.rstrip().removesuffix(_HARMONY_END)})
    return turns
