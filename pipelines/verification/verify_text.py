"""What `midtrain verify` prints: a table for people, the same as data for machines."""

from dataclasses import asdict

from ...mixtures.shuffle import Shuffle
from ...tables import Table, columns
from .verify import Verified

SHOWN = 20  # of each kind of finding, for people; the data has all


def table(found: Verified) -> Table:
    """The findings of a verification."""
    counted = found.counted
    rate = found.bytes / max(found.seconds, 1e-9) / 1e9
    read = f"{found.files:,} files, {found.bytes / 1e9:,.2f} GB, in {found.seconds:,.1f} s ({rate:,.2f} GB/s)"
    told = [_tokens(found), _packs(found), _order(found)]
    told.append(_listed("not in any manifest, and read by nobody", found.unlisted))
    told.append(_listed("not finished: a run of it was ended, or is at work", found.unfinished))
    told.append(_problems(found))
    wrong = len({problem.path for problem in found.problems})
    said = f"{wrong:,} files are wrong" if wrong else "all is as it was written, and adds up"
    told.append(f"{found.output}: {read}; {said}")
    data = {
        "output": found.output,
        "kind": found.kind,
        "files": found.files,
        "bytes": found.bytes,
        "seconds": found.seconds,
        "problems": [asdict(problem) for problem in found.problems],
        "unlisted": list(found.unlisted),
        "unfinished": list(found.unfinished),
        "tokens": [asdict(row) for row in counted.tokens],
        "packs": [asdict(row) for row in counted.packs],
        "order": [asdict(row) for row in counted.order],
    }
    return Table("\n\n".join(filter(None, told)), data)


def _tokens(found: Verified) -> str:
    rows = [["source", "kind", "parts", "documents", "tokens", "trained"]]
    for row in found.counted.tokens:
        share = f"{100 * row.trained / max(row.tokens, 1):.1f} %"
        rows.append([row.source, row.kind, f"{row.parts:,}", f"{row.documents:,}", f"{row.tokens:,}", share])
    return columns(rows) if len(rows) > 1 else ""


def _packs(found: Verified) -> str:
    rows = [["pack", "sequences", "spans", "tokens", "left out", "padding"]]
    for row in found.counted.packs:
        padding = f"{100 * row.padding / max(row.padding + row.tokens, 1):.2f} %"
        rows.append(
            [row.folder, f"{row.sequences:,}", f"{row.spans:,}", f"{row.tokens:,}", f"{row.left_out:,}", padding]
        )
    return columns(rows) if len(rows) > 1 else ""


def _order(found: Verified) -> str:
    rows = [["phase", "sequences", "sources", "from its share", "chi-square", "expected", "same source", "same place"]]
    for row in found.counted.order:
        told = [row.phase, f"{row.sequences:,}", f"{row.sources:,}", f"{row.gap:.3f}"]
        rows.append([*told, *(_shuffle(row.shuffle) if row.shuffle else [""] * 4)])
    faults = [f"{row.phase}: {fault}" for row in found.counted.order if row.shuffle for fault in row.shuffle.faults]
    explained = "from its share: the most that a source is, in sequences; the last columns: lag-1 autocorrelations"
    worse = _listed("worse than chance would have it", tuple(faults))
    return "\n".join(filter(None, [columns(rows), explained, worse])) if len(rows) > 1 else ""


def _shuffle(found: Shuffle) -> list[str]:
    order = f"{found.order_neighbours.value:+.4f}" if found.order_neighbours else ""
    test = found.sources
    return [f"{test.value:,.1f}", f"up to {test.degrees:,}", f"{found.source_neighbours.value:+.4f}", order]


def _listed(what: str, paths: tuple[str, ...]) -> str:
    more = [f"  and {len(paths) - SHOWN:,} more"] if len(paths) > SHOWN else []
    return "\n".join([f"{what}:", *(f"  {path}" for path in paths[:SHOWN]), *more]) if paths else ""


def _problems(found: Verified) -> str:
    lines = []
    for problem in found.problems[:SHOWN]:
        compared = f": {problem.seen}, expected {problem.expected}" if problem.expected else ""
        lines.append(f"  {problem.path}: {problem.what}{compared}")
    more = [f"  and {len(found.problems) - SHOWN:,} more"] if len(found.problems) > SHOWN else []
    return "\n".join(["wrong:", *lines, *more]) if lines else ""
