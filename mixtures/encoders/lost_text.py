"""Whether a tokenizer.json can encode every text, and which word stands for what it cannot.

The library leaves out what a model has no piece for and no word for the unknown: a document would lose characters, and
nothing would say so. A text is whole where every byte of UTF-8 has a piece, by a byte-level alphabet or by byte
fallback; else the unknown word must be known, so that a text that becomes it is an error. Costs 256 look-ups.
"""

from collections.abc import Mapping
from typing import Any, Final

import tokenizers as hf_tokenizers

from ...errors import ConfigError
from .inside_characters import byte_level
from .json_byte_pairs import byte_alphabet

_NEVER: Final = frozenset((0xC0, 0xC1, *range(0xF5, 0x100)))
"""Bytes that stand in no UTF-8."""
_SHOWN: Final = 8


def unknown_word(contents: Mapping[str, Any], library: hf_tokenizers.Tokenizer, path: str) -> str | None:
    """The word that stands for what a checked tokenizer.json has no piece for; None where it has pieces for all.

    Args:
        contents: the file's.
        library: made of it.
        path: the file, for errors.

    Raises:
        ConfigError: there is text without a piece, and no word for it.
    """
    model, words = contents["model"], library.get_vocab(with_added_tokens=False)
    missing = _missing(contents, model, words) if _by_pieces(library) else ["no pieces of single bytes"]
    if not missing:
        return None
    unknown = _unknown(model, library)
    if unknown is not None and unknown in words:
        return unknown
    raise ConfigError(
        "a text could lose characters: not every character has a piece, and no word stands for the unknown",
        where=path,
        seen=f"no piece for {', '.join(missing[:_SHOWN])}" if _by_pieces(library) else "a vocabulary of whole words",
        expected="ByteLevel or byte_fallback, with pieces for every byte; or an unk_token of the vocabulary",
        fix="train one with a byte-level alphabet, or name another (with an unk_token, text that needs it is an error)",
    )


def _by_pieces(library: hf_tokenizers.Tokenizer) -> bool:
    """Whether words are put together of smaller pieces, down to bytes."""
    return isinstance(library.model, hf_tokenizers.models.BPE | hf_tokenizers.models.Unigram)


def _missing(contents: Mapping[str, Any], model: Mapping[str, Any], words: Mapping[str, int]) -> list[str]:
    """What of the bytes of UTF-8 has no piece."""
    if byte_level(contents):
        prefix, suffix = (model.get(key) or "" for key in ("continuing_subword_prefix", "end_of_word_suffix"))
        signs = [sign for sign, byte in byte_alphabet().items() if byte not in _NEVER]
        needed = [
            left + sign + right for sign in signs for left in sorted({"", prefix}) for right in sorted({"", suffix})
        ]
    elif model.get("byte_fallback"):
        needed = [f"<0x{byte:02X}>" for byte in range(256) if byte not in _NEVER]
    else:
        return ["characters outside the vocabulary (neither ByteLevel nor byte_fallback)"]
    return [repr(piece) for piece in needed if piece not in words]


def _unknown(model: Mapping[str, Any], library: hf_tokenizers.Tokenizer) -> str | None:
    """The word that a model gives for the unknown."""
    if isinstance(library.model, hf_tokenizers.models.Unigram):
        number = model.get("unk_id")
        return None if number is None else library.id_to_token(number)
    found: str | None = library.model.unk_token
    return found
