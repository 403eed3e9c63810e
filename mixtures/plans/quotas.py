"""How many sequences of a source a phase draws, so that their tokens come nearest to its share.

A weight is a share of tokens, and sequences hold different numbers of them: counting along the very order in which
they will be drawn makes the realised mixture exact to half a sequence a source. Costs one permutation and one addition
a sequence drawn in an unfinished epoch; whole epochs are multiplied.
"""

import math
from fractions import Fraction
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ...errors import RunError
from ..permutation import Draws

Int64s = npt.NDArray[np.int64]

_CHUNK = 1 << 20  # draws looked at in one step


class TokenCounts(Protocol):
    """What counting needs of a pack index."""

    def tokens_of(self, indices: Int64s) -> Int64s:
        """Tokens of these sequences that are not padding: int64[n] for int64[n]."""


class Quota(NamedTuple):
    """Sequences to draw, and how many tokens that are not padding they hold."""

    sequences: int
    tokens: int


NOTHING = Quota(0, 0)


def quota(
    draws: Draws, rest: TokenCounts | None, full: TokenCounts | None, epoch_tokens: int, first: int, target: Fraction
) -> Quota:
    """The number of draws from `first` on whose tokens come nearest to a target; of two equally near, the smaller.

    Args:
        draws: the source's draws; epochs follow each other as often as it takes.
        rest: the index that the first `draws.rest_size` draws are of.
        full: the index of the others.
        epoch_tokens: that all sequences of the full index hold; 0 without one.
        first: the first draw.
        target: tokens.

    Raises:
        RunError: the target lies beyond the rest, and there is no full index.
    """
    # With P tokens so far and x in the next sequence, the next one is nearer exactly if P + (P + x) < 2·target, and
    # the left side is whole: all is decided in integers.
    doubled = math.ceil(2 * target)
    taken = tokens = 0
    while 2 * tokens < doubled:
        beyond = first + taken - draws.rest_size
        if beyond >= 0 and draws.full_size and beyond % draws.full_size == 0:
            whole = (doubled // 2 - tokens) // epoch_tokens
            taken += whole * draws.full_size
            tokens += whole * epoch_tokens
        start = first + taken
        count = min(_CHUNK, draws.left_in_epoch(start)) if start < draws.rest_size or draws.full_size else 1
        lengths = tokens_of_draws(draws, rest, full, np.arange(start, start + count))
        sums = tokens + np.cumsum(lengths)
        wanted = int(np.count_nonzero(2 * sums - lengths < doubled))
        if wanted:
            taken, tokens = taken + wanted, int(sums[wanted - 1])
        if wanted < count:
            break
    return Quota(taken, tokens)


def tokens_of_draws(draws: Draws, rest: TokenCounts | None, full: TokenCounts | None, which: Int64s) -> Int64s:
    """Tokens that are not padding in the sequences of some draws: int64[n] for int64[n], all of one epoch.

    Raises:
        RunError: a draw lies beyond the rest, and there is no full index.
    """
    located = draws.locate(which)
    index = full if located.full[0] else rest
    if index is None:
        raise RunError(f"draws of source {draws.source} lie beyond the plan", fix="build again")
    return index.tokens_of(located.sequence)
