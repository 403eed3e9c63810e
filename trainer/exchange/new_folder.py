"""A folder that is written whole or not at all: under a temporary name, which is changed when nothing is left to fail.

An export or import that broke off must not look like one, nor have cost what stood there before. Costs the room
of both for as long as one is replaced.

Beside the folder stand, for as long as a call lasts, `.NAME.HEX.tmp`, which it writes and holds locked, and
`.NAME.HEX.old`, what stood there, between the two renames that put the new one in its place. The next call removes
what a killed one left, and puts back an old folder whose new one never came; the lock of the folder that holds them all
keeps the calls apart while they do so.
"""

import fcntl
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ... import storage
from ...errors import ConfigError


@contextmanager
def new_folder(target: Path, mark: str, overwrite: bool) -> Iterator[Path]:
    """The folder to write into; it takes the name `target` at the end, and is removed where anything fails.

    Args:
        target: not there, empty, or, with `overwrite`, a folder that holds the file `mark`. A symbolic link stays, and
            what it points to is written.
        mark: what only a folder that an earlier call wrote has.
        overwrite: whether such a folder is replaced.

    Raises:
        ConfigError: `target` may not be written, at the beginning or, where another call was faster, at the end.
    """
    try:
        target = target.resolve()
    except RuntimeError as error:
        raise ConfigError(f"no folder: {error}", where=str(target), fix="name another") from None
    target.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as written:
        with _locked(target.parent):
            _put_back(target)
            _check(target, mark, overwrite)
            _sweep(target)
            temporary = _beside(target, "tmp")
            temporary.mkdir()
            written.enter_context(_locked(temporary))
        try:
            yield temporary
            with _locked(target.parent):
                _check(target, mark, overwrite)
                _put(temporary, target)
        except BaseException:
            storage.remove_tree(temporary)
            raise


def _beside(target: Path, kind: str) -> Path:
    return target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}.{kind}")


def _left(target: Path, kind: str) -> list[Path]:
    """What stands beside a folder under a name of ours."""
    name = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{12}}\.{kind}")
    return [path for path in target.parent.iterdir() if name.fullmatch(path.name) and not path.is_symlink()]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds a folder's lock, which the system takes back however the process ends; none where it has no such locks."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _put_back(target: Path) -> None:
    """Gives a folder its name again that a call took away before it was killed."""
    old = _left(target, "old")
    if old and not target.exists():
        max(old, key=lambda path: path.stat().st_ctime_ns).rename(target)


def _sweep(target: Path) -> None:
    """Removes what killed calls left; a folder that is still written is locked, or nobody can say, and stays."""
    for path in _left(target, "old"):
        _remove(path, target)
    for path in _left(target, "tmp"):
        with suppress(OSError):  # it is locked, or its call has just removed it
            descriptor = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                storage.remove_tree(path)
            finally:
                os.close(descriptor)


def _check(target: Path, mark: str, overwrite: bool) -> None:
    if not target.exists():
        return
    if Path.cwd().is_relative_to(target):
        what = "the command runs in this folder, which would be replaced beneath it"
        raise ConfigError(what, where=str(target), fix="name a new folder, or run the command elsewhere")
    if target.is_dir() and not any(target.iterdir()):
        return
    ours = target.is_dir() and (target / mark).is_file()
    if not ours:
        what = "the folder holds something else" if target.is_dir() else "is a file"
        raise ConfigError(what, where=str(target), expected=f"a new folder, or one with {mark}", fix="name another")
    if not overwrite:
        raise ConfigError("the folder is there already", where=str(target), fix="--overwrite replaces it")


def _put(temporary: Path, target: Path) -> None:
    """Puts a finished folder under its name, in the place of what stood there."""
    if not target.exists():
        temporary.rename(target)
        return
    aside = _beside(target, "old")
    target.rename(aside)
    try:
        temporary.rename(target)
    except BaseException:
        aside.rename(target)
        raise
    _remove(aside, target)


def _remove(old: Path, target: Path) -> None:
    """Removes an old folder, under a name that is not put back: it may be removed by half."""
    unnamed = _beside(target, "tmp")
    old.rename(unnamed)
    storage.remove_tree(unnamed)
