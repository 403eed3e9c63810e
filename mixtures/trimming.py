"""Trimming of reasoning records to a sequence length: the tail of a reasoning goes, the answer and all prompts stay.

Long traces end behind a short context, and cut there they lose what they are for; so by ZAYA1's rules (arXiv
2605.05365, III-A) the end of the last reasoning is left out before its closing tag. Tokens are never rewritten: a
record is a few ranges of one document's tokens. Costs a pass over a part's spans in Numba, well under 1 µs a record,
and a look at the tokens at each cut.

The rules, each where the one before is not enough:

1. A document that fits stays as it is.
2. The tail of the last assistant turn's reasoning is left out; its head, its closing tag and the answer stay.
   Where the cut would split a character of several tokens, all of it is left out.
3. The reasoning of earlier assistant turns is left out with its tags, of all at once; then rule 2 again.
4. What is still too long is dropped: its prompts and answers, with the reasoning that must stay, exceed the length.

The tag before an earlier reasoning is what is trained right before it (templates train nothing else there), the one
behind it ends where the turn's content begins; in a turn without content the reasoning goes and its tags stay.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numba
import numpy as np
import numpy.typing as npt

from ..errors import RunError
from .shards import Ids
from .text_spans import PARTS, TextSpans

Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]

_REASONING = PARTS["reasoning"]
_NO_MASK = np.empty(0, np.uint8)


class Records(Protocol):
    """What trimming has to know of a source's tokens; `Shards` is one."""

    def ends(self, part: int) -> UInt64s:
        """A part's document ends: uint64[documents]."""

    def text_spans(self, part: int) -> TextSpans:
        """Where the texts of assistants stand in each of a part's documents."""

    def mask(self, part: int) -> Bytes | None:
        """1 bit a token, least significant first: what is trained; None where all is."""

    def tokens(self, part: int) -> Ids:
        """A part's tokens: uint16[t] or uint32[t]."""

    def inside_characters(self) -> Bytes:
        """1 bit an id of the vocabulary, least significant first: whether its bytes begin inside a character."""


@dataclass(frozen=True)
class Trimmed:
    """Ranges of n documents: those of document d are `offsets[d]` to `offsets[d + 1]`, none where it is dropped.

    `offsets` int64[n + 1]; `starts`, `stops` int64[r], tokens within the part, ascending; `reasoning` int64[n], tokens
    of each document's reasonings; `kept` int64[n], how many of them stay.
    """

    offsets: Int64s
    starts: Int64s
    stops: Int64s
    reasoning: Int64s
    kept: Int64s

    @property
    def lengths(self) -> Int64s:
        """Tokens of each document that stay: int64[n], 0 where it is dropped."""
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.stops - self.starts)])
        return np.asarray(np.diff(before[self.offsets]))

    def of(self, documents: Int64s) -> "Trimmed":
        """Some documents alone, int64[m], in this order."""
        counts = np.diff(self.offsets)[documents]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        ranges = np.repeat(self.offsets[documents] - offsets[:-1], counts) + np.arange(offsets[-1])
        rows = self.reasoning[documents], self.kept[documents]
        return Trimmed(offsets, self.starts[ranges], self.stops[ranges], *rows)


def joined(parts: Sequence[Trimmed]) -> Trimmed:
    """The documents of one or more parts, one part behind the other; places stay those within each part."""
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum([len(one.starts) for one in parts])])
    offsets = [one.offsets[:-1] + first for one, first in zip(parts, before[:-1], strict=True)]
    columns = zip(*((one.starts, one.stops, one.reasoning, one.kept) for one in parts), strict=True)
    return Trimmed(np.concatenate([*offsets, before[-1:]]), *map(np.concatenate, columns))


@dataclass(frozen=True)
class Trimming:
    """How the records of a source are trimmed.

    Args:
        records: the source's tokens.
        min_reasoning: tokens of the last reasoning that a record keeps at least, or all where it has fewer.
    """

    records: Records
    min_reasoning: int = 0

    def part(self, part: int, limit: int) -> Trimmed:
        """A part's documents, trimmed to `limit` tokens."""
        records = self.records
        spans, ends = records.text_spans(part), records.ends(part).astype(np.int64)
        text = Text(records.tokens(part), records.mask(part), records.inside_characters())
        return trim(ends, spans, text, limit, self.min_reasoning)


class Text(NamedTuple):
    """The tokens of documents that stand one behind the other, and what has to be known to cut them.

    `ids` uint16[t] or uint32[t]; `mask` a bit a token, least significant first, what is trained, None where all is;
    `inside` a bit an id of the vocabulary, whether its bytes begin inside a character.
    """

    ids: Ids
    mask: Bytes | None
    inside: Bytes


