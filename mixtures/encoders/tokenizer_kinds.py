"""Which of the four kinds a tokenizer file is, by what stands in it, and what it holds.

The name of a file says nothing sure (`.model`, `.json`), and a file that is read as another kind gives nonsense or an
error about something else. Costs a look at the first bytes, and the reading.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import xxhash

from ... import storage
from ...errors import ConfigError
from ..tokenizer_identity import SETTINGS
from . import sentencepiece_files, tekken_files, tiktoken_files, tokenizer_files
from .encoder import Contents, Kind
from .vocabulary import check_special

FILE_NAMES: Final[Mapping[Kind, str]] = {
    "tokenizer.json": "tokenizer.json",
    "tekken": "tekken.json",
    "sentencepiece": "tokenizer.model",
    "tiktoken": "tokenizer.tiktoken",
}
"""What a file of a kind is called, in a folder that is named instead, and in what is built."""
_RANKS: Final = re.compile(rb"[A-Za-z0-9+/]+=* [0-9]+\r?\n")


@dataclass(frozen=True)
class Settings:
    """What is named beside a file: of tiktoken's, the pattern and the special tokens that it leaves out."""

    pattern: str | None = None
    special_tokens: Mapping[str, int] | None = None

    def dump(self) -> bytes:
        """The settings as a file holds them; nothing where none are named."""
        named = {"pattern": self.pattern, "special_tokens": self.special_tokens}
        given = {key: value for key, value in named.items() if value is not None}
        return orjson.dumps(given, option=orjson.OPT_SORT_KEYS) if given else b""


@dataclass(frozen=True)
class Found:
    """A tokenizer file: where it stands, its bytes, what is named beside it."""

    path: str
    data: bytes
    settings: Settings

    @property
    def hash(self) -> str:
        """xxh3-128 of the file, with the settings behind it where there are some."""
        return xxhash.xxh3_128_hexdigest(self.data + self.settings.dump())


def find(path: str | Path, settings: Settings) -> Found:
    """Reads a tokenizer file, and the settings that stand beside it where none are given.

    Args:
        path: the file, or a folder that holds one of FILE_NAMES.
        settings: what is named for it.

    Raises:
        ConfigError: there is none, or settings that are no settings.
    """
    file = Path(path) if Path(path).is_dir() else None
    if file is not None:
        present = [name for name in FILE_NAMES.values() if (file / name).is_file()]
        path = file / (present[0] if present else FILE_NAMES["tokenizer.json"])
    if not storage.exists(path):
        raise ConfigError(
            "no such file",
            where=str(path),
            expected="a tokenizer.json, a SentencePiece model, a file of tiktoken or a tekken.json",
            fix="check the path",
        )
    beside = Path(f"{path}{SETTINGS}")
    if settings == Settings() and beside.is_file():
        settings = _read_settings(beside)
    return Found(str(path), storage.read_bytes(path), settings)


def contents(found: Found, end_of_document: str | None) -> Contents:
    """What a file holds.

    Raises:
        ConfigError: it is of no known kind, or not as its kind should be; settings for a kind that has none.
    """
    kind = kind_of(found.data, found.path)
    if kind == "tiktoken":
        return tiktoken_files.read(
            found.data, found.path, end_of_document, found.settings.pattern, found.settings.special_tokens
        )
    if found.settings != Settings():
        raise ConfigError(
            "pattern and special_tokens are for files of tiktoken: the others hold their own",
            where=found.path,
            seen=f"a file of the kind {kind}",
            fix="leave them out",
        )
    if kind == "tekken":
        return tekken_files.read(found.data, found.path, end_of_document)
    if kind == "sentencepiece":
        return sentencepiece_files.read(found.data, found.path, end_of_document)
    return tokenizer_files.read(found.data, found.path, end_of_document)


def kind_of(data: bytes, path: str) -> Kind:
    """The kind of a file, by its first bytes and, where it is JSON, its keys.

    Raises:
        ConfigError: none of the four.
    """
    if data.lstrip()[:1] in (b"{", b"["):
        return "tekken" if _is_tekken(data) else "tokenizer.json"
    if _RANKS.match(data):
        return "tiktoken"
    if data[:1] == b"\n":  # the first field of a model is a piece
        return "sentencepiece"
    raise ConfigError(
        "not a tokenizer file",
        where=path,
        seen=repr(data[:40]),
        expected="a tokenizer.json, a SentencePiece model, a file of tiktoken or a tekken.json",
    )


def _is_tekken(data: bytes) -> bool:
    try:
        keys = orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return isinstance(keys, dict) and "model" not in keys and {"config", "vocab"} <= set(keys)


def _read_settings(path: Path) -> Settings:
    expected = '{"pattern": "…", "special_tokens": {"<|endoftext|>": 50256}}'
    try:
        found: Any = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        what = f"not the settings of a tokenizer: {error}"
        raise ConfigError(what, where=str(path), expected=expected) from None
    known = isinstance(found, dict) and found.keys() <= {"pattern", "special_tokens"}
    if not known or not isinstance(found.get("pattern"), str | None):
        seen = repr(found)[:200]
        raise ConfigError("not the settings of a tokenizer", where=str(path), seen=seen, expected=expected)
    special = found.get("special_tokens")
    return Settings(found.get("pattern"), None if special is None else check_special(special, str(path)))
