"""What stands in a tokenizer.json: reading it strictly, finding its end-of-document token, and training a new one.

The library takes a file at its word, numbers tokens anew where their ids disagree, and knows no end of document, so the
file is checked before anything is encoded with it. Costs a second parse of the JSON; training costs
the library's time, and memory for every distinct word of the bytes that are read.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import orjson
import tokenizers as hf_tokenizers

from ...config import did_you_mean
from ...errors import ConfigError, RunError
from ..templates import SPECIAL_TOKENS
from ..tokens import utf8
from . import inside_characters
from .encoder import AddedWords, Contents, Encoder, LibraryDecoder, LibraryEncoder
from .json_byte_pairs import byte_pairs
from .lost_text import unknown_word
from .split_patterns import NotUnderstoodError
from .vocabulary import check_size

ENDS_OF_DOCUMENT = ("<|endoftext|>", "<|end|>", "</s>", "<eos>", "<|end_of_text|>", "<｜end▁of▁sentence｜>")
_MARKERS = (("<|", "|>"), ("<｜", "｜>"))
_SHOWN = 12


def read(data: bytes, path: str, end_of_document: str | None) -> Contents:
    """What a tokenizer.json holds.

    Raises:
        ConfigError: not a tokenizer.json, no end of document, an id that is too large, or a file with which texts would
            lose characters, or get other ids each time.
    """
    contents = read_contents(data, path)
    added = contents["added_tokens"]
    end = find_end(added, end_of_document, path)
    controls = control_tokens(added, end)
    for token in added:
        token["special"] = token["content"] in set(controls)
    library = load_library(contents, path)
    library.encode_special_tokens = True  # what a text spells stays text
    vocabulary = library.get_vocab(with_added_tokens=True)
    longest = max(vocabulary, key=vocabulary.__getitem__)
    check_size(vocabulary[longest] + 1, f"the token {longest} has the id {vocabulary[longest]:,}", path)
    unknown = unknown_word(contents, library, path)
    if unknown is not None and unknown not in controls:
        controls.append(unknown)  # a text that needs it is an error
    is_word = np.zeros(max(vocabulary.values()) + 1, np.bool_)
    is_word[list(vocabulary.values())] = True
    special = {token: vocabulary[token] for token in controls}
    return Contents(
        "tokenizer.json",
        is_word,
        inside_characters.of_pieces(_first_bytes(contents, vocabulary), len(is_word)),
        special,
        end,
        _encoder(contents, library),
        LibraryDecoder(library, frozenset(special.values()), special[end]),
    )


def _first_bytes(contents: dict[str, Any], vocabulary: dict[str, int]) -> Iterator[tuple[int, bytes]]:
    added = {token["content"] for token in contents["added_tokens"]}
    return inside_characters.first_bytes(contents, {word: vocabulary[word] for word in vocabulary.keys() - added})


def _encoder(contents: dict[str, Any], library: hf_tokenizers.Tokenizer) -> Encoder:
    """Our own encoder where it gives the library's ids, for all texts or for those without an added word."""
    theirs = LibraryEncoder(library)
    try:
        ours = byte_pairs(contents)
    except NotUnderstoodError:
        return theirs
    words = [token["content"] for token in contents["added_tokens"] if not token["special"]]
    return AddedWords(words, ours, theirs) if words else ours


def read_contents(data: bytes, path: str) -> dict[str, Any]:
    """The JSON of a tokenizer.json, with its `added_tokens` checked.

    Raises:
        ConfigError: not JSON, not a tokenizer.json, or one that encodes at random.
    """
    expected = "a tokenizer.json of the tokenizers library, with the keys model and added_tokens"
    try:
        contents = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"not JSON: {error}", where=path, expected=expected) from None
    if not isinstance(contents, dict) or not isinstance(contents.get("model"), dict):
        keys = ", ".join(list(contents)[:_SHOWN]) if isinstance(contents, dict) else type(contents).__name__
        raise ConfigError("not a tokenizer.json", where=path, seen=f"keys {keys}", expected=expected)
    added = contents.setdefault("added_tokens", [])
    if not isinstance(added, list):
        raise ConfigError("added_tokens is no list", where=path, seen=str(added)[:200], expected=expected)
    for token in added:
        known = isinstance(token, dict) and isinstance(token.get("content"), str) and token["content"]
        if not known or not isinstance(token.get("id"), int) or not isinstance(token.get("special"), bool):
            raise ConfigError("an added token without content, id or special", where=path, seen=str(token)[:200])
    if dropout := contents["model"].get("dropout"):
        raise ConfigError(
            "with dropout a text gets other ids each time that it is encoded",
            where=path,
            seen=f"model.dropout {dropout}",
            expected="null",
            fix="set it to null in the file",
        )
    return contents


