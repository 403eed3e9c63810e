"""Which ids begin inside a character: where a run of tokens may be cut, and where it may not.

A byte-level vocabulary has tokens that end in the middle of a character and others that go on with it, and text that is
cut between them is no text. UTF-8 tells by the first byte behind a cut alone: 0x80 to 0xBF goes on with a character
(RFC 3629, section 3), whatever stands in front. Costs a look at each word of a vocabulary, 0.2 s for a million.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .json_byte_pairs import byte_alphabet

_FALLBACK: Final = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def of_pieces(pieces: Iterable[tuple[int, bytes]], size: int) -> npt.NDArray[np.bool_]:
    """The ids whose bytes begin inside a character.

    Args:
        pieces: ids with their bytes; the others begin with a character.
        size: of the vocabulary.

    Returns:
        bool[size].
    """
    found = np.zeros(size, np.bool_)
    found[[number for number, piece in pieces if piece[:1] and 0x80 <= piece[0] < 0xC0]] = True
    return found


def first_bytes(contents: Mapping[str, Any], words: Mapping[str, int]) -> Iterator[tuple[int, bytes]]:
    """The ids of a tokenizer.json that may begin inside a character, each with its first byte.

    Args:
        contents: the file's, checked.
        words: its vocabulary with the ids, without added tokens, which are whole texts.
    """
    if byte_level(contents):
        alphabet = byte_alphabet()
        prefix = contents["model"].get("continuing_subword_prefix") or ""
        for word, number in words.items():
            first = alphabet.get(word.removeprefix(prefix)[:1])
            if first is not None:
                yield number, bytes([first])
    elif contents["model"].get("byte_fallback"):
        for word, number in words.items():
            if (match := _FALLBACK.fullmatch(word)) is not None:
                yield number, bytes([int(match[1], 16)])


def byte_level(contents: Mapping[str, Any]) -> bool:
    """Whether the words of a tokenizer.json are spelled in the alphabet of bytes."""
    return "ByteLevel" in {*_types(contents.get("pre_tokenizer")), *_types(contents.get("normalizer"))}


def _types(step: Any) -> Iterator[str]:
    """The types of a pre-tokenizer or normalizer and of those in it."""
    if isinstance(step, dict):
        yield str(step.get("type"))
        for below in (*step.get("pretokenizers", ()), *step.get("normalizers", ())):
            yield from _types(below)
