"""A YAML file as plain values that know the line they stand in.

YAML's own freedoms (duplicate keys, tabs, `no` for false, 1e-3 as text) are where configurations go wrong unseen, so
this reader keeps YAML 1.2's scalars and refuses the rest. Costs one parse in pure Python, about 1 ms per 100 lines.
"""

import re
from collections.abc import Sequence
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
        raise ConfigError("is not a mapping of keys to values", where=f"{name}:1", seen=str(data)[:200])
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
                    f"{dotted((*path, key))}: the key {key} stands twice",
                    where=where,
                    seen=f"first in line {first}",
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
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if _INT.fullmatch(text):
            return int(text.replace("_", ""))
        if _FLOAT.fullmatch(text):
            return float(text.replace("_", ""))
        return text
