"""The sizes in a folder's config.json against its tensors, before anything of such a size is made.

A config is a stranger's file: a size in it can ask for more layers or wider tensors than any memory holds. So a size is
a whole number, written as one, and no larger than the weights that came with it. Costs nothing.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from ...errors import ConfigError

LAYERS: Final = "num_hidden_layers"
ROUTER: Final = "zaya_mlp_expansion"
POSITIONS: Final = "max_position_embeddings"
WINDOW: Final = "sliding_window"

_NOT_OF_TENSORS: Final = {POSITIONS, WINDOW}
"""Counts that no tensor bounds: nothing of their size is made before there is a text so long."""


def check(path: Path, found: Mapping[str, Any], keys: Iterable[str], tensors: int, largest: int) -> None:
    """Whether sizes are counts that the weights can have; those that are missing are not looked for.

    Args:
        path: the config's, for errors.
        found: what it says.
        keys: its sizes.
        tensors: how many the folder has; no more layers are believed.
        largest: the largest dimension of any; no larger size is believed.

    Raises:
        ConfigError: one is no whole number (neither `true` nor `1e3` nor `"1K"` is one), below what it can be, or
            larger than the weights.
    """
    for key in sorted(keys):
        value = found.get(key)
        for size in value if key == ROUTER and isinstance(value, list) else [value]:
            if size is not None and not (size is False and key == WINDOW):
                _check(path, key, size, tensors if key == LAYERS else largest)


def _check(path: Path, key: str, size: Any, most: int) -> None:
    if type(size) is not int or size < (key == POSITIONS):
        expected = "a whole number, written as one"
        raise ConfigError(f"{key} is no count", where=str(path), seen=repr(size)[:200], expected=expected)
    if size > most and key not in _NOT_OF_TENSORS:
        expected = f"at most {most:,}, by the folder's tensors"
        raise ConfigError(f"{key} is not that of the weights", where=str(path), seen=size, expected=expected)
