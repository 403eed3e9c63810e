"""Training a tokenizer of our own: a byte-level BPE, with the special tokens that templates need.

For corpora that no published tokenizer fits; equal texts give equal bytes, so that a build is the same anywhere.
Costs about a second per 10 MB.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from .. import storage
from ..errors import ConfigError, RunError
from .encoders import tokenizer_files
from .templates import SPECIAL_TOKENS, Message, Template
from .tokenizers import Tokenizer

_BYTES: Final = 256
_THOUGHT: Final = (Message("system", "a"), Message("user", "b"), Message("assistant", "c", "d"))


def needed_tokens(template: Template) -> tuple[str, ...]:
    """The special tokens that a template needs beside those that every tokenizer trained here has, in order.

    Raises:
        ConfigError: the template refuses a question with an answer.
    """
    try:
        found = dict.fromkeys([*template.tokens, *template.tokens_of(_THOUGHT)])
        return tuple(token for token in found if token not in SPECIAL_TOKENS)
    except RunError as error:
        raise ConfigError(error.what, where=template.name, seen=error.seen, fix=error.fix) from None


def check_trained_size(vocab_size: int, end_of_document: str, needed: Sequence[str] = ()) -> list[str]:
    """The special tokens of a tokenizer that is to be trained, if it can hold them.

    Args:
        vocab_size: words in all.
        end_of_document: the token that ends documents.
        needed: as `needed_tokens`.

    Raises:
        ConfigError: `vocab_size` cannot hold the bytes and special tokens, or `end_of_document` is a template's.
    """
    special = list(dict.fromkeys([end_of_document, *SPECIAL_TOKENS, *needed]))
    if not end_of_document or end_of_document in SPECIAL_TOKENS:
        raise ConfigError(
            "end_of_document must be a token of its own", seen=repr(end_of_document), fix="for example <|endoftext|>"
        )
    if vocab_size < _BYTES + len(special):
        raise ConfigError(
            "vocab_size is too small to hold every byte and the special tokens",
            seen=f"{vocab_size:,}",
            expected=f"at least {_BYTES + len(special):,}",
        )
    return special


def train(
    texts: Iterable[str],
    vocab_size: int,
    end_of_document: str,
    path: Path,
    limit_bytes: int = 100_000_000,
    needed: Sequence[str] = (),
) -> Tokenizer:
    """Trains a byte-level BPE with single digits and writes its tokenizer.json; equal texts give equal bytes.

    Pre-tokenization is GPT-2's (Radford et al. 2019) with every digit apart; the special tokens are `end_of_document`
    and the templates'. A small corpus gives fewer words than asked for: a pair that stands once is not merged.

    Args:
        texts: in document order.
        vocab_size: at most this many words, the 256 bytes and the special tokens among them.
        end_of_document: the token that ends documents.
        path: the file to write, atomically.
        limit_bytes: UTF-8 bytes that are read; the text that crosses the limit is cut at a character.
        needed: special tokens of templates of one's own, as `needed_tokens`.

    Raises:
        ConfigError: `vocab_size` cannot hold the bytes and special tokens, or `end_of_document` is a template's.
        RunError: there is no text, or one that is not valid Unicode.
    """
    special = check_trained_size(vocab_size, end_of_document, needed)
    contents = tokenizer_files.train_contents(texts, vocab_size, special, limit_bytes)
    with storage.atomic_write(path) as stream:
        stream.write(contents)
    return Tokenizer.open(path, end_of_document)
