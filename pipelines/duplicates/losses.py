"""What the sources of a recipe have lost to deduplication so far: to one step, and to all before it.

Three steps that each take four of ten documents take eight of ten, and none by itself would stop the run; so a step's
limit is held against what all steps up to it took. Costs a look at counts that the stages before have left.
"""

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ...filters.deduplication import LossLimited
from .alarms import Loss

if TYPE_CHECKING:
    from ..documents import DocumentStage

NOTHING_CUT = {"documents": 0, "pieces": 0, "bytes": 0, "emptied_bytes": 0}


def documents(upstream: "DocumentStage", options: LossLimited, lost: Mapping[str, int]) -> dict[str, Loss]:
    """Documents that each source loses to a step and to deduplication before it, of those that came to the first step.

    What a step before was allowed to take beyond this one's limit counts neither as lost nor as having been there.

    Args:
        upstream: the stage whose documents come to the step.
        options: the step's.
        lost: documents that the step takes, by source.
    """
    found = {}
    for source, own in lost.items():
        before = sum(_dropped(stage, source) for stage in _bound_before(upstream, options, source))
        found[source] = Loss(before + own, before + _kept(upstream, source), before)
    return found


def text(upstream: "DocumentStage", options: LossLimited, counts: Mapping[str, Any]) -> dict[str, Loss]:
    """Bytes of text that each source loses to a step that cuts pieces and to those before it, as `documents`.

    Args:
        upstream: the stage whose documents come to the step.
        options: the step's.
        counts: of the step, by source: `read_text_bytes`, and what it cut.
    """
    found = {}
    for source, own in counts.items():
        bound = _bound_before(upstream, options, source)
        before = sum(_cut(stage.finished().counts["sources"].get(source, {})) for stage in bound)
        found[source] = Loss(before + _cut(own), before + own["read_text_bytes"], before)
    return found


def cut(counts: Mapping[str, Any]) -> dict[str, int]:
    """What a stage cut out of a source's documents, by its counts: documents, pieces, bytes, emptied_bytes."""
    return NOTHING_CUT | dict(counts.get("cut", {}))


def _bound_before(last: "DocumentStage", options: LossLimited, source: str) -> "Iterator[DocumentStage]":
    """The stages up to the last behind barriers of deduplication that bind a source no less than these options do."""
    stage: DocumentStage | None = last
    while stage is not None:
        own = None if stage.barrier is None else stage.barrier.options
        if isinstance(own, LossLimited) and source not in own.allow_loss and _limit(own) <= _limit(options):
            yield stage
        stage = stage.earlier


def _limit(options: LossLimited) -> float:
    return math.inf if options.max_loss is None else options.max_loss


def _kept(stage: "DocumentStage", source: str) -> int:
    return int(stage.finished().counts["sources"].get(source, {}).get("kept", 0))


def _dropped(stage: "DocumentStage", source: str) -> int:
    """Documents of a source that the stage's barrier dropped."""
    step = stage.barrier.name if stage.barrier else ""
    reasons = stage.finished().counts["sources"].get(source, {}).get("dropped", {})
    return sum(count for reason, count in reasons.items() if reason.rpartition(".")[0] == step)


def _cut(counts: Mapping[str, Any]) -> int:
    own = cut(counts)
    return own["bytes"] + own["emptied_bytes"]
