"""A YAML file as plain values that know the line they stand in.

YAML's own freedoms (duplicate keys, tabs, `no` for false, 1e-3 as text) are where configurations go wrong unseen, so
this reader keeps YAML 1.2's scalars and refuses the rest. Costs one parse in pure Python, about 1 ms per 100 lines.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .errors import ConfigError

KeyPath = tuple[str | int, ...]

# YAML 1.2 core schema, plus digit separators; 1e4 and 1e-3 are numbers (in YAML 1.1 they are strings).
_INT = re.compile(r"[-+]?[0-9][0-9_]*")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?")
_CONSTANTS: dict[str, bool | None] = {"true": True, "True": True, "TRUE": True}
_CONSTANTS |= {
    "false": False,
    "False": False,
    "FALSE": False,
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
}
_AMBIGUOUS = {"yes", "no", "on", "off", "y", "n"}
_TAG = "tag:yaml.org,2002:"
_IMPLICIT_TAGS = {_TAG + name for name in ("str", "int", "float", "bool", "null", "timestamp", "value", "merge")}
_IMPLICIT_TAGS |= {_TAG + "map", _TAG + "seq"}
_PLAIN = re.compile(r"[A-Za-z_/.]*[A-Za-z_/][A-Za-z0-9_./-]*")  # text that can only be read as text
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")  # what JSON leaves as it is and YAML does not take
_LARGEST = 2**63 - 1  # what JSON writers, Arrow and numpy hold


@dataclass(frozen=True)
class Document:
    """A parsed YAML file: plain values, and the line (from 1) at which each key path stands."""

    name: str
    data: dict[str, Any]
    lines: dict[KeyPath, int]
    overridden: frozenset[KeyPath] = frozenset()
    prefix: KeyPath = ()

    def at(self, path: KeyPath, without: Sequence[str] = ()) -> "Document":
        """The mapping below a key path as a document of its own; it keeps its lines and its full key paths."""
        below = self.value(path)
        size = len(path)
        return Document(
            self.name,
            {key: value for key, value in (below if isinstance(below, dict) else {}).items() if key not in without},
            {key[size:]: line for key, line in self.lines.items() if key[:size] == path},
            frozenset(key[size:] for key in self.overridden if key[:size] == path),
            (*self.prefix, *path),
        )

    def place(self, path: KeyPath) -> str:
        """`file:line` of the nearest enclosing key path that stands in the file, or the override that set it."""
        for length in range(len(path), -1, -1):
            prefix = path[:length]
            if prefix in self.overridden:
                return f"--set {dotted((*self.prefix, *prefix))}"
            if prefix in self.lines:
                return f"{self.name}:{self.lines[prefix]}"
        return self.name

    def full(self, path: KeyPath) -> str:
        """The key path from the file's root, dotted."""
        return dotted((*self.prefix, *path))

    def value(self, path: KeyPath) -> object:
        """What stands at the key path, None where nothing does."""
        node: Any = self.data
        for key in path:
            try:
                node = node[key]
            except (KeyError, IndexError, TypeError):
                return None
        return node


def dotted(path: KeyPath) -> str:
    """`sources.0.path` of a key path."""
    return ".".join(str(part) for part in path)


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
        path: KeyPath = tuple(int(part) if part.isdecimal() else part for part in name.strip().split("."))
        value = parse(f"value: {text}", f"--set {name}")
        if len(value.data) > 1:
            raise ConfigError("more than one setting", where=f"--set {name}", seen=text, fix="write --set for each")
        data = _replaced(data, path, value.data["value"], f"--set {name}")
        for known in [known for known in lines if known[: len(path)] == path]:
            del lines[known]
        overridden.update(path[:size] for size in range(1, len(path) + 1) if path[:size] not in lines)
        overridden.update((*path, *below[1:]) for below in value.lines if len(below) > 1)
    return Document(document.name, data, lines, frozenset(overridden))


def _replaced(node: Any, path: KeyPath, value: object, where: str) -> Any:
    if not path:
        return value
    key, rest = path[0], path[1:]
    if isinstance(node, list) and isinstance(key, int):
        if key >= len(node):
            known = f"0 to {len(node) - 1}" if node else "an empty list has none"
            raise ConfigError(f"there is no entry {key}", where=where, expected=known)
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
        ConfigError: on syntax errors, tabs, duplicate keys, bare yes/no/on/off, tags, aliases and merge keys, and on
            numbers that 64 bits do not hold.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError
    from ruamel.yaml.reader import ReaderError

    builder = _Builder(name)
    try:
        root = YAML(typ="safe", pure=True).compose(text)
        data = builder.value(root, ()) if root is not None else {}
    except MarkedYAMLError as error:
        problem = error.problem or error.context or "it cannot be read"
        unclosed = "end of stream" in problem or "<stream end>" in problem  # where it began says more than the end
        mark = (error.context_mark if unclosed else None) or error.problem_mark or error.context_mark
        raise _not_yaml(problem, text, name, mark.line + 1 if mark else 1) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        character = ord(error.character) if isinstance(error.character, str) else error.character
        raise _not_yaml(f"the character U+{character:04X} cannot stand in it", text, name, line) from None
    except RecursionError:
        raise ConfigError("nested too deep", where=name, fix="a configuration has a few levels") from None
    if not isinstance(data, dict):
        raise ConfigError("is not a mapping of keys to values", where=f"{name}:1", seen=str(data)[:200])
    return Document(name, data, builder.lines)


