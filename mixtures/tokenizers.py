"""Tokenizers: a `tokenizer.json` opened with its end-of-document token, batch encoding with loss masks, and training.

The library decides silently what no trainer should be left to guess: whether a text may spell a special token, which
token ends a document, whether something is put in front. Here each is fixed or an error. Costs the library's own
encoding time (Rust, in parallel over a batch), one Python integer a token, and memory for 4 million characters at once.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xxhash

from .. import storage
from ..errors import ConfigError, RunError
from . import tokenizer_files, tokens
from .templates import SPECIAL_TOKENS, Rendered, check_template
from .tokens import Layout, Tokens

_SLICE_CHARACTERS = 4_000_000
_UINT16_WORDS = 65_536
_BYTES = 256


class Tokenizer:
    """A tokenizer and its end-of-document token.

    Control tokens never come from text: those that the file declares special, those of the templates, the end of
    document, and all that are written `<|…|>`. Other added tokens (runs of spaces, say) are words like any other.
    Nothing is added in front or behind, cut or padded, whatever the file asks for.

    Attributes:
        path: the file.
        hash: xxh3-128 of the file's bytes, in hexadecimal.
        vocab_size: the largest id and one, added tokens included.
        end_of_document: the id of the token that ends every document; end_of_document_text is its spelling.
    """

    def __init__(self, path: str, data: bytes, end_of_document: str | None) -> None:
        contents = tokenizer_files.read_contents(data, path)
        added = contents["added_tokens"]
        self.path = path
        self.hash = xxhash.xxh3_128_hexdigest(data)
        self.end_of_document_text = tokenizer_files.find_end(added, end_of_document, path)
        controls = tokenizer_files.control_tokens(added, self.end_of_document_text)
        special = set(controls)
        for token in added:
            token["special"] = token["content"] in special
        self._library = tokenizer_files.load_library(contents, path)
        self._library.encode_special_tokens = True  # what a text spells stays text
        vocabulary = self._library.get_vocab(with_added_tokens=True)
        self.vocab_size = max(vocabulary.values()) + 1
        self._special = {token: vocabulary[token] for token in controls}
        self.end_of_document = self._special[self.end_of_document_text]
        self._is_word = np.zeros(self.vocab_size, np.bool_)
        self._is_word[list(vocabulary.values())] = True
        self._is_special = np.zeros(self.vocab_size, np.bool_)
        self._is_special[list(self._special.values())] = True

    @classmethod
    def open(cls, path: str | Path, end_of_document: str | None = None) -> "Tokenizer":
        """Opens a tokenizer.json.

        Args:
            path: the file, or a folder that holds one.
            end_of_document: the token that ends every document; None takes the one of
                `tokenizer_files.ENDS_OF_DOCUMENT` that the file declares special.

        Raises:
            ConfigError: no such file, not a tokenizer, no such token, or none or several that could be meant.
        """
        file = Path(path) / "tokenizer.json" if Path(path).is_dir() else path
        if not storage.exists(file):
            raise ConfigError("no such file", where=str(file), expected="a tokenizer.json", fix="check the path")
        return cls(str(file), storage.read_bytes(file), end_of_document)

    def __reduce__(self) -> tuple[object, ...]:
        # The library's own pickling forgets that special tokens are not to be read from text.
        return _reopen, (self.path, self.end_of_document_text, self.hash)

    @property
    def dtype(self) -> np.dtype[np.uint16] | np.dtype[np.uint32]:
        """The width in which shards hold the ids: uint16 up to 65,536 words, else uint32."""
        return np.dtype(np.uint16) if self.vocab_size <= _UINT16_WORDS else np.dtype(np.uint32)

    def check(self, template: str) -> None:
        """Whether the tokenizer can encode a template.

        Raises:
            ConfigError: special tokens are missing, one of them ends documents too, or the tokenizer puts something
                in front of a text or strips it, which would happen at every piece.
        """
        check_template(template)
        missing = [token for token in SPECIAL_TOKENS if token not in self._special]
        if missing:
            raise ConfigError(
                f"the tokenizer lacks {', '.join(missing)}, which the template {template} needs",
                where=self.path,
                seen=f"its special tokens: {tokenizer_files.listed(list(self._special))}",
                fix="put them into the file's added_tokens, or train a tokenizer: tokenizer: {train: …}",
            )
        if self.end_of_document_text in SPECIAL_TOKENS:
            raise ConfigError(
                f"the end-of-document token is one of the template {template}: a turn's end would end the document",
                where=self.path,
                seen=self.end_of_document_text,
                fix="name another one: tokenizer.end_of_document",
            )
        apart = self.decode(self._encode_apart(["a\n", "\n", " b"])[0].tolist())
        if apart != "a\n\n b":
            raise ConfigError(
                f"the tokenizer changes how a text begins or ends, and the template {template} encodes pieces apart",
                where=self.path,
                seen=f"'a\\n', '\\n' and ' b', encoded apart, decode to {apart!r}",
                expected=repr("a\n\n b"),
                fix="switch off add_prefix_space or prepend_scheme in the file, or name another tokenizer",
            )

    def encode_texts(self, texts: Sequence[str]) -> Tokens:
        """Plain documents: every token is trained, the end of document too.

        Raises:
            RunError: a text is not valid Unicode, or became a special token (no other stands for a part of it).
        """
        return self._encode(tokens.lay_out_texts(texts, self.end_of_document))

    def encode_rendered(self, rendered: Sequence[Rendered], ids: Sequence[str]) -> Tokens:
        """Conversations: the trained pieces' tokens are trained, the end of document is not.

        Args:
            rendered: what `render` made.
            ids: each document's id, for errors.

        Raises:
            ConfigError: the tokenizer lacks a special token (`check` finds this first).
            RunError: a document has no trained token, is not valid Unicode, or became a special token.
        """
        encoded = self._encode(tokens.lay_out_rendered(rendered, ids, self._special, self.end_of_document))
        tokens.check_trained(encoded, ids)
        return encoded

    def encode_prompt(self, rendered: Rendered) -> list[int]:
        """The ids of a prompt, with no end of document behind them.

        Raises:
            ConfigError, RunError: as `encode_rendered`; nothing needs to be trained.
        """
        encoded = self._encode(tokens.lay_out_rendered([rendered], ["prompt"], self._special, None))
        return [int(token) for token in encoded.ids]

    def special_id(self, token: str) -> int:
        """The id of a special token that `check` found; KeyError for one that the tokenizer lacks."""
        return self._special[token]

    def decode(self, ids: Sequence[int], skip_special: bool = False) -> str:
        """The text of ids; an id without a word (a model's vocabulary may be rounded up) becomes U+FFFD.

        Args:
            ids: token ids.
            skip_special: leave control tokens out, `<think>` and `</think>` among them.
        """
        texts: list[str] = []
        for is_word, run in itertools.groupby(map(int, ids), self._knows):
            if is_word:
                texts.append(self._library.decode(list(run), skip_special_tokens=skip_special))
            else:
                texts.extend("\ufffd" for _ in run)
        return "".join(texts)

    def _knows(self, token: int) -> bool:
        return 0 <= token < self.vocab_size and bool(self._is_word[token])

    def _encode(self, layout: Layout) -> Tokens:
        ids, lengths = self._encode_apart(layout.texts)
        return tokens.assemble(layout, ids, lengths, self._is_special)

    def _encode_apart(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        """The ids of all texts, and how many each has; a slice at a time, which bounds the library's memory."""
        ids = [np.zeros(0, np.uint32)]
        lengths: list[int] = []
        for texts_of_slice in _slices(texts):
            encodings = self._library.encode_batch_fast(texts_of_slice, add_special_tokens=False)
            counts = [len(encoding) for encoding in encodings]
            flat = itertools.chain.from_iterable(encoding.ids for encoding in encodings)
            ids.append(np.fromiter(flat, np.uint32, sum(counts)))
            lengths += counts
        return np.concatenate(ids), np.array(lengths, np.int64)


def train(
    texts: Iterable[str], vocab_size: int, end_of_document: str, path: Path, limit_bytes: int = 100_000_000
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

    Raises:
        ConfigError: `vocab_size` cannot hold the bytes and special tokens, or `end_of_document` is a template's.
        RunError: there is no text, or one that is not valid Unicode.
    """
    special = [end_of_document, *SPECIAL_TOKENS]
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
    contents = tokenizer_files.train_contents(texts, vocab_size, special, limit_bytes)
    with storage.atomic_write(path) as stream:
        stream.write(contents)
    return Tokenizer.open(path, end_of_document)


def _slices(texts: Sequence[str]) -> Iterator[list[str]]:
    """Consecutive texts of about _SLICE_CHARACTERS together; a longer one stands alone."""
    group: list[str] = []
    size = 0
    for text in texts:
        if group and size + len(text) > _SLICE_CHARACTERS:
            yield group
            group, size = [], 0
        group.append(text)
        size += len(text)
    if group:
        yield group


def _reopen(path: str, end_of_document: str, expected: str) -> Tokenizer:
    tokenizer = Tokenizer.open(path, end_of_document)
    if tokenizer.hash != expected:
        raise RunError(
            "the tokenizer's file changed while the run was going on",
            where=path,
            seen=tokenizer.hash,
            expected=expected,
            fix="run again: what was encoded with the old file is made anew",
        )
    return tokenizer
