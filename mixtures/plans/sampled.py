"""A source known from a sample, on its way through the phases: what a plan says before anything is tokenized.

Sequences, epochs and losses follow from the lengths of a few thousand documents, so a table can be had in seconds where
a build takes hours. Nothing of it is exact: what it refuses is beyond a tenth of what was estimated. Costs one packing
of the sample a sequence length.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...errors import ConfigError
from ..packs.packing import Policy, TooLong, document_spans, pack, pack_trimmed
from ..phases import Pool
from ..trimming import Trimmed
from .drawing import State
from .losses import check_sample
from .quotas import NOTHING, Quota

ERROR = Fraction(1, 10)  # that estimates of tokens stay within, on real corpora
_SEQUENCES = 256  # that the sample is repeated to fill, so that the last ones do not count


@dataclass(frozen=True, eq=False)
class SampledTokens:
    """What is known of a source from a sample.

    Args:
        name: of the source.
        lengths: int64[k], tokens of some documents, each as likely as any other.
        documents: that the source has, estimated.
        tokens: that the source has, estimated.
        pack, too_long: how documents are packed.
        trimmed: trims the same documents to a number of tokens; None where they are not.
        max_lost: share of the tokens that may be lost to documents that are dropped.
    """

    name: str
    lengths: npt.NDArray[np.int64]
    documents: int
    tokens: int
    pack: Policy
    too_long: TooLong
    trimmed: Callable[[int], Trimmed] | None = None
    max_lost: float = 1.0

    def index(self, sequence_length: int) -> "SampledIndex":
        """One epoch in sequences of a length.

        Raises:
            ConfigError: no document fits, one is too long where that is an error, or the sample is empty.
        """
        return _index(self, sequence_length)

    def available(self, sequence_length: int) -> int:
        """Tokens of one epoch in sequences of a length."""
        if self.pack == "chunk" or self.too_long == "split" or not len(self.lengths):
            return self.tokens
        kept = self.kept(sequence_length).sum()
        return round(self.tokens * int(kept) / int(self.lengths.sum()))

    def check_lost(self, sequence_length: int) -> None:
        """Raises ConfigError where sequences of a length certainly drop more than the source may lose."""
        if self.pack == "whole":
            check_sample(self, sequence_length, self.lengths, self.kept(sequence_length))

    def kept(self, sequence_length: int) -> npt.NDArray[np.int64]:
        """What of each document a sequence may hold, where none is cut: int64[k], 0 where it is dropped."""
        if self.trimmed is not None:
            return self.trimmed(sequence_length).lengths
        return np.where(self.lengths <= sequence_length, self.lengths, 0)


class SampledIndex(NamedTuple):
    """One epoch of a source in sequences of a length, estimated."""

    sequences: int
    tokens: int
    dropped_documents: int
    dropped_tokens: int
    cut_documents: int
    trimmed_documents: int
    trimmed_tokens: int
    kept_reasoning: float
    index_tokens: int


@lru_cache(maxsize=256)
def _index(source: SampledTokens, sequence_length: int) -> SampledIndex:
    if not len(source.lengths) or not source.tokens:
        raise ConfigError("the source has no tokens", where=f"source {source.name}", fix="look at its `where`")
    wanted = -(-_SEQUENCES * sequence_length // int(source.lengths.sum()))
    lengths = np.tile(source.lengths, max(1, wanted))
    if len(lengths) > source.documents >= len(source.lengths):
        lengths = lengths[: source.documents]
    spans = document_spans(0, np.cumsum(lengths).astype(np.uint64))
    if source.trimmed is not None:
        chosen = np.arange(len(lengths)) % len(source.lengths)
        packed = pack_trimmed(spans, source.trimmed(sequence_length).of(chosen), sequence_length)
    else:
        packed = pack(spans, sequence_length, source.pack, source.too_long, source.name)
    if not packed.sequences.size:
        raise ConfigError(
            "no document fits into a sequence",
            where=f"source {source.name}",
            seen=f"sequence_length: {sequence_length}",
            fix="a longer sequence_length, `too_long: split` or `trim`, or `pack: chunk`",
        )
    scale = source.tokens / int(lengths.sum())
    tokens = source.available(sequence_length)
    return SampledIndex(
        max(-(-tokens // sequence_length), round(packed.sequences.size * scale)),
        tokens,
        round(packed.dropped_documents * scale),
        source.tokens - tokens - round(packed.trimmed_tokens * scale),
        round(packed.cut_documents * scale),
        round(packed.trimmed_documents * scale),
        round(packed.trimmed_tokens * scale),
        packed.kept_reasoning / packed.trimmed_documents if packed.trimmed_documents else 1.0,
        tokens,
    )


@dataclass
class SampledRun:
    """A source over the phases, in epochs; what it draws is a number of average sequences."""

    source: SampledTokens
    sequence_length: int
    epochs: float = 0.0
    drawn: int = 0

    def at_length(self, sequence_length: int) -> "SampledRun":
        """The run that goes on at another sequence length."""
        if sequence_length == self.sequence_length:
            return self
        return SampledRun(self.source, sequence_length, self.epochs)

    @property
    def _index(self) -> SampledIndex:
        return self.source.index(self.sequence_length)

    def measure(self, target: Fraction, before: Quota = NOTHING) -> Quota:
        """The draws whose tokens come nearest to a target."""
        index = self._index
        each = Fraction(index.tokens, index.sequences)
        sequences = max(before.sequences, math.ceil(target / each - Fraction(1, 2)))
        return Quota(sequences, round(sequences * each))

    def tokens_at(self, draw: int) -> int:
        """Tokens of an average sequence."""
        return max(1, round(self._index.tokens / self._index.sequences))

    def epochs_after(self, sequences: int) -> int:
        """Epochs that so many draws more would certainly have begun."""
        certain = (self.epochs + sequences / self._index.sequences) / float(1 + ERROR)
        return max(1, math.ceil(certain))

    def left(self, max_epochs: int) -> int:
        """Tokens that may still be drawn within so many epochs."""
        return max(0, round((max_epochs - self.epochs) * self._index.tokens))

    def advance(self, drawn: Quota) -> None:
        """Moves past draws that were measured."""
        self.drawn += drawn.sequences
        self.epochs += drawn.sequences / self._index.sequences

    def state(self) -> State:
        """Where it stands."""
        return State(self.epochs, *self._index[2:])

    def pools(self, indexes: list[str]) -> tuple[Pool | None, Pool | None]:
        """Nothing: no order is made of estimates."""
        return None, None
