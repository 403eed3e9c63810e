"""The plan of a mixture: how many sequences of which pack index every phase draws from every source, and in what order.

The realised mixture has to be the configured one, counted in tokens and known before the run; so quotas are counted
along the draws themselves, a source goes on in each phase where the last one left it, and a source that would not
appear, or would repeat more than allowed, is an error with the number that would do. Costs one packing a source and
sequence length, and one pass of the interleaving over each phase.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import ConfigError
from ...manifest import NAME
from ..packs.pack_index import PACK_TABLE
from ..packs.pack_requests import CHUNKS, Packer, SourceTokens, pack_here
from ..phases import PhaseFile, PhaseRef, UInt64s, phase_stands, write_phase
from .drafting import Draft, Drawing, Row, Source, draft
from .drawing import Packs, SourceRun, drawable
from .losses import Drawable, check_lost
from .segments import Curve, phase_counts
from .weights import PhaseSpec, PhaseWeight

__all__ = [
    "Draft",
    "Drawing",
    "PhaseSpec",
    "PhaseWeight",
    "Plan",
    "Row",
    "Source",
    "SourceTokens",
    "draft",
    "order_stands",
    "plan",
    "refuse",
    "standing",
]

_NAME = re.compile(r"\w[\w.+@-]*")


@dataclass(frozen=True)
class Plan:
    """What was planned and every file that holds it, relative to the output."""

    rows: tuple[Row, ...]
    files: tuple[str, ...]
    phases: tuple[PhaseRef, ...]  # in the order of training


def plan(
    root: Path,
    seed: int,
    sources: Mapping[str, SourceTokens],
    phases: Sequence[PhaseSpec],
    packer: Packer | None = None,
    runs: dict[str, Drawing] | None = None,
) -> Plan:
    """Plans all phases and writes `packs/` and `order/` below `root`; a complete pack index that stands there is used.

    Phases follow each other, and a source goes on where the last phase that used it left it. Equal arguments give
    byte-identical files; the order is written when every phase is planned, so no error leaves a part of one.

    Args:
        root: the mixture's output folder.
        seed: of the permutations.
        sources: by name.
        phases: in the order in which they are trained.
        packer: makes the pack indexes that are missing; this process by default, one part after the other.
        runs: where sources stand that phases before these drew from, by name; moved on.

    Raises:
        ConfigError: shares that do not sum to 1, a source that is unknown, empty, rounds to nothing or would repeat
            more than `max_epochs` allows, a document too long where that is an error.
        RunError: the ends of documents are not ends, or tokens do not add up.
    """
    check(list(sources), phases)
    packs = Packs(root, packer or pack_here(root))
    runs = {} if runs is None else runs
    found = draft(
        seed, {name: standing(packs, seed, source) for name, source in sources.items()}, phases, runs, collect=False
    )
    refuse(found.refusals)
    refs = tuple(_written(root, order, curve) for order, curve in found.orders)
    folders = {folder for order, _ in found.orders for folder in order.indexes if not folder.startswith(CHUNKS)}
    files = {f"{folder}/{name}" for folder in folders for name in (PACK_TABLE, NAME)}
    return Plan(found.rows, tuple(sorted(files.union(*(ref.files for ref in refs)))), refs)


def refuse(refusals: Sequence[ConfigError]) -> None:
    """Raises ConfigError where a plan cannot be: the one reason, or all of them."""
    if len(refusals) == 1:
        raise refusals[0]
    if refusals:
        raise ConfigError("\n".join(refusal.render() for refusal in refusals))


def standing(packs: Packs, seed: int, tokens: SourceTokens) -> Source:
    """A source whose tokens stand."""
    known: dict[int, Drawable] = {}

    def at(length: int) -> Drawable:
        if length not in known:
            known[length] = drawable(tokens, length)
        return known[length]

    total = int(tokens.shards.part_tokens.sum())
    return Source(
        total,
        lambda length: at(length).tokens,
        lambda length: SourceRun(packs, seed, tokens, length),
        lambda length: check_lost(tokens, length, total, at(length)),
    )


def _written(root: Path, order: PhaseFile, curve: Curve | None) -> PhaseRef:
    """Writes the order of a phase."""
    return write_phase(root, *_interleaved(order, curve))


def order_stands(root: Path, order: PhaseFile, curve: Curve | None) -> bool:
    """Whether `plan` would leave the order of a drafted phase alone, because it stands there."""
    return phase_stands(root, *_interleaved(order, curve))


def _interleaved(order: PhaseFile, curve: Curve | None) -> tuple[PhaseFile, UInt64s]:
    quotas = np.array([entry.quota for entry in order.sources], dtype=np.int64)
    counts, segments = phase_counts(quotas, curve)
    return order.model_copy(update={"segments": segments}), counts


def check(sources: Sequence[str], phases: Sequence[PhaseSpec]) -> None:
    """Raises ConfigError where names are none, stand twice or are not known, or lengths are none."""
    for name in [*sources, *(phase.name for phase in phases)]:
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} cannot name a folder", expected="letters, digits and _ . + -, not first a dot")
    names = [phase.name for phase in phases]
    if len(set(names)) < len(names):
        raise ConfigError("two phases have the same name", seen=", ".join(names))
    for phase in phases:
        length = phase.tokens if phase.sequences is None else phase.sequences
        if not 1 <= phase.sequence_length < 1 << 32 or (length is not None and length < 1):
            seen = f"sequence_length {phase.sequence_length:,}, tokens {length:,}"
            raise phase.error("a phase needs both", seen=seen, expected="at least 1")
        drawn = [weight.source for weight in phase.sources()]
        for weight in phase.sources():
            if weight.source not in sources:
                raise phase.error(f"no source is called {weight.source}", expected=", ".join(sources))
            if weight.max_epochs is not None and weight.max_epochs < 1:
                raise phase.error("not a weight", weight, seen=f"max_epochs {weight.max_epochs}", expected="at least 1")
        if len(set(drawn)) < len(drawn):
            raise phase.error("a source has two weights", seen=", ".join(drawn))
