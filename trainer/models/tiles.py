"""Softmax attention on a CPU in tiles of queries, each with the keys that it may see and no others.

torch's fused product computes the scores that a causal mask hides, as it does those between documents, and multiplies
at MKL's pace (`products.py`). A tile's scores stay in the processor's cache, are computed anew backward, and only the
parts of a tile that the mask cuts through are masked: at 512 tokens this takes 0.6 of the time. Costs a dozen small
operations a tile and key head, which threads share badly: it is for few threads, and for rows of a few hundred tokens
or more.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .products import times

QUERIES = 128
"""Queries of a tile; the first key is a multiple of it too, so that products come in few shapes."""


@dataclass(frozen=True)
class Tile:
    """Queries `first` to `last` of a row, and the keys from `key` to `last`: no query sees one before.

    `masked` holds places among these keys, and what is added to the scores from there on, [queries, keys].
    """

    row: int
    first: int
    last: int
    key: int
    masked: tuple[tuple[int, Tensor], ...]


def tiles(runs_BS: Tensor, window: int | None) -> tuple[Tile, ...]:
    """All tiles of a batch.

    Args:
        runs_BS: `masks.run_numbers`.
        window: how many tokens a token sees, itself included; None for all.
    """
    S = runs_BS.shape[1]
    places_S = torch.arange(S)
    starts_BS = torch.ones_like(runs_BS, dtype=torch.bool)
    starts_BS[:, 1:] = runs_BS[:, 1:] != runs_BS[:, :-1]
    seen_BS = torch.where(starts_BS, places_S, 0).cummax(dim=1).values  # the first key that each token sees
    if window is not None:
        seen_BS = torch.maximum(seen_BS, places_S - window + 1)
    spans = [(first, min(first + QUERIES, S)) for first in range(0, S, QUERIES)]
    causal_QQ = _hidden(places_S[:QUERIES], torch.zeros(1, dtype=torch.int64), 0, min(QUERIES, S))
    return tuple(
        _tile(row, first, last, seen_BS[row, first:last], causal_QQ)
        for row in range(len(runs_BS))
        for first, last in spans
    )


def _tile(row: int, first: int, last: int, seen_Q: Tensor, causal_QQ: Tensor) -> Tile:
    """One tile. Masked are the keys up to the last that some query does not see, and the queries' own."""
    earliest, latest = int(seen_Q[0]), int(seen_Q[-1])
    key = earliest - earliest % QUERIES
    places_Q = torch.arange(first, last)
    if latest > first:
        return Tile(row, first, last, key, ((0, _hidden(places_Q, seen_Q, key, last)),))
    masked = [(first - key, causal_QQ[: last - first, : last - first])]
    if latest > key:
        masked.append((0, _hidden(places_Q, seen_Q, key, latest)))
    return Tile(row, first, last, key, tuple(masked))


def _hidden(places_Q: Tensor, seen_Q: Tensor, first: int, last: int) -> Tensor:
    """What is added to the scores of queries with keys `first` to `last`: minus infinity where one is not seen."""
    keys_N = torch.arange(first, last)
    hidden_QN = (keys_N > places_Q[:, None]) | (keys_N < seen_Q[:, None])
    return torch.zeros(hidden_QN.shape).masked_fill_(hidden_QN, float("-inf"))


def attend_in_tiles(queries_BHTd: Tensor, keys_BKTd: Tensor, values_BKTd: Tensor, tiles: Sequence[Tile]) -> Tensor:
    """Masked softmax attention, float32, scale 1 / sqrt(d), each key head serving H / K query heads; [B, H, T, d]."""
    attended: Tensor = Tiled.apply(queries_BHTd, keys_BKTd, values_BKTd, tiles)  # type: ignore[no-untyped-call]
    return attended


