"""What a source may lose to documents that are dropped: little, unless it is allowed by name.

A sequence too short for long records loses the hardest of them without a sign, whether the YAML says `trim`, which is
there so that answers are not lost, or `drop`. Costs nothing: the index, or the sample, has counted.
"""

import math
from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ...errors import ConfigError
from ..packs.packing import TooLong

Int64s = npt.NDArray[np.int64]

LOST: Final = (
    "index_tokens",
    "trimmed_documents",
    "trimmed_tokens",
    "kept_reasoning",
    "dropped_documents",
    "dropped_tokens",
)
"""Columns of a plan's row that say what became of a source's tokens."""

_DROPPING: Final = ("drop", "trim")
_STANDARD_ERRORS: Final = 3.0  # that a sample has to be beyond the bound


class _Source(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def too_long(self) -> TooLong: ...
    @property
    def max_lost(self) -> float: ...


class Drawable(NamedTuple):
    """What one epoch of a source can draw at a sequence length, and what is dropped there."""

    tokens: int
    dropped_documents: int
    dropped_tokens: int


def check_lost(source: _Source, sequence_length: int, tokens: int, drawable: Drawable) -> None:
    """Refuses a sequence length at which a source loses more than it may to documents that are dropped.

    The share is of all its tokens, wherever its epoch stands: of the rest of an epoch, what an earlier length dropped
    may be the most, or all. Where nothing can be drawn at all, that is another error.

    Args:
        source: what is packed.
        sequence_length: tokens a sequence.
        tokens: that the source has.
        drawable: what is left of them at this length.

    Raises:
        ConfigError: the source would lose more than it may.
    """
    lost = drawable.dropped_tokens
    if source.too_long in _DROPPING and drawable.tokens and lost > source.max_lost * tokens:
        seen = f"{drawable.dropped_documents:,} documents of {lost:,} of the {tokens:,} tokens"
        raise _error(source, sequence_length, lost / tokens, seen)


def check_sample(source: _Source, sequence_length: int, lengths: Int64s, kept: Int64s) -> None:
    """The same of a sample, where it leaves no doubt: the bound is three standard errors below the share seen.

    Args:
        source: what the sample is of.
        sequence_length: tokens a sequence.
        lengths: int64[k], tokens of the documents.
        kept: int64[k], what a sequence holds of each, 0 where it is dropped.

    Raises:
        ConfigError: the source would lose more than it may.
    """
    if source.too_long not in _DROPPING or not kept.any():
        return
    tokens, lost = int(lengths.sum()), np.where(kept > 0, 0, lengths)
    share = int(lost.sum()) / tokens
    error = math.sqrt(float(np.square(lost - share * lengths).sum())) / tokens
    if share - _STANDARD_ERRORS * error > source.max_lost:
        seen = f"{np.count_nonzero(lost):,} of {len(lengths):,} sampled documents"
        raise _error(source, sequence_length, share, seen)


def _error(source: _Source, sequence_length: int, share: float, seen: str) -> ConfigError:
    trimmed = source.too_long == "trim"
    longer = "prompts, answers and min_reasoning" if trimmed else "documents"
    other = "a smaller min_reasoning" if trimmed else "`too_long: split`, or of conversations `trim`"
    allowed = min(100, math.ceil(share * 100))
    return ConfigError(
        f"{share:.2%} of the tokens would be lost to documents that are dropped: "
        f"{'answer_too_long' if trimmed else 'too_long'}",
        where=f"source {source.name}",
        seen=f"{seen}: {longer} longer than sequence_length: {sequence_length:,}",
        expected=f"at most max_lost: {source.max_lost:.4g} of the tokens",
        fix=f"a longer sequence_length, {other}, or allow it: max_lost: {allowed}%",
    )
