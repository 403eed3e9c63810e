"""Mistral's tekken.json: byte sequences with ranks, the pattern that cuts texts, and special tokens in front of them.

Files up to version 7 may leave out their special tokens, which are then those that the version fixed. Costs 0.5 s for
130,000 tokens.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

import orjson

from ...errors import ConfigError
from . import tiktoken_files
from .encoder import Contents
from .vocabulary import check_size, check_special

_FIRST: Final = (
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]"),
    *("[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]"),
    *("[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"),
)
"""Special tokens of files that name none. Source: mistral-common 1.13, tekken.py."""
_NAMELESS_VERSIONS: Final = ("v1", "v2", "v3", "v7")


def read(data: bytes, path: str, end_of_document: str | None) -> Contents:
    """The contents of a tekken.json.

    Raises:
        ConfigError: a key is missing, ranks have gaps, or special tokens are not known or do not fit.
    """
    ids, pattern, special = _parts(data, path)
    return tiktoken_files.contents("tekken", path, ids, pattern, special, end_of_document)


def ranks_and_pattern(data: bytes, path: str) -> tuple[dict[bytes, int], str]:
    """Ids of the byte sequences in the order of their ranks, and the pattern that cuts texts.

    Raises:
        ConfigError: as `read`.
    """
    ids, pattern, _ = _parts(data, path)
    return ids, pattern


def _parts(data: bytes, path: str) -> tuple[dict[bytes, int], str, Mapping[str, int]]:
    """Ids, pattern, special tokens; errors as `read`."""
    try:
        found = orjson.loads(data)
        config = found["config"]
        pattern, size = str(config["pattern"]), _count(config["default_vocab_size"])
        reserved, version = _count(config["default_num_special_tokens"]), str(config["version"])
        check_size(max(size, reserved), "default_vocab_size or default_num_special_tokens", path)
        vocabulary = found["vocab"][: size - reserved]
        ids = {base64.b64decode(entry["token_bytes"], validate=True): reserved + entry["rank"] for entry in vocabulary}
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, binascii.Error) as error:
        raise ConfigError(
            f"not a tekken.json: {error!r}",
            where=path,
            expected="config with pattern, default_vocab_size, default_num_special_tokens, version; vocab",
        ) from None
    if list(ids.values()) != list(range(reserved, size)) or b"" in ids:
        raise ConfigError(
            "the ranks of the vocabulary do not count from 0 to its size",
            where=path,
            seen=f"{len(ids):,} distinct tokens",
            expected=f"{size - reserved:,}, none of them empty",
        )
    return ids, pattern, _special(found.get("special_tokens"), reserved, version, path)


def _special(named: Any, reserved: int, version: str, path: str) -> Mapping[str, int]:
    """The special tokens, those without a name filled in as the library does."""
    if named is None and version not in _NAMELESS_VERSIONS:
        raise ConfigError("a file of this version must name its special tokens", where=path, seen=version)
    texts = list(_FIRST)[:reserved] if named is None else _texts(named, path)
    texts += [f"<SPECIAL_{number}>" for number in range(len(texts), reserved)]
    if len(set(texts)) < len(texts) or len(texts) > reserved:
        raise ConfigError("special tokens that stand twice, or too many", where=path, seen=f"{len(texts):,}")
    return check_special({text: number for number, text in enumerate(texts)}, path)


def _texts(named: Any, path: str) -> list[str]:
    """The spellings of special tokens that a file names, in the order of their ranks."""
    for token in named if isinstance(named, list) else [named]:
        if not isinstance(token, dict) or not isinstance(token.get("token_str"), str) or "rank" not in token:
            raise ConfigError(
                "a special token without rank or token_str",
                where=path,
                seen=str(token)[:200],
                expected='special_tokens: [{"rank": 0, "token_str": "<unk>"}, …]',
            )
    if not isinstance(named, list) or [token["rank"] for token in named] != list(range(len(named))):
        raise ConfigError("the special tokens' ranks do not count from 0", where=path, seen=str(named)[:200])
    return [token["token_str"] for token in named]


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value
