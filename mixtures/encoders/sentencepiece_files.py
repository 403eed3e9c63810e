"""SentencePiece's models: pieces with scores, read from the protocol buffer without its library.

Byte-pair models with byte fallback and no normalization (Llama's and Mistral's) are encoded by our own kernels; others
need the sentencepiece package. A model's own rule that a text begins with a space is kept, since it is how its texts
are written. Costs 0.1 s for 32,000 pieces.
"""

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ...errors import ConfigError
from . import character_classes, inside_characters
from .byte_pair_kernels import UNKNOWN
from .byte_pairs import BytePairs, Symbols, pairs_of_tokens
from .encoder import Contents, Encoded, Encoder, PieceDecoder, encoded_by
from .protocol_buffers import Message
from .split_automaton import compile_splits
from .split_patterns import Choice, NotUnderstoodError, Repeat, Set
from .split_patterns import Sequence as Follow
from .tokenizer_files import find_special_end
from .vocabulary import check_size

SPACE: Final = "\u2581"
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)
_BPE: Final = 2
_BYTE_PIECE: Final = re.compile(r"<0x([0-9A-F]{2})>")


@dataclass(frozen=True)
class _Model:
    """What of a model decides its ids."""

    pieces: Sequence[tuple[str, float, int]]  # text, score, type
    algorithm: int
    byte_fallback: bool
    suffixed: bool
    normalized: bool
    prefixed: bool
    escaped: bool


def read(data: bytes, path: str, end_of_document: str | None) -> Contents:
    """The contents of a SentencePiece model.

    Raises:
        ConfigError: not such a model, no end of document, or one that needs a package that is not there.
    """
    model = _read_model(data, path)
    check_size(len(model.pieces), "pieces", path)
    special = {text: number for number, (text, _, kind) in enumerate(model.pieces) if kind in (_UNKNOWN, _CONTROL)}
    pieces = {
        number: _bytes_of(text, kind, path)
        for number, (text, _, kind) in enumerate(model.pieces)
        if kind not in (_UNKNOWN, _CONTROL)
    }
    encoder: Encoder
    try:
        encoder = _encoder(model)
    except NotUnderstoodError as reason:
        encoder = SentencePieceEncoder(data, path, str(reason))
    return Contents(
        "sentencepiece",
        np.ones(len(model.pieces), np.bool_),
        inside_characters.of_pieces(pieces.items(), len(model.pieces)),
        special,
        find_special_end(list(special), end_of_document, path),
        encoder,
        PieceDecoder(pieces, special, strip=model.prefixed),
    )


@dataclass(frozen=True)
class BytePieces:
    """A byte-pair model as its merges see it: ids of all pieces, those that merges make with the best first."""

    ids: Mapping[str, int]
    ordered: Sequence[str]
    unknown: str
    prefixed: bool


def byte_pieces(data: bytes, path: str) -> BytePieces:
    """The pieces of a model that `read` has taken.

    Raises:
        ConfigError: it is no byte-pair model with byte fallback and without normalization; says what it has.
    """
    model = _read_model(data, path)
    try:
        _check_plain(model)
    except NotUnderstoodError as reason:
        raise ConfigError(
            f"this SentencePiece model cannot be written as a tokenizer.json: it has {reason}",
            where=path,
            expected="BPE with byte fallback and without normalization",
        ) from None
    normal = [(text, score) for text, score, kind in model.pieces if kind == _NORMAL]
    unknown = next((text for text, _, kind in model.pieces if kind == _UNKNOWN), "<unk>")
    return BytePieces(
        {text: number for number, (text, _, _) in enumerate(model.pieces)},
        [text for text, _ in sorted(normal, key=lambda piece: -piece[1])],
        unknown,
        model.prefixed,
    )