def load_library(contents: dict[str, Any], path: str) -> hf_tokenizers.Tokenizer:
    """The library's tokenizer of a file's contents, neither cutting nor padding.

    Raises:
        ConfigError: the library does not understand the contents, or gives an added token another id than the file.
    """
    try:
        library = hf_tokenizers.Tokenizer.from_buffer(orjson.dumps(contents))
    except ValueError as error:
        raise ConfigError(
            f"the tokenizers library {hf_tokenizers.__version__} cannot read this file: {error}", where=path
        ) from None
    for token in contents["added_tokens"]:
        seen = library.token_to_id(token["content"])
        if seen != token["id"]:
            raise ConfigError(
                f"the added token {token['content']} would get another id than the file says",
                where=path,
                seen=seen,
                expected=token["id"],
                fix="number the added tokens without gaps behind the vocabulary",
            )
    library.no_truncation()
    library.no_padding()
    return library


def control_tokens(added: Sequence[dict[str, Any]], end_of_document: str) -> list[str]:
    """The added tokens that no text may spell: special, a template's, the end of document, or written `<|…|>`."""
    named = {end_of_document, *SPECIAL_TOKENS}
    return [
        token["content"]
        for token in added
        if token["special"]
        or token["content"] in named
        or any(token["content"].startswith(left) and token["content"].endswith(right) for left, right in _MARKERS)
    ]


def find_end(added: Sequence[dict[str, Any]], named: str | None, path: str) -> str:
    """The end-of-document token: the one named, else the only one of ENDS_OF_DOCUMENT that the file declares special.

    Raises:
        ConfigError: the file does not have the one named, or none or several could be meant.
    """
    special = [token["content"] for token in added if token["special"]]
    return _find_end(special, [token["content"] for token in added], named, path)


def find_special_end(special: Sequence[str], named: str | None, path: str) -> str:
    """The end-of-document token of a file whose special tokens are known; as `find_end`."""
    return _find_end(special, special, named, path)


def _find_end(special: Sequence[str], everything: Sequence[str], named: str | None, path: str) -> str:
    if named is not None:
        if named in everything:
            return named
        raise ConfigError(
            f"the tokenizer has no end-of-document token {named}",
            where=path,
            seen=f"its special tokens: {listed(special)}",
            fix=did_you_mean(named, everything, "name one of its special tokens: tokenizer.end_of_document"),
        )
    found = [token for token in ENDS_OF_DOCUMENT if token in special]
    if len(found) == 1:
        return found[0]
    raise ConfigError(
        f"several tokens could end a document: {', '.join(found)}" if found else "no token is known to end a document",
        where=path,
        seen=f"its special tokens: {listed(special)}",
        expected="exactly one special token among " + ", ".join(ENDS_OF_DOCUMENT),
        fix="name it: tokenizer.end_of_document",
    )


def listed(tokens: Sequence[str]) -> str:
    """The tokens for an error: the first dozen, and how many more there are."""
    if not tokens:
        return "none"
    more = f" and {len(tokens) - _SHOWN:,} more" if len(tokens) > _SHOWN else ""
    return ", ".join(tokens[:_SHOWN]) + more


def train_contents(texts: Iterable[str], vocab_size: int, special: Sequence[str], limit_bytes: int) -> bytes:
    """The bytes of the tokenizer.json of a byte-level BPE that is trained on the first bytes of the texts.

    Raises:
        RunError: there is no text.
    """
    head = first_bytes(texts, limit_bytes)
    first = next(head, None)
    if first is None:
        raise RunError("no text to train a tokenizer on", fix="check the sources that tokenizer.train names")
    pre = hf_tokenizers.pre_tokenizers
    library = hf_tokenizers.Tokenizer(hf_tokenizers.models.BPE())
    library.pre_tokenizer = pre.Sequence([pre.Digits(individual_digits=True), pre.ByteLevel(add_prefix_space=False)])
    library.decoder = hf_tokenizers.decoders.ByteLevel()
    trainer = hf_tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        show_progress=False,
        special_tokens=list(special),
        initial_alphabet=sorted(pre.ByteLevel.alphabet()),
    )
    library.train_from_iterator(itertools.chain([first], head), trainer)
    return library.to_str(pretty=False).encode()


def first_bytes(texts: Iterable[str], limit: int) -> Iterator[str]:
    """The texts up to `limit` UTF-8 bytes, empty ones left out; the one that crosses is cut at a character.

    Raises:
        RunError: a text is not valid Unicode.
    """
    left = limit
    for position, text in enumerate(texts):
        encoded = utf8(text, f"text {position}")
        if len(encoded) >= left:
            # The text is valid UTF-8: only the character that the cut splits is left out.
            if cut := encoded[:left].decode(errors="ignore"):
                yield cut
            return
        left -= len(encoded)
        if text:
            yield text
