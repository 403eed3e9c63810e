"""Chain-of-thought records in any published shape, as turns with the reasoning set apart from the content.

Training text is rendered by a template only when tokens are made, so the thinking of a turn must not hide in its
content, whatever tags, channels or fields it came in. Each repair is counted and named in the record's metadata; what
has no one meaning is set aside with its reason. `text` is the reasonings and contents joined by blank lines, for
filters and deduplication.
Costs one search for tags a reply, beside the parsing of the record.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

from . import reasoning_answers, reasoning_markup
from .documents import rest
from .reasoning_answers import MARKS
from .reasoning_layouts import AUTO, Fields, between, detect, layout
from .reasoning_turns import Message, Messages, listed, message, transcript, unread
from .records import Row, Unreadable, as_text, kind, optional_text, required_text

REPAIRS: Final = {**reasoning_markup.REPAIRS, **reasoning_answers.REPAIRS}
"""Every repair by the name that counts, reports and metadata have for it, and what was done."""

Marks = Literal["keep", "remove"]


def row(
    record: dict[str, Any], fields: Fields | str = AUTO, calculator_marks: Marks = "keep", opened: bool = False
) -> Row:
    """The reasoning record as a document with messages.

    Args:
        record: the JSON object or Parquet row.
        fields: `prompt`, `reasoning`, `response`, `system`, or `messages` (and `system`), or `transcript`; `answer`
            (a field, or one of `MARKS`), `id`, `url`, `date`. Or a layout's name, or `auto`: the layout that fits.
        calculator_marks: whether GSM8K's are kept in assistant turns.
        opened: whether the prompts ended in a thought's opening tag: a reply without tags is then a truncated thought.

    Raises:
        Unreadable: a mapped field is missing or is not text, tags have no one meaning, no layout or several fit.
    """
    taken, chosen = _fields(record, fields)
    messages, repairs = _messages(record, chosen, opened, between(taken))
    if not any(turn["role"] == "assistant" for turn in messages):
        raise Unreadable("no assistant turn")
    for number, turn in enumerate(messages):
        if turn["role"] == "assistant" and not (turn["reasoning"] or str(turn["content"]).strip()):
            raise Unreadable(f"turn {number}, the assistant's, is empty")
    if calculator_marks == "remove":
        messages, found = reasoning_answers.without_calculator(messages)
        repairs += ["calculator_marks"] if found else []
    answer = _answer(record, chosen, messages, repairs)
    repairs = list(dict.fromkeys(repairs))
    return Row(
        text="\n\n".join(part for turn in messages for part in (turn["reasoning"], turn["content"]) if part),
        id=_text(record, chosen, "id"),
        url=_text(record, chosen, "url"),
        date=_text(record, chosen, "date"),
        metadata=_metadata(record, chosen, repairs),
        messages=messages,
        answer=answer,
        layout=taken,
        repairs=tuple(repairs),
    )


def _fields(record: Mapping[str, Any], fields: Fields | str) -> tuple[str, Fields]:
    """The layout's name ("" where the recipe spells the fields out), and the fields."""
    if not isinstance(fields, str):
        return ("", fields) if fields else detect(record)
    if fields == AUTO:
        return detect(record)
    there = frozenset(name for name, value in record.items() if value is not None)
    return fields, layout(fields).taken(there)


def _messages(record: dict[str, Any], fields: Fields, opened: bool, gap: str) -> Messages:
    if "transcript" in fields:
        return transcript(required_text(record, _name(fields, "transcript")), _name(fields, "transcript"))
    if "messages" not in fields:
        return _mapped(record, fields, opened, gap)
    messages, repairs = listed(record.get(_name(fields, "messages")), _name(fields, "messages"), opened)
    if "system" in fields and (system := _text(record, fields, "system")):
        if messages[0]["role"] == "system" and messages[0]["content"] != system:
            raise Unreadable(f"field {fields['system']} and turn 0 are both the system's, and not the same")
        messages = messages if messages[0]["role"] == "system" else [message("system", system, None)[0], *messages]
    return messages, repairs


