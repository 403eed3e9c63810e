"""Decoding: a batch of prompts continued token by token, greedily or by sampling, with the model's cache.

Evaluation and `midtrain generate` need replies to many prompts of different length, and a reply must not depend on
which other prompts it shared a batch with. Costs one forward pass over the prompts, however many replies each gets,
then one token of each unfinished row a step; full recomputation (`use_cache=False`) is quadratic, and there to hold the
cache to account.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ...errors import ConfigError, RunError
from ...mixtures.tokenizers import Tokenizer
from ..models.model import MoEModel
from .rows import Rows, left_padded, rows_that_fit
from .sampling import GREEDY, Sampling, draw, uniforms

PREFILL_LOGITS = 1 << 26
"""Float32 logits of one forward pass over the prompts: 256 MiB. Longer prompts are read in pieces."""

PREFILL_PAIRS = 1 << 28
"""Pairs of a new token and one that it may see, of one forward pass: the attention mask has a byte for each."""

Ended = Callable[[Sequence[int]], bool]
"""Whether a reply is over, by its tokens so far; it is asked after every token."""


class StopTexts:
    """Ends a reply as soon as its text holds one of some strings; the reply keeps what it has."""

    def __init__(self, tokenizer: Tokenizer, texts: Sequence[str]) -> None:
        """`texts`: not empty, and none of them empty."""
        self._tokenizer = tokenizer
        self._texts = tuple(texts)
        self._tail = max(len(text.encode()) for text in texts)

    def __call__(self, reply: Sequence[int]) -> bool:
        """Whether the newest token completed one: a token has at least one byte, so it lies in the last few."""
        tail = self._tokenizer.decode(reply[-self._tail :], continued=True)
        return any(text in tail for text in self._texts)

    def cut(self, text: str) -> str:
        """The text before the first of the strings."""
        return text[: min((at for at in map(text.find, self._texts) if at >= 0), default=len(text))]


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
    """The most probable next token, again and again: `generate` with temperature 0."""
    return generate(
        model, prompts, max_new_tokens, stop, batch_size=batch_size, use_cache=use_cache, rope_theta=rope_theta
    )


@torch.no_grad()
def generate(
    model: MoEModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    stop: int | set[int],
    *,
    sampling: Sampling = GREEDY,
    ended: Ended | None = None,
    batch_size: int = 64,
    use_cache: bool = True,
    rope_theta: float | None = None,
) -> list[list[int]]:
    """Replies to prompts, each until a stop token, until `ended` says so, or of `max_new_tokens`.

    The random numbers of a reply are its own, so the replies of a seed do not depend on `batch_size` nor on when other
    rows end; what is left is the rounding of sums over batches of another shape.

    Args:
        model: left in the mode (training or evaluation) that it is in; it has no dropout.
        prompts: token ids, one or more each.
        max_new_tokens: at most this many tokens are generated, the stop token included.
        stop: the token or tokens that end a reply.
        sampling: how tokens are chosen, and how many replies each prompt gets.
        ended: ends a reply by what it says, see `StopTexts`.
        batch_size: rows that are decoded together; prompts of similar length share a batch. Fewer where their cache
            would not fit into memory.
        use_cache: False computes every step from the whole sequence.
        rope_theta: base of the rotary embeddings, that of the model's config by default.

    Returns:
        The new tokens of each reply without the stop token: one of `max_new_tokens` tokens was cut off. Reply i is one
        to prompt i // sampling.n.

    Raises:
        ConfigError: `max_new_tokens` or `batch_size` below 1, or no stop token.
        RunError: an empty prompt or one too long for memory, a token outside the vocabulary, or logits that are not
            finite.
    """
    ends = {stop} if isinstance(stop, int) else stop
    _check(model, prompts, max_new_tokens, ends, batch_size)
    n = sampling.n
    replies: list[list[int]] = [[] for _ in range(len(prompts) * n)]
    by_length = sorted(range(len(prompts)), key=lambda prompt: -len(prompts[prompt]))
    first = 0
    while first < len(by_length):
        longest = by_length[first]
        fit = rows_that_fit(model, longest, len(prompts[longest]), max_new_tokens, 1 if n == 1 else 2)
        most = min(batch_size, fit)
        # Where a prompt has several replies, its own cache stands beside theirs.
        group = by_length[first : first + (most if n == 1 else max(most // (n + 1), 1))]
        first += len(group)
        read = left_padded(model, [prompts[prompt] for prompt in group], max_new_tokens, use_cache)
        logits_NV = _next_logits(model, read, rope_theta)
        wanted = torch.tensor([[prompt * n + i for i in range(n)] for prompt in group]).flatten()
        of_row = torch.arange(len(group)).repeat_interleave(n)
        at_once = max(most if n == 1 else most - len(group), 1)
        for part in torch.split(torch.arange(len(wanted)), at_once):
            rows = read if n == 1 else read.take(of_row[part])
            rows.reply_N = wanted[part]
            _finish(model, rows, logits_NV[of_row[part]], replies, max_new_tokens, ends, sampling, ended, rope_theta)
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


def _finish(
    model: MoEModel,
    rows: Rows,
    logits_NV: Tensor,
    replies: list[list[int]],
    max_new_tokens: int,
    ends: set[int],
    sampling: Sampling,
    ended: Ended | None,
    rope_theta: float | None,
) -> None:
    """Decodes a batch to its end into `replies`; finished rows are let go once they are half of the batch."""
    uniform_NT = None
    if sampling.temperature:
        uniform_NT = uniforms(sampling.seed, rows.reply_N.tolist(), max_new_tokens).to(logits_NV.device)
    done: set[int] = set()
    for step in range(max_new_tokens):
        if uniform_NT is None:
            chosen_N = logits_NV.argmax(-1)
        else:
            chosen_N = draw(logits_NV, uniform_NT[:, step], sampling.temperature, sampling.top_p, sampling.top_k)
        numbers = rows.reply_N.tolist()
        for reply, token in zip(numbers, chosen_N.tolist(), strict=True):
            if reply in done:
                continue
            if token in ends:
                done.add(reply)
                continue
            replies[reply].append(token)
            if ended is not None and ended(replies[reply]):
                done.add(reply)
        unfinished = [row for row, reply in enumerate(numbers) if reply not in done]
        if not unfinished or step == max_new_tokens - 1:
            return
        rows.append(chosen_N)
        if 2 * len(unfinished) <= len(numbers):
            kept_K = torch.tensor(unfinished)
            rows = rows.take(kept_K)
            uniform_NT = None if uniform_NT is None else uniform_NT[kept_K.to(uniform_NT.device)]
        logits_NV = _next_logits(model, rows, rope_theta)


def _next_logits(model: MoEModel, rows: Rows, rope_theta: float | None) -> Tensor:
    """Logits of the token after each row, float32 [N, V]; reads what the cache does not hold yet."""
    count, width = rows.tokens_NT.shape
    piece = width
    if rows.cache is not None:
        pairs = PREFILL_PAIRS // (count * (rows.cache.length + width))
        piece = max(1, min(width, PREFILL_LOGITS // (count * model.embed_tokens.num_embeddings), pairs))
    for at in range(0, width, piece):
        part = slice(at, min(at + piece, width))
        logits_NTV = model(
            rows.tokens_NT[:, part],
            rows.positions_NT[:, part],
            rows.segments_NT[:, part],
            cache=rows.cache,
            rope_theta=rope_theta,
        ).logits_BTV
    logits_NV: Tensor = logits_NTV[:, -1]
    if not torch.isfinite(logits_NV.sum(-1)).all():  # a sum is not finite where one of its terms is not
        raise RunError(
            "the model's logits are not finite",
            where="generate",
            seen="NaN or infinity",
            fix="look for a diverged loss in metrics.jsonl; take an earlier checkpoint",
        )
    return logits_NV
