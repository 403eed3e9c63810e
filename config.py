"""YAML files read strictly into frozen pydantic sections, with line numbers kept.

A mistyped key that becomes a default is the field's most expensive silent error, so every key, type and unit is checked
before anything starts, and every complaint names file:line, the key's path, the value, and the nearest key. Costs one
parse in pure Python (about 1 ms per 100 lines); torch, pyarrow and ray are never imported here.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from .errors import ConfigError

KeyPath = tuple[str | int, ...]
T = TypeVar("T", bound=BaseModel)

# YAML 1.2 core schema, plus digit separators; 1e4 and 1e-3 are numbers (in YAML 1.1 they are strings).
_INT = re.compile(r"[-+]?[0-9][0-9_]*")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?")
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULL = {"", "~", "null", "Null", "NULL"}
_AMBIGUOUS = {"yes", "no", "on", "off", "y", "n"}

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
class Document:
    """A parsed YAML file: plain values, and the line (from 1) at which each key path stands."""

    name: str
    data: dict[str, Any]
    lines: dict[KeyPath, int]
    overridden: frozenset[KeyPath] = frozenset()

    def place(self, path: KeyPath) -> str:
        """`file:line` of the nearest enclosing key path that stands in the file, or the override that set it."""
        for length in range(len(path), -1, -1):
            prefix = path[:length]
            if prefix in self.overridden:
                return f"--set {dotted(prefix)}"
            if prefix in self.lines:
                return f"{self.name}:{self.lines[prefix]}"
        return self.name

    def value(self, path: KeyPath) -> object:
        """What stands at the key path, None where nothing does."""
        node: Any = self.data
        for key in path:
            try:
                node = node[key]
            except (KeyError, IndexError, TypeError):
                return None
        return node


@dataclass(frozen=True)
class Loaded(Generic[T]):
    """A validated section with the document it came from, for errors that are found later."""

    value: T
    document: Document

    def error(self, path: KeyPath, what: str, *, expected: object = None, fix: str = "") -> ConfigError:
        """A ConfigError at a key path: file:line, the path and the value that stands there."""
        seen = self.document.value(path)
        return ConfigError(
            f"{dotted(path)}: {what}", where=self.document.place(path), seen=seen, expected=expected, fix=fix
        )


def dotted(path: KeyPath) -> str:
    """`sources.0.path` of a key path."""
    return ".".join(str(part) for part in path)


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
            f"{dotted((*path, key))}: unknown key {key}",
            where=document.place((*path, key)),
            seen=document.value((*path, key)),
            expected="one of " + ", ".join(context["known"]),
            fix=suggestion,
        )
    if error["type"] == "missing":
        key = str(error["loc"][-1])
        return ConfigError(f"{dotted((*path, key))}: the key {key} is missing", where=document.place(path))
    seen = document.value(path)
    expected = context.get("expected")
    fix = ""
    if error["type"] in ("literal_error", "enum") and isinstance(seen, str):
        close = nearest(seen, set(re.findall(r"'([^']*)'", str(expected))))
        fix = f"did you mean {close}?" if close else ""
    message = error["msg"].removeprefix("Value error, ")
    return ConfigError(
        f"{dotted(path)}: {message}" if path else message,
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


def override(document: Document, overrides: Sequence[str]) -> Document:
    """The document with `a.b=value` settings applied.

    Raises:
        ConfigError: a setting without `=`, or one that goes through something that is no mapping or list.
    """
    overridden = set(document.overridden)
    data = document.data
    lines = dict(document.lines)
    for setting in overrides:
        name, equals, text = setting.partition("=")
        if not equals or not name:
            raise ConfigError("not a setting", where=f"--set {setting}", expected="KEY.PATH=VALUE")
        path: KeyPath = tuple(int(part) if part.isdigit() else part for part in name.strip().split("."))
        value = parse(f"value: {text}", f"--set {name}")
        data = _replaced(data, path, value.data["value"], f"--set {name}")
        for known in [known for known in lines if known[: len(path)] == path]:
            del lines[known]
        overridden.add(path)
        overridden.update((*path, *below[1:]) for below in value.lines if len(below) > 1)
    return Document(document.name, data, lines, frozenset(overridden))


def _replaced(node: Any, path: KeyPath, value: object, where: str) -> Any:
    if not path:
        return value
    key, rest = path[0], path[1:]
    if isinstance(node, list) and isinstance(key, int):
        if key >= len(node):
            raise ConfigError(f"there is no entry {key}", where=where, expected=f"0 to {len(node) - 1}")
        return [_replaced(old, rest, value, where) if i == key else old for i, old in enumerate(node)]
    if isinstance(node, dict) or node is None:
        return {**(node or {}), str(key): _replaced((node or {}).get(str(key)), rest, value, where)}
    raise ConfigError(f"{key} cannot be set: what is above it is neither mapping nor list", where=where, seen=node)


def parse(text: str, name: str) -> Document:
    """Parses YAML text.

    Args:
        text: the YAML.
        name: what errors call it, mostly the file's path.

    Raises:
        ConfigError: on syntax errors, tabs, duplicate keys, bare yes/no/on/off, tags and merge keys.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError

    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        problem = error.problem or "not YAML"
        rows = text.splitlines()
        row = rows[line - 1] if line <= len(rows) else ""
        fix = "indent with spaces, not tabs" if "\t" in row else ""
        raise ConfigError(f"not YAML: {problem}", where=f"{name}:{line}", seen=row.strip() or None, fix=fix) from None
    builder = _Builder(name)
    data = builder.value(root, ()) if root is not None else {}
    if not isinstance(data, dict):
        raise ConfigError("is not a mapping of keys to values", where=f"{name}:1", seen=_short(data))
    return Document(name, data, builder.lines)


