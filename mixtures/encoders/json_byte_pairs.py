"""The byte-pair tokenizer that a tokenizer.json describes, where our own encoder gives the same ids as its library.

A tokenizer.json can describe much more (other models, normalizers, odd patterns); for all that is not byte-level
byte-pair encoding understood to the last option, there is none, and the library encodes. Costs 0.2 s and the tables.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from . import character_classes, split_patterns
from .byte_pairs import BytePairs, Symbols, pairs_of_merges
from .split_automaton import compile_splits
from .split_patterns import Node, NotUnderstoodError

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""The pattern of `ByteLevel` with `use_regex` (Radford et al. 2019)."""
_BYTES = 256


@cache
def byte_alphabet() -> Mapping[str, int]:
    """The character that stands for each byte in a byte-level vocabulary: printable ones themselves (GPT-2's table)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, _BYTES)]
    others = [byte for byte in range(_BYTES) if byte not in set(printable)]
    return {
        **{chr(byte): byte for byte in printable},
        **{chr(_BYTES + place): byte for place, byte in enumerate(others)},
    }


def byte_pairs(contents: Mapping[str, Any]) -> BytePairs:
    """The encoder of a checked tokenizer.json; added tokens are the caller's.

    Raises:
        NotUnderstoodError: the file asks for something that our encoder does not do; the text says what.
    """
    model = contents["model"]
    _check_model(model)
    _check_normalizer(contents.get("normalizer"))
    nodes = tuple(_nodes(contents.get("pre_tokenizer")))
    vocabulary: Mapping[str, int] = model["vocab"]
    alphabet = byte_alphabet()
    missing = [byte for sign, byte in alphabet.items() if sign not in vocabulary]
    if missing:
        raise NotUnderstoodError(f"a vocabulary without {len(missing)} of the bytes")
    symbols = np.zeros(_BYTES, np.int32)
    for sign, byte in alphabet.items():
        symbols[byte] = vocabulary[sign]
    merges = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
    try:
        pairs = pairs_of_merges(merges, vocabulary)  # type: ignore[arg-type]
    except (KeyError, ValueError):
        raise NotUnderstoodError("merges of what is not in the vocabulary") from None
    lengths = np.zeros(max(vocabulary.values()) + 1, np.int32)
    lengths[list(vocabulary.values())] = [len(word) for word in vocabulary]
    words = _words(vocabulary) if model.get("ignore_merges") else None
    return BytePairs(compile_splits(nodes), Symbols(symbols, symbols), pairs, lengths, words)


def _words(vocabulary: Mapping[str, int]) -> dict[bytes, int]:
    """The bytes of the words that are made of the byte alphabet alone; no text can give another."""
    alphabet = byte_alphabet()
    return {
        bytes(alphabet[sign] for sign in word): number
        for word, number in vocabulary.items()
        if word and all(sign in alphabet for sign in word)
    }


def _check_model(model: Mapping[str, Any]) -> None:
    if model.get("type") != "BPE" or not isinstance(model.get("vocab"), dict) or "merges" not in model:
        raise NotUnderstoodError(f"a model of type {model.get('type')}")
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(key):
            raise NotUnderstoodError(f"a model with {key}")


def _check_normalizer(normalizer: Any) -> None:
    if normalizer is None or (normalizer.get("type") == "Sequence" and not normalizer.get("normalizers")):
        return
    raise NotUnderstoodError(f"the normalizer {normalizer.get('type')}")


def _nodes(step: Any, last: bool = True) -> list[Node]:
    """The patterns of a pre-tokenizer that ends in ByteLevel, in the order in which they cut."""
    kind = step.get("type") if isinstance(step, dict) else None
    if kind == "Sequence" and last and step["pretokenizers"]:
        *before, final = step["pretokenizers"]
        return [node for one in before for node in _nodes(one, last=False)] + _nodes(final)
    if kind == "ByteLevel" and last and not step.get("add_prefix_space"):
        return [split_patterns.parse(GPT2)] if step.get("use_regex", True) else []
    if kind == "Digits" and not last:
        digits = split_patterns.Set(character_classes.numeric())
        return [digits if step.get("individual_digits") else split_patterns.Repeat(digits, 1, None)]
    plain = kind == "Split" and step.get("behavior") == "Isolated" and not step.get("invert")
    if plain and not last and isinstance(step.get("pattern", {}).get("Regex"), str):
        return [split_patterns.parse(step["pattern"]["Regex"])]
    raise NotUnderstoodError(f"the pre-tokenizer {kind}")
