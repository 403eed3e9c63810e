"""tiktoken's files: byte sequences with their ranks, and nothing else.

The pattern that cuts texts and the special tokens stand in the program that uses the file. Here they are those
published for a file known by its hash, or named in the mixture; never guessed, since another pattern gives other ids
without a word. Costs 0.3 s for 100,000 tokens.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from ...errors import ConfigError
from . import inside_characters, split_patterns
from .byte_pairs import BytePairs, Symbols, pairs_of_tokens
from .encoder import Contents, PieceDecoder
from .split_automaton import compile_splits
from .split_patterns import NotUnderstoodError
from .tokenizer_files import find_special_end
from .vocabulary import check_size, check_special

_BYTES = 256


@dataclass(frozen=True)
class Encoding:
    """What a file of ranks leaves out; `portable` is the pattern for libraries that read `++` and `$` otherwise."""

    pattern: str
    special_tokens: Mapping[str, int]
    portable: str | None = None


_R50K = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)
_CL100K_PORTABLE = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s+(?![\s\S])|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
KNOWN: Final[Mapping[str, Encoding]] = {
    "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930": Encoding(_R50K, {"<|endoftext|>": 50256}),
    "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069": Encoding(_R50K, {"<|endoftext|>": 50256}),
    "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7": Encoding(
        _CL100K,
        {
            "<|endoftext|>": 100257,
            "<|fim_prefix|>": 100258,
            "<|fim_middle|>": 100259,
            "<|fim_suffix|>": 100260,
            "<|endofprompt|>": 100276,
        },
        _CL100K_PORTABLE,
    ),
    "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d": Encoding(
        _O200K, {"<|endoftext|>": 199999, "<|endofprompt|>": 200018}
    ),
}
"""The published encodings r50k_base, p50k_base, cl100k_base and o200k_base, by the SHA-256 of their files.

Source: tiktoken 0.14, openai_public.py; the patterns in the form without possessive quantifiers.
"""


def read(
    data: bytes,
    path: str,
    end_of_document: str | None,
    pattern: str | None = None,
    special_tokens: Mapping[str, int] | None = None,
) -> Contents:
    """The contents of a file of ranks.

    Args:
        data: the file.
        path: where it stands, for errors.
        end_of_document: the token that ends every document; None takes the known one.
        pattern, special_tokens: what the file leaves out; None takes those published for it.

    Raises:
        ConfigError: not such a file, or it is not known what it leaves out.
    """
    ranks = read_ranks(data, path)
    known = KNOWN.get(hashlib.sha256(data).hexdigest())
    if known is None and (pattern is None or special_tokens is None):
        left_out = " and ".join(
            name for name, given in (("pattern", pattern), ("special_tokens", special_tokens)) if given is None
        )
        raise ConfigError(
            f"a file of tiktoken has ranks only, and this one is none of the published: its {left_out} must be named",
            where=path,
            seen=f"SHA-256 {hashlib.sha256(data).hexdigest()}",
            expected="r50k_base, p50k_base, cl100k_base or o200k_base",
            fix="tokenizer: {path: …, pattern: '…', special_tokens: {<|endoftext|>: …}}",
        )
    chosen = pattern if pattern is not None else known.pattern if known else ""
    special = check_special(
        special_tokens if special_tokens is not None else known.special_tokens if known else {}, path
    )
    ids = set(ranks.values())
    taken = {number: text for text, number in special.items() if number in ids}
    if taken or len(set(special.values())) < len(special):
        raise ConfigError(
            "special tokens must have ids of their own, which no rank has", where=path, seen=taken or dict(special)
        )
    return contents("tiktoken", path, ranks, chosen, special, end_of_document)


def contents(
    kind: str, path: str, ids: Mapping[bytes, int], pattern: str, special: Mapping[str, int], named: str | None
) -> Contents:
    """The contents of a tokenizer of ranks.

    Args:
        kind: `tiktoken` or `tekken`.
        path: the file, for errors.
        ids: of the byte sequences, in the order of their ranks.
        pattern: that cuts texts.
        special: the special tokens.
        named: the end-of-document token; None takes the known one.

    Raises:
        ConfigError: the pattern is not understood, or leaves text out; a byte is missing; no end of document.
    """
    try:
        splits = compile_splits((split_patterns.parse(pattern, end_of_text=True),))
    except NotUnderstoodError as wrong:
        raise ConfigError(f"the pattern cannot be used exactly: {wrong}", where=path, seen=pattern) from None
    if not splits.covers(0):
        raise ConfigError(
            "the pattern leaves out some text, which would be lost", where=path, seen=pattern, fix=r"add |\s+|\S"
        )
    missing = [byte for byte in range(_BYTES) if bytes([byte]) not in ids]
    if missing:
        raise ConfigError("bytes without a rank: text could be lost", where=path, seen=str(missing[:12]))
    tokens = list(ids)
    numbers = np.array(list(ids.values()), np.int32)
    symbols = np.array([ids[bytes([byte])] for byte in range(_BYTES)], np.int32)
    size = max(int(numbers.max()), *special.values()) + 1 if special else int(numbers.max()) + 1
    lengths = np.zeros(size, np.int32)
    lengths[numbers] = list(map(len, tokens))
    ranks = np.arange(len(tokens), dtype=np.int32)
    pairs = pairs_of_tokens(tokens, numbers, ranks, characters=False)
    is_word = lengths > 0
    is_word[list(special.values())] = True
    return Contents(
        "tekken" if kind == "tekken" else "tiktoken",
        is_word,
        inside_characters.of_pieces(((number, token) for token, number in ids.items()), size),
        dict(special),
        find_special_end(list(special), named, path),
        BytePairs(splits, Symbols(symbols, symbols), pairs, lengths, dict(ids)),
        PieceDecoder({number: token for token, number in ids.items()}, special),
    )


def pattern_of(data: bytes, named: str | None) -> str:
    """The pattern that cuts texts, as other libraries read it, of a file that `read` has taken."""
    if named is not None:
        return named
    known = KNOWN[hashlib.sha256(data).hexdigest()]
    return known.portable or known.pattern


def read_ranks(data: bytes, path: str) -> dict[bytes, int]:
    """The tokens and their ranks, ascending.

    Raises:
        ConfigError: a line that is no token and rank, a token or rank that stands twice, or a rank that is too large.
    """
    found: dict[bytes, int] = {}
    for number, line in enumerate(data.splitlines(), 1):
        if not line:
            continue
        token, _, rank = line.partition(b" ")
        try:
            found[base64.b64decode(token, validate=True)] = int(rank)
        except (binascii.Error, ValueError):
            raise ConfigError(
                "not a line of tiktoken's files", where=f"{path}:{number}", seen=repr(line[:60]), expected="base64 rank"
            ) from None
    ordered = dict(sorted(found.items(), key=lambda item: item[1]))
    lines = sum(1 for line in data.splitlines() if line)
    if b"" in found or len(set(found.values())) < lines or not found or min(found.values()) < 0:
        raise ConfigError("a token or a rank stands twice, is empty or negative", where=path, seen=f"{lines:,} lines")
    last, highest = next(reversed(ordered.items()))
    check_size(highest + 1, f"the token {base64.b64encode(last).decode()} has the rank {highest:,}", path)
    return ordered