@dataclass
class _Builder:
    """Turns ruamel's nodes into plain values, noting where each stands."""

    name: str
    lines: dict[KeyPath, int] = field(default_factory=lambda: {(): 1})

    def value(self, node: Any, path: KeyPath) -> Any:
        from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, ScalarNode):
            return self.scalar(node, path)
        if isinstance(node, SequenceNode):
            return [self.value(child, (*path, i)) for i, child in enumerate(node.value)]
        if isinstance(node, MappingNode):
            return self.mapping(node, path)
        raise ConfigError("not a value", where=f"{self.name}:{node.start_mark.line + 1}")

    def mapping(self, node: Any, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            where = f"{self.name}:{key_node.start_mark.line + 1}"
            if key in result:
                first = self.lines[(*path, key)]
                raise ConfigError(
                    f"{dotted((*path, key))}: the key {key} stands twice", where=where, seen=f"first in line {first}"
                )
            if key == "<<":
                raise ConfigError("merge keys are not supported", where=where, fix="write the keys out")
            self.lines[(*path, key)] = key_node.start_mark.line + 1
            result[key] = self.value(value_node, (*path, key))
        return result

    def scalar(self, node: Any, path: KeyPath) -> Any:
        text = str(node.value)
        where = f"{self.name}:{node.start_mark.line + 1}"
        if node.style in ("'", '"', "|", ">"):
            return text
        if text.lower() in _AMBIGUOUS:
            raise ConfigError(
                f"{dotted(path)}: {text} can be read as a truth value or as text",
                where=where,
                seen=text,
                fix=f'write true or false, or "{text}" for the text',
            )
        if text in _NULL:
            return None
        if text in _BOOL:
            return _BOOL[text]
        if _INT.fullmatch(text):
            return int(text.replace("_", ""))
        if _FLOAT.fullmatch(text):
            return float(text.replace("_", ""))
        return text


def dump(section: BaseModel) -> str:
    """The section as YAML with every default written out, for the record beside an output."""
    from io import StringIO

    from ruamel.yaml import YAML

    stream = StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    yaml.dump(section.model_dump(mode="json", by_alias=True), stream)
    return stream.getvalue()
