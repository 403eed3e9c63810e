"""Finds datatrove's filters and formatters by class name, checks their arguments, and makes them.

A recipe names a block as datatrove's own scripts do; nothing outside of datatrove's two packages can be reached by a
name, and a wrong argument is found before the run. A block is made such that what it says of a document does not depend
on the documents before it: its counters are set back and its random numbers are drawn anew for each.
Costs a scan of a dozen files for a name (5 ms, nothing is imported), and datatrove's import (.3 s) for a block.
"""

from __future__ import annotations

import ast
import collections.abc
import functools
import importlib
import importlib.util
import inspect
import json
import logging
import pkgutil
import re
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import xxhash
from pydantic import ConfigDict, TypeAdapter

from ..errors import ConfigError
from . import datatrove_files

PACKAGES: Final = ("filters", "formatters")  # of datatrove.pipeline
_BASES: Final = frozenset({"BaseFilter", "BaseFormatter"})
_NOT_OURS: Final = frozenset({"self", "exclusion_writer"})  # what is dropped is written by the pipeline
_PATH: Final = re.compile(r"(?:^|_)(?:url|path|file|folder|dir)$")
_PIP: Final = re.compile(r"`(pip install [^`]+)`")
_WORDS: Final = ("split_into_words", "split_into_sentences")  # what a module imports to split by language
_INSTALL: Final = {"fasttext": "fasttext-community"}  # where the name that datatrove gives would break another package
# What making a block or its tokenizer can raise: it is datatrove's code, and whatever it finds wrong is the recipe's.
_WRONG: Final = (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError, re.error)


@functools.cache
def blocks() -> dict[str, str]:
    """Every block's class name and the module that defines it, found in the source without importing it.

    Raises:
        ConfigError: datatrove is not installed.
    """
    spec = importlib.util.find_spec("datatrove")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("the step datatrove needs datatrove, which is not installed", fix="pip install datatrove")
    parents: dict[str, list[str]] = {}
    places: dict[str, str] = {}
    for package in PACKAGES:
        folder = Path(spec.submodule_search_locations[0]) / "pipeline" / package
        for module in pkgutil.iter_modules([str(folder)]):
            tree = ast.parse((folder / f"{module.name}.py").read_bytes()) if not module.ispkg else ast.Module([], [])
            for node in tree.body:
                if isinstance(node, ast.ClassDef):
                    parents[node.name] = [ast.unparse(base).rpartition(".")[2] for base in node.bases]
                    places[node.name] = f"datatrove.pipeline.{package}.{module.name}"
    found = set(_BASES)
    while more := {name for name, bases in parents.items() if name not in found and found & set(bases)}:
        found |= more
    return {name: places[name] for name in sorted(found - _BASES)}


def block_class(name: str) -> type[Any]:
    """The class of a block; its module is imported.

    Raises:
        ConfigError: there is no such block, or its module cannot be imported.
    """
    if name not in blocks():
        raise ConfigError(f"datatrove has no block {name}", seen=name, expected=", ".join(blocks()))
    try:
        module = importlib.import_module(blocks()[name])
    except ImportError as error:
        raise missing_package(name, error) from None
    return typing.cast("type[Any]", getattr(module, name))


def is_formatter(name: str) -> bool:
    """Whether the block only rewrites texts."""
    return blocks()[name].startswith("datatrove.pipeline.formatters.")


def parameters(block: type[Any]) -> dict[str, inspect.Parameter]:
    """The arguments that a recipe may give, by name."""
    found = inspect.signature(block.__init__).parameters
    return {name: one for name, one in found.items() if name not in _NOT_OURS}


def converted(block: type[Any], name: str, value: Any) -> Any:
    """An argument as its annotation has it: YAML's lists as the tuples or lists that it asks for.

    Raises:
        ValueError: it is of another type.
    """
    default = parameters(block)[name].default
    if value is None and default is None:
        return None
    try:
        hint = typing.get_type_hints(block.__init__).get(name, Any)
    except (NameError, TypeError):
        hint = Any
    if typing.get_origin(hint) is collections.abc.Callable or hint is collections.abc.Callable:
        raise ValueError("takes a Python function, which a recipe cannot give")
    if typing.get_origin(hint) is collections.abc.Iterable or hint is collections.abc.Iterable:
        hint = list[Any]  # a text would be taken letter by letter
    value = _as_lists(value)
    adapter: TypeAdapter[Any] = TypeAdapter(hint, config=None if _has_config(hint) else _ANY_CLASS)
    return adapter.validate_python(value)


_ANY_CLASS: Final = ConfigDict(arbitrary_types_allowed=True)


def _has_config(hint: Any) -> bool:
    return isinstance(hint, type) and hasattr(hint, "__pydantic_config__")


def _as_lists(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_as_lists(one) for one in value]
    if isinstance(value, dict):
        return {key: _as_lists(one) for key, one in value.items()}
    return value


def files(arguments: dict[str, Any]) -> tuple[str, ...]:
    """The arguments that name a file of this machine: `…_url`, `…_path`, `…_file`."""
    named = [value for name, value in sorted(arguments.items()) if _PATH.search(name) and isinstance(value, str)]
    return tuple(value for value in named if Path(value).is_file())