class Prefixed:
    """Puts a space in front of every text that is not empty, as a model with `add_dummy_prefix` does."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def encode(self, data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], end: int | None) -> Encoded:
        """As `Encoder.encode`."""
        starts, sizes = offsets[:-1], np.diff(offsets)
        at = np.flatnonzero(sizes)
        longer = np.insert(data[offsets[0] : offsets[-1]], starts[at] - offsets[0], 0x20)
        moved = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes + (sizes > 0))])
        return self._encoder.encode(longer, moved, end)


class SentencePieceEncoder:
    """Encodes with the sentencepiece package, which is an extra.

    Raises:
        ConfigError: it is not installed; `reason` says why it is needed.
    """

    def __init__(self, data: bytes, path: str, reason: str) -> None:
        try:
            from sentencepiece import SentencePieceProcessor
        except ImportError:
            raise ConfigError(
                f"this SentencePiece model needs the sentencepiece package: it has {reason}",
                where=path,
                fix="pip install 'midtrain[sentencepiece]'",
            ) from None
        try:
            self._library = SentencePieceProcessor(model_proto=data)
        except RuntimeError as error:
            raise ConfigError(f"the sentencepiece package cannot read this file: {error}", where=path) from None

    def encode(self, data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], end: int | None) -> Encoded:
        """As `Encoder.encode`."""
        return encoded_by(self._encode_slice, data, offsets, end)

    def _encode_slice(self, texts: list[str]) -> list[list[int]]:
        return [list(self._library.encode(text)) for text in texts]


def _encoder(model: _Model) -> Encoder:
    """Our own encoder.

    Raises:
        NotUnderstoodError: the model asks for what it does not do.
    """
    _check_plain(model)
    words = {
        text.encode(): (number, score) for number, (text, score, kind) in enumerate(model.pieces) if kind == _NORMAL
    }
    ids = np.array([number for number, _ in words.values()], np.int32)
    scores = np.array([score for _, score in words.values()])
    ranks = np.unique(-scores, return_inverse=True)[1].astype(np.int32)  # the best first, equal ones equal
    pairs = pairs_of_tokens(list(words), ids, ranks, characters=True)
    texts = [word.decode() for word in words]
    lengths = np.zeros(len(model.pieces), np.int32)
    lengths[ids] = list(map(len, texts))
    encoder = BytePairs(compile_splits((_pieces(texts),)), _symbols(model, texts, ids), pairs, lengths)
    return Prefixed(encoder) if model.prefixed else encoder


def _check_plain(model: _Model) -> None:
    """NotUnderstoodError where a model is more than byte pairs of characters with bytes for the rest."""
    kinds = {kind for _, _, kind in model.pieces}
    for wrong, what in (
        (model.algorithm != _BPE, f"an algorithm that is not BPE ({model.algorithm})"),
        (not model.byte_fallback, "no byte fallback"),
        (model.suffixed, "spaces as suffixes"),
        (model.normalized, "a normalization"),
        (not model.escaped, "spaces that are not escaped"),
        (_USER_DEFINED in kinds, "pieces defined by the user"),
        (_UNUSED in kinds, "unused pieces"),
    ):
        if wrong:
            raise NotUnderstoodError(what)


def _symbols(model: _Model, texts: Sequence[str], ids: npt.NDArray[np.int32]) -> Symbols:
    fallback = np.full(256, UNKNOWN, np.int32)
    for number, (text, _, kind) in enumerate(model.pieces):
        if kind == _BYTE:
            fallback[_byte(text)] = number
    if (fallback == UNKNOWN).any():
        raise NotUnderstoodError("no pieces for some bytes")
    symbols = np.full(character_classes.CODE_POINTS, UNKNOWN, np.int32)
    for text, number in zip(texts, ids.tolist(), strict=True):
        if len(text) == 1:
            symbols[ord(text)] = number
    if any(symbols[ord(sign)] == UNKNOWN for text in texts for sign in text):
        raise NotUnderstoodError("pieces of characters that are no pieces")
    symbols[ord(" ")] = symbols[ord(SPACE)]
    return Symbols(symbols, fallback)


def _pieces(texts: Sequence[str]) -> Choice:
    """Where a text may be cut: no piece holds both neighbours, so no merge can ever cross the place.

    Around characters that stand in no longer piece; and before a space that follows something else, where no piece has
    a space behind anything else.
    """
    alone = np.ones(character_classes.CODE_POINTS, np.bool_)
    longer = [ord(sign) for text in texts if len(text) > 1 for sign in text]
    alone[longer] = False
    space = character_classes.of(ord(" "), ord(SPACE))
    alone |= False
    alone[ord(" ")] = alone[ord(SPACE)]
    if any(SPACE in text.lstrip(SPACE) for text in texts):
        return Choice((Set(alone), Repeat(Set(~alone), 1, None)))
    spaces, others = Set(space & ~alone), Set(~space & ~alone)
    return Choice((Set(alone), Follow((Repeat(spaces, 0, None), Repeat(others, 1, None))), Repeat(spaces, 1, None)))


def _bytes_of(text: str, kind: int, path: str) -> bytes:
    if kind == _BYTE:
        if not _BYTE_PIECE.fullmatch(text):
            raise ConfigError("a byte's piece that names no byte", where=path, seen=text, expected="<0x00> to <0xFF>")
        return bytes([_byte(text)])
    return text.replace(SPACE, " ").encode()


def _byte(text: str) -> int:
    return int(text[3:5], 16)


def _read_model(data: bytes, path: str) -> _Model:
    """The fields that count. Source: sentencepiece_model.proto of sentencepiece 0.2.

    Raises:
        ConfigError: no protocol buffer with pieces.
    """
    try:
        top = Message(data)
        pieces = [_piece(Message(value)) for value in top.all_bytes(1)]
        trainer, normalizer = Message(top.bytes(2)), Message(top.bytes(3))
        model = _Model(
            pieces,
            algorithm=trainer.number(3, 1),
            byte_fallback=bool(trainer.number(35, 0)),
            suffixed=bool(trainer.number(24, 0)),
            normalized=bool(normalizer.bytes(2)) or bool(normalizer.number(4, 1)),
            prefixed=bool(normalizer.number(3, 1)),
            escaped=bool(normalizer.number(5, 1)),
        )
    except (IndexError, ValueError, struct.error) as error:
        raise ConfigError(f"not a SentencePiece model: {error!r}", where=path, expected="a protocol buffer") from None
    texts = {text for text, _, _ in pieces}
    if not pieces or len(texts) < len(pieces) or "" in texts:
        raise ConfigError(
            "not a SentencePiece model: no pieces, or some that stand twice", where=path, seen=f"{len(pieces):,} pieces"
        )
    return model


def _piece(piece: Message) -> tuple[str, float, int]:
    score: float = struct.unpack("<f", piece.bytes(2, bytes(4)))[0]
    return piece.bytes(1).decode(), score, piece.number(3, _NORMAL)
