"""A batch that is being decoded: the newest tokens of its rows, where they stand, and the cache of all before.

Rows come and go while a batch is decoded: prompts are read once and then continued several times, and finished rows
are let go. Here is what that does to tokens and cache, and how many rows fit into memory. Costs a copy of the cache
whenever rows change.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import RunError
from ..models.cache import Cache
from ..models.layout import PADDING
from ..models.model import MoEModel

CPU_CACHE_BYTES = 4 << 30
"""Keys and values of one batch on the CPU; on a card it is half of what is free there."""


@dataclass
class Rows:
    """The unfinished rows of a batch: what the cache does not hold yet, or everything where there is no cache.

    `reply_N` says which replies these are, int64 on the CPU; the other tensors are on the model's device.
    """

    reply_N: Tensor
    tokens_NT: Tensor
    positions_NT: Tensor
    segments_NT: Tensor
    cache: Cache | None

    def append(self, tokens_N: Tensor) -> None:
        """Adds the tokens that were chosen; with a cache they are all that is left to read."""
        read = (self.tokens_NT[:, :0], self.positions_NT[:, :0], self.segments_NT[:, :0])
        before = read if self.cache else (self.tokens_NT, self.positions_NT, self.segments_NT)
        self.tokens_NT = torch.cat([before[0], tokens_N[:, None]], dim=1)
        self.positions_NT = torch.cat([before[1], self.positions_NT[:, -1:] + 1], dim=1)
        self.segments_NT = torch.cat([before[2], self.segments_NT[:, -1:]], dim=1)

    def take(self, rows_K: Tensor, reply_K: Tensor | None = None) -> "Rows":
        """These rows in this order, one maybe several times, as the replies `reply_K` (their own by default)."""
        here_K = rows_K.to(self.tokens_NT.device)
        return Rows(
            self.reply_N[rows_K] if reply_K is None else reply_K,
            self.tokens_NT[here_K],
            self.positions_NT[here_K],
            self.segments_NT[here_K],
            self.cache and self.cache.rows(here_K),
        )


def left_padded(model: MoEModel, prompts: Sequence[Sequence[int]], max_new_tokens: int, use_cache: bool) -> Rows:
    """The prompts as rows that end together: padding of segment -1, then segment 0 with positions from 0."""
    weight = model.embed_tokens.weight
    width = max(map(len, prompts))
    tokens_NT = torch.zeros(len(prompts), width, dtype=torch.int64)
    positions_NT = torch.zeros_like(tokens_NT)
    segments_NT = torch.full_like(tokens_NT, PADDING)
    for row, prompt in enumerate(prompts):
        first = width - len(prompt)
        tokens_NT[row, first:] = torch.tensor(prompt)
        positions_NT[row, first:] = torch.arange(len(prompt))
        segments_NT[row, first:] = 0
    room = width + max_new_tokens - 1
    cache = Cache.empty(model.config, len(prompts), room, weight.dtype, weight.device) if use_cache else None
    device = weight.device
    here = (tokens_NT.to(device), positions_NT.to(device), segments_NT.to(device))
    return Rows(torch.arange(len(prompts)), *here, cache)


def cache_bound(device: torch.device) -> int:
    """Bytes that the keys and values of a batch may take.

    What torch holds of a card and does not use is free too: behind a step of training that is nearly all of it.
    """
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + unused) // 2
    return CPU_CACHE_BYTES


def rows_that_fit(model: MoEModel, prompt: int, tokens: int, max_new_tokens: int, least: int) -> int:
    """How many rows of a prompt of so many tokens and its reply the cache may hold.

    Args:
        prompt: its number, for the error.
        tokens: of the prompt.
        max_new_tokens: of the reply.
        least: rows that are needed at once.

    Raises:
        RunError: fewer than `least`: the prompt is too long for this memory.
    """
    config, weight = model.config, model.embed_tokens.weight
    a_token = 2 * config.num_layers * config.num_kv_heads * config.head_dim * weight.element_size()
    most = cache_bound(weight.device) // (least * a_token)
    length = tokens + max_new_tokens
    if length > most:
        raise RunError(
            "the prompt is too long: the keys and values of it and its reply would not fit into memory",
            where=f"prompt {prompt}",
            seen=f"{tokens:,} tokens and {max_new_tokens:,} new ones, {a_token:,} bytes each, {least} at once",
            expected=f"at most {most:,} tokens in all",
            fix="shorten the prompt, or ask for fewer new tokens",
        )
    return least * most // length
