"""A built mixture cut at a place, and what every source has drawn until there: where other phases go on.

Weights change at steps that nobody planned, and what was trained on must neither come again nor be left out. So the
sources are drawn as the order says, up to the cut, and the phases behind it begin with them as if all had been planned
so from the start. Costs one replayed block a phase, and a look at the tokens of every sequence drawn in an unfinished
epoch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ...errors import ConfigError, RunError
from ..order import Order
from ..packs.pack_requests import SourceTokens
from ..phases import PhaseRef, SourceEntry
from .drawing import Packs, SourceRun
from .planning import Drawing


@dataclass(frozen=True)
class Stand:
    """What a phase, as far as it counts, has drawn of a source; `epochs` begun and finished over all phases so far."""

    phase: str
    source: str
    sequences: int
    tokens: int  # without padding
    padding: int
    epochs: float


def cut_short(phases: Sequence[PhaseRef], phase: str | None, at: int | None) -> tuple[PhaseRef, ...]:
    """The phases that stay when a mixture is cut: those before the cut, and the one that it lies in up to there.

    Args:
        phases: in the order of training.
        phase: which one is cut; the last by default.
        at: how many of its sequences stay; all by default. None of it stays where this is 0.

    Raises:
        ConfigError: no such phase, a place beyond it, or nothing would stay.
    """
    names = [ref.name for ref in phases]
    name = names[-1] if phase is None else phase
    if name not in names:
        raise ConfigError(f"no phase is called {name}", expected=", ".join(names))
    number = names.index(name)
    last = phases[number]
    if at is not None and not 0 <= at <= last.sequences:
        raise ConfigError(
            "the cut lies beyond the phase",
            where=f"phase {name}",
            seen=f"sequence {at:,}",
            expected=f"0 to {last.sequences:,}, all of it",
            fix="a later phase, or a smaller number",
        )
    kept = (*phases[:number], *([] if at == 0 else [replace(last, sequences=last.sequences if at is None else at)]))
    if not kept:
        raise ConfigError("nothing would be left of the mixture", seen=f"phase {name}, sequence 0", fix="build it anew")
    return kept


def drawn_so_far(
    order: Order, phases: Sequence[PhaseRef], sources: Mapping[str, SourceTokens], packs: Packs
) -> tuple[dict[str, Drawing], list[Stand]]:
    """Where every source stands behind the last of some phases.

    Args:
        order: of these phases.
        phases: in the order of training; the last one may have been cut short, and earlier ones too.
        sources: by name, with the tokens and the packing that the phases were planned with.
        packs: where the pack indexes lie.

    Returns:
        The sources on their way, for `planning.plan`, and what each phase has drawn.

    Raises:
        RunError: the order was planned with other tokens, or with other packs.
    """
    runs: dict[str, SourceRun] = {}
    stands: list[Stand] = []
    for ref in phases:
        opened = order.phase(ref.name)
        counts = order.counts(ref.name, ref.sequences).tolist()
        for entry, draws, count in zip(opened.entries, opened.draws, counts, strict=True):
            run, tokens = runs.get(entry.name), 0
            if count:
                length = opened.sequence_length
                run = run.at_length(length) if run else SourceRun(packs, draws.seed, sources[entry.name], length)
                first_draw = run.drawn
                tokens = run.take(count).tokens
                _check(run, first_draw, ref.name, entry, opened.indexes)
                runs[entry.name] = run
            padding = count * opened.sequence_length - tokens
            stands.append(Stand(ref.name, entry.name, count, tokens, padding, run.state().epochs if run else 0.0))
    return {**runs}, stands


def _check(run: SourceRun, first_draw: int, phase: str, entry: SourceEntry, indexes: Sequence[str]) -> None:
    """What the order draws from has to be what these sources draw from: else data would come twice, or never."""
    for pool, pack in ((entry.rest, run.rest), (entry.full, run.full)):
        named = None if pool is None else (indexes[pool.index], pool.sequences)
        found = None if pack is None else (pack.folder, pack.index.sequences)
        not_reached = pool is entry.full and found is None  # before the cut
        if first_draw != entry.first_draw or (named != found and not not_reached):
            raise RunError(
                "the order was not planned with these sources",
                where=f"phase {phase}, source {entry.name}",
                seen=f"{found or 'no pack'} after {first_draw:,} draws",
                expected=f"{named or 'no pack'} after {entry.first_draw:,}",
                fix="build the mixture again as it was: tokens or packs have changed since",
            )
