"""A plan before anything of it is written: what all phases draw of all sources, and what cannot be.

Sources whose tokens stand and sources that are known from a sample go the same way, so that what is printed before a
build is what the build does. Costs the packing and counting of what is drawn.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from ...errors import ConfigError
from ..phases import VERSION, PhaseFile, Pool, SourceEntry
from .allotment import Run, allot, at_leaf
from .drawing import NOTHING_LOST, State
from .quotas import Quota
from .segments import Curve
from .targets import Leaf, PhaseTargets, resolve
from .weights import PhaseSpec


@dataclass(frozen=True)
class Row:
    """One source in one phase, planned and realised."""

    phase: str
    source: str
    share: float  # of the phase's tokens; the mean one where it changes
    available: int  # tokens of one epoch in sequences of this length
    planned_tokens: int  # that are asked for, rounded
    sequences: int  # the quota
    tokens: int  # that these sequences hold, without padding
    padding: int  # tokens
    epochs: float  # begun and finished over all phases so far: 1.25 is a quarter into the second
    dropped_documents: int  # too long for this phase's sequences
    dropped_tokens: int
    cut_documents: int  # that stand in more than one of the index's sequences
    trimmed_documents: int = 0  # of the index, that stand without a part of their reasoning
    trimmed_tokens: int = 0
    kept_reasoning: float = 1.0  # the mean share of their reasoning that these keep
    index_tokens: int = 0  # that the index holds, beside what it dropped and trimmed
    estimated: bool = False  # from a sample


class Drawing(Run, Protocol):
    """A source that phases draw from one after the other; `SourceRun` is one, a sample's run another."""

    @property
    def drawn(self) -> int:
        """Sequences at this length so far."""

    def at_length(self, sequence_length: int) -> "Drawing":
        """The run that goes on at another sequence length."""

    def advance(self, drawn: Quota) -> None:
        """Moves past draws that were measured."""

    def state(self) -> State:
        """Where it stands; something was drawn."""

    def pools(self, indexes: list[str]) -> tuple[Pool | None, Pool | None]:
        """Rest and full index; their names are appended to the list."""


@dataclass(frozen=True)
class Source:
    """A source as `draft` needs it.

    Args:
        tokens: all that it has.
        available: tokens of one epoch at a sequence length.
        begin: the run that begins at a sequence length.
        check_lost: raises ConfigError where a sequence length drops more of it than it may lose.
        estimated: whether both are from a sample.
    """

    tokens: int
    available: Callable[[int], int]
    begin: Callable[[int], Drawing]
    check_lost: Callable[[int], None]
    estimated: bool = False


@dataclass(frozen=True)
class Draft:
    """A plan before anything of it is written: its rows, the order of each phase with the curve of its shares, and
    what cannot be."""

    rows: tuple[Row, ...]
    orders: tuple[tuple[PhaseFile, Curve | None], ...]
    refusals: tuple[ConfigError, ...]


def draft(
    seed: int,
    sources: Mapping[str, Source],
    phases: Sequence[PhaseSpec],
    runs: dict[str, Drawing],
    collect: bool = True,
) -> Draft:
    """Draws all phases, one after the other; what cannot be is collected, and draws nothing.

    Args:
        seed: of the permutations.
        sources: by name.
        phases: in the order in which they are trained.
        runs: where sources stand that were drawn from before, by name; moved on.
        collect: whether a source that cannot be packed is one of the refusals; else it is raised, and nothing is packed
            behind it, as whoever packs may not go on.

    Raises:
        ConfigError: a source cannot be packed.
    """
    rows: list[Row] = []
    orders: list[tuple[PhaseFile, Curve | None]] = []
    refusals: list[ConfigError] = []
    for phase in phases:
        names = [weight.source for weight in phase.sources()]
        try:
            targets = resolve(phase, {name: sources[name].available(phase.sequence_length) for name in names})
        except ConfigError as wrong:
            refusals.append(wrong)
            continue
        drawn = _PhaseDraft(seed, targets, sources, runs, collect)
        rows += drawn.rows
        orders.append((drawn.order, drawn.curve))
        refusals += drawn.refusals
    return Draft(tuple(rows), tuple(orders), tuple(refusals))


