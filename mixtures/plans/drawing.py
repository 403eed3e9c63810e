"""A source on its way through the phases: what it draws from, how far it is, and what a phase takes of it.

Nothing may repeat before an epoch ends, also where the sequence length changes within it: then only the spans that the
epoch has not drawn yet are packed for its remainder, and whole epochs of the new length only if they are needed. Costs
one packing a sequence length, none for chunks of a whole source; an index that stands on disk is used.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...errors import ConfigError, RunError
from ..packs.pack_index import PackIndex
from ..packs.pack_requests import Drawn, Packer, PackRequest, SourceTokens, open_index
from ..permutation import Draws, epoch_key
from ..phases import Pool
from .losses import Drawable
from .quotas import NOTHING, Quota, quota, tokens_of_draws


class Epoch(NamedTuple):
    """Where a source stands in the epoch of its last draw."""

    number: int
    draws: int  # of the index that it draws from, in this epoch
    tokens: int  # drawn of this epoch, those of earlier sequence lengths included
    of_tokens: int  # that this epoch can draw, the same included


class State(NamedTuple):
    """Where a source stands, for the table of a plan."""

    epochs: float  # begun and finished over all phases so far: 1.25 is a quarter into the second
    dropped_documents: int  # too long for this phase's sequences
    dropped_tokens: int
    cut_documents: int  # that stand in more than one of the index's sequences
    trimmed_documents: int  # that stand without a part of their reasoning
    trimmed_tokens: int
    kept_reasoning: float  # the mean share of their reasoning that these keep; 1 where there are none
    index_tokens: int  # that the index holds, beside what it dropped and trimmed


NOTHING_LOST = (0, 0, 0, 0, 0, 1.0, 0)
"""A State without its epochs."""


@dataclass(frozen=True)
class Pack:
    """A pack index, and its name: its folder relative to the output."""

    folder: str
    index: PackIndex


@dataclass(frozen=True)
class Packs:
    """Where a plan's indexes lie, and who makes those that are missing."""

    root: Path
    packer: Packer

    def get(self, request: PackRequest, given: int | None) -> Pack | None:
        """The index of a request; None if it has no sequence.

        Args:
            request: what is wanted.
            given: the tokens that the index has to account for; None where only its parts know them.

        Raises:
            RunError: its tokens and those that it dropped are not what was given.
        """
        if not request.computed:
            self.packer([request])
        index = open_index(self.root, request.folder, request.sequence_length, request.source.shards)
        totals = index.totals
        if given is not None and totals.accounted != given:
            raise RunError(
                "packing lost or repeated tokens",
                where=str(self.root / request.folder),
                seen=f"{totals.tokens:,} kept + {totals.dropped_tokens + totals.trimmed_tokens:,} dropped or trimmed",
                expected=f"{given:,}, what came in",
                fix="remove the folder and build again; if it comes again, it is a fault of midtrain: please report it",
            )
        return Pack(request.folder, index) if index.sequences else None


