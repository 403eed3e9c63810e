"""Decoding: a batch of prompts continued token by token, greedily or by sampling, with the model's cache.

Evaluation and `midtrain generate` need replies to many prompts of different length, and a reply must not depend on
which other prompts it shared a batch with. Costs one forward pass over the prompts, then one token of each unfinished
row a step; full recomputation (`use_cache=False`) is quadratic, and there to hold the cache to account.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ConfigError, RunError
from .attention import PADDING
from .cache import Cache, LayerCache
from .model import MoEModel

PREFILL_LOGITS = 1 << 26
"""Float32 logits of one forward pass over the prompts: 256 MiB. Longer prompts are read in pieces."""

Choose = Callable[[Tensor, Tensor, int], Tensor]
"""(logits_NV, rows_N: which prompts these are, step) -> the next token of each, int64 [N]."""


def greedy(
    model: MoEModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    stop: int | set[int],
    *,
    batch_size: int = 64,
    use_cache: bool = True,
    rope_theta: float | None = None,
) -> list[list[int]]:
    """The most probable next token, again and again, until a stop token or `max_new_tokens`.

    Args:
        model: left in the mode (training or evaluation) that it is in; it has no dropout.
        prompts: token ids, one or more each.
        max_new_tokens: at most this many tokens are generated, the stop token included.
        stop: the token or tokens that end a reply.
        batch_size: rows that are decoded together; prompts of similar length share a batch.
        use_cache: False computes every step from the whole sequence.
        rope_theta: base of the rotary embeddings, that of the model's config by default.

    Returns:
        The new tokens of each prompt without the stop token: a reply of `max_new_tokens` tokens was cut off.

    Raises:
        ConfigError: `max_new_tokens` or `batch_size` below 1, or no stop token.
        RunError: an empty prompt, a token outside the vocabulary, or logits that are not finite.
    """
    return _decode(
        model,
        prompts,
        max_new_tokens,
        stop,
        lambda logits_NV, rows_N, step: logits_NV.argmax(-1),
        batch_size,
        use_cache,
        rope_theta,
    )


def sample(
    model: MoEModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    stop: int | set[int],
    *,
    temperature: float,
    top_p: float = 1.0,
    generator: torch.Generator,
    batch_size: int = 64,
    use_cache: bool = True,
    rope_theta: float | None = None,
) -> list[list[int]]:
    """As `greedy`, but every token is drawn from softmax(logits / temperature), cut to the nucleus (arXiv 1904.09751).

    The random numbers are drawn before decoding, one a prompt and step, so the replies of a seed do not depend on
    `batch_size` nor on when other rows end. Temperature 0 is greedy.

    Args:
        temperature: 0 or more; 1 is the model's own distribution.
        top_p: the smallest set of most probable tokens that has this probability is drawn from; above 0, at most 1.
        generator: a CPU generator, seeded by the caller.

    Raises:
        ConfigError, RunError: as `greedy`, and for a temperature or top_p out of range.
    """
    if not temperature >= 0 or not 0 < top_p <= 1:
        raise ConfigError(
            "no distribution to sample from",
            where="generate",
            seen=f"temperature {temperature}, top_p {top_p}",
            expected="temperature 0 or more, top_p above 0 and at most 1",
        )
    if temperature == 0:
        return greedy(
            model, prompts, max_new_tokens, stop, batch_size=batch_size, use_cache=use_cache, rope_theta=rope_theta
        )
    uniform_PT = torch.rand(len(prompts), max(max_new_tokens, 0), generator=generator, dtype=torch.float64)

    def choose(logits_NV: Tensor, rows_N: Tensor, step: int) -> Tensor:
        uniform_N = uniform_PT[rows_N.cpu(), step].to(logits_NV.device)
        return draw(logits_NV, uniform_N, temperature, top_p)

    return _decode(model, prompts, max_new_tokens, stop, choose, batch_size, use_cache, rope_theta)


def draw(logits_NV: Tensor, uniform_N: Tensor, temperature: float, top_p: float) -> Tensor:
    """The token of each row at which the cumulative probability, most probable first, passes uniform x nucleus mass.

    Args:
        logits_NV: float32.
        uniform_N: float64 in [0, 1).
        temperature: above 0.
        top_p: mass of the nucleus, above 0 and at most 1.

    Returns:
        Token ids, int64 [N].
    """
    probabilities_NV, tokens_NV = torch.softmax(logits_NV.double() / temperature, dim=-1).sort(
        dim=-1, descending=True, stable=True
    )
    cumulative_NV = probabilities_NV.cumsum(-1)
    # A token belongs to the nucleus if those before it do not reach top_p; the first always does.
    size_N = ((cumulative_NV - probabilities_NV) < top_p).sum(-1)
    mass_N1 = cumulative_NV.gather(-1, size_N[:, None] - 1)
    place_N1 = torch.searchsorted(cumulative_NV, uniform_N[:, None] * mass_N1, right=True)
    place_N1 = torch.minimum(place_N1, size_N[:, None] - 1)
    return tokens_NV.gather(-1, place_N1)[:, 0]


@dataclass
class _Rows:
    """The unfinished rows of a batch: everything they consist of so far, and the cache of all but the newest."""

    prompt_N: Tensor
    tokens_NT: Tensor
    positions_NT: Tensor
    segments_NT: Tensor
    cache: Cache | None

    def append(self, tokens_N: Tensor) -> None:
        self.tokens_NT = torch.cat([self.tokens_NT, tokens_N[:, None]], dim=1)
        self.positions_NT = torch.cat([self.positions_NT, self.positions_NT[:, -1:] + 1], dim=1)
        self.segments_NT = torch.cat([self.segments_NT, self.segments_NT[:, -1:]], dim=1)

    def keep(self, rows_K: Tensor) -> None:
        """Leaves only these rows, in this order."""
        self.prompt_N = self.prompt_N[rows_K]
        self.tokens_NT = self.tokens_NT[rows_K]
        self.positions_NT = self.positions_NT[rows_K]
        self.segments_NT = self.segments_NT[rows_K]
        self.cache = self.cache and _cache_rows(self.cache, rows_K)


def _cache_rows(cache: Cache, rows_K: Tensor) -> Cache:
    layers = tuple(
        LayerCache(
            keys_BKSD=layer.keys_BKSD[rows_K],
            values_BKSD=layer.values_BKSD[rows_K],
            conv_input_BC=layer.conv_input_BC[rows_K],
            depthwise_output_BC=layer.depthwise_output_BC[rows_K],
            delayed_value_BV=layer.delayed_value_BV[rows_K],
        )
        for layer in cache.layers
    )
    return Cache(layers, cache.segments_BS[rows_K], cache.length)


@torch.no_grad()
def _decode(
    model: MoEModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    stop: int | set[int],
    choose: Choose,
    batch_size: int,
    use_cache: bool,
    rope_theta: float | None,
) -> list[list[int]]:
    ends = {stop} if isinstance(stop, int) else stop
    _check(model, prompts, max_new_tokens, ends, batch_size)
    replies: list[list[int]] = [[] for _ in prompts]
    by_length = sorted(range(len(prompts)), key=lambda prompt: len(prompts[prompt]))
    for first in range(0, len(by_length), batch_size):
        rows = _left_padded(model, prompts, by_length[first : first + batch_size], max_new_tokens, use_cache)
        _finish(model, rows, replies, max_new_tokens, ends, choose, rope_theta)
    return replies


def _check(
    model: MoEModel, prompts: Sequence[Sequence[int]], max_new_tokens: int, ends: set[int], batch_size: int
) -> None:
    if max_new_tokens < 1 or batch_size < 1:
        seen = f"max_new_tokens {max_new_tokens}, batch_size {batch_size}"
        raise ConfigError("nothing can be generated", where="generate", seen=seen, expected="1 or more of each")
    if not ends:
        raise ConfigError("no token ends a reply", where="generate", fix="name at least one stop token")
    words = model.embed_tokens.num_embeddings
    for number, prompt in enumerate(prompts):
        if not prompt or not 0 <= min(prompt) <= max(prompt) < words:
            raise RunError(
                "a prompt that the model cannot read",
                where=f"prompt {number}",
                seen=f"tokens {min(prompt)} to {max(prompt)}" if prompt else "no tokens",
                expected=f"one token or more, from 0 to {words - 1}",
            )


def _left_padded(
    model: MoEModel, prompts: Sequence[Sequence[int]], chosen: Sequence[int], max_new_tokens: int, use_cache: bool
) -> _Rows:
    """The chosen prompts as rows that end together: padding of segment -1, then segment 0 with positions from 0."""
    weight = model.embed_tokens.weight
    width = max(len(prompts[prompt]) for prompt in chosen)
    tokens_NT = torch.zeros(len(chosen), width, dtype=torch.int64)
    positions_NT = torch.zeros_like(tokens_NT)
    segments_NT = torch.full_like(tokens_NT, PADDING)
    for row, prompt in enumerate(chosen):
        length = len(prompts[prompt])
        tokens_NT[row, width - length :] = torch.tensor(prompts[prompt])
        positions_NT[row, width - length :] = torch.arange(length)
        segments_NT[row, width - length :] = 0
    room = width + max_new_tokens - 1
    cache = Cache.empty(model.config, len(chosen), room, weight.dtype, weight.device) if use_cache else None
    device = weight.device
    return _Rows(
        torch.tensor(chosen, device=device),
        tokens_NT.to(device),
        positions_NT.to(device),
        segments_NT.to(device),
        cache,
    )


def _finish(
    model: MoEModel,
    rows: _Rows,
    replies: list[list[int]],
    max_new_tokens: int,
    ends: set[int],
    choose: Choose,
    rope_theta: float | None,
) -> None:
    """Decodes a batch to its end into `replies`; finished rows are let go once they are half of the batch."""
    done: set[int] = set()
    for step in range(max_new_tokens):
        chosen_N = choose(_next_logits(model, rows, rope_theta), rows.prompt_N, step)
        for prompt, token in zip(rows.prompt_N.tolist(), chosen_N.tolist(), strict=True):
            if prompt in done:
                continue
            if token in ends:
                done.add(prompt)
            else:
                replies[prompt].append(token)
        rows.append(chosen_N)
        unfinished = [row for row, prompt in enumerate(rows.prompt_N.tolist()) if prompt not in done]
        if not unfinished:
            return
        if 2 * len(unfinished) <= len(rows.prompt_N):
            rows.keep(torch.tensor(unfinished, device=rows.prompt_N.device))


def _next_logits(model: MoEModel, rows: _Rows, rope_theta: float | None) -> Tensor:
    """Logits of the token after each row, float32 [N, V]; reads what the cache does not hold yet."""
    count, width = rows.tokens_NT.shape
    start = rows.cache.length if rows.cache else 0
    piece = width if rows.cache is None else max(1, PREFILL_LOGITS // (count * model.embed_tokens.num_embeddings))
    for at in range(start, width, piece):
        part = slice(at, min(at + piece, width))
        logits_NTV = model(
            rows.tokens_NT[:, part],
            rows.positions_NT[:, part],
            rows.segments_NT[:, part],
            cache=rows.cache,
            rope_theta=rope_theta,
        ).logits_BTV
    logits_NV: Tensor = logits_NTV[:, -1]
    if not torch.isfinite(logits_NV).all():
        raise RunError(
            "the model's logits are not finite",
            where="generate",
            seen="NaN or infinity",
            fix="look for a diverged loss in metrics.jsonl; take an earlier checkpoint",
        )
    return logits_NV
