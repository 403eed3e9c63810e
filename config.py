"""YAML files read strictly into frozen pydantic sections, with line numbers kept.

A mistyped key that becomes a default is the field's most expensive silent error, so every key, type and unit is checked
before anything starts, and every complaint names file:line, the key's path, the value, and the nearest key. Costs one
parse in pure Python (about 1 ms per 100 lines); torch, pyarrow and ray are never imported here.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from .errors import ConfigError
from .yaml_document import Document, KeyPath, override, parse

T = TypeVar("T", bound=BaseModel)

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "G": 10**9, "T": 10**12}
_UNITS |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_COUNT = re.compile(r"([0-9][0-9_]*(?:\.[0-9]+)?)\s*([KMBGT]i?|)")
_SHARE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*%")


class Section(BaseModel):
    """A part of a configuration: frozen, no key that it does not know, the nearest key suggested."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _know_every_key(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        known = {info.alias or name for name, info in cls.model_fields.items()}
        for key in value:
            if key not in known:
                raise PydanticCustomError(
                    "unknown_key",
                    "unknown key {key}",
                    {"key": str(key), "known": sorted(known), "nearest": nearest(str(key), known)},
                )
        return {key: _frozen(below) for key, below in value.items()}


def _frozen(value: Any) -> Any:
    """Lists as tuples: strict validation takes no list for a tuple, and sections are frozen."""
    if isinstance(value, list):
        return tuple(_frozen(below) for below in value)
    if isinstance(value, dict):
        return {key: _frozen(below) for key, below in value.items()}
    return value


def nearest(word: str, known: set[str] | Sequence[str]) -> str:
    """The entry of `known` most like `word`, or an empty string where nothing is close."""
    close = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return close[0] if close else ""


def parse_count(value: object) -> object:
    """`10M`, `64Ki`, `1_000`, `3` to an int; decimal units K M B (or G) T, binary units Ki Mi Gi Ti."""
    if not isinstance(value, str):
        return value
    match = _COUNT.fullmatch(value.strip())
    unit = match[2] if match else None
    if match is None or unit not in _UNITS:
        raise PydanticCustomError("count", "not a count: a whole number with K M B T or Ki Mi Gi Ti")
    whole, _, decimals = match[1].replace("_", "").partition(".")
    scale = 10 ** len(decimals)
    scaled = int(whole + decimals) * _UNITS[unit]
    if scaled % scale:
        raise PydanticCustomError("count", "not a whole number")
    return scaled // scale


def parse_share_or_count(value: object) -> object:
    """`0.5%` to the share 0.005, a number below 1 to itself; else a count."""
    if isinstance(value, str) and (match := _SHARE.fullmatch(value.strip())):
        return float(match[1]) / 100
    return parse_count(value)


Count = Annotated[int, BeforeValidator(parse_count)]
ShareOrCount = Annotated[int | float, BeforeValidator(parse_share_or_count)]


@dataclass(frozen=True)
class Loaded(Generic[T]):
    """A validated section with the document it came from, for errors that are found later."""

    value: T
    document: Document

    def error(self, path: KeyPath, what: str, *, expected: object = None, fix: str = "") -> ConfigError:
        """A ConfigError at a key path: file:line, the path and the value that stands there."""
        seen = self.document.value(path)
        return ConfigError(
            f"{self.document.full(path)}: {what}",
            where=self.document.place(path),
            seen=seen,
            expected=expected,
            fix=fix,
        )


def load(path: str | Path, model: type[T], overrides: Sequence[str] = ()) -> Loaded[T]:
    """Reads a YAML file into a section.

    Args:
        path: the file.
        model: the section to validate into.
        overrides: `a.b=value` each, applied over the file; the value is read as YAML.

    Raises:
        ConfigError: the file is missing, is not YAML, or does not validate.
    """
    file = Path(path)
    try:
        text = file.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise ConfigError("no such file", where=str(path), fix="check the path") from None
    except (IsADirectoryError, PermissionError) as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8 at byte {error.start}", where=str(path)) from None
    return validate(override(parse(text, str(path)), overrides), model)


def validate(document: Document, model: type[T]) -> Loaded[T]:
    """Validates a parsed document into a section.

    Raises:
        ConfigError: with every complaint of pydantic, each with its file:line and key path.
    """
    try:
        value = model.model_validate(document.data, strict=True)
    except pydantic.ValidationError as invalid:
        complaints = [_complaint(document, dict(error)) for error in invalid.errors()]
        if len(complaints) == 1:
            raise complaints[0] from None
        raise ConfigError("\n".join(complaint.render() for complaint in complaints[:8])) from None
    return Loaded(value, document)


def _complaint(document: Document, error: dict[str, Any]) -> ConfigError:
    path = _existing(document, error["loc"])
    context: Mapping[str, Any] = error.get("ctx", {})
    if error["type"] == "unknown_key":
        key = context["key"]
        suggestion = f"did you mean {context['nearest']}?" if context["nearest"] else "remove the key"
        return ConfigError(
            f"{document.full((*path, key))}: unknown key {key}",
            where=document.place((*path, key)),
            seen=document.value((*path, key)),
            expected="one of " + ", ".join(context["known"]),
            fix=suggestion,
        )
    if error["type"] == "missing":
        key = str(error["loc"][-1])
        return ConfigError(f"{document.full((*path, key))}: the key {key} is missing", where=document.place(path))
    seen = document.value(path)
    expected = context.get("expected")
    fix = ""
    if error["type"] in ("literal_error", "enum") and isinstance(seen, str):
        close = nearest(seen, set(re.findall(r"'([^']*)'", str(expected))))
        fix = f"did you mean {close}?" if close else ""
    message = error["msg"].removeprefix("Value error, ")
    return ConfigError(
        f"{document.full(path)}: {message}" if (*document.prefix, *path) else message,
        where=document.place(path),
        seen=_short(seen),
        expected=expected,
        fix=fix,
    )


def _short(value: object) -> object:
    text = repr(value)
    return value if len(text) <= 200 else text[:200] + "…"


def _existing(document: Document, loc: Sequence[str | int]) -> KeyPath:
    """The part of a pydantic location that stands in the document: names of union branches are left out."""
    path: KeyPath = ()
    for part in loc:
        if (*path, part) in document.lines or (*path, part) in document.overridden:
            path = (*path, part)
    return path


def dump(section: BaseModel) -> str:
    """The section as YAML with every default written out, for the record beside an output."""
    from io import StringIO

    from ruamel.yaml import YAML

    stream = StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(section.model_dump(mode="json", by_alias=True), stream)
    return stream.getvalue()