@dataclass
class SourceRun:
    """A source over consecutive phases of one sequence length: first the rest of an epoch, then whole ones."""

    packs: Packs
    seed: int
    source: SourceTokens
    sequence_length: int
    full_epoch: int = 0  # the first whole one at this length; the rest is of the one before
    full: Pack | None = None
    rest: Pack | None = None
    rest_of: tuple[Drawn, ...] = ()  # what the rest's epoch had drawn before
    rest_tokens_before: int = 0  # the same in tokens
    drawn: int = 0  # sequences
    drawn_tokens: int = 0

    def draws(self) -> Draws:
        """The order in which this run draws."""
        rest_size = self.rest.index.sequences if self.rest else 0
        full_size = self.full.index.sequences if self.full else 0
        return Draws(self.seed, self.source.name, rest_size, self.full_epoch - 1, full_size, self.full_epoch)

    def drawing_from(self) -> Pack:
        """The index of the last draw."""
        pack = self.rest if self.drawn <= self.draws().rest_size else self.full
        if pack is None or not self.drawn:
            raise RunError("nothing was drawn yet", where=f"source {self.source.name}")
        return pack

    def epoch(self) -> Epoch:
        """Where the run stands; something was drawn."""
        draws, pack = self.draws(), self.drawing_from()
        number, size = draws.epoch(self.drawn - 1), pack.index.sequences
        in_epoch, of_tokens = size + 1 - draws.left_in_epoch(self.drawn - 1), pack.index.totals.tokens
        if pack is self.rest:
            before = self.rest_tokens_before
            return Epoch(number, in_epoch, before + self.drawn_tokens, before + of_tokens)
        before = self.rest.index.totals.tokens if self.rest else 0
        return Epoch(number, in_epoch, self.drawn_tokens - before - (number - self.full_epoch) * of_tokens, of_tokens)

    def at_length(self, sequence_length: int) -> "SourceRun":
        """The run that goes on at another sequence length, with what the epoch has not drawn yet.

        Documents that the old length dropped were not drawn either, and are part of what is left.

        Raises:
            ConfigError: a document of the rest is longer than the new length, and `too_long` is `error`.
        """
        if sequence_length == self.sequence_length:
            return self
        epoch, pack = self.epoch(), self.drawing_from()
        run = SourceRun(self.packs, self.seed, self.source, sequence_length, epoch.number + 1)
        before = self.rest_of if pack is self.rest else ()
        key = epoch_key(self.seed, self.source.name, epoch.number)
        run.rest_of = (*before, Drawn(pack.folder, self.sequence_length, key, epoch.draws))
        run.rest_tokens_before = epoch.tokens
        left: int | None = epoch.of_tokens + pack.index.totals.dropped_tokens - epoch.tokens
        if left and self.source.trim is not None:
            left = None  # what was trimmed off comes back with the records that are left alone
        if left != 0:
            run.rest = self.packs.get(PackRequest(self.source, sequence_length, run.rest_of), left)
        return run

    def take(self, sequences: int) -> Quota:
        """Draws a given number of sequences and moves the run past them, whole epochs at once.

        Raises:
            ConfigError: no document fits into a sequence.
        """
        if self.drawn + sequences > self.draws().rest_size:
            self._need_full()
        draws, rest, full = self.draws(), self._rest_index(), self._full_index()
        tokens, at, stop = 0, self.drawn, self.drawn + sequences
        while at < stop:
            size, left = (draws.full_size, draws.left_in_epoch(at))
            if at >= draws.rest_size and left == size and stop - at >= size:
                whole = (stop - at) // size
                tokens += whole * self._epoch_tokens()
                at += whole * size
            else:
                count = min(left, stop - at, 1 << 20)
                tokens += int(tokens_of_draws(draws, rest, full, np.arange(at, at + count)).sum())
                at += count
        self.drawn += sequences
        self.drawn_tokens += tokens
        return Quota(sequences, tokens)

    def measure(self, target: Fraction, before: Quota = NOTHING) -> Quota:
        """The draws from where the run stands whose tokens come nearest to a target; the run stays where it is.

        Args:
            target: tokens, at least those of `before`.
            before: draws that an earlier measure of a smaller target gave: they are not counted again.

        Raises:
            ConfigError: no document fits into a sequence.
        """
        if target > max(self._rest_tokens() - self.drawn_tokens, 0):
            self._need_full()
        found = quota(
            self.draws(),
            self._rest_index(),
            self._full_index(),
            self._epoch_tokens(),
            self.drawn + before.sequences,
            target - before.tokens,
        )
        return Quota(before.sequences + found.sequences, before.tokens + found.tokens)

    def tokens_at(self, draw: int) -> int:
        """Tokens that are not padding in a sequence that is still to be drawn, 0 being the next one.

        Raises:
            ConfigError: no document fits into a sequence.
        """
        if self.drawn + draw >= self.draws().rest_size:
            self._need_full()
        which = np.array([self.drawn + draw])
        return int(tokens_of_draws(self.draws(), self._rest_index(), self._full_index(), which)[0])

    def epochs_after(self, sequences: int) -> int:
        """Epochs that so many draws more would have begun, all phases counted; at least one draw."""
        return self.draws().epoch(self.drawn + sequences - 1) + 1

    def left(self, max_epochs: int) -> int:
        """Tokens that may still be drawn within so many epochs, all phases counted."""
        allowed = self._rest_tokens() if self.full_epoch <= max_epochs else 0
        allowed += max(max_epochs - self.full_epoch, 0) * self._epoch_tokens()
        return max(allowed - self.drawn_tokens, 0)

    def advance(self, drawn: Quota) -> None:
        """Moves the run past draws that were measured."""
        self.drawn += drawn.sequences
        self.drawn_tokens += drawn.tokens

    def state(self) -> State:
        """Where the source stands after its last draw, and what the index that it draws from has lost."""
        epoch, index = self.epoch(), self.drawing_from().index
        totals = index.totals
        return State(
            epoch.number + epoch.tokens / epoch.of_tokens,
            totals.dropped_documents,
            totals.dropped_tokens,
            index.cut_documents(),
            totals.trimmed_documents,
            totals.trimmed_tokens,
            totals.kept_reasoning / totals.trimmed_documents if totals.trimmed_documents else 1.0,
            totals.tokens,
        )

    def _need_full(self) -> None:
        """Has the index of whole epochs made, where there is none yet."""
        if self.full is not None:
            return
        given = int(self.source.shards.part_tokens.sum())
        if not given:
            fix = "look at its `where` and `held_out`"
            raise ConfigError("the source has no tokens", where=f"source {self.source.name}", fix=fix)
        self.full = self.packs.get(PackRequest(self.source, self.sequence_length), given)
        if self.full is None:
            raise ConfigError(
                "no document fits into a sequence",
                where=f"source {self.source.name}",
                seen=f"sequence_length: {self.sequence_length}",
                fix="a longer sequence_length, `too_long: split` or `trim`, or `pack: chunk`",
            )

    def _rest_index(self) -> PackIndex | None:
        return self.rest.index if self.rest else None

    def _full_index(self) -> PackIndex | None:
        return self.full.index if self.full else None

    def _rest_tokens(self) -> int:
        return self.rest.index.totals.tokens if self.rest else 0

    def _epoch_tokens(self) -> int:
        return self.full.index.totals.tokens if self.full else 0

    def pools(self, indexes: list[str]) -> tuple[Pool | None, Pool | None]:
        """Rest and full index for the order's file; their names are appended to the phase's list."""
        pools: list[Pool | None] = []
        for pack, epoch in ((self.rest, self.full_epoch - 1), (self.full, self.full_epoch)):
            pools.append(Pool(index=len(indexes), sequences=pack.index.sequences, epoch=epoch) if pack else None)
            indexes.extend([pack.folder] if pack else [])
        return pools[0], pools[1]


def drawable(source: SourceTokens, sequence_length: int) -> Drawable:
    """What one epoch draws at a sequence length: all tokens, but for what is dropped as too long or trimmed.

    Where records are trimmed, their spans are read.
    """
    shards = source.shards
    if source.pack == "chunk" or source.too_long == "split":
        return Drawable(int(shards.part_tokens.sum()), 0, 0)
    tokens = documents = dropped = 0
    for part in range(len(shards.part_tokens)):
        lengths = np.diff(shards.ends(part).astype(np.int64), prepend=0)
        fits = lengths <= sequence_length
        kept = np.where(fits, lengths, 0) if source.trim is None else source.trim.part(part, sequence_length).lengths
        tokens += int(kept.sum())
        documents += int(np.count_nonzero(kept == 0))
        dropped += int(lengths[kept == 0].sum())
    return Drawable(tokens, documents, dropped)
