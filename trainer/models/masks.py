"""What every token of a forward pass may see, in the form that each attention kernel reads.

A token sees the tokens before it in its own segment, and of those the last `window` where there is one. Segments stand
in runs, so all of this follows from the number of each token's run. Costs B x T x S numbers for `additive`, nothing
for a causal row, and B x (S / 128)^2 for `blocks`, which never makes the whole mask.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

BLOCK = 128
"""Queries and keys of a block of flex attention, torch's own default."""


def run_numbers(starts_BS: Tensor) -> Tensor:
    """Number of the run of equal segments that each token stands in, int32 [B, S], from 1, rising along a row."""
    return starts_BS.cumsum(dim=1, dtype=torch.int32)


def is_causal(starts_BS: Tensor, padding_BS: Tensor) -> bool:
    """Whether plain causal attention does: every row is one segment, and padding stands behind it, if at all.

    Padding behind a segment is seen by no token of it. What the padding itself sees is no matter.
    """
    first_B, later_BS = padding_BS[:, 0], starts_BS[:, 1:] & ~padding_BS[:, 1:]
    return not bool(later_BS.any() | (first_B & ~padding_BS.all(dim=1)).any())


def visible(runs_BS: Tensor, queries: int, window: int | None) -> Tensor:
    """True, [B, 1, T, S], where query t may see key s; the queries are the last T of the S tokens.

    Every token sees itself, padding too, so no row of the softmax is empty.
    """
    S = runs_BS.shape[1]
    offset = S - queries
    same_BTS = runs_BS[:, offset:, None] == runs_BS[:, None, :]
    reach_TS = torch.ones(queries, S, dtype=torch.bool, device=runs_BS.device).tril_(offset)
    if window is not None:
        reach_TS.triu_(offset - window + 1)
    return (same_BTS & reach_TS)[:, None]


def additive(visible_B1TS: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where a key may be seen and minus infinity elsewhere: what is added to the scores, in their type."""
    return torch.zeros_like(visible_B1TS, dtype=dtype).masked_fill_(~visible_B1TS, float("-inf"))


def blocks(runs_BS: Tensor, window: int | None) -> BlockMask:
    """The mask of T = S tokens for flex attention, from the first and last run of each block of 128 tokens.

    Runs rise along a row. So a key block before a query block has something to show exactly if its last run is the
    other's first, and the nearest pair lies within the window; all of it, if both are of one and the same run, and the
    farthest pair lies within the window.
    """
    S = runs_BS.shape[1]
    count = -(-S // BLOCK)
    ends_N = torch.arange(1, count + 1, device=runs_BS.device).mul_(BLOCK).clamp_max_(S)
    first_BN, last_BN = runs_BS[:, ::BLOCK], runs_BS[:, ends_N - 1]
    number_N = torch.arange(count, device=runs_BS.device)
    apart_NN = number_N[:, None] - number_N[None, :]
    seen_BNN = (first_BN[:, :, None] == last_BN[:, None, :]) & (apart_NN > 0)
    whole_BNN = seen_BNN & (last_BN[:, :, None] == first_BN[:, None, :])
    if window is not None:
        seen_BNN &= (apart_NN - 1) * BLOCK + 1 < window
        whole_BNN &= (apart_NN + 1) * BLOCK - 1 < window
    partial_BNN = (seen_BNN & ~whole_BNN) | (apart_NN == 0)
    return BlockMask.from_kv_blocks(
        *_listed(partial_BNN),
        *_listed(whole_BNN),
        BLOCK_SIZE=BLOCK,
        mask_mod=_rule(runs_BS, window),
        seq_lengths=(S, S),
    )


def _listed(wanted_BNN: Tensor) -> tuple[Tensor, Tensor]:
    """Number of the key blocks of each query block, int32 [B, 1, N], and their numbers, these first, [B, 1, N, N]."""
    order_BNN = wanted_BNN.to(torch.int8).argsort(dim=-1, descending=True, stable=True)
    return wanted_BNN.sum(dim=-1, dtype=torch.int32)[:, None], order_BNN.to(torch.int32)[:, None]


def _rule(runs_BS: Tensor, window: int | None) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """The mask of one pair, as flex attention wants it: of row, head, query and key."""

    def causal(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (runs_BS[row, query] == runs_BS[row, key]) & (query >= key)

    if window is None:
        return causal

    def sliding(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return causal(row, head, query, key) & (query - key < window)

    return sliding
