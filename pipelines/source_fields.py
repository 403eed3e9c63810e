"""What a recipe says of a source's fields, checked when it is loaded: our fields to the file's, or a layout's name.

A field that is mapped and never read would be data lost without a word. Costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..config import Loaded, did_you_mean
from ..errors import ConfigError
from ..yaml_document import KeyPath

if TYPE_CHECKING:
    from .recipe import Format, RecipeSpec, SourceSpec

DOCUMENT_FIELDS = ("text", "id", "url", "date", "language")
REASONING_FIELDS = (
    "prompt", "reasoning", "response", "answer", "messages", "transcript", "system", "id", "url", "date",
)  # fmt: skip
TURNS = ("prompt", "reasoning", "response", "system")  # fields that become turns, where there are no messages


def check(loaded: Loaded[RecipeSpec], index: int, source: SourceSpec) -> None:
    """Checks the fields of a recipe's source number `index`.

    Raises:
        ConfigError: a field that nothing is mapped to, a layout that is not known, turns that would not be read.
    """
    where = ("sources", index, "fields")
    if isinstance(source.fields, str):
        _check_layout(loaded, index, source.format, source.fields)
        return
    known = REASONING_FIELDS if source.format == "reasoning" else DOCUMENT_FIELDS
    for field, column in source.fields.items():
        if source.format == "text":
            raise loaded.error((*where, field), "plain text has no fields", fix="remove fields, or correct format")
        if field not in known:
            raise _unknown(loaded, (*where, field), f"no field can be mapped to {field}", field, known)
        if not isinstance(column, str) and (field != "prompt" or not column):
            raise loaded.error((*where, field), f"{field} is one field", fix="only a prompt may be of several")
    if source.format == "reasoning" and source.fields:
        _check_turns(loaded, index, source.fields)


def _check_layout(loaded: Loaded[RecipeSpec], index: int, kind: Format | None, name: str) -> None:
    from .readers import reasoning_layouts

    where, known = ("sources", index, "fields"), [reasoning_layouts.AUTO, *reasoning_layouts.names()]
    if kind != "reasoning":
        raise loaded.error(where, "a layout's name belongs to format: reasoning", fix="fields: {text: …}")
    if name not in known:
        raise _unknown(loaded, where, f"no layout is called {name}", name, known)


def _check_turns(loaded: Loaded[RecipeSpec], index: int, fields: Mapping[str, object]) -> None:
    """Of a reasoning source's fields, that they say where every turn comes from, once."""
    where = ("sources", index, "fields")
    whole = [field for field in ("transcript", "messages") if field in fields]
    beside = ("system",) if whole == ["messages"] else ()
    turns = [field for field in TURNS if field in fields and field not in beside]
    if whole and (turns or len(whole) > 1):
        extra = [*whole[1:], *turns][0]
        raise loaded.error(
            (*where, extra), f"{whole[0]} hold{'s' * (whole[0] != 'messages')} every turn: {extra} would not be read",
            fix="leave one out",
        )  # fmt: skip
    if not whole and not ("prompt" in turns and {"response", "reasoning"} & set(turns)):
        raise loaded.error(
            where,
            "a reasoning source needs fields: {prompt: …, response: …}, {messages: …} or {transcript: …}",
            fix="leave fields out to have the layout found, or complete them",
        )


def _unknown(loaded: Loaded[RecipeSpec], path: KeyPath, what: str, name: str, known: Sequence[str]) -> ConfigError:
    return loaded.error(path, what, expected=", ".join(known), fix=did_you_mean(name, known))
