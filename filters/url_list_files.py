"""The files of block lists: where they stand, and their lines and pieces, decompressed.

The lists that people have are text files of up to millions of lines, in UT1's folders, packed, or in an archive with
others, so they are found and read in one place, in pieces. Costs the decompression of each.
"""

from __future__ import annotations

import contextlib
import importlib.util
import tarfile
from codecs import BOM_UTF8
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from .. import storage
from ..config import did_you_mean
from ..errors import ConfigError, RunError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LAYOUT: Final = ("domains", "urls", "expressions")  # the files of a category
_INSIDE: Final = "::"  # between a tar file and the name of a list in it
_CHUNK: Final = 8 << 20


@dataclass(frozen=True)
class Listed:
    """Files and entries of one kind.

    Args:
        files: paths, one entry a line; `.gz` and `.zst` are decompressed.
        entries: given in the recipe itself.
    """

    files: tuple[str, ...]
    entries: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.files or self.entries)


def categories(folder: str, chosen: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The files of the chosen categories in a folder of UT1's layout, by kind.

    Raises:
        ConfigError: the folder or a category is not there, or a category has none of the files or nothing in them.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ConfigError("no such folder of block lists", where=folder, fix="check the path")
    known = sorted(one.name for one in root.iterdir() if any((one / name).is_file() for name in LAYOUT))
    found: dict[str, tuple[str, ...]] = dict.fromkeys(LAYOUT, ())
    for category in chosen:
        if category not in known:
            raise ConfigError(
                f"the block lists have no category {category}",
                where=folder,
                seen=category,
                expected=", ".join(known) or "folders with a file domains, urls or expressions",
                fix=did_you_mean(category, known),
            )
        own = {name: root / category / name for name in LAYOUT if (root / category / name).is_file()}
        if not any(path.stat().st_size for path in own.values()):
            raise ConfigError(
                f"the category {category} is empty and would block nothing",
                where=str(root / category),
                seen=", ".join(f"{name} of 0 bytes" for name in own),
                fix="get the lists anew, or take the category out",
            )
        for name, path in own.items():
            found[name] += (str(path),)
    return found


def datatrove_lists() -> dict[str, tuple[str, ...]]:
    """The lists that come with datatrove, UT1's category adult of 2023 and three lists of words, by kind.

    Raises:
        ConfigError: datatrove is not installed, or is a release without them.
    """
    spec = importlib.util.find_spec("datatrove")
    folder = Path(spec.submodule_search_locations[0]) / "assets" if spec and spec.submodule_search_locations else None
    packed = next(iter(sorted(folder.glob("url_filterblacklists*.tar.gz"))), None) if folder else None
    if folder is None or packed is None:
        raise ConfigError("datatrove's block lists are not installed", fix="pip install datatrove==0.10.1")
    names = {"words": "banned_words", "soft_words": "soft_banned_words", "subwords": "banned_subwords"}
    found = {kind: (str(folder / f"{name}.txt"),) for kind, name in names.items()}
    return {**found, **{kind: (f"{packed}{_INSIDE}{kind}",) for kind in ("domains", "urls")}}


def on_disk(files: Sequence[str]) -> tuple[str, ...]:
    """The files that have to be there for these lists, each once: one may hold several."""
    return tuple(dict.fromkeys(path.partition(_INSIDE)[0] for path in files))


def lines(listed: Listed) -> Iterator[tuple[str, str]]:
    """Entries with their places (`file:line`), blank ones, comments (#) and a byte order mark left out.

    Raises:
        ConfigError: a file cannot be read, or is not UTF-8.
    """
    for entry in listed.entries:
        yield "the recipe", entry
    for path in listed.files:
        with _opened(path) as stream:
            for number, line in enumerate(stream.read().removeprefix(BOM_UTF8).split(b"\n"), 1):
                try:
                    text = line.decode().strip()
                except UnicodeDecodeError as error:
                    raise ConfigError(f"is not UTF-8 at byte {error.start}", where=f"{path}:{number}") from None
                if text and not text.startswith("#"):
                    yield f"{path}:{number}", text


def count_lines(listed: Listed) -> int:
    """Lines of all files and entries.

    Raises:
        ConfigError: a file cannot be read.
    """
    count = sum(entry.count("\n") + 1 for entry in listed.entries)
    for path in listed.files:
        with _opened(path) as stream:
            count += sum(chunk.count(b"\n") for chunk in iter(lambda: stream.read(_CHUNK), b"")) + 1
    return count


def pieces(listed: Listed) -> Iterator[bytes]:
    """The lists in pieces of whole lines, without byte order marks.

    Raises:
        ConfigError: a file cannot be read.
    """
    if listed.entries:
        yield "\n".join(listed.entries).encode()
    for path in listed.files:
        with _opened(path) as stream:
            begins = stream.read(len(BOM_UTF8))
            rest = begins.removeprefix(BOM_UTF8)
            while chunk := stream.read(_CHUNK):
                cut = chunk.rfind(b"\n") + 1
                if cut:
                    yield rest + chunk[:cut]
                    rest = chunk[cut:]
                else:
                    rest += chunk
            yield rest


def _members(archive: tarfile.TarFile, name: str) -> Iterator[BinaryIO]:
    for member in archive:
        if member.name == name and (stream := archive.extractfile(member)) is not None:
            yield cast(BinaryIO, stream)
    raise RunError(f"the archive has no file {name}")


@contextlib.contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    failures: tuple[type[Exception], ...] = (RunError, tarfile.TarError, *storage.decompression_errors())
    packed, inside, name = path.partition(_INSIDE)
    try:
        with contextlib.ExitStack() as stack:
            stream = stack.enter_context(storage.open_stream(packed))
            if inside:
                archive = stack.enter_context(tarfile.open(fileobj=stream, mode="r|"))
                stream = next(_members(archive, name))
            yield stream
    except failures as error:
        reason = error.what if isinstance(error, RunError) else str(error)
        raise ConfigError(f"the block list cannot be read: {reason}", where=path, fix="check the file") from None
