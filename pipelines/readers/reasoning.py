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
    if "answer" in fields and fields["answer"] not in record:
        raise Unreadable(f"no field {fields['answer']}")
    used = set(fields.values()) | {"id", "url", "date"}
    return Row(
        text="\n\n".join(part for message in messages for part in (message["reasoning"], message["content"]) if part),
        id=optional_text(record, fields.get("id", "id")),
        url=optional_text(record, fields.get("url", "url")),
        date=optional_text(record, fields.get("date", "date")),
        metadata=rest(record, used | {"text"}),
        messages=messages,
        answer=optional_text(record, fields.get("answer")),
    )


def _mapped(record: dict[str, Any], fields: Mapping[str, str]) -> list[Message]:
    messages: list[Message] = []
    if "system" in fields:
        messages.append(_message("system", required_text(record, fields["system"]), None))
    messages.append(_message("user", required_text(record, fields["prompt"]), None))
    reasoning = required_text(record, fields["reasoning"]) if "reasoning" in fields else None
    response = optional_text(record, fields.get("response")) if "response" in fields else ""
    if response is None:
        raise Unreadable(f"no field {fields['response']}")
    if not response.strip() and not (reasoning or "").strip():
        raise Unreadable("the response is empty")
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
        thinking = [key for key in THINKING_KEYS if turn.get(key)]
        reasoning = required_text(turn, thinking[0]) if thinking else None
        messages.append(_message(str(turn["role"]), required_text(turn, "content"), reasoning))
    return messages


def _message(role: str, content: str, reasoning: str | None) -> Message:
    if role == "assistant" and reasoning is None and (match := _THINK.fullmatch(content)):
        reasoning, content = match[1].strip("\n"), match[2].lstrip()
    for part in (content, reasoning or ""):
        if role == "assistant" and ("<think>" in part or "</think>" in part):
            raise Unreadable("thinking tags that cannot be read: not one pair at the start of the response")
    return {"role": role, "content": content, "reasoning": reasoning or None}
