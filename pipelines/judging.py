"""One step applied to documents: what it keeps, what it drops with the rule, and what makes it raise.

A document that makes a step raise is set aside with the error, and every other document is judged as if it were not
there; this module holds the project's one broad `except`. Costs nothing where nothing raises, else log2(documents) more
passes for each that does.
"""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from ..errors import MidtrainError
from ..filters.document import DocumentBatch
from ..filters.rules import Decision, Filter
from .parts import PartWriter, dropped_rows
from .readers.records import Quarantined
from .recipe import Step


def judge(step: Step, options: Filter, documents: DocumentBatch, writer: PartWriter) -> DocumentBatch:
    """Applies one filter; what it drops is written, what makes it raise is set aside, the rest is returned."""
    kept: list[pa.RecordBatch] = []
    for part, outcome in attempt(options, documents):
        if isinstance(outcome, Exception):
            writer.set_aside([_quarantine(step.name, part, outcome)])
            continue
        every = outcome.keep.all()  # then nothing is copied
        kept.append(part.record_batch if every else part.record_batch.filter(pa.array(outcome.keep)))
        _write_dropped(step, options, part, outcome, writer)
    if not kept:
        return DocumentBatch(documents.record_batch.slice(0, 0))
    return DocumentBatch(pa.concat_batches(kept) if len(kept) > 1 else kept[0])


def attempt(options: Filter, documents: DocumentBatch) -> Iterator[tuple[DocumentBatch, Decision | Exception]]:
    """Decides a batch; where code raises, the batch is halved until the documents that do it stand alone."""
    try:
        annotated = options.annotate(documents)
        decided: Decision | Exception = options.decide(annotated)
    except MidtrainError:
        raise
    except Exception as error:  # noqa: BLE001 - a document that makes code raise is set aside, never lost
        annotated, decided = documents, error
    if isinstance(decided, Decision) or len(documents) == 1:
        yield annotated, decided
        return
    half = len(documents) // 2
    yield from attempt(options, DocumentBatch(documents.record_batch.slice(0, half)))
    yield from attempt(options, DocumentBatch(documents.record_batch.slice(half)))


def _quarantine(step: str, documents: DocumentBatch, error: Exception) -> Quarantined:
    row = documents.record_batch.slice(0, 1)
    text = f"{type(error).__name__}: {error}"
    identity = str(row.column("id")[0].as_py())
    return Quarantined(identity, str(row.column("source")[0].as_py()), step, text, f"document {identity}")


def _write_dropped(
    step: Step, options: Filter, documents: DocumentBatch, decision: Decision, writer: PartWriter
) -> None:
    mask = ~decision.keep
    if not mask.any():
        return
    gone = documents.record_batch.filter(pa.array(mask))
    names: Sequence[str] = [rule.name for rule in options.rules]
    rules = pa.array([names[rule] for rule in decision.rule[mask]], pa.string())
    values, thresholds = pa.array(decision.value[mask]), pa.array(decision.threshold[mask])
    writer.drop(step.name, dropped_rows(step.name, gone, rules, values, thresholds))
