"""The steps that a recipe can name: the modules of this package.

A step's name in YAML is its file's name and its class the same name in CamelCase, so adding a filter is adding a file,
with nothing to register; and a name from a file never imports anything but this package.
Costs a listing of one folder; a step's module is imported when the step is asked for.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..config import did_you_mean
from ..errors import ConfigError

if TYPE_CHECKING:
    from .rules import Barrier, Filter

# Modules of this package that are no steps: what steps are made of.
INFRASTRUCTURE: Final = frozenset(
    {
        "catalogue",
        "chunk_cache",
        "datatrove_blocks",
        "datatrove_documents",
        "datatrove_files",
        "deduplication",
        "document",
        "exact_json",
        "fasttext_model",
        "folding",
        "generate_folding",
        "keep_order",
        "pass_rate",
        "pieces",
        "program_tests",
        "published",
        "rules",
        "texts",
        "turns",
        "url_list_files",
        "url_lists",
        "word_sums",
        "word_views",
    }
)


def names() -> list[str]:
    """The names of all steps, sorted."""
    listing = pkgutil.iter_modules([str(Path(__file__).parent)])
    return sorted(module.name for module in listing if not module.ispkg and module.name not in INFRASTRUCTURE)


def step(name: str) -> type[Filter] | type[Barrier]:
    """The class of the step of that name; its fields are the step's options.

    Raises:
        ConfigError: there is no such step, or its module does not hold its class.
    """
    known = names()
    if name not in known or not name.isidentifier():
        raise ConfigError(
            f"unknown step {name}",
            seen=name,
            expected="one of " + ", ".join(known),
            fix=did_you_mean(name, known, "remove the step"),
        )
    from .rules import Barrier, Filter

    module = importlib.import_module(f".{name}", __package__)
    class_name = "".join(part.capitalize() for part in name.split("_"))
    found = getattr(module, class_name, None)
    if not isinstance(found, type) or not issubclass(found, Filter | Barrier):
        raise ConfigError(
            f"the step {name} has no class {class_name}",
            where=str(module.__file__),
            expected=f"class {class_name}, a Filter or a Barrier",
        )
    return found
