"""Raw text that every machine has, as JSONL: Python's documentation topics, docstrings, and READMEs of packages.

The demo has to start from real raw text without a download, and what documentation leaves lying about (two-line
docstrings, vendored copies, tables, badges) is what the filters are there to drop, so nothing is cleaned here. Costs
one parse of the source files until the limit is reached: about 4 seconds and 50 MB of memory for 8 MB of text.
"""

import ast
import importlib.metadata
import os
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import orjson

from ..errors import ConfigError, RunError

LIMIT_BYTES = 8_000_000
SMALLEST_LIMIT = 10_000
SHARES = {"topics": 0.25, "readmes": 0.25}
"""Each kind's largest share of the limit; docstrings take what is left."""

LARGEST_SOURCE_BYTES = 1_000_000
"""Longer source files are generated tables, which cost seconds to parse and hold no docstrings."""
OURSELVES = "midtrain"
SKIPPED_FOLDERS = {"__pycache__", "site-packages", "dist-packages", "idle_test", "testing", OURSELVES}

_BLOCKS = ("body", "orelse", "handlers", "finalbody")
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class RawDocument(NamedTuple):
    """One raw text; `origin` says where it was found, in the manner of a URL."""

    id: str
    text: str
    origin: str


def write_corpus(folder: Path, limit_bytes: int = LIMIT_BYTES) -> Path:
    """Writes `topics.jsonl`, `readmes.jsonl` and `docstrings.jsonl` into the folder and returns it.

    A line is `{"id", "text", "metadata": {"origin"}}`; documents stand in sorted order, and the same installation gives
    the same bytes. All texts together have at most `limit_bytes` bytes of UTF-8: a kind ends before the document that
    would pass its share. Each file is written under another name and renamed.

    Raises:
        ConfigError: a limit below 10,000 bytes.
        RunError: this Python has no texts of one kind, because it came without its sources or documentation.
    """
    if limit_bytes < SMALLEST_LIMIT:
        raise ConfigError(
            "the limit is too small", where="corpus", seen=limit_bytes, expected=f"{SMALLEST_LIMIT} or more"
        )
    folder.mkdir(parents=True, exist_ok=True)
    left = limit_bytes
    for kind, documents in (("topics", topics()), ("readmes", readmes()), ("docstrings", docstrings())):
        left -= _write(folder / f"{kind}.jsonl", documents, int(limit_bytes * SHARES[kind]) if kind in SHARES else left)
    return folder


def topics() -> Iterator[RawDocument]:
    """The topics of Python's own `help()`: chapters of the language reference."""
    from pydoc_data.topics import topics as texts

    for name in sorted(texts):
        yield RawDocument(f"topics/{name}", texts[name], f"python:topics/{name}")


def readmes() -> Iterator[RawDocument]:
    """The long description of every installed distribution, by name; our own is left out."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        metadata = distribution.metadata
        if "Name" not in metadata or "Description" not in metadata:
            continue
        name = metadata["Name"].lower().replace("_", "-")
        if name != OURSELVES:
            # The first of two installations is the one that Python imports.
            found.setdefault(name, metadata["Description"])
    for name in sorted(found):
        yield RawDocument(f"readmes/{name}", found[name], f"package:{name}/README")


def docstrings() -> Iterator[RawDocument]:
    """All docstrings of a module joined by blank lines: the standard library first, then installed packages by name.

    Sources are parsed, never imported. Files that this Python cannot parse have no docstrings for it.
    """
    installed = {"stdlib": [sysconfig.get_path("stdlib")]}
    installed["package"] = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    for origin, roots in installed.items():
        for root in roots:
            for path in _source_files(root):
                name = path.relative_to(root).as_posix()
                if text := module_docstrings(path.read_bytes()):
                    yield RawDocument(f"docstrings/{origin}/{name}", text, f"{origin}:{name}")


def module_docstrings(source: bytes) -> str:
    """The docstrings of a module, its classes and functions in the order of the source, joined by blank lines.

    Empty where the source has none, or is no source that this Python can parse.
    """
    if len(source) > LARGEST_SOURCE_BYTES or (b'"""' not in source and b"'''" not in source):
        return ""
    with warnings.catch_warnings():
        # Other people's invalid escapes are warned of once a file.
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError):
            return ""
    return "\n\n".join(text for node in _documented(tree) if (text := ast.get_docstring(node)))


def _documented(node: ast.AST) -> Iterator[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """The node and all below it that can have a docstring, without looking into expressions, which are most nodes."""
    if isinstance(node, _DOCUMENTED):
        yield node
    for block in _BLOCKS:
        below = getattr(node, block, None)
        if isinstance(below, list):
            for child in below:
                yield from _documented(child)


def _source_files(root: str) -> Iterator[Path]:
    """Python files below a folder in sorted order, tests left out."""
    for folder, below, files in os.walk(root):
        below[:] = sorted(name for name in below if name not in SKIPPED_FOLDERS and not _is_test(name))
        yield from (Path(folder, name) for name in sorted(files) if name.endswith(".py") and not _is_test(name))


def _is_test(name: str) -> bool:
    return name.startswith(("test", "_test")) or name.endswith(("_test", "_tests", "_test.py", "_tests.py"))


def _write(path: Path, documents: Iterable[RawDocument], limit_bytes: int) -> int:
    """Writes documents until the limit; returns the bytes of their texts."""
    written = 0
    unfinished = path.with_name(path.name + ".tmp")
    with unfinished.open("wb") as file:
        for document in documents:
            try:
                size = len(document.text.encode())
            except UnicodeEncodeError:
                # A description in no known encoding, read with its bytes escaped: it is not text.
                continue
            if written + size > limit_bytes:
                break
            row = {"id": document.id, "text": document.text, "metadata": {"origin": document.origin}}
            file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
            written += size
    if not written:
        unfinished.unlink()
        raise RunError(
            f"this Python has no {path.stem} to read",
            where=str(path),
            seen=f"no document of at most {limit_bytes} bytes",
            fix="use a Python that came with its sources and with pydoc_data, or a larger limit",
        )
    unfinished.replace(path)
    return written