@dataclass(frozen=True)
class Block:
    """A block that is ready to run, with what has to be set back before each document.

    Args:
        block: datatrove's object.
        counters: whole numbers that the block may count up: of which object, which attribute, how they began.
        generators: what it draws random numbers from, with the state that each began with.
    """

    block: Any
    counters: tuple[tuple[Any, str, int], ...] = ()
    generators: tuple[tuple[np.random.Generator, dict[str, Any]], ...] = field(default=())

    def begin(self, identity: str) -> None:
        """Sets the block to its state at the start; random numbers follow from its seed and the document's id."""
        for owner, name, value in self.counters:
            setattr(owner, name, value)
        if self.generators:
            salt = xxhash.xxh3_128_intdigest(identity.encode())
            for generator, first in self.generators:
                words = {**first["state"], "state": first["state"]["state"] ^ salt}
                generator.bit_generator.state = {**first, "state": words}


def make(name: str, arguments: dict[str, Any]) -> Block:
    """Makes a block.

    Raises:
        ConfigError: a package that it needs is missing, or it refuses its arguments.
    """
    return _made(name, json.dumps(arguments, sort_keys=True))


@functools.lru_cache(maxsize=16)
def _made(name: str, arguments: str) -> Block:
    block = block_class(name)
    _check_packages(name, block)
    _take_what_is_installed()
    datatrove_files.guard()
    # Without a network it goes on with the suffixes that it brings, behind pages of tracebacks.
    logging.getLogger("tldextract").setLevel(logging.CRITICAL)
    given = {key: converted(block, key, value) for key, value in json.loads(arguments).items()}
    if "seed" in parameters(block) and given.get("seed") is None:
        given["seed"] = 0  # unseeded, every run would give another result
    try:
        made = block(**given)
        _load_tokenizer(block, made)
    except ImportError as error:
        raise missing_package(name, error) from None
    except _WRONG as error:
        raise ConfigError(f"datatrove's {name} cannot be made: {type(error).__name__}: {error}") from None
    return _with_state(made)


def rehearse(name: str, arguments: dict[str, Any]) -> None:
    """Shows the block a document, because some ask for a package, a model or a list only when they see the first one.

    Raises:
        ConfigError: that is missing.
    """
    from datatrove.data import Document

    block = make(name, arguments).block
    document = Document(text="This is the text of a document.", id="", metadata={"url": "https://example.org/"})
    try:
        block.format(document.text) if is_formatter(name) else block.filter_batch([document])
    except ImportError as error:
        raise missing_package(name, error) from None
    except (AssertionError, *_WRONG):
        return  # what a document does to the block is told at that document


def missing_package(name: str, error: ImportError) -> ConfigError:
    """The error for a package that is not installed, with the command that installs it."""
    command = _PIP.search(str(error))
    module = (error.name or "").partition(".")[0]
    fix = command[1] if command else f"pip install {_INSTALL.get(module, module)}" if module else ""
    return ConfigError(f"datatrove's {name} needs a package that is not installed: {error}", fix=fix)


def _check_packages(name: str, block: type[Any]) -> None:
    needed = [one for kind in block.mro() for one in getattr(kind, "_requires_dependencies", [])]
    pairs: dict[str, str] = dict(one if isinstance(one, tuple) else (one, one) for one in needed)
    missing = [module for module in pairs if importlib.util.find_spec(module) is None]
    if missing:
        raise ConfigError(
            f"datatrove's {name} needs {' and '.join(missing)}, not installed",
            fix="pip install " + " ".join(_INSTALL.get(module) or pairs[module] for module in missing),
        )


def _take_what_is_installed() -> None:
    """datatrove asks for a package by the name of its distribution, though another one may bring the same module."""
    packages: Any = importlib.import_module("datatrove.utils._import_utils")
    if hasattr(packages, "_is_distribution_available"):
        packages._is_distribution_available = lambda distribution: True


def _load_tokenizer(block: type[Any], made: Any) -> None:
    """Loads the words' tokenizer of a block that splits text, which it would only miss at the first document."""
    module = importlib.import_module(block.__module__)
    if any(hasattr(module, name) for name in _WORDS) and isinstance(getattr(made, "language", None), str):
        from datatrove.utils.word_tokenizers import load_word_tokenizer

        load_word_tokenizer(made.language)


def _with_state(made: Any) -> Block:
    counters: list[tuple[Any, str, int]] = []
    generators: list[tuple[np.random.Generator, dict[str, Any]]] = []
    waiting, seen = [made], set()
    while waiting:
        owner = waiting.pop()
        if id(owner) in seen:
            continue
        seen.add(id(owner))
        for name, value in vars(owner).items():
            source = value if isinstance(value, np.random.Generator) else getattr(value, "__self__", None)
            if type(value) is int:
                counters.append((owner, name, value))
            elif isinstance(source, np.random.Generator):
                generators.append((source, dict(source.bit_generator.state)))
            elif type(value).__module__.startswith("datatrove.pipeline.") and hasattr(value, "__dict__"):
                waiting.append(value)
    return Block(made, tuple(counters), tuple(generators))
