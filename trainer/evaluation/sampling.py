"""How the next token is chosen: greedily, or drawn from a distribution that temperature, top-k and top-p shape.

Apart from decoding, so that a draw is a function of its logits and of one random number, and both can be checked.
Costs one softmax in float64 a token, and a sort of the vocabulary where a nucleus or the best few are cut out.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...errors import ConfigError


@dataclass(frozen=True)
class Sampling:
    """How replies are drawn.

    Args:
        temperature: 0 takes the most probable token, 1 draws from the model's own distribution.
        top_p: the smallest set of most probable tokens that has this probability is drawn from (arXiv 1904.09751).
        top_k: only so many most probable tokens are drawn from; they are cut before the nucleus, as transformers does.
        n: replies to each prompt, drawn independently.
        seed: of the random numbers.

    Raises:
        ConfigError: a value out of range, or several replies at temperature 0, which would all be the same.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int | None = None
    n: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if (
            not 0 <= self.temperature < float("inf")
            or not 0 < self.top_p <= 1
            or (self.top_k is not None and self.top_k < 1)
        ):
            raise ConfigError(
                "no distribution to sample from",
                where="generate",
                seen=f"temperature {self.temperature}, top_p {self.top_p}, top_k {self.top_k}",
                expected="temperature 0 or more, top_p above 0 and at most 1, top_k 1 or more",
            )
        if self.n < 1:
            raise ConfigError("no reply is asked for", where="generate", seen=f"n {self.n}", expected="1 or more")
        if self.n > 1 and self.temperature == 0:
            raise ConfigError(
                "several replies at temperature 0 are one reply again and again",
                where="generate",
                seen=f"n {self.n}, temperature 0",
                fix="give a temperature (0.8, say), or ask for one reply",
            )


GREEDY = Sampling()

HEAD = 256
"""So many of the most probable tokens are looked at before the whole vocabulary is sorted."""


def uniforms(seed: int, replies: Sequence[int], steps: int) -> Tensor:
    """Random numbers in [0, 1) for `steps` tokens of each reply, float64 [N, steps] on the CPU.

    They are a function of seed, reply and step alone, so a reply does not depend on what it shares a batch with.
    """
    table_NT = np.empty((len(replies), steps))
    for row, reply in enumerate(replies):
        key = hashlib.blake2b(f"{seed}/{reply}".encode(), digest_size=16).digest()
        table_NT[row] = np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little"))).random(steps)
    return torch.from_numpy(table_NT)


def draw(
    logits_NV: Tensor, uniform_N: Tensor, temperature: float, top_p: float = 1.0, top_k: int | None = None
) -> Tensor:
    """The token of each row at which the cumulative probability passes uniform x the mass of what may be drawn.

    Tokens stand in their own order, or, where `top_p` or `top_k` cut, the most probable first.

    Args:
        logits_NV: float32.
        uniform_N: float64 in [0, 1).
        temperature: above 0.
        top_p: mass of the nucleus, above 0 and at most 1.
        top_k: how many of the most probable tokens are kept, all by default.

    Returns:
        Token ids, int64 [N].
    """
    if top_p == 1 and top_k is None:
        return _place(torch.softmax(logits_NV.double() / temperature, dim=-1).cumsum(-1), uniform_N)
    log_mass_N1 = (logits_NV.double() / temperature).logsumexp(dim=-1, keepdim=True)
    logits_NK, tokens_NK = _best(logits_NV, log_mass_N1, temperature, top_p, top_k)
    probabilities_NK = (logits_NK.double() / temperature - log_mass_N1).exp()
    if top_k is not None:
        probabilities_NK = probabilities_NK[:, :top_k] / probabilities_NK[:, :top_k].sum(-1, keepdim=True)
    before_NK = probabilities_NK.cumsum(-1) - probabilities_NK
    # A token belongs to the nucleus if those before it do not reach top_p; the first always does.
    cumulative_NK = probabilities_NK.masked_fill(before_NK >= top_p, 0.0).cumsum(-1)
    return tokens_NK.gather(-1, _place(cumulative_NK, uniform_N)[:, None])[:, 0]


def _best(
    logits_NV: Tensor, log_mass_N1: Tensor, temperature: float, top_p: float, top_k: int | None
) -> tuple[Tensor, Tensor]:
    """The largest logits in order, and their tokens, of equal ones the first; as many as may be drawn from.

    A full sort takes longer than the rest of a small model's step, and nearly always a few tokens hold the nucleus.
    """
    if logits_NV.shape[-1] > 2 * HEAD:
        logits_NK, tokens_NK = logits_NV.topk(HEAD, dim=-1)
        # Of tokens equal to the last one some may have been left out.
        sure_NK = logits_NK > logits_NK[:, -1:]
        mass_N = (logits_NK.double() / temperature - log_mass_N1).exp().mul(sure_NK).sum(-1)
        enough_N = mass_N >= top_p if top_k is None else sure_NK.sum(-1) >= top_k
        if bool(enough_N.all()):
            tokens_NK, order_NK = tokens_NK.sort(dim=-1)
            logits_NK, order_NK = logits_NK.gather(-1, order_NK).sort(dim=-1, descending=True, stable=True)
            return logits_NK, tokens_NK.gather(-1, order_NK)
    return logits_NV.sort(dim=-1, descending=True, stable=True)


def _place(cumulative_NV: Tensor, uniform_N: Tensor) -> Tensor:
    """The first column whose cumulative mass is more than uniform x the whole; never one without mass of its own."""
    mass_N = cumulative_NV[:, -1]
    below_N = torch.nextafter(mass_N, torch.zeros_like(mass_N))
    threshold_N = torch.minimum(uniform_N.to(mass_N.device) * mass_N, below_N)
    return torch.searchsorted(cumulative_NV, threshold_N[:, None], right=True)[:, 0]
