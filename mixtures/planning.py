"""The plan of a mixture: how many sequences of which pack index every phase draws from every source, and in what order.

The realised mixture has to be the configured one, counted in tokens and known before the run; so quotas are counted
along the draws themselves, a source goes on in each phase where the last one left it, and a source that would not
appear, or would repeat more than allowed, is an error with the number that would do. Costs one packing a source and
sequence length, and one pass of the interleaving over each phase.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from .. import storage
from ..errors import ConfigError
from .drawing import SourceRun, SourceTokens, Wish
from .interleave import cumulative_counts
from .order import PhaseFile, Pool, SourceEntry
from .packing import PACK_FILES

__all__ = ["PhaseSpec", "PhaseWeight", "Plan", "Row", "SourceTokens", "plan"]

SHARE_TOLERANCE = 1e-6
_NAME = re.compile(r"\w[\w.+-]*")


@dataclass(frozen=True)
class PhaseWeight:
    """A source's share of a phase's tokens, what of it is trained on, and how often it may be seen over all phases."""

    source: str
    share: float
    loss: Literal["all", "assistant"]
    max_epochs: int = 1


@dataclass(frozen=True)
class PhaseSpec:
    """A phase: `tokens` is its length in tokens that are not padding."""

    name: str
    sequence_length: int
    tokens: int
    weights: tuple[PhaseWeight, ...]


@dataclass(frozen=True)
class Row:
    """One source in one phase, planned and realised."""

    phase: str
    source: str
    share: float
    planned_tokens: int  # share of the phase's tokens, rounded
    sequences: int  # the quota
    tokens: int  # that these sequences hold, without padding
    padding: int  # tokens
    epochs: float  # begun and finished over all phases so far: 1.25 is a quarter into the second
    dropped_documents: int  # too long for this phase's sequences
    dropped_tokens: int


@dataclass(frozen=True)
class Plan:
    """What was planned and every file that holds it, relative to the output."""

    rows: tuple[Row, ...]
    files: tuple[str, ...]
    sequences: Mapping[str, int]  # of each phase


def plan(root: Path, seed: int, sources: Mapping[str, SourceTokens], phases: Sequence[PhaseSpec]) -> Plan:
    """Plans all phases and writes `packs/` and `order/` below `root`; a complete pack index that stands there is used.

    Phases follow each other, and a source goes on where the last phase that used it left it. Equal arguments give
    byte-identical files; the order is written when every phase is planned, so no error leaves a part of one.

    Args:
        root: the mixture's output folder.
        seed: of the permutations.
        sources: by name.
        phases: in the order in which they are trained.

    Raises:
        ConfigError: shares that do not sum to 1, a source that is unknown, empty, rounds to nothing or would repeat
            more than `max_epochs` allows, a document too long where that is an error.
        RunError: the ends of documents are not ends, or tokens do not add up.
    """
    _check(sources, phases)
    runs: dict[str, SourceRun] = {}
    rows: list[Row] = []
    orders: list[PhaseFile] = []
    for phase in phases:
        indexes: list[str] = []
        entries: list[SourceEntry] = []
        for weight in phase.weights:
            if weight.share > 0:
                runs[weight.source] = _run(root, seed, sources[weight.source], phase, runs.get(weight.source))
                row, entry = _draw(runs[weight.source], phase, weight, indexes)
            else:
                row, entry = _unused(runs.get(weight.source), phase, weight)
            rows.append(row)
            entries.append(entry)
        orders.append(
            PhaseFile(
                version=1,
                phase=phase.name,
                seed=seed,
                sequence_length=phase.sequence_length,
                sequences=sum(entry.quota for entry in entries),
                indexes=tuple(indexes),
                sources=tuple(entries),
            )
        )
    return Plan(tuple(rows), _write(root, orders), {order.phase: order.sequences for order in orders})


def _run(root: Path, seed: int, source: SourceTokens, phase: PhaseSpec, before: SourceRun | None) -> SourceRun:
    if before is None:
        return SourceRun(root, seed, source, phase.sequence_length)
    if before.sequence_length == phase.sequence_length:
        return before
    return before.at_length(phase.sequence_length)


def _draw(run: SourceRun, phase: PhaseSpec, weight: PhaseWeight, indexes: list[str]) -> tuple[Row, SourceEntry]:
    first_draw = run.drawn
    drawn = run.draw(Wish(phase.name, phase.tokens, weight.share, weight.max_epochs))
    epoch, index = run.epoch(), run.drawing_from().index
    row = Row(
        phase=phase.name,
        source=weight.source,
        share=weight.share,
        planned_tokens=round(weight.share * phase.tokens),
        sequences=drawn.sequences,
        tokens=drawn.tokens,
        padding=drawn.sequences * phase.sequence_length - drawn.tokens,
        epochs=epoch.number + epoch.tokens / epoch.of_tokens,
        dropped_documents=index.dropped_documents,
        dropped_tokens=index.dropped_tokens,
    )
    rest, full = run.pools(indexes)
    return row, _entry(weight, drawn.sequences, first_draw, rest, full)


def _unused(run: SourceRun | None, phase: PhaseSpec, weight: PhaseWeight) -> tuple[Row, SourceEntry]:
    """A weight of 0: the source stands in the table and in the order, and nothing is drawn."""
    epoch = run.epoch() if run else None
    epochs = epoch.number + epoch.tokens / epoch.of_tokens if epoch else 0.0
    return Row(phase.name, weight.source, 0.0, 0, 0, 0, 0, epochs, 0, 0), _entry(weight, 0, 0, None, None)


def _entry(weight: PhaseWeight, sequences: int, first_draw: int, rest: Pool | None, full: Pool | None) -> SourceEntry:
    return SourceEntry(
        name=weight.source,
        share=weight.share,
        loss=weight.loss,
        quota=sequences,
        first_draw=first_draw,
        rest=rest,
        full=full,
    )


def _write(root: Path, orders: Sequence[PhaseFile]) -> tuple[str, ...]:
    """Writes the order of every phase; returns all files of the plan, the pack indexes' among them."""
    files = {f"{folder}/{name}" for order in orders for folder in order.indexes for name in PACK_FILES}
    for order in orders:
        counts = cumulative_counts(np.array([entry.quota for entry in order.sources], dtype=np.int64))
        name = f"order/{order.phase}"
        with storage.atomic_write(root / f"{name}.counts") as stream:
            stream.write(counts.astype("<u8").tobytes())
        with storage.atomic_write(root / f"{name}.json") as stream:
            stream.write(order.model_dump_json(indent=1).encode() + b"\n")
        files |= {f"{name}.counts", f"{name}.json"}
    return tuple(sorted(files))


