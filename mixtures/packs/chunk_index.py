"""The pack index of concatenate-and-cut over a whole source: computed from the parts, without a file.

Where each part is cut every `sequence_length` tokens, a sequence's place follows from its number, and its spans from
the ends of documents. Costs 16 bytes of memory a part, and two binary searches in the part's ends a sequence.
"""

from functools import cached_property

import numpy as np

from ...errors import RunError
from ..shards import PartEnds
from .pack_index import PackIndex, Totals
from .packing import Int64s, Spans, UInt64s, make_spans


class ChunkIndex(PackIndex):
    """Every part cut into sequences, of which the last may be short.

    Args:
        source: its parts.
        sequence_length: tokens of a sequence.
    """

    def __init__(self, source: PartEnds, sequence_length: int) -> None:
        self.source = source
        self.sequence_length = sequence_length
        self._tokens = source.part_tokens.astype(np.int64)
        sequences = -(-self._tokens // sequence_length)
        self.part_sequences = np.concatenate([[0], np.cumsum(sequences)]).astype(np.uint64)

    def __repr__(self) -> str:
        return f"the chunks of {self.source}"

    def tokens_of(self, indices: Int64s) -> Int64s:
        """As every index's; from the parts' sizes alone."""
        part, number = self._located(indices)
        left: Int64s = self._tokens[part] - number * self.sequence_length
        return np.minimum(left, self.sequence_length)

    def _sequence(self, part: int, number: int) -> Spans:
        ends = self.source.ends_unchecked(part)
        start = number * self.sequence_length
        stop = min(start + self.sequence_length, int(self._tokens[part]))
        first = int(np.searchsorted(ends, np.uint64(start), side="right"))
        last = int(np.searchsorted(ends, np.uint64(stop), side="left"))
        return self._cut(part, ends, first, last, start, stop)

    def _cut(self, part: int, ends: UInt64s, first: int, last: int, start: int, stop: int) -> Spans:
        """The documents from the first to the last, as far as they lie between the two tokens."""
        stops = np.minimum(ends[first : last + 1].astype(np.int64), stop)
        starts = np.concatenate([[start], stops[:-1]])
        if last >= len(ends) or (stops <= starts).any() or stops[-1] != stop:
            raise RunError(
                "document ends do not ascend to the part's last token",
                where=f"{self.source}, part {part}, tokens {start:,} to {stop:,}",
                fix="midtrain verify names the file and what to remove: the source's tokens are made anew",
            )
        return make_spans(part, starts, stops - starts)

    def spans_of_part(self, part: int) -> tuple[Spans, UInt64s]:
        """As every index's; computed."""
        ends = self.source.ends(part).astype(np.int64)
        cuts = np.arange(self.sequence_length, int(self._tokens[part]), self.sequence_length)
        borders = np.union1d(ends, cuts)
        starts = np.concatenate([[0], borders[:-1]])
        last = np.searchsorted(borders, np.append(cuts, ends[-1]), side="left") + 1
        return make_spans(part, starts, borders - starts), last.astype(np.uint64)

    @cached_property
    def totals(self) -> Totals:
        """As every index's; nothing is dropped."""
        return Totals(self.sequences, int(self._tokens.sum()), 0, 0)

    def cut_documents(self) -> int:
        """As every index's; reads the ends of all parts, once."""
        return self._cut_total

    @cached_property
    def _cut_total(self) -> int:
        return sum(self._cut_documents(part) for part in range(len(self._tokens)))

    def _cut_documents(self, part: int) -> int:
        ends = self.source.ends(part)
        cuts = np.arange(self.sequence_length, int(self._tokens[part]), self.sequence_length).astype(np.uint64)
        document = np.searchsorted(ends, cuts, side="left")
        return np.unique(document[ends[document] != cuts]).size