def trim(ends: Int64s, spans: TextSpans, text: Text, limit: int, min_reasoning: int = 0) -> Trimmed:
    """Trims documents that stand one behind the other.

    Args:
        ends: int64[n], each document's exclusive end.
        spans: where their reasonings and contents stand.
        text: their tokens.
        limit: tokens that a record may have.
        min_reasoning: as of `Trimming`.

    Raises:
        RunError: `text.inside` is too short.
    """
    room = len(ends) + len(spans.part)
    starts, stops = np.empty(room, np.int64), np.empty(room, np.int64)
    offsets = np.zeros(len(ends) + 1, np.int64)
    reasoning, kept = np.zeros(len(ends), np.int64), np.zeros(len(ends), np.int64)
    columns = (spans.offsets, spans.turn, spans.part, spans.start, spans.stop)
    given = (text.ids, _NO_MASK if text.mask is None else text.mask, text.inside)
    try:
        count = _trim(ends, *columns, *given, limit, min_reasoning, starts, stops, offsets, reasoning, kept)
    except IndexError:
        raise RunError(
            "a token is not in the table of ids that begin inside a character: it was cut short, or is another's",
            seen=f"{8 * len(text.inside):,} ids",
            fix="midtrain verify OUT says which files are damaged; remove their folder and build again",
        ) from None
    return Trimmed(offsets, starts[:count], stops[:count], reasoning, kept)


@numba.njit(cache=True, nogil=True)
def _trim(
    ends: Int64s,
    first: Any,
    turn: Any,
    part: Any,
    start: Any,
    stop: Any,
    ids: Any,
    mask: Bytes,
    inside: Bytes,
    limit: int,
    min_reasoning: int,
    starts: Int64s,
    stops: Int64s,
    offsets: Int64s,
    reasoning: Int64s,
    kept: Int64s,
) -> int:
    """Writes the ranges of all documents; returns how many there are."""
    count = 0
    begin = np.int64(0)
    for d in range(ends.size):
        low, high, total = np.int64(first[d]), np.int64(first[d + 1]), ends[d] - begin
        for k in range(low, high):
            if part[k] == _REASONING:
                reasoning[d] += np.int64(stop[k]) - np.int64(start[k])
        earlier, own_start, own_stop = _last_reasoning(turn, part, start, stop, low, high)
        own = own_stop - own_start
        floor = min(np.int64(min_reasoning), own)
        excess = total - limit
        kept[d] = reasoning[d]
        at = begin  # up to here all is written
        stays = _head(ids, inside, begin + own_start, own, excess)
        if stays < floor:  # rule 3
            before = count
            for k in range(low, earlier):
                if part[k] == _REASONING:
                    cut, until = _block(turn, start, stop, mask, begin, low, high, k)
                    count = _write(starts, stops, count, at, begin + cut)
                    at = begin + until
                    excess -= until - cut
                    kept[d] -= np.int64(stop[k]) - np.int64(start[k])
            stays = _head(ids, inside, begin + own_start, own, excess)
            if stays < floor:  # rule 4
                count, at, stays, kept[d] = before, ends[d], own, 0
        if stays < own:  # rule 2
            count = _write(starts, stops, count, at, begin + own_start + stays)
            at = begin + own_stop
            kept[d] -= own - stays
        count = _write(starts, stops, count, at, ends[d])
        offsets[d + 1] = count
        begin = ends[d]
    return count


@numba.njit(nogil=True)
def _last_reasoning(turn: Any, part: Any, start: Any, stop: Any, low: Any, high: Any) -> Any:
    """The first span of the last turn, and where its reasoning starts and stops; 0 to 0 where it has none."""
    k, own_start, own_stop = high, np.int64(0), np.int64(0)
    while k > low and turn[k - 1] == turn[high - 1]:
        k -= 1
        if part[k] == _REASONING:
            own_start, own_stop = np.int64(start[k]), np.int64(stop[k])
    return k, own_start, own_stop


@numba.njit(nogil=True)
def _head(ids: Any, inside: Bytes, start: Any, own: Any, excess: Any) -> Any:
    """How many of `own` tokens from `start` on stay if `excess` must go, and no character is cut; below 0: too few."""
    if excess <= 0:
        return own
    stays = own - excess
    while stays > 0:
        token = np.int64(ids[start + stays])
        if token >= 8 * inside.size:
            raise IndexError("a token behind the end of `inside`")
        if not _bit(inside, token):
            break
        stays -= 1
    return stays


@numba.njit(nogil=True)
def _block(turn: Any, start: Any, stop: Any, mask: Bytes, begin: Any, low: Any, high: Any, k: Any) -> Any:
    """From where to where a reasoning stands with its tags."""
    cut, until = np.int64(start[k]), np.int64(stop[k])
    if k + 1 == high or turn[k + 1] != turn[k]:
        return cut, until
    least = np.int64(stop[k - 1]) if k > low else np.int64(0)
    while cut > least and _is_trained(mask, begin + cut - 1):
        cut -= 1
    return cut, np.int64(start[k + 1])


@numba.njit(nogil=True)
def _is_trained(mask: Bytes, token: Any) -> bool:
    return mask.size == 0 or _bit(mask, token)


@numba.njit(nogil=True)
def _bit(bits: Bytes, place: Any) -> bool:
    return bool((bits[place // 8] >> np.uint8(place % 8)) & 1)


@numba.njit(nogil=True)
def _write(starts: Int64s, stops: Int64s, count: Any, start: Any, stop: Any) -> Any:
    """Writes a range that is not empty."""
    if stop <= start:
        return count
    starts[count], stops[count] = start, stop
    return count + 1
