"""The files that a path or a pattern names, local or remote, each with what tells that it has changed.

A corpus may be 200,000 small files, so a folder is read once and its entries are asked for no more than their size.
Costs about 5 µs a local file; a store answers a thousand names a request.
"""

import fnmatch
import glob
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import storage
from .errors import ConfigError


@dataclass(frozen=True)
class Listed:
    """A file as a listing shows it: address, size in bytes, and a stamp that changes when the file does.

    `relative` is the path below the folder above the pattern's first wildcard; `/` parts it. `real` is where the file
    lies when all links are followed.
    """

    path: str
    size: int
    stamp: str
    relative: str
    real: str


def list_files(pattern: str) -> list[Listed]:
    """The files that a path or glob names, sorted by path; an empty list where there is none.

    Raises:
        ConfigError: a link that the pattern names leads nowhere, or there is no reader for such an address, no such
            bucket, or no access to it.
    """
    if storage.is_remote(pattern):
        from . import remote_files

        inside, found = remote_files.find(pattern, glob.has_magic(pattern))
        listed = [
            Listed(address, int(info["size"]), _stamp(info), _below(name, glob_root(inside)), address)
            for address, name, info in found
            if info["type"] == "file"
        ]
    elif Path(pattern).is_file() or not glob.has_magic(pattern):
        listed = _single(pattern)
    else:
        listed = list(_below_pattern(pattern))
    return sorted(listed, key=lambda entry: entry.path)


def _single(path: str) -> list[Listed]:
    _check_link(path)
    if not Path(path).is_file():
        return []
    status = Path(path).stat()
    below = path.rpartition("/")[2]
    return [Listed(path, status.st_size, _local_stamp(status), below, os.path.realpath(path))]


def _below_pattern(pattern: str) -> Iterator[Listed]:
    """The local files that a glob names; each folder is read once, which tells what its entries are without a stat."""
    above, _, name = pattern.rpartition("/")
    root = glob_root(pattern)
    if name == "**":  # folders at every depth and what is in them
        above, name = pattern, "*"
    folders = [above or pattern[: pattern.startswith("/")]]
    if glob.has_magic(above):
        here = [""] if above.startswith("**") else []  # which glob leaves out
        folders = list(dict.fromkeys([*here, *glob.iglob(f"{above}/", recursive=True)]))
    matches = re.compile(fnmatch.translate(name)).match
    hidden = name.startswith(".")
    for folder in folders:
        yield from _scan(folder, lambda entry: (hidden or entry[0] != ".") and bool(matches(entry)), root)


def _scan(folder: str, wanted: Callable[[str], bool], root: str) -> Iterator[Listed]:
    """The files of one local folder whose names are wanted."""
    above = folder if not folder or folder.endswith("/") else f"{folder}/"
    real = os.path.realpath(folder or ".").rstrip("/")
    try:
        entries = os.scandir(folder or ".")
    except (FileNotFoundError, NotADirectoryError):
        return
    except PermissionError as error:
        raise ConfigError(f"the folder cannot be read: {error.strerror}", where=folder, fix="give access") from None
    with entries:
        for entry in entries:
            if not wanted(entry.name):
                continue
            path = f"{above}{entry.name}"
            if linked := entry.is_symlink():
                _check_link(path)
            try:
                status = entry.stat()
            except FileNotFoundError:  # removed since it was named
                continue
            if stat.S_ISREG(status.st_mode):
                lies = os.path.realpath(path) if linked else f"{real}/{entry.name}"
                yield Listed(path, status.st_size, _local_stamp(status), _below(path, root), lies)


def _check_link(path: str) -> None:
    if Path(path).is_symlink() and not Path(path).exists():
        raise ConfigError("the link leads nowhere", where=path, seen=Path(path).readlink(), fix="mend or remove it")


def glob_root(pattern: str) -> str:
    """The folder above the first wildcard, below which the relative paths of a source's files are taken."""
    parts = pattern.split("/")
    fixed = []
    for part in parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return "/".join(fixed)


def _below(path: str, root: str) -> str:
    return path.removeprefix(root).lstrip("/")


def _local_stamp(status: os.stat_result) -> str:
    """Both times: tools that build files set the one that says when they were written, and nobody the other."""
    return f"{status.st_mtime_ns} {status.st_ctime_ns}"


def _stamp(info: dict[str, Any]) -> str:
    for key in ("ETag", "etag", "LastModified", "mtime", "created"):
        if key in info:
            return str(info[key])
    return ""