class Tiled(torch.autograd.Function):
    """The product and its gradient. Nothing is kept for backward but queries, keys and values."""

    @staticmethod
    def forward(
        ctx: Any, queries_BHTd: Tensor, keys_BKTd: Tensor, values_BKTd: Tensor, tiles: Sequence[Tile]
    ) -> Tensor:
        keys_BKTd, values_BKTd = keys_BKTd.contiguous(), values_BKTd.contiguous()
        ctx.save_for_backward(queries_BHTd, keys_BKTd, values_BKTd)
        ctx.tiles = tiles
        attended_BHTd = _like_rows(queries_BHTd)
        grouped_BKgTd = _grouped(attended_BHTd, keys_BKTd)
        for tile in tiles:
            queries_KNd = _of_tile(queries_BHTd, keys_BKTd, tile) * queries_BHTd.shape[-1] ** -0.5
            for head, (keys_Sd, values_Sd) in enumerate(_seen(tile, keys_BKTd, values_BKTd)):
                weights_NS = _weights(queries_KNd[head], keys_Sd, tile)
                attended_Nd = times(weights_NS, values_Sd.T)
                target = grouped_BKgTd[tile.row, head, :, tile.first : tile.last]
                target.copy_(attended_Nd.view_as(target))
        return attended_BHTd

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BHTd: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        queries_BHTd, keys_BKTd, values_BKTd = ctx.saved_tensors
        scale = queries_BHTd.shape[-1] ** -0.5
        queries_gradient_BHTd = _like_rows(queries_BHTd)
        grouped_BKgTd = _grouped(queries_gradient_BHTd, keys_BKTd)
        gradients = torch.zeros_like(keys_BKTd), torch.zeros_like(values_BKTd)
        for tile in ctx.tiles:
            queries_KNd = _of_tile(queries_BHTd, keys_BKTd, tile) * scale
            gradient_KNd = _of_tile(gradient_BHTd, keys_BKTd, tile)
            seen = zip(_seen(tile, keys_BKTd, values_BKTd), _seen(tile, *gradients), strict=True)
            for head, ((keys_Sd, values_Sd), (keys_gradient_Sd, values_gradient_Sd)) in enumerate(seen):
                queries_Nd, gradient_Nd = queries_KNd[head], gradient_KNd[head]
                weights_NS = _weights(queries_Nd, keys_Sd, tile)
                values_gradient_Sd.add_(times(gradient_Nd.T, weights_NS.T).T)
                scores_gradient_NS = torch._softmax_backward_data(
                    times(gradient_Nd, values_Sd), weights_NS, -1, weights_NS.dtype
                )
                keys_gradient_Sd.add_(times(queries_Nd.T, scores_gradient_NS.T).T)
                target = grouped_BKgTd[tile.row, head, :, tile.first : tile.last]
                torch.mul(times(scores_gradient_NS, keys_Sd.T).view_as(target), scale, out=target)
        return queries_gradient_BHTd, *gradients, None


def _weights(queries_Nd: Tensor, keys_Sd: Tensor, tile: Tile) -> Tensor:
    """Softmax of the scores of a tile, [N, S]; the queries of all heads that share the key head are its rows."""
    scores_NS = times(queries_Nd, keys_Sd)
    scores_gQS = scores_NS.view(-1, tile.last - tile.first, len(keys_Sd))
    for place, hidden_QM in tile.masked:
        scores_gQS[..., place : place + hidden_QM.shape[1]] += hidden_QM
    return scores_NS.softmax(dim=-1)


def _of_tile(heads_BHTd: Tensor, keys_BKTd: Tensor, tile: Tile) -> Tensor:
    """The tile's rows of all heads, [K, N, d], contiguous."""
    heads_KgQd = _grouped(heads_BHTd, keys_BKTd)[tile.row, :, :, tile.first : tile.last]
    return heads_KgQd.reshape(heads_KgQd.shape[0], -1, heads_KgQd.shape[-1])


def _grouped(heads_BHTd: Tensor, keys_BKTd: Tensor) -> Tensor:
    """The heads by the key head that serves them, [B, K, g, T, d]."""
    B, H, T, d = heads_BHTd.shape
    K = keys_BKTd.shape[1]
    return heads_BHTd.view(B, K, H // K, T, d)


def _seen(tile: Tile, keys_BKTd: Tensor, values_BKTd: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
    """Keys and values [S, d] of the tile, head by head."""
    seen = slice(tile.key, tile.last)
    return zip(keys_BKTd[tile.row, :, seen].unbind(), values_BKTd[tile.row, :, seen].unbind(), strict=True)


def _like_rows(heads_BHTd: Tensor) -> Tensor:
    """An empty tensor of this shape that lies in memory as [B, T, H, d], as the projections want it."""
    B, H, T, d = heads_BHTd.shape
    return heads_BHTd.new_empty(B, T, H, d).transpose(1, 2)
