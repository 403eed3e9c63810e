"""How probable a model finds given tokens: pieces packed into rows, apart from each other, and the nats of each.

Held-out documents, the answers of twins and the choices of a question are all scored so. Costs one forward pass over
the tokens, with little padding: a piece goes into the first row that has room. Logits are held a chunk at a time.
"""

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from ...errors import ConfigError, RunError
from ..models.layout import PADDING
from ..models.model import UNSUPERVISED, MoEModel

Piece = tuple[npt.NDArray[np.uint32], npt.NDArray[np.bool_]]
"""Tokens that see each other, and which of them are scored; the first never is."""

Scored = tuple[int, float, int]
"""A piece's place among all, the nats of its scored tokens, and their number."""

_WIDTHS = 128
"""Rows that are not full are shortened to a multiple of this, so that kernels see few lengths."""


def cut(tokens: npt.NDArray[np.uint32], loss: npt.NDArray[np.bool_], sequence_length: int) -> Iterator[Piece]:
    """A document in pieces of at most `sequence_length` tokens, each starting with the last token of the one before.

    The first token of a piece is never scored: it has no predecessor there, or was scored in the piece before.
    """
    for start in range(0, max(len(tokens) - 1, 1), sequence_length - 1):
        yield tokens[start : start + sequence_length], loss[start : start + sequence_length]


def scored(
    model: MoEModel, pieces: Iterable[Piece], length: int, rows: int, where: str, rope_theta: float | None = None
) -> Iterator[Scored]:
    """The nats of every piece, in the order in which they come out of their rows.

    Args:
        pieces: a longer one than a row stands alone, in a row of its own length.
        length: tokens of a row, 2 or more.
        rows: of one forward pass.
        where: a name for errors.
        rope_theta: base of the rotary embeddings, that of the model's config by default.

    Raises:
        ConfigError: `length` below 2 or `rows` below 1.
        RunError: a token is outside the vocabulary, or the loss is not finite.
    """
    if length < 2 or rows < 1:
        seen = f"sequence_length {length}, rows {rows}"
        raise ConfigError("nothing can be scored", where=where, seen=seen, expected="2 and 1 or more")
    for batch in _packed(pieces, length, rows):
        for place, nats, tokens in _score_rows(model, batch, length, where, rope_theta):
            if not math.isfinite(nats):
                raise RunError("the loss is not finite", where=where, seen=nats, fix="take an earlier checkpoint")
            yield place, nats, tokens


def total(
    model: MoEModel, pieces: Iterable[Piece], length: int, rows: int, where: str, rope_theta: float | None = None
) -> tuple[float, int]:
    """The nats of all scored tokens, and their number.

    Raises:
        ConfigError, RunError: as `scored`, and where no token can be scored.
    """
    nats, tokens = 0.0, 0
    for _, of_piece, count in scored(model, pieces, length, rows, where, rope_theta):
        nats += of_piece
        tokens += count
    if not tokens:
        raise RunError("no token to score", where=where, expected="held-out documents with supervised tokens")
    return nats, tokens


def _packed(pieces: Iterable[Piece], length: int, rows: int) -> Iterator[list[list[tuple[int, Piece]]]]:
    """Batches of rows of pieces: each piece in the first row that has room; a batch ends where none has.

    A piece that is longer than a row is a batch of its own.
    """
    batch: list[list[tuple[int, Piece]]] = [[] for _ in range(rows)]
    room = [length] * rows
    for place, piece in enumerate(pieces):
        size = len(piece[0])
        if size > length:
            yield [[(place, piece)]]
            continue
        row = next((row for row in range(rows) if room[row] >= size), None)
        if row is None:
            yield [row for row in batch if row]
            batch, room, row = [[] for _ in range(rows)], [length] * rows, 0
        batch[row].append((place, piece))
        room[row] -= size
    if any(batch):
        yield [row for row in batch if row]


@torch.no_grad()
def _score_rows(
    model: MoEModel, rows: Sequence[Sequence[tuple[int, Piece]]], length: int, where: str, rope_theta: float | None
) -> Iterator[Scored]:
    longest = max(sum(len(ids) for _, (ids, _) in pieces) for pieces in rows)
    width = max(longest, min(length, -(-longest // _WIDTHS) * _WIDTHS))
    tokens_BT = np.zeros((len(rows), width), np.int64)
    positions_BT = np.zeros_like(tokens_BT)
    segments_BT = np.full_like(tokens_BT, PADDING)
    of_piece_BT = np.full_like(tokens_BT, -1)
    places: list[int] = []
    for row, pieces in enumerate(rows):
        at = 0
        for segment, (place, (ids, loss)) in enumerate(pieces):
            part = slice(at, at + len(ids))
            tokens_BT[row, part] = ids
            positions_BT[row, part] = np.arange(len(ids))
            segments_BT[row, part] = segment
            of_piece_BT[row, part][1:] = np.where(loss[1:], len(places), -1)
            places.append(place)
            at += len(ids)
    words = model.embed_tokens.num_embeddings
    if tokens_BT.max() >= words:
        raise RunError(
            "a token is outside the model's vocabulary", where=where, seen=tokens_BT.max(), expected=f"below {words}"
        )
    device = model.embed_tokens.weight.device
    tokens, of_piece = torch.from_numpy(tokens_BT).to(device), torch.from_numpy(of_piece_BT).to(device)
    positions, segments = torch.from_numpy(positions_BT).to(device), torch.from_numpy(segments_BT).to(device)
    # What is said at t is about the token at t + 1.
    asked = of_piece[:, 1:] >= 0
    targets = torch.full_like(tokens, UNSUPERVISED)
    targets[:, :-1][asked] = tokens[:, 1:][asked]
    nats_N = model.nats(tokens, positions, segments, targets, rope_theta=rope_theta).double().cpu()
    piece_N = of_piece[:, 1:][asked].cpu()
    nats_P = torch.zeros(len(places), dtype=torch.float64).index_add_(0, piece_N, nats_N)
    return zip(places, nats_P.tolist(), torch.bincount(piece_N, minlength=len(places)).tolist(), strict=True)
