"""What a build does to records of each length: tokens that came in, that were trimmed, lost and kept, by source.

A source may keep most of its tokens and lose all of its long records; the table shows it for each phase. It is read
from the manifests of the pack indexes, which count while they pack. Costs a small read a source and phase.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import RunError
from ..manifest import NAME, Manifest
from ..mixtures.packs.length_bands import SHORT
from ..mixtures.packs.pack_requests import CHUNKS
from ..mixtures.phases import PhaseOrder, PhaseRef
from ..tables import clipped

HEADS = ["tokens of a record", "records", "tokens", "trimmed", "", "lost", "", "kept", ""]


def read(root: Path, phases: Iterable[PhaseRef]) -> tuple[dict[str, Any], ...]:
    """The tables of all sources of which records may be trimmed or dropped, phase by phase.

    They are of the index that a phase draws from at its end, which has all records or those that the epoch had not
    drawn: {phase, source, sequence_length, all_records, bands: [{low, high, documents, tokens, trimmed_documents,
    trimmed_tokens, dropped_documents, dropped_tokens, kept_tokens}]}, low <= tokens of a record < high.

    Raises:
        RunError: a file of the build is gone or damaged.
    """
    found = []
    for phase in phases:
        order = PhaseOrder.open(root, phase)
        for entry in order.entries:
            pool = entry.full or entry.rest
            folder = "" if pool is None else order.indexes[pool.index]
            if not folder or folder.startswith(CHUNKS):
                continue
            manifest = Manifest.read(root / folder)
            if counts := manifest.counts["bands"]:
                _check(root / folder, manifest)
                of = {"phase": phase.name, "source": entry.name, "sequence_length": order.sequence_length}
                every = not manifest.options["drawn"]
                found.append({**of, "all_records": every, "bands": _bands(counts)})
    return tuple(found)


def grid(table: Mapping[str, Any]) -> list[list[str]]:
    """A table as text: a row a band of lengths, with shares of its tokens, and their sums."""
    rows = [HEADS]
    for own in table["bands"]:
        rows.append([f"{own['low']:,} to {own['high'] - 1:,}", *_cells(own)])
    names = ("documents", "tokens", "trimmed_tokens", "dropped_tokens", "kept_tokens")
    rows.append(["all", *_cells({name: sum(own[name] for own in table["bands"]) for name in names})])
    return rows


def title(table: Mapping[str, Any]) -> str:
    """Which phase and source a table is of."""
    of = "all its records" if table["all_records"] else "records that the epoch had not drawn"
    where = f"phase {table['phase']}, {clipped(table['source'])}"
    return f"{where}: {of} in sequences of {table['sequence_length']:,} tokens"


def with_losses(tables: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those of which something was trimmed or lost."""
    return [one for one in tables if any(own["kept_tokens"] < own["tokens"] for own in one["bands"])]


def _check(folder: Path, manifest: Manifest) -> None:
    """What is lost by length is what the index lost in all."""
    bands, parts = manifest.counts["bands"].values(), manifest.counts["parts"].values()
    for name in ("trimmed_documents", "trimmed_tokens", "dropped_documents", "dropped_tokens"):
        by_length, in_all = (sum(own[name] for own in counts) for counts in (bands, parts))
        if by_length != in_all:
            raise RunError(
                f"the counts do not add up: {name} by length",
                where=str(folder / NAME),
                seen=f"{by_length:,}",
                expected=f"{in_all:,}",
                fix=f"remove {folder} and run midtrain build again: the index is made anew",
            )


def _bands(counts: Mapping[str, Mapping[str, int]]) -> list[dict[str, int]]:
    found = []
    for low in sorted(map(int, counts)):
        own = counts[str(low)]
        kept = own["tokens"] - own["trimmed_tokens"] - own["dropped_tokens"]
        found.append({"low": low, "high": 2 * low or SHORT, **own, "kept_tokens": kept})
    return found


def _cells(own: Mapping[str, int]) -> list[str]:
    cells = [f"{own['documents']:,}", f"{own['tokens']:,}"]
    for name in ("trimmed_tokens", "dropped_tokens", "kept_tokens"):
        cells += [f"{own[name]:,}", f"{100 * own[name] / own['tokens']:.1f} %" if own["tokens"] else ""]
    return cells
