"""Our tokenizers as a tokenizer.json that the tokenizers library, and so transformers, reads to the same ids.

Of the four kinds of files transformers reads one surely; the others become that one, by the same merges in the same
order. What a file puts in front of a text is left out, since our models never saw it. Costs 0.5 s for 100,000 tokens.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson
import tokenizers as hf_tokenizers

from ... import storage
from ...errors import RunError
from ...mixtures.encoders import sentencepiece_files, tekken_files, tiktoken_files, tokenizer_files
from ...mixtures.tokenizers import Tokenizer

STRESS: Final = (
    "Hello, world! It's 12,345.67 — naïve café, Straße, 日本語のテキスト, العربية, हिन्दी, emoji 👩‍👩‍👧 🏳️‍🌈\n",
    "    def f(x):\n\treturn x  **  2   # two\r\n\r\n\r\n  trailing   \n\n\n",
    "They're we'll I'D DON'T x=1;y=22;z=333;1234567890 aaaaaaaaaaaaaaaa ---------- ////// <>\u00a0\u2028\u200b",
    "",
    " ",
    "\n",
    "a",
)
"""Texts that pull tokenizers apart: scripts, digits, contractions, white space, long runs, nothing."""


def contents(tokenizer: Tokenizer) -> bytes:
    """The bytes of a tokenizer.json with a tokenizer's ids.

    Raises:
        ConfigError: a SentencePiece model that is no BPE with byte fallback, or changes its text.
    """
    data = storage.read_bytes(tokenizer.path)
    if tokenizer.kind == "tokenizer.json":
        return _as_trained(data, tokenizer)
    if tokenizer.kind == "sentencepiece":
        body = _of_pieces(sentencepiece_files.byte_pieces(data, tokenizer.path))
    elif tokenizer.kind == "tekken":
        body = _of_ranks(*tekken_files.ranks_and_pattern(data, tokenizer.path))
    else:
        ranks = tiktoken_files.read_ranks(data, tokenizer.path)
        body = _of_ranks(ranks, tiktoken_files.pattern_of(data, tokenizer.settings.pattern))
    body["model"]["vocab"] |= tokenizer.special
    body["added_tokens"] = [
        _added(number, text) for text, number in sorted(tokenizer.special.items(), key=lambda item: item[1])
    ]
    return orjson.dumps({"version": "1.0", "truncation": None, "padding": None, "post_processor": None, **body})


def check(data: bytes, tokenizer: Tokenizer, texts: Iterable[str]) -> int:
    """Compares the ids that the library gives for texts with ours; texts that spell special tokens are left out.

    Returns:
        The number of texts that were compared.

    Raises:
        RunError: they differ.
    """
    library = hf_tokenizers.Tokenizer.from_str(data.decode())
    compared = 0
    for text in (*STRESS, *texts):
        if any(token in text for token in tokenizer.special):
            continue
        ours = tokenizer.encode_texts([text]).ids[:-1].tolist()
        theirs = library.encode(text).ids
        if theirs != ours:
            place = next((i for i, (a, b) in enumerate(zip(theirs, ours, strict=False)) if a != b), None)
            place = min(len(theirs), len(ours)) if place is None else place
            raise RunError(
                "the tokenizer would give other ids in transformers",
                where=tokenizer.path,
                seen=f"{theirs[place : place + 8]} at token {place} of {text[:80]!r}",
                expected=ours[place : place + 8],
                fix="leave the tokenizer out with --no-tokenizer, and ship its own file",
            )
        compared += 1
    return compared


def _added(number: int, text: str) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": number, "content": text, **flags}


def _as_trained(data: bytes, tokenizer: Tokenizer) -> bytes:
    """The file itself, where nothing is put in front of a text and control tokens are declared special."""
    found = tokenizer_files.read_contents(data, tokenizer.path)
    wrong = [token for token in found["added_tokens"] if token["special"] != (token["content"] in tokenizer.special)]
    idle = {"post_processor", "truncation", "padding"}
    if not wrong and all(found.get(key) is None for key in idle):
        return data
    for token in found["added_tokens"]:
        token["special"] = token["content"] in tokenizer.special
    return orjson.dumps(found | dict.fromkeys(idle))


def _of_ranks(ids: Mapping[bytes, int], pattern: str) -> dict[str, Any]:
    """Of byte sequences in the order of their ranks: each merge that makes one, the earlier ones first."""
    letters = _letters()
    spelled = {"".join(letters[byte] for byte in token): number for token, number in ids.items()}
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    bytes_of = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, bytes_of]},
        "decoder": bytes_of,
        "model": _bpe(spelled, list(spelled)) | {"ignore_merges": True},
    }


def _of_pieces(pieces: sentencepiece_files.BytePieces) -> dict[str, Any]:
    """Of pieces with scores: each merge that makes one, the better ones first; bytes for what is no piece."""
    space = sentencepiece_files.SPACE
    steps: list[dict[str, Any]] = [{"type": "Replace", "pattern": {"String": " "}, "content": space}]
    undo: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": space}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if pieces.prefixed:
        steps.insert(0, {"type": "Prepend", "prepend": space})
        undo.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {
        "normalizer": {"type": "Sequence", "normalizers": steps},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": undo},
        "model": _bpe(pieces.ids, pieces.ordered)
        | {"unk_token": pieces.unknown, "fuse_unk": True, "byte_fallback": True},
    }


def _bpe(vocabulary: Mapping[str, int], ordered: Sequence[str]) -> dict[str, Any]:
    """A model whose merges are all that make one of the `ordered` words of two others."""
    places = {word: place for place, word in enumerate(ordered)}
    merges: list[tuple[str, str]] = []
    for word in ordered:
        splits = [(word[:cut], word[cut:]) for cut in range(1, len(word))]
        halves = [(left, right) for left, right in splits if left in places and right in places]
        merges += sorted(halves, key=lambda pair: (places[pair[0]], places[pair[1]]))
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": dict(vocabulary),
        "merges": merges,
    }


def _letters() -> list[str]:
    """The printable character that GPT-2's byte alphabet has for each byte."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(0x100)]