def _mapped(record: dict[str, Any], fields: Fields, opened: bool, gap: str) -> Messages:
    messages = list[Message]()
    if "system" in fields:
        messages.append(message("system", required_text(record, _name(fields, "system")), None)[0])
    prompts, repairs = _prompt(record, fields["prompt"], gap)
    messages += prompts
    reasoning = _joined(record, _name(fields, "reasoning")) if "reasoning" in fields else None
    response: str | None = None
    if "response" in fields:
        column = _name(fields, "response")
        if _is_turns(record.get(column)):
            if reasoning is not None:
                raise Unreadable(f"field {column} is a list of turns, and reasoning a field beside it")
            turns, more = listed(record[column], column, opened)
            return [*messages, *turns], [*repairs, *more]
        cut_off = bool((reasoning or "").strip()) and column in record and record[column] is None
        response = "" if cut_off else _joined(record, column)
    elif fields.get("answer") == "####" and reasoning and (parts := reasoning_answers.solved(reasoning)):
        (reasoning, response), repairs = parts, [*repairs, "answer_mark"]
    turn, more = message("assistant", response or "", reasoning, opened)
    return [*messages, turn], [*repairs, *more]


def _prompt(record: dict[str, Any], columns: str | tuple[str, ...], gap: str) -> Messages:
    """The turns of a prompt: a text, a list of turns, or several columns with `gap` between those that hold text."""
    if isinstance(columns, str) and _is_turns(record.get(columns)):
        return listed(record[columns], columns)
    if isinstance(columns, str):
        prompt = required_text(record, columns)
    else:
        prompt = gap.join(part for column in columns if (part := _joined(record, column, "\n")).strip())
    if not prompt.strip():
        raise Unreadable("the prompt is empty")
    return [message("user", prompt, None)[0]], []


def _joined(record: dict[str, Any], column: str, between: str = "\n\n") -> str:
    """A field's text; a list of texts (steps, options, facts) as one; a number or truth value written out."""
    value = record.get(column)
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return between.join(value)
    found = as_text(value, column) if column in record else None
    return required_text(record, column) if found is None else found


def _is_turns(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(turn, dict) for turn in value)


def _answer(record: dict[str, Any], fields: Fields, messages: list[Message], repairs: list[str]) -> str | None:
    if "answer" not in fields:
        return None
    if "answer_mark" in repairs:
        return messages[-1]["content"]
    column = _name(fields, "answer")
    if column in MARKS and column not in record:
        return reasoning_answers.marked(messages, column)
    return _text(record, fields, "answer")


def _text(record: dict[str, Any], fields: Fields, name: str) -> str | None:
    """A field that may be null; one that the recipe names must be there."""
    if name not in fields:
        return optional_text(record, name)
    if _name(fields, name) not in record:
        raise Unreadable(f"no field {fields[name]}")
    return optional_text(record, _name(fields, name))


def _name(fields: Fields, name: str) -> str:
    column = fields[name]
    if not isinstance(column, str):
        raise Unreadable(f"{name} is one field, not {kind(column)}")
    return column


def _metadata(record: dict[str, Any], fields: Fields, repairs: list[str]) -> str | None:
    """What no column takes, what turns hold beside what was read of them, and the repairs."""
    columns = [[column] if isinstance(column, str) else column for column in fields.values()]
    used = {column for group in columns for column in group}
    used |= {str(fields.get(name, name)) for name in ("id", "url", "date")}
    left = {key: value for key, value in record.items() if key not in used}
    for name in ("messages", "prompt", "response"):
        column = fields.get(name)
        if isinstance(column, str) and _is_turns(record.get(column)) and (more := unread(record[column])):
            left[column] = more
    if repairs:
        if "repairs" in left:
            raise Unreadable("the record's own field repairs stands where its repairs are named")
        left["repairs"] = repairs
    return rest(left, ())
