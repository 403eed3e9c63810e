"""How many sequences of a source a phase draws, so that their tokens come nearest to its share.

A weight is a share of tokens, and sequences hold different numbers of them: counting along the very order in which
they will be drawn makes the realised mixture exact to half a sequence a source. Costs one permutation and one addition
a sequence drawn in an unfinished epoch; whole epochs are multiplied.
"""

import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .permutation import Draws

Int64s = npt.NDArray[np.int64]

_CHUNK = 1 << 20  # draws looked at in one step


class Quota(NamedTuple):
    """Sequences to draw, and how many tokens that are not padding they hold."""

    sequences: int
    tokens: int


def target_tokens(share: float, tokens: int) -> Fraction:
    """Share of a phase's tokens, exact for the share as it is written: 0.1 is a tenth, not the nearest double."""
    return Fraction(str(share)) * tokens


def quota(draws: Draws, rest_tokens: Int64s, full_tokens: Int64s, first: int, target: Fraction) -> Quota:
    """The number of draws from `first` on whose tokens come nearest to a target; of two equally near, the smaller.

    Args:
        draws: the source's draws; epochs follow each other as often as it takes.
        rest_tokens: int64[draws.rest_size], tokens of each sequence of the rest index that are not padding.
        full_tokens: int64[draws.full_size], of the full index.
        first: the first draw.
        target: tokens.

    Raises:
        RunError: the target lies beyond the rest, and there is no full index.
    """
    # With P tokens so far and x in the next sequence, the next one is nearer exactly if P + (P + x) < 2·target, and
    # the left side is whole: all is decided in integers.
    doubled = math.ceil(2 * target)
    epoch_tokens = int(full_tokens.sum())
    taken = tokens = 0
    while 2 * tokens < doubled:
        beyond = first + taken - draws.rest_size
        if beyond >= 0 and draws.full_size and beyond % draws.full_size == 0:
            whole = (doubled // 2 - tokens) // epoch_tokens
            taken += whole * draws.full_size
            tokens += whole * epoch_tokens
        start = first + taken
        count = min(_CHUNK, draws.left_in_epoch(start)) if start < draws.rest_size or draws.full_size else 1
        located = draws.locate(np.arange(start, start + count))
        lengths = (full_tokens if located.full[0] else rest_tokens)[located.sequence]
        sums = tokens + np.cumsum(lengths)
        wanted = int(np.count_nonzero(2 * sums - lengths < doubled))
        if wanted:
            taken, tokens = taken + wanted, int(sums[wanted - 1])
        if wanted < count:
            break
    return Quota(taken, tokens)


def smallest_phase(share: float, first_tokens: int) -> int:
    """The smallest number of tokens of a phase whose quota for this share is not 0.

    Args:
        share: of the source, above 0.
        first_tokens: tokens of the first sequence that it will draw.
    """
    return math.floor(first_tokens / (2 * Fraction(str(share)))) + 1
