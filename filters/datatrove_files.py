"""The files that datatrove's blocks download: where they lie, and what to do on a machine that reaches no network.

A block asks for its model or list at its first document; that would fail for every document by itself, each after a
wait for the network, and be taken for a fault of the documents. Costs one look at the modules that are loaded.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

_NAME: Final = "cached_asset_path_or_download"
_ERRORS: Final = {"aiohttp": "ClientError", "httpx": "HTTPError"}  # by the library that brings files
_SCHEMES: Final = ("http://", "https://", "hf://")


def guard() -> None:
    """Has every module of datatrove that is loaded get its files by `_guarded`."""
    for name, module in list(sys.modules.items()):
        found: Any = getattr(module, _NAME, None) if name.startswith("datatrove.") else None
        if found is not None and name != "datatrove.io" and not hasattr(found, "__wrapped__"):
            setattr(module, _NAME, _guarded(found))


def _guarded(download: Callable[..., str]) -> Callable[..., str]:
    """A local file is taken where it lies: datatrove would keep a copy under its name for ever.

    Raises:
        ConfigError: a file cannot be downloaded; with the place to which it can be brought by hand.
    """

    @functools.wraps(download)
    def path(remote_path: str, *arguments: Any, **named: Any) -> str:
        if Path(remote_path).is_file():
            return remote_path
        try:
            return download(remote_path, *arguments, **named)
        except _failures() as error:
            place = _place(remote_path, **named)
            raise ConfigError(
                f"{remote_path}, which a block of datatrove needs, cannot be had: {type(error).__name__}: {error}",
                fix=f"bring it to {place} by hand, and put an empty file {place.name}.completed beside it"
                if remote_path.startswith(_SCHEMES)
                else "name a file that is there",
            ) from None

    return path


def _failures() -> tuple[type[Exception], ...]:
    """What a download can raise: what is wrong with files and arguments, and the own errors of libraries in use."""
    own = [getattr(sys.modules[name], error) for name, error in _ERRORS.items() if name in sys.modules]
    return (*own, ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError)


def _place(remote_path: str, namespace: str = "default", subfolder: str = "default", **_: Any) -> Path:
    """Where datatrove keeps a file that it has downloaded."""
    from datatrove import io

    folder = Path(io.cached_assets_path(library_name="datatrove", namespace=namespace, subfolder=subfolder))
    return folder / str(io.strip_protocol(remote_path)).replace("/", "_")