def _check(sources: Mapping[str, SourceTokens], phases: Sequence[PhaseSpec]) -> None:
    for name in [*sources, *(phase.name for phase in phases)]:
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} cannot name a folder", expected="letters, digits and _ . + -, not first a dot")
    for source in sources.values():
        if not sum(ends.size for ends in source.ends):
            raise ConfigError(
                "the source has no tokens", where=f"source {source.name}", fix="look at its `where` and `held_out`"
            )
    names = [phase.name for phase in phases]
    if len(set(names)) < len(names):
        raise ConfigError("two phases have the same name", seen=", ".join(names))
    for phase in phases:
        _check_phase(sources, phase)


def _check_phase(sources: Mapping[str, SourceTokens], phase: PhaseSpec) -> None:
    where = f"phase {phase.name}"
    if not 1 <= phase.sequence_length < 1 << 32 or phase.tokens < 1:
        seen = f"sequence_length {phase.sequence_length:,}, tokens {phase.tokens:,}"
        raise ConfigError("a phase needs both", where=where, seen=seen, expected="at least 1")
    names = [weight.source for weight in phase.weights]
    for name in names:
        if name not in sources:
            raise ConfigError(f"no source is called {name}", where=where, expected=", ".join(sources))
    if len(set(names)) < len(names):
        raise ConfigError("a source has two weights", where=where, seen=", ".join(names))
    for weight in phase.weights:
        if not 0 <= weight.share <= 1 + SHARE_TOLERANCE or weight.max_epochs < 1:
            seen = f"share {weight.share}, max_epochs {weight.max_epochs}"
            expected = "a share from 0 to 1, max_epochs of at least 1"
            raise ConfigError("not a weight", where=f"{where}, source {weight.source}", seen=seen, expected=expected)
    total = math.fsum(weight.share for weight in phase.weights)
    if abs(total - 1) > SHARE_TOLERANCE:
        raise ConfigError(
            "the weights do not sum to 1", where=where, seen=total, expected=f"1 within {SHARE_TOLERANCE}"
        )