class _PhaseDraft:
    """One phase, drawn: its rows, its order, the curve of its shares, and what cannot be.

    Leaves are in the order of their names, so that the order in which a YAML has them decides nothing.
    """

    def __init__(
        self, seed: int, targets: PhaseTargets, sources: Mapping[str, Source], runs: dict[str, Drawing], collect: bool
    ) -> None:
        leaves = tuple(sorted(targets.leaves, key=lambda leaf: leaf.source))
        targets = PhaseTargets(targets.spec, targets.tokens, leaves)
        self.phase = targets.spec
        self.sources = sources
        self.collect = collect
        self.refusals: list[ConfigError] = []
        now = [self._begun(targets, leaf, runs.get(leaf.source)) for leaf in leaves]
        found = allot(targets, now, collect)
        self.refusals += found.refusals
        self.tokens = found.tokens
        indexes: list[str] = []
        entries: list[SourceEntry] = []
        self.rows: list[Row] = []
        for leaf, run, quota in zip(leaves, now, found.quotas, strict=True):
            first_draw = run.drawn if run is not None else 0
            if run is not None and quota.sequences:
                run.advance(quota)
                runs[leaf.source] = run
            self.rows.append(self._row(leaf, runs.get(leaf.source), quota))
            entries.append(self._entry(leaf, run, quota, first_draw, indexes))
        shares = [leaf.shares(self.tokens) if self.tokens else (Fraction(0), Fraction(0)) for leaf in leaves]
        change = self.phase.change
        starts, ends = tuple(start for start, _ in shares), tuple(end for _, end in shares)
        self.curve = Curve(starts, ends, change) if change else None
        self.order = PhaseFile(
            version=VERSION,
            phase=self.phase.name,
            seed=seed,
            sequence_length=self.phase.sequence_length,
            sequences=sum(entry.quota for entry in entries),
            segments=1,
            indexes=tuple(indexes),
            sources=tuple(entries),
        )

    def _begun(self, targets: PhaseTargets, leaf: Leaf, before: Drawing | None) -> Drawing | None:
        """The run of a source at the phase's sequence length; None where it cannot be, or nothing is asked of it."""
        length, source = self.phase.sequence_length, self.sources[leaf.source]
        if not leaf.mean.slope and leaf.mean.fixed <= 0:
            weight = next(one for one in self.phase.sources() if one.source == leaf.source)
            if weight.share != 0 and source.tokens:  # its part is by what fits, and nothing does
                self.refusals.append(
                    self.phase.error(
                        "the source would not appear: no document fits into a sequence",
                        leaf,
                        seen=f"sequence_length: {length}",
                        fix="a longer sequence_length, `too_long: split`, or `pack: chunk`",
                    )
                )
            return None
        try:
            source.check_lost(length)
            if before is None:
                return source.begin(length)
            return before.at_length(length)
        except ConfigError as wrong:
            self.refusals.append(at_leaf(targets, leaf, wrong))
            if not self.collect:
                raise self.refusals[-1] from None
            return None

    def _row(self, leaf: Leaf, run: Drawing | None, quota: Quota) -> Row:
        state = run.state() if run is not None else State(0.0, *NOTHING_LOST)
        target, source = leaf.target(self.tokens), self.sources[leaf.source]
        lost = state[1:] if quota.sequences else NOTHING_LOST
        return Row(
            self.phase.name,
            leaf.source,
            float(target / self.tokens) if self.tokens else 0.0,
            source.available(self.phase.sequence_length),
            max(round(target), 0),
            quota.sequences,
            quota.tokens,
            quota.sequences * self.phase.sequence_length - quota.tokens,
            state.epochs,
            *lost,
            estimated=source.estimated,
        )

    def _entry(self, leaf: Leaf, run: Drawing | None, quota: Quota, first_draw: int, indexes: list[str]) -> SourceEntry:
        drawn = run is not None and quota.sequences
        rest, full = run.pools(indexes) if run is not None and drawn else (None, None)
        share = float(leaf.target(self.tokens) / self.tokens) if self.tokens else 0.0
        return SourceEntry(
            name=leaf.source,
            share=share,
            loss=leaf.loss,
            quota=quota.sequences,
            first_draw=first_draw if drawn else 0,
            rest=rest,
            full=full,
        )
