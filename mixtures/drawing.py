"""A source on its way through the phases: what it draws from, how far it is, and what a phase takes of it.

Nothing may repeat before an epoch ends, also where the sequence length changes within it: then only the spans that the
epoch has not drawn yet are packed for its remainder, and whole epochs of the new length only if they are needed. Costs
one packing a sequence length (about 50 bytes a document while it is made); an index that stands on disk is used.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

from ..errors import ConfigError, RunError
from ..manifest import Manifest, fingerprint
from .order import Pool
from .packing import VERSION, PackIndex, Spans, document_spans, pack_chunk, pack_whole, remaining
from .permutation import Draws, epoch_key, permute
from .quotas import Quota, quota, smallest_phase, target_tokens

Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class SourceTokens:
    """The tokens of a source: for every part uint64[documents] exclusive ends, and how its documents are packed."""

    name: str
    fingerprint: str  # of the shards: equal tokens, equal fingerprint
    ends: tuple[UInt64s, ...]
    pack: Literal["whole", "chunk"]
    too_long: Literal["drop", "error"]


@dataclass(frozen=True)
class Wish:
    """What a phase wants of a source: a share of its tokens, within so many epochs counted over all phases so far."""

    phase: str
    tokens: int
    share: float
    max_epochs: int


class Epoch(NamedTuple):
    """Where a source stands in the epoch of its last draw."""

    number: int
    drawn: Bools  # of the sequences of the index that it draws from
    tokens: int  # drawn of this epoch, those of earlier sequence lengths included
    of_tokens: int  # that this epoch can draw, the same included


@dataclass(frozen=True)
class Pack:
    """A pack index, and its folder relative to the output."""

    folder: str
    index: PackIndex


@dataclass
class SourceRun:
    """A source over consecutive phases of one sequence length: first the rest of an epoch, then whole ones."""

    root: Path
    seed: int
    source: SourceTokens
    sequence_length: int
    full_epoch: int = 0  # the first whole one at this length; the rest is of the one before
    full: Pack | None = None
    rest: Pack | None = None
    rest_spans: Spans | None = None  # what the rest was packed from
    rest_tokens_before: int = 0  # of the rest's epoch, drawn at earlier lengths
    drawn: int = 0  # sequences
    drawn_tokens: int = 0

    def draws(self) -> Draws:
        """The order in which this run draws."""
        rest_size = len(self.rest.index) if self.rest else 0
        full_size = len(self.full.index) if self.full else 0
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
        number, size = draws.epoch(self.drawn - 1), len(pack.index)
        positions = np.arange(size + 1 - draws.left_in_epoch(self.drawn - 1))
        drawn = np.zeros(size, dtype=np.bool_)
        drawn[permute(positions, size, epoch_key(self.seed, self.source.name, number))] = True
        before = self.rest_tokens_before if pack is self.rest else 0
        tokens = pack.index.tokens
        return Epoch(number, drawn, before + int(tokens[drawn].sum()), before + int(tokens.sum()))

    def at_length(self, sequence_length: int) -> "SourceRun":
        """The run that goes on at another sequence length, with what the epoch has not drawn yet.

        Documents that the old length dropped were not drawn either, and are part of what is left.

        Raises:
            ConfigError: a document of the rest is longer than the new length, and `too_long` is `error`.
        """
        epoch, pack = self.epoch(), self.drawing_from()
        packed_from = self.rest_spans if pack is self.rest else None
        spans = document_spans(self.source.ends) if packed_from is None else packed_from
        left = remaining(spans, pack.index, epoch.drawn)
        run = SourceRun(self.root, self.seed, self.source, sequence_length, epoch.number + 1)
        run.rest = _pack(self.root, self.source, sequence_length, left) if left.size else None
        run.rest_spans, run.rest_tokens_before = left, epoch.tokens
        return run

    def draw(self, wish: Wish) -> Quota:
        """Draws a phase's share and moves the run past it.

        Raises:
            ConfigError: the share is less than half a sequence, more than `max_epochs` allows, or nothing fits.
        """
        target = target_tokens(wish.share, wish.tokens)
        rest_tokens = _tokens(self.rest)
        if self.full is None and target > max(int(rest_tokens.sum()) - self.drawn_tokens, 0):
            self.full = _pack(self.root, self.source, self.sequence_length, None)
            if self.full is None:
                raise ConfigError(
                    "no document fits into a sequence",
                    where=f"phase {wish.phase}, source {self.source.name}",
                    seen=f"sequence_length: {self.sequence_length}",
                    fix="a longer sequence_length, or `pack: chunk`",
                )
        draws, full_tokens = self.draws(), _tokens(self.full)
        found = quota(draws, rest_tokens, full_tokens, self.drawn, target)
        if not found.sequences:
            located = draws.locate(np.array([self.drawn]))
            tokens = full_tokens if located.full[0] else rest_tokens
            raise self._absent(wish, int(tokens[located.sequence[0]]))
        last_epoch = draws.epoch(self.drawn + found.sequences - 1)
        if last_epoch >= wish.max_epochs:
            raise self._repeats(wish, last_epoch)
        self.drawn += found.sequences
        self.drawn_tokens += found.tokens
        return found

    def _absent(self, wish: Wish, next_tokens: int) -> ConfigError:
        smallest = smallest_phase(wish.share, next_tokens)
        return ConfigError(
            "the source would not appear: its share is at most half of a sequence",
            where=f"phase {wish.phase}, source {self.source.name}",
            seen=f"share {wish.share} of {wish.tokens:,} tokens; its next sequence holds {next_tokens:,}",
            expected="at least one sequence",
            fix=f"tokens: {smallest} is the smallest phase that includes it at this share",
        )

    def _repeats(self, wish: Wish, last_epoch: int) -> ConfigError:
        allowed = int(_tokens(self.rest).sum()) if self.full_epoch <= wish.max_epochs else 0
        allowed += max(wish.max_epochs - self.full_epoch, 0) * int(_tokens(self.full).sum())
        available = max(allowed - self.drawn_tokens, 0)
        return ConfigError(
            "the source would repeat more often than max_epochs allows",
            where=f"phase {wish.phase}, source {self.source.name}",
            seen=f"{round(wish.share * wish.tokens):,} tokens requested (share {wish.share} of {wish.tokens:,})",
            expected=f"at most {available:,} tokens, all that it has left in max_epochs: {wish.max_epochs}",
            fix=f"max_epochs: {last_epoch + 1} would do (counted over all phases so far); or a smaller share or phase",
        )

    def pools(self, indexes: list[str]) -> tuple[Pool | None, Pool | None]:
        """Rest and full index for the order's file; their folders are appended to the phase's list."""
        pools: list[Pool | None] = []
        for pack, epoch in ((self.rest, self.full_epoch - 1), (self.full, self.full_epoch)):
            pools.append(Pool(index=len(indexes), sequences=len(pack.index), epoch=epoch) if pack else None)
            indexes.extend([pack.folder] if pack else [])
        return pools[0], pools[1]


def _tokens(pack: Pack | None) -> Int64s:
    return pack.index.tokens if pack else np.empty(0, dtype=np.int64)


def _pack(root: Path, source: SourceTokens, sequence_length: int, rest: Spans | None) -> Pack | None:
    """The index of the given spans, or of all documents; made unless it stands there; None if it has no sequence."""
    key = {
        "version": VERSION,
        "tokens": source.fingerprint,
        "sequence_length": sequence_length,
        "pack": source.pack,
        "too_long": source.too_long,
        "rest": None if rest is None else xxhash.xxh3_128_hexdigest(rest.view(np.uint8).data),
    }
    folder = f"packs/{source.name}-{sequence_length}-{source.pack}-{fingerprint(key)[:16]}"
    if not _complete(root / folder):
        spans = document_spans(source.ends) if rest is None else rest
        if source.pack == "chunk":
            packed = pack_chunk(spans, sequence_length)
        else:
            packed = pack_whole(spans, sequence_length, source.too_long, source.name)
        if not packed.sequences.size:
            return None
        PackIndex.write(root / folder, packed)
    return Pack(folder, PackIndex.open(root / folder))


def _complete(folder: Path) -> bool:
    manifest = Manifest.find(folder)
    sizes = {entry.path: entry.bytes for entry in manifest.files} if manifest else {}
    return bool(sizes) and all(
        (folder / name).exists() and (folder / name).stat().st_size == size for name, size in sizes.items()
    )
