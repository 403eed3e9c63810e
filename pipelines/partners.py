"""What became of the document that was kept in a copy's place: where it stands now, or what dropped it later.

A copy is judged by the one kept for it, and that one may have left at a later step, or stand in an index. Costs a read
of the ids of the stages behind the barrier.
"""

from collections.abc import Sequence

from .finding import Ends, Hints, ends, rows_of
from .recipe import Step
from .segments import Finished, Segment


def became(segments: Sequence[Segment], identity: str, source: str | None) -> str:
    """What became of a document that a barrier kept, for people.

    Args:
        segments: the one behind the barrier, and those that follow.
        identity: the document's id.
        source: its source; None where the run did not record it.

    Raises:
        RunError: a file is gone or damaged.
    """
    barrier, where = segments[0].barrier, ""
    for segment in segments:
        for stage in (segment.first, segment.last)[: 1 if segment.first is segment.last else 2]:
            there = ends(stage.folder, stage.manifest, identity, Hints(identity))
            kept = _kept(stage, there, identity, source)
            if not kept:  # of several documents of the id, one that goes on is taken for the one
                by = barrier.name if barrier is not None and stage is segments[0].first else ""
                return _left(there, source, by) or _elsewhere(barrier)
            where = kept
    return f"kept: {where}"


def _left(there: Ends, source: str | None, barrier: str) -> str:
    """How a document left a stage that no barrier of this name dropped."""
    for rows in there.dropped.values():
        for row in rows:
            if source in (None, row["source"]) and row["step"] != barrier:
                partner = f", for {row['partner']}" if row["partner"] else ""
                return f"dropped later by {row['step']}.{row['rule']}{partner}"
    for entries in there.aside.values():
        for entry in entries:
            if source in (None, entry["source"]):
                return f"set aside later by {entry['step']}: {entry['error']}"
    return ""


def _kept(stage: Finished, there: Ends, identity: str, source: str | None) -> str:
    found = []
    for task in there.kept:
        part = stage.part(task)
        if part is not None and source in (None, part.source):
            rows = rows_of(stage.folder, part, identity)
            found.append(f"{stage.folder / part.path}, row {' and '.join(f'{row:,}' for row in rows)}")
    return "; ".join(found)


def _elsewhere(barrier: Step | None) -> str:
    """Of a document that the run does not hold."""
    index = None if barrier is None else getattr(barrier.options, "index", None)
    return f"kept in the index {index}" if index else "not found in the output"