def _not_yaml(problem: str, text: str, name: str, line: int) -> ConfigError:
    rows = text.split("\n")
    row = rows[line - 1] if line <= len(rows) else ""
    fix = "indent with spaces, not tabs" if "\t" in row else ""
    return ConfigError(f"not YAML: {problem}", where=f"{name}:{line}", seen=row.strip()[:200] or None, fix=fix)


@dataclass
class _Builder:
    """Turns ruamel's nodes into plain values, noting where each stands."""

    name: str
    lines: dict[KeyPath, int] = field(default_factory=lambda: {(): 1})
    seen: set[int] = field(default_factory=set)

    def value(self, node: Any, path: KeyPath) -> Any:
        from ruamel.yaml.nodes import MappingNode, ScalarNode

        if id(node) in self.seen:  # an alias is its anchor's node once more; it may even stand inside itself
            known = next(path[:size] for size in range(len(path), -1, -1) if path[:size] in self.lines)
            where = f"{self.name}:{self.lines[known]}"
            raise ConfigError(f"{dotted(path)}: aliases are not supported", where=where, fix="write the value out")
        self.seen.add(id(node))
        if str(node.tag) not in _IMPLICIT_TAGS:
            raise self.error(node, f"{dotted(path)}: tags are not supported", seen=str(node.tag), fix="remove the tag")
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, ScalarNode):
            return self.scalar(node, path)
        if isinstance(node, MappingNode):
            return self.mapping(node, path)
        return [self.value(child, (*path, i)) for i, child in enumerate(node.value)]

    def error(self, node: Any, what: str, seen: object = None, fix: str = "") -> ConfigError:
        return ConfigError(what, where=f"{self.name}:{node.start_mark.line + 1}", seen=seen, fix=fix)

    def mapping(self, node: Any, path: KeyPath) -> dict[str, Any]:
        from ruamel.yaml.nodes import ScalarNode

        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                raise self.error(key_node, "a key must be a text, not a list or a mapping")
            key = str(key_node.value)
            if key in result:
                first = self.lines[(*path, key)]
                what = f"{dotted((*path, key))}: the key {key} stands twice"
                raise self.error(key_node, what, seen=f"first in line {first}")
            if key == "<<" and key_node.style is None:
                raise self.error(key_node, "merge keys are not supported", fix="write the keys out")
            self.lines[(*path, key)] = key_node.start_mark.line + 1
            result[key] = self.value(value_node, (*path, key))
        return result

    def scalar(self, node: Any, path: KeyPath) -> Any:
        text = str(node.value)
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise self.error(node, f"{dotted(path)}: half a surrogate pair is no character", seen=ascii(text))
        if node.style in ("'", '"', "|", ">"):
            return text
        if text.lower() in _AMBIGUOUS:
            what = f"{dotted(path)}: {text} can be read as a truth value or as text"
            raise self.error(node, what, seen=text, fix=f'write true or false, or "{text}" for the text')
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if _INT.fullmatch(text):
            return self.number(node, path, int(text.replace("_", "")) if len(text) <= 40 else _LARGEST + 1)
        if _FLOAT.fullmatch(text):
            return self.number(node, path, float(text.replace("_", "")))
        return text

    def number(self, node: Any, path: KeyPath, value: int | float) -> int | float:
        if isinstance(value, int) and abs(value) > _LARGEST:
            raise self.error(node, f"{dotted(path)}: the number is too large for 64 bits", seen=str(node.value)[:60])
        if value in (float("inf"), float("-inf")):
            raise self.error(node, f"{dotted(path)}: the number is too large", seen=str(node.value)[:60])
        return value


def write(data: Mapping[str, Any]) -> str:
    """Plain values as YAML text, in their own order; `parse` reads it back equal."""
    return "\n".join(_written(data, 0)) + "\n" if data else "{}\n"


def _written(value: Any, indent: int) -> list[str]:
    """A mapping or list that is not empty as lines."""
    pad = " " * indent
    rows: list[str] = []
    entries = [(_scalar(key) + ":", below) for key, below in value.items()] if isinstance(value, Mapping) else None
    for head, below in [("-", below) for below in value] if entries is None else entries:
        flow = _flow(below)
        if flow is not None:
            rows.append(f"{pad}{head} {flow}")
        elif entries is None:
            first, *others = _written(below, indent + 2)
            rows += [f"{pad}- {first[indent + 2 :]}", *others]
        else:
            rows += [f"{pad}{head}", *_written(below, indent + 2)]
    return rows


def _flow(value: Any) -> str | None:
    """A scalar, a list of scalars or something empty as it stands within a line; None for all else."""
    if isinstance(value, Mapping):
        return None if value else "{}"
    if not isinstance(value, (list, tuple)):
        return _scalar(value)
    nested = any(isinstance(below, (Mapping, list, tuple)) for below in value)
    return None if nested else "[" + ", ".join(_scalar(below) for below in value) + "]"


def _scalar(value: object) -> str:
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) and value not in _CONSTANTS and value.lower() not in _AMBIGUOUS:
            return value
        return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))
    return json.dumps(value)
