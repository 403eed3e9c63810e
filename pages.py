"""A page of HTML as a file: where a person said, as a whole or not at all, and never over something by mistake.

Both commands that write pages treat a mistyped path the same way: a folder that is not there is refused and not made.
Costs one look at the path, and the write.
"""

from collections.abc import Callable
from pathlib import Path

from . import storage
from .errors import ConfigError


def write(file: str, overwrite: bool, example: str, render: Callable[[], str]) -> None:
    """Writes a page.

    Args:
        file: where it goes, on this machine or in a store.
        overwrite: whether a file that stands there may be replaced.
        example: a name for the file, for errors.
        render: makes the HTML, once it is known that it can be written.

    Raises:
        ConfigError: something stands there, or there is no such folder.
    """
    path = storage.location(file)
    if isinstance(path, Path):
        if path.is_dir():
            raise ConfigError(
                "a page cannot be written over a folder", where=file, fix=f"name a file: --html {example}"
            )
        if not path.parent.is_dir():
            raise ConfigError(
                "the folder for the page is not there",
                where=file,
                seen=f"no folder {path.parent}",
                fix="check the path, or make the folder first",
            )
    if storage.exists(path) and not overwrite:
        raise ConfigError("the file is there already", where=file, fix="choose another name, or pass --overwrite")
    page = render()
    with storage.atomic_write(path) as stream:
        stream.write(page.encode())
