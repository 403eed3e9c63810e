"""Block lists from files, in the layout of UT1 or plain, made into what the kernels look up.

The lists that people have are text files of up to millions of lines, so they are read in pieces and only hashes stay.
Costs about half a second per million domains, and 8 to 16 bytes for each.

Hashes have 64 bits (FNV-1a, finished as in MurmurHash3): an address that stands in no list of n entries is taken for
one that does with a probability of about 3 n / 2^64, for n = 5 million 8e-13: one in a billion addresses would be with
a probability of .001. It is no cryptographic hash: an address can be made on purpose to be dropped.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import tarfile
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast

import numpy as np
import numpy.typing as npt

from .. import storage
from ..config import did_you_mean
from ..errors import ConfigError, RunError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Hashes = npt.NDArray[np.uint64]

LAYOUT: Final = ("domains", "urls", "expressions")  # the files of a category
_INSIDE: Final = "::"  # between a tar file and the name of a list in it
_CHUNK: Final = 8 << 20
_LEAST_SLOTS: Final = 16
_NO_SIGN: Final = re.compile(r"[^a-z0-9]+")
_WIDE_LINE: Final = re.compile(rb"[^\n]*[\x80-\xff][^\n]*")
_HOST: Final = re.compile(r"^([\x00-\x20]*(?:[A-Za-z0-9+.\-]*://|//)?(?:[^/?#\\@]*@)*)([^/?#\\:]*)")


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


def check_files(files: Sequence[str]) -> None:
    """Opens each file.

    Raises:
        ConfigError: one cannot be read.
    """
    for path in files:
        with _opened(path):
            pass


def lines(listed: Listed) -> Iterator[tuple[str, str]]:
    """Entries with their places (`file:line`), blank ones and comments (#) left out.

    Raises:
        ConfigError: a file cannot be read, or is not UTF-8.
    """
    for entry in listed.entries:
        yield "the recipe", entry
    for path in listed.files:
        with _opened(path) as stream:
            for number, line in enumerate(stream.read().split(b"\n"), 1):
                try:
                    text = line.decode().strip()
                except UnicodeDecodeError as error:
                    raise ConfigError(f"is not UTF-8 at byte {error.start}", where=f"{path}:{number}") from None
                if text and not text.startswith("#"):
                    yield f"{path}:{number}", text


def slots(listed: Listed) -> int:
    """Slots of the table for a list: a power of two, more than 4/3 of the lines."""
    count = len(listed.entries)
    for path in listed.files:
        with _opened(path) as stream:
            count += sum(chunk.count(b"\n") for chunk in iter(lambda: stream.read(_CHUNK), b"")) + 1
    return max(_LEAST_SLOTS, 1 << (count * 4 // 3).bit_length())


def table(listed: Listed, whole: bool) -> Hashes:
    """uint64[slots]: the list's domains, or its addresses where `whole`.

    Raises:
        ConfigError: a file cannot be read.
        RunError: a file grows while it is read.
    """
    from .kernels import url_kernels

    found, held = np.zeros(slots(listed), np.uint64), 0
    for piece in _pieces(listed):
        held += piece.count(b"\n") + (not piece.endswith(b"\n"))
        if held >= len(found):
            raise RunError("the block lists grow while they are read", where=", ".join(listed.files))
        if not piece.isascii():
            piece = _WIDE_LINE.sub(lambda line: punycode(line[0].decode(errors="replace")).encode(), piece)
        url_kernels.add_lines(np.frombuffer(piece, np.uint8), whole, found)
    return found


def punycode(address: str) -> str:
    """The address with a host outside ASCII as the domain name system has it (IDNA 2003), in small letters."""
    match = _HOST.match(address)
    if match is None or match[2].isascii():
        return address
    host = match[2].lower()
    if len(host) <= 255:
        with contextlib.suppress(UnicodeError):
            host = host.encode("idna").decode()
    return match[1] + host + address[match.end() :]


def normalised(words: Listed) -> tuple[str, ...]:
    """Words in small letters without what is no letter or digit of ASCII, each once.

    Raises:
        ConfigError: of a word nothing is left, so that it could never be found.
    """
    found: dict[str, None] = {}
    for place, entry in lines(words):
        word = _NO_SIGN.sub("", entry.lower())
        if not word:
            raise ConfigError(
                f"{entry!r} has no letter or digit of ASCII: addresses are compared without all else",
                where=place,
                fix="remove it, or begin the line with #",
            )
        found[word] = None
    return tuple(found)


def word_table(words: Sequence[str]) -> Hashes:
    """uint64[slots]: the words."""
    from .kernels import url_kernels

    found = np.zeros(max(_LEAST_SLOTS, 1 << (len(words) * 2).bit_length()), np.uint64)
    encoded = [word.encode() for word in words]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    url_kernels.add_words(np.frombuffer(b"".join(encoded), np.uint8), offsets, found)
    return found


def automaton(words: Sequence[str]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.bool_]]:
    """What finds any of the words in one pass (Aho and Corasick 1975): uint32[states, 36], bool[states]."""
    moves: list[list[int]] = [[-1] * 36]
    accepts = [False]
    for word in words:
        node = 0
        for sign in word:
            column = ord(sign) - 97 if sign >= "a" else ord(sign) - 48 + 26
            if moves[node][column] < 0:
                moves[node][column] = len(moves)
                moves.append([-1] * 36)
                accepts.append(False)
            node = moves[node][column]
        accepts[node] = True
    fall = [0] * len(moves)
    waiting = deque([0])
    while waiting:
        node = waiting.popleft()
        accepts[node] |= accepts[fall[node]]
        for column, below in enumerate(moves[node]):
            elsewhere = moves[fall[node]][column] if node else 0
            if below < 0:
                moves[node][column] = elsewhere
            else:
                fall[below] = elsewhere
                waiting.append(below)
    return np.array(moves, np.uint32), np.array(accepts, np.bool_)


def expression(listed: Listed) -> str | None:
    """One expression for all, in RE2's syntax; None where there are none.

    Raises:
        ConfigError: one is broken, with its file and line.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    found = []
    for place, pattern in lines(listed):
        try:
            pc.match_substring_regex(pa.array([""]), pattern, ignore_case=True)
        except pa.ArrowInvalid as error:
            raise ConfigError(
                f"the expression cannot be read: {error}",
                where=place,
                seen=pattern,
                expected="a regular expression of RE2: no look-around, no back references",
            ) from None
        found.append(f"(?:{pattern})")
    return "|".join(found) or None


def _pieces(listed: Listed) -> Iterator[bytes]:
    """The lists in pieces of whole lines."""
    if listed.entries:
        yield "\n".join(listed.entries).encode()
    for path in listed.files:
        with _opened(path) as stream:
            rest = b""
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
