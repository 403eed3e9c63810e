"""Chain-of-thought records: prompt and response fields, or a list of messages, as turns with reasoning set apart.

Training text is rendered by a template only when tokens are made, so the thinking of a turn must not hide in its
content: one well-formed `<think>…</think>` at the start of a response is taken out, any other tag sets the record
aside. `text` is the reasonings and contents joined by blank lines, for filters and deduplication.
"""

import re
from collections.abc import Mapping
from typing import Any

from .documents import rest
from .records import Row, Unreadable, kind, optional_text, required_text

ROLES = ("system", "user", "assistant", "tool")
THINKING_KEYS = ("reasoning", "reasoning_content", "thinking")
TOOL_KEYS = ("tool_calls", "function_call")
_THINK = re.compile(r"\s*<think>(.*?)</think>(.*)", re.DOTALL)

Message = dict[str, str | None]


def row(record: dict[str, Any], fields: Mapping[str, str]) -> Row:
    """The reasoning record as a document with messages.

    Args:
        record: the JSON object or Parquet row.
        fields: `prompt`, `reasoning`, `response`, `system`, or `messages`; `answer`, `id`, `url`, `date`.

    Raises:
        Unreadable: a mapped field is missing, is not text, or holds thinking tags that cannot be read.
    """
    messages = _listed(record, fields["messages"]) if "messages" in fields else _mapped(record, fields)
    if not any(message["role"] == "assistant" for message in messages):
        raise Unreadable("no assistant turn")
    for number, message in enumerate(messages):
        if message["role"] == "assistant" and not (message["reasoning"] or str(message["content"]).strip()):
            raise Unreadable(f"turn {number}, the assistant's, is empty")
    for name in ("answer", "id", "url", "date"):
        if name in fields and fields[name] not in record:
            raise Unreadable(f"no field {fields[name]}")
    used = set(fields.values()) | {fields.get(name, name) for name in ("id", "url", "date")}
    if "messages" in fields and (unread := _unread(record[fields["messages"]])):
        record, used = {**record, fields["messages"]: unread}, used - {fields["messages"]}
    return Row(
        text="\n\n".join(part for message in messages for part in (message["reasoning"], message["content"]) if part),
        id=optional_text(record, fields.get("id", "id")),
        url=optional_text(record, fields.get("url", "url")),
        date=optional_text(record, fields.get("date", "date")),
        metadata=rest(record, used),
        messages=messages,
        answer=optional_text(record, fields.get("answer")),
    )


def _mapped(record: dict[str, Any], fields: Mapping[str, str]) -> list[Message]:
    messages: list[Message] = []
    if "system" in fields:
        messages.append(_message("system", required_text(record, fields["system"]), None))
    prompt = required_text(record, fields["prompt"])
    if not prompt.strip():
        raise Unreadable("the prompt is empty")
    messages.append(_message("user", prompt, None))
    reasoning = required_text(record, fields["reasoning"]) if "reasoning" in fields else None
    response = ""
    if "response" in fields:
        number = optional_text(record, fields["response"])  # a response may be a bare number
        response = required_text(record, fields["response"]) if number is None else number
    messages.append(_message("assistant", response, reasoning))
    return messages


def _listed(record: dict[str, Any], field: str) -> list[Message]:
    turns = record.get(field)
    if not isinstance(turns, list) or not turns:
        raise Unreadable(f"field {field} is {kind(turns)}, not a list of turns")
    messages = []
    for number, turn in enumerate(turns):
        if not isinstance(turn, dict) or turn.get("role") not in ROLES:
            raise Unreadable(f"turn {number} has no role among {', '.join(ROLES)}")
        if any(turn.get(key) for key in TOOL_KEYS):
            raise Unreadable(f"turn {number} calls a tool, which a message cannot hold")
        thoughts = list(dict.fromkeys(required_text(turn, key) for key in THINKING_KEYS if turn.get(key)))
        if len(thoughts) > 1:
            raise Unreadable(f"turn {number} has two different reasonings")
        if thoughts and turn["role"] != "assistant":
            raise Unreadable(f"turn {number} has reasoning and is not the assistant's")
        messages.append(_message(turn["role"], required_text(turn, "content"), thoughts[0] if thoughts else None))
    return messages


def _unread(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the turns hold beside role, content and reasoning, one mapping a turn; empty where they hold nothing."""
    read = {"role", "content", *THINKING_KEYS}
    left = [{key: value for key, value in turn.items() if key not in read and value is not None} for turn in turns]
    return left if any(left) else []


def _message(role: str, content: str, reasoning: str | None) -> Message:
    if role == "assistant" and reasoning is None and (match := _THINK.fullmatch(content)):
        reasoning, content = match[1], match[2].lstrip()
    for part in (content, reasoning or ""):
        if role == "assistant" and ("<think>" in part or "</think>" in part):
            raise Unreadable("thinking tags that cannot be read: not one pair at the start of the response")
    reasoning = (reasoning or "").strip("\n")
    return {"role": role, "content": content, "reasoning": reasoning if reasoning.strip() else None}
