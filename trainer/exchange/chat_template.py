"""Our chat templates in Jinja, as transformers renders them.

A model answers in the form that it was trained on, so the form travels with it; the text is the same as
`mixtures/templates/` renders. A template of transformers knows no pieces: what it encodes is the whole text, and a
message that spells a special token forges it there. Costs nothing.
"""

from typing import Any, Final

import orjson

from ...mixtures.templates import REASONING_END, REASONING_START, ROLES, TURN_END, TURN_START, Template

FILE: Final = "chat_template.jinja"

_ROLES: Final = ", ".join(f"'{role}'" for role in ROLES)
_LAST_USER: Final = (
    "{%- set last = namespace(user=0) %}"
    "{%- for message in messages %}{%- if message['role'] == 'user' %}{%- set last.user = loop.index0 %}{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{%- set last.user = messages | length %}{%- endif %}"
)
_CHECKED: Final = (
    "{%- if message['role'] not in [" + _ROLES + "] %}"
    "{{- raise_exception('unknown role ' ~ message['role']) }}"
    "{%- endif %}"
    "{%- set reasoning = message['reasoning_content'] or message['reasoning'] or '' %}"
    "{%- if reasoning | trim and message['role'] != 'assistant' %}"
    "{{- raise_exception('a turn of the role ' ~ message['role'] ~ ' carries reasoning') }}"
    "{%- endif %}"
)
_DROPPED: Final = "{%- if loop.index0 < last.user %}{%- set reasoning = '' %}{%- endif %}"
_EMPTY: Final = REASONING_START + "\\n\\n" + REASONING_END + "\\n\\n"


def of(template: Template) -> str:
    """The Jinja text of a template; its options stand in it as defaults."""
    if template.jinja is not None:
        return _with_options(template.jinja, orjson.loads(template.options))
    drops = template.earlier_reasoning == "drop"
    return _plain(drops) if template.name == "plain" else _chatml(drops, blocks=template.name == "zaya")


def _chatml(drops: bool, blocks: bool) -> str:
    """chatml, or with `blocks` zaya, where every assistant's turn has a block for its reasoning."""
    without = ""
    if blocks:
        without = "{%- elif message['role'] == 'assistant' %}{{- '" + _EMPTY + "' }}"
    return (
        "{#- enable_thinking=false leaves the model to begin as it likes; else a prompt opens its reasoning. #}"
        + (_LAST_USER if drops else "")
        + "{%- for message in messages %}"
        + _CHECKED
        + (_DROPPED if drops else "")
        + "{{- '"
        + TURN_START
        + "' ~ message['role'] ~ '\\n' }}"
        "{%- if reasoning | trim %}"
        "{{- '" + REASONING_START + "\\n' ~ reasoning ~ '\\n" + REASONING_END + "\\n\\n' }}" + without + "{%- endif %}"
        "{{- (message['content'] or '') ~ '" + TURN_END + "\\n' }}"
        "{%- endfor %}"
        "{%- if add_generation_prompt %}"
        "{{- '" + TURN_START + "assistant\\n' }}"
        "{%- if enable_thinking is not defined or enable_thinking %}"
        "{{- '"
        + REASONING_START
        + "\\n' }}"
        + ("{%- else %}{{- '" + _EMPTY + "' }}" if blocks else "")
        + "{%- endif %}"
        "{%- endif %}"
    )


def _plain(drops: bool) -> str:
    """The texts with blank lines between."""
    return (
        "{%- set told = namespace(any=false) %}"
        + (_LAST_USER if drops else "")
        + "{%- for message in messages %}"
        + _CHECKED
        + (_DROPPED if drops else "")
        + "{%- for text in [reasoning if reasoning | trim else '', message['content'] or ''] %}"
        "{%- if text %}"
        "{{- ('\\n\\n' if told.any else '') ~ text }}"
        "{%- set told.any = true %}"
        "{%- endif %}"
        "{%- endfor %}"
        "{%- endfor %}"
        "{%- if add_generation_prompt and told.any %}{{- '\\n\\n' }}{%- endif %}"
    )


def _with_options(text: str, options: dict[str, Any]) -> str:
    """A Jinja text that has its options by itself: tokens as they are, others as defaults that a caller may change."""
    lines = []
    for name, value in options.items():
        setting = "{% set " + name + " = " + _literal(value) + " %}"
        always = name in ("bos_token", "eos_token")
        lines.append(setting if always else "{% if " + name + " is not defined %}" + setting + "{% endif %}")
    # Without an expression between, a line break that the text begins with would be trimmed.
    return "".join(lines) + "{{ '' }}" + text if lines else text


def _literal(value: Any) -> str:
    """JSON is a literal of Jinja, but for null."""
    if value is None:
        return "none"
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(key)}: {_literal(one)}" for key, one in value.items()) + "}"
    return orjson.dumps(value).decode()
