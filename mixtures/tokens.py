"""Tokens of a batch of documents, and how they are put together from texts and special tokens.

Special tokens are set by id and never by text, so a batch is laid out as pieces first, its texts are encoded in one go,
and ids, ends and loss mask are then assembled by array operations. Costs a few Python steps a piece (a document
has one, a conversation four to eight a turn) and a handful of arrays of the batch's length.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import ConfigError, RunError
from .templates import Rendered
from .text_spans import NONE, PARTS, TextSpans

_A_TEXT = -1


@dataclass(frozen=True)
class Tokens:
    """Documents as tokens, one behind the other, each closed by the end-of-document token.

    `ids` uint32[t]; `ends` uint64[n], the exclusive end of each document; `loss` bool[t], what is trained under
    `loss: assistant`; `trained_bytes` int64[n], UTF-8 bytes of each document's trained text; `spans`, the texts of
    assistants, None where there are none.
    """

    ids: npt.NDArray[np.uint32]
    ends: npt.NDArray[np.uint64]
    loss: npt.NDArray[np.bool_]
    trained_bytes: npt.NDArray[np.int64]
    spans: TextSpans | None = None


@dataclass(frozen=True)
class Layout:
    """A batch as pieces in order: the texts among them, and for the others the one token that each is.

    `single` int64[pieces] is that token's id, -1 for a text; `trained` bool[pieces]; `part` uint8[pieces] in PARTS, 0
    for none, `turn` uint32[pieces]; `last` int64[n] is the index of each document's last piece; `trained_bytes`
    int64[n]; `names` are what errors call the documents.
    """

    texts: Sequence[bytes]
    single: npt.NDArray[np.int64]
    trained: npt.NDArray[np.bool_]
    part: npt.NDArray[np.uint8]
    turn: npt.NDArray[np.uint32]
    last: npt.NDArray[np.int64]
    trained_bytes: npt.NDArray[np.int64]
    names: Sequence[str]


def lay_out_rendered(
    rendered: Sequence[Rendered], names: Sequence[str], special: Mapping[str, int], end_of_document: int | None
) -> Layout:
    """Conversations: their pieces, then the end of document, trained if they say so (None: nothing is added).

    Raises:
        ConfigError: a special token is missing from `special`.
        RunError: a text is not valid Unicode.
    """
    texts: list[bytes] = []
    single: list[int] = []
    trained: list[bool] = []
    parts: list[tuple[int, int]] = []
    last: list[int] = []
    sizes: list[int] = []
    for document, name in zip(rendered, names, strict=True):
        size = 0
        for piece in document.pieces:
            encoded = utf8(piece.text, f"document {name}")
            size += len(encoded) if piece.trained else 0
            single.append(_id_of(piece.text, special) if piece.special else _A_TEXT)
            trained.append(piece.trained)
            parts.append((PARTS.get(piece.part, NONE), piece.turn))
            if not piece.special:
                texts.append(encoded)
        if end_of_document is not None:
            single.append(end_of_document)
            trained.append(document.end_trained)
            parts.append((NONE, 0))
        last.append(len(single) - 1)
        sizes.append(size)
    part, turn = np.array(parts, np.uint32).reshape(-1, 2).T
    return Layout(
        texts,
        np.array(single, np.int64),
        np.array(trained, np.bool_),
        part.astype(np.uint8),
        turn,
        np.array(last, np.int64),
        np.array(sizes, np.int64),
        [f"document {name}" for name in names],
    )


def _id_of(token: str, special: Mapping[str, int]) -> int:
    if token not in special:
        raise ConfigError(f"the tokenizer has no special token {token}", fix="name a tokenizer that has it")
    return special[token]


def assemble(
    layout: Layout,
    text_ids: npt.NDArray[np.uint32],
    text_lengths: npt.NDArray[np.int64],
    is_special: npt.NDArray[np.bool_],
) -> Tokens:
    """The tokens of a layout whose texts are encoded.

    Args:
        layout: the pieces.
        text_ids: uint32, the ids of all its texts, one behind the other.
        text_lengths: int64[texts], how many ids each has.
        is_special: bool[vocabulary], the ids that no text may give.

    Raises:
        RunError: a text gave a special token, naming the document.
    """
    is_text = layout.single == _A_TEXT  # [pieces]
    lengths = np.ones(len(is_text), np.int64)  # [pieces]
    lengths[is_text] = text_lengths
    from_text = np.repeat(is_text, lengths)  # [t]
    ids = np.empty(len(from_text), np.uint32)
    ids[from_text] = text_ids
    ids[~from_text] = layout.single[~is_text]
    ends = np.cumsum(lengths)[layout.last].astype(np.uint64)
    _check_forged(ids, ends, from_text & is_special[ids], layout.names.__getitem__)
    spans = TextSpans.of_pieces(layout.part, layout.turn, lengths, layout.last)
    return Tokens(ids, ends, np.repeat(layout.trained, lengths), layout.trained_bytes, spans)


def closed(
    ids: npt.NDArray[np.uint32],
    ends: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
    is_special: npt.NDArray[np.bool_],
    name: Callable[[int], str],
) -> Tokens:
    """The tokens of plain documents that are encoded with the end of document behind each: all of them are trained.

    Args:
        ids: uint32[t].
        ends: int64[n].
        sizes: int64[n], UTF-8 bytes of each document.
        is_special: bool[vocabulary], the ids that no text may give.
        name: what errors call a document.

    Raises:
        RunError: a text gave a special token, naming the document.
    """
    special = is_special[ids]
    special[ends - 1] = False
    _check_forged(ids, ends.astype(np.uint64), special, name)
    return Tokens(ids, ends.astype(np.uint64), np.ones(len(ids), np.bool_), sizes)


def _check_forged(
    ids: npt.NDArray[np.uint32],
    ends: npt.NDArray[np.uint64],
    forged: npt.NDArray[np.bool_],
    name: Callable[[int], str],
) -> None:
    """Raises RunError where a text gave a special token; `forged` is bool[t]."""
    if not forged.any():
        return
    first = int(np.argmax(forged))
    document = int(np.searchsorted(ends, np.uint64(first), side="right"))
    raise RunError(
        "ordinary text became a special token: the tokenizer has no other for a part of it",
        where=name(document),
        seen=f"token {ids[first]}",
        fix="name a tokenizer that encodes every byte: a byte-level one, or one with byte fallback",
    )


def check_trained(tokens: Tokens, names: Sequence[str]) -> None:
    """Raises RunError naming the first document without a trained token: it would be silent in the loss."""
    before = np.concatenate([[0], np.cumsum(tokens.loss)])  # [t + 1], trained tokens before each
    trained = np.diff(before[tokens.ends.astype(np.int64)], prepend=0)  # [n]
    if trained.all():
        return
    raise RunError(
        "no trained token: the document would not count in the loss",
        where=f"document {names[int(np.argmin(trained))]}",
        expected="an assistant turn that is not empty",
        fix="drop the record in the recipe, or correct the fields that its messages are read from",
    )


def utf8(text: str, name: str) -> bytes:
    """The text's UTF-8 bytes.

    Raises:
        RunError: it holds half of a surrogate pair, which is no character.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise RunError(
            "the text is not valid Unicode: a surrogate stands alone",
            where=name,
            seen=f"U+{ord(text[error.start]):04X} at character {error.start:,}",
            fix="repair the text where it is read",
        ) from None
