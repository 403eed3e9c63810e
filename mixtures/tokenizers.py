"""Tokenizers: a file of any of four kinds with its end-of-document token, encoding with loss masks, and training.

Libraries decide silently what no trainer should be left to guess: whether a text may spell a special token, which
token ends a document, whether something is put in front. Here each is fixed or an error. Costs what the file's encoder
does (`encoders/`), and four bytes a token.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .. import storage
from ..errors import ConfigError, RunError
from . import tokens
from .encoders import tokenizer_files, tokenizer_kinds
from .encoders.encoder import Encoded
from .encoders.tokenizer_kinds import Found, Settings
from .templates import Rendered, Template, opened
from .tokenizer_identity import SETTINGS, width_of
from .tokens import Tokens, utf8


class Tokenizer:
    """A tokenizer and its end-of-document token.

    Control tokens never come from text: those that the file declares special, those of the templates, the end of
    document, and all that are written `<|…|>`. Other added tokens (runs of spaces, say) are words like any other.
    Nothing is added in front or behind, cut or padded, whatever the file asks for; but a SentencePiece model whose
    texts begin with a space keeps it.

    Attributes:
        path: the file.
        kind: `tokenizer.json`, `sentencepiece`, `tiktoken` or `tekken`.
        hash: xxh3-128 of the file's bytes (and of what is named beside a file of tiktoken), in hexadecimal.
        vocab_size: the largest id and one, added tokens included.
        inside_characters: bool[vocab_size], the ids whose bytes begin inside a character.
        end_of_document: the id of the token that ends every document; end_of_document_text is its spelling.
    """

    def __init__(self, found: Found, end_of_document: str | None) -> None:
        contents = tokenizer_kinds.contents(found, end_of_document)
        self.path = found.path
        self.settings = found.settings
        self.hash = found.hash
        self.kind = contents.kind
        self.vocab_size = len(contents.is_word)
        self.end_of_document_text = contents.end_of_document
        self.end_of_document = contents.special[contents.end_of_document]
        self._special = contents.special
        self._encoder = contents.encoder
        self._decode = contents.decode
        self.inside_characters = contents.inside_characters
        self._is_word = contents.is_word
        self._is_special = np.zeros(self.vocab_size, np.bool_)
        self._is_special[list(self._special.values())] = True

    @classmethod
    def open(
        cls,
        path: str | Path,
        end_of_document: str | None = None,
        pattern: str | None = None,
        special_tokens: Mapping[str, int] | None = None,
    ) -> "Tokenizer":
        """Opens a tokenizer file.

        Args:
            path: the file, or a folder that holds one.
            end_of_document: the token that ends every document; None takes the one of
                `tokenizer_files.ENDS_OF_DOCUMENT` that the file declares special.
            pattern, special_tokens: what a file of tiktoken leaves out; None takes what stands beside the file, or
                what was published for it.

        Raises:
            ConfigError: no such file, not a tokenizer, no such token, or none or several that could be meant.
        """
        return cls(tokenizer_kinds.find(path, Settings(pattern, special_tokens)), end_of_document)

    def __reduce__(self) -> tuple[object, ...]:
        # Encoders hold tables that are made faster than sent, and libraries forget their settings.
        return _reopen, (self.path, self.end_of_document_text, self.settings, self.hash)

    @property
    def dtype(self) -> np.dtype[np.uint16] | np.dtype[np.uint32]:
        """The width in which shards hold the ids: uint16 up to 65,536 words, else uint32."""
        return np.dtype(np.uint16) if width_of(self.vocab_size) == "uint16" else np.dtype(np.uint32)

    @property
    def special(self) -> Mapping[str, int]:
        """The control tokens by their spelling."""
        return self._special

    def write(self, folder: Path) -> Path:
        """Writes the file, and what is named beside it, under its kind's name; equal tokenizers give equal bytes."""
        path = folder / tokenizer_kinds.FILE_NAMES[self.kind]
        written = {path: storage.read_bytes(self.path)}
        if self.settings != Settings():
            written[folder / f"{path.name}{SETTINGS}"] = self.settings.dump()
        for file, contents in written.items():
            with storage.atomic_write(file) as stream:
                stream.write(contents)
        return path

    def check(self, template: str | Template) -> Template:
        """Whether the tokenizer can encode a template.

        Returns:
            The template, with what it has to know of this tokenizer.

        Raises:
            ConfigError: special tokens are missing, one of them ends documents too, or the tokenizer puts something
                in front of a text or strips it, which would happen at every piece.
        """
        found = opened(template).bound(self._special)
        try:
            needed = found.tokens
        except RunError as error:
            raise ConfigError(error.what, where=self.path, seen=error.seen, fix=error.fix) from None
        missing = [token for token in needed if token not in self._special]
        if missing:
            raise ConfigError(
                f"the tokenizer lacks {', '.join(missing)}, which the template {found.name} needs",
                where=self.path,
                seen=f"its special tokens: {tokenizer_files.listed(list(self._special))}",
                fix="put them into the file's added_tokens, or train a tokenizer: tokenizer: {train: …}",
            )
        self._check_ends(found, needed)
        apart = self.decode(self._encoded([b"a\n", b"\n", b" b"], None)[0].tolist())
        if apart != "a\n\n b":
            raise ConfigError(
                f"the tokenizer changes how a text begins or ends, and the template {found.name} encodes pieces apart",
                where=self.path,
                seen=f"'a\\n', '\\n' and ' b', encoded apart, decode to {apart!r}",
                expected=repr("a\n\n b"),
                fix="switch off add_prefix_space or prepend_scheme in the file, or name another tokenizer",
            )
        return found

    def _check_ends(self, template: Template, written: Sequence[str]) -> None:
        """A turn ends with a special token, and the end of document is none that the template writes."""
        try:
            ends = template.turn_ends
        except RunError as error:
            raise ConfigError(error.what, where=self.path, seen=error.seen, fix=error.fix) from None
        if self.end_of_document_text in (*written, *ends):
            raise ConfigError(
                f"the end-of-document token is one of the template {template.name}: a turn would end the document",
                where=self.path,
                seen=self.end_of_document_text,
                fix="name another one: tokenizer.end_of_document",
            )

    def encode_texts(self, texts: Sequence[str]) -> Tokens:
        """Plain documents: every token is trained, the end of document too.

        Raises:
            RunError: a text is not valid Unicode, or became a special token (no other stands for a part of it).
        """
        encoded = [utf8(text, f"text {position} of the batch") for position, text in enumerate(texts)]
        sizes = np.array(list(map(len, encoded)), np.int64)
        return self._closed(self._encoded(encoded, self.end_of_document), sizes, "text {} of the batch".format)

    def encode_column(self, column: pa.Array, ids: Sequence[str]) -> Tokens:
        """Plain documents as they stand in an Arrow column; no Python string is made of any.

        Args:
            column: n values of string or large_string.
            ids: each document's id, for errors.

        Raises:
            RunError: a text is missing or not valid Unicode, or became a special token.
        """
        if column.null_count:
            first = column.is_null().index(True).as_py()
            raise RunError("a document without text", where=f"document {ids[first]}", fix="drop it in the recipe")
        values = column.cast(pa.large_string())
        try:
            values.validate(full=True)
        except pa.ArrowInvalid as error:
            raise _not_unicode(values, ids) from error
        _, offsets, data = values.buffers()
        bounds = np.frombuffer(offsets, np.int64)[values.offset : values.offset + len(values) + 1]
        raw = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
        encoded = self._encoder.encode(raw, bounds, self.end_of_document)
        return self._closed(encoded, np.diff(bounds), lambda document: f"document {ids[document]}")

    def encode_rendered(self, rendered: Sequence[Rendered], ids: Sequence[str]) -> Tokens:
        """Conversations: the trained pieces' tokens are trained, the end of document is not.

        Args:
            rendered: what `render` made.
            ids: each document's id, for errors.

        Raises:
            ConfigError: the tokenizer lacks a special token (`check` finds this first).
            RunError: a document has no trained token, is not valid Unicode, or became a special token.
        """
        encoded = self._rendered(rendered, ids, self.end_of_document)
        tokens.check_trained(encoded, ids)
        return encoded

    def encode_prompt(self, rendered: Rendered) -> list[int]:
        """The ids of a prompt, with no end of document behind them.

        Raises:
            ConfigError, RunError: as `encode_rendered`; nothing needs to be trained.
        """
        encoded = self._rendered([rendered], ["prompt"], None)
        return [int(token) for token in encoded.ids]

    def special_id(self, token: str) -> int:
        """The id of a special token that `check` found; KeyError for one that the tokenizer lacks."""
        return self._special[token]

    def decode(self, ids: Sequence[int], skip_special: bool = False, continued: bool = False) -> str:
        """The text of ids; an id without a word (a model's vocabulary may be rounded up) becomes U+FFFD.

        Args:
            ids: token ids.
            skip_special: leave control tokens out, `<think>` and `</think>` among them.
            continued: the ids go on from others, as a reply from its prompt: a space that they begin with is theirs,
                not the one that the tokenizer puts in front of a text.
        """
        texts: list[str] = []
        for is_word, run in itertools.groupby(map(int, ids), self._knows):
            if is_word:
                texts.append(self._decode(list(run), skip_special, continued or bool(texts)))
            else:
                texts.extend("\ufffd" for _ in run)
        return "".join(texts)

    def _knows(self, token: int) -> bool:
        return 0 <= token < self.vocab_size and bool(self._is_word[token])

    def _rendered(self, rendered: Sequence[Rendered], names: Sequence[str], end: int | None) -> Tokens:
        layout = tokens.lay_out_rendered(rendered, names, self._special, end)
        ids, ends = self._encoded(layout.texts, None)
        return tokens.assemble(layout, ids, np.diff(ends, prepend=0), self._is_special)

    def _closed(self, encoded: Encoded, sizes: npt.NDArray[np.int64], name: Callable[[int], str]) -> Tokens:
        return tokens.closed(*encoded, sizes, self._is_special, name)

    def _encoded(self, texts: Sequence[bytes], end: int | None) -> Encoded:
        """The ids of valid UTF-8 texts, and where each one's end."""
        offsets = np.array([0, *itertools.accumulate(map(len, texts))], np.int64)
        return self._encoder.encode(np.frombuffer(b"".join(texts), np.uint8), offsets, end)


def _not_unicode(values: pa.Array, ids: Sequence[str]) -> RunError:
    """The error that names the first text that is not valid UTF-8."""
    for identity, text in zip(ids, values.cast(pa.large_binary()), strict=True):
        try:
            text.as_py().decode()
        except UnicodeDecodeError as error:
            return RunError(
                "the text is not valid Unicode",
                where=f"document {identity}",
                seen=f"bytes {error.object[error.start : error.end].hex()} at byte {error.start:,}",
                fix="repair the text where it is read",
            )
    return RunError("a column of texts is damaged", where=f"documents {ids[0]} to {ids[-1]}", fix="read it again")


def _reopen(path: str, end_of_document: str, settings: Settings, expected: str) -> Tokenizer:
    tokenizer = Tokenizer(tokenizer_kinds.find(path, settings), end_of_document)
    if tokenizer.hash != expected:
        raise RunError(
            "the tokenizer's file changed while the run was going on",
            where=path,
            seen=tokenizer.hash,
            expected=expected,
            fix="run again: what was encoded with the old file is made anew",
        )
    return tokenizer
