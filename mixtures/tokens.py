"""Tokens of a batch of documents, and how they are put together from texts and special tokens.

Special tokens are set by id and never by text, so a batch is laid out as pieces first, its texts are encoded in one go,
and ids, ends and loss mask are then assembled by array operations. Costs a few Python steps a piece (a document
has one, a conversation four to eight a turn) and a handful of arrays of the batch's length.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import ConfigError, RunError
from .templates import Rendered

_A_TEXT = -1


@dataclass(frozen=True)
class Tokens:
    """Documents as tokens, one behind the other, each closed by the end-of-document token.

    `ids` uint32[t]; `ends` uint64[n], the exclusive end of each document; `loss` bool[t], what is trained under
    `loss: assistant`; `trained_bytes` int64[n], UTF-8 bytes of each document's trained text.
    """

    ids: npt.NDArray[np.uint32]
    ends: npt.NDArray[np.uint64]
    loss: npt.NDArray[np.bool_]
    trained_bytes: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """A batch as pieces in order: the texts among them, and for the others the one token that each is.

    `single` int64[pieces] is that token's id, -1 for a text; `trained` bool[pieces]; `last` int64[n] is the index of
    each document's last piece; `trained_bytes` int64[n]; `names` are what errors call the documents.
    """

    texts: Sequence[str]
    single: npt.NDArray[np.int64]
    trained: npt.NDArray[np.bool_]
    last: npt.NDArray[np.int64]
    trained_bytes: npt.NDArray[np.int64]
    names: Sequence[str]


def lay_out_texts(texts: Sequence[str], end_of_document: int) -> Layout:
    """Plain documents: a text and the end of document each, all of it trained.

    Raises:
        RunError: a text is not valid Unicode.
    """
    names = [f"text {position} of the batch" for position in range(len(texts))]
    sizes = [len(utf8(text, name)) for text, name in zip(texts, names, strict=True)]
    single = np.tile(np.array([_A_TEXT, end_of_document], np.int64), len(texts))
    last = np.arange(1, len(single), 2, dtype=np.int64)
    return Layout(texts, single, np.ones(len(single), np.bool_), last, np.array(sizes, np.int64), names)


def lay_out_rendered(
    rendered: Sequence[Rendered], names: Sequence[str], special: Mapping[str, int], end_of_document: int | None
) -> Layout:
    """Conversations: their pieces, then the end of document, untrained (None: nothing is added).

    Raises:
        ConfigError: a special token is missing from `special`.
        RunError: a text is not valid Unicode.
    """
    texts: list[str] = []
    single: list[int] = []
    trained: list[bool] = []
    last: list[int] = []
    sizes: list[int] = []
    for document, name in zip(rendered, names, strict=True):
        size = 0
        for piece in document.pieces:
            encoded = utf8(piece.text, f"document {name}")
            size += len(encoded) if piece.trained else 0
            single.append(_id_of(piece.text, special) if piece.special else _A_TEXT)
            trained.append(piece.trained)
            if not piece.special:
                texts.append(piece.text)
        if end_of_document is not None:
            single.append(end_of_document)
            trained.append(False)
        last.append(len(single) - 1)
        sizes.append(size)
    return Layout(
        texts,
        np.array(single, np.int64),
        np.array(trained, np.bool_),
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
    forged = np.flatnonzero(from_text & is_special[ids])
    if len(forged):
        document = int(np.searchsorted(ends, np.uint64(forged[0]), side="right"))
        raise RunError(
            "ordinary text became a special token: the tokenizer has no other for a part of it",
            where=layout.names[document],
            seen=f"token {ids[forged[0]]}",
            fix="name a tokenizer that encodes every byte: a byte-level one, or one with byte fallback",
        )
    return Tokens(ids, ends, np.repeat(layout.trained, lengths), layout.trained_bytes)


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
