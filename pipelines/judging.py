"""One step applied to documents: what it keeps, what it drops with the rule, and what makes it raise.

A document that makes a step raise is set aside with the error, and every other document is judged as if it were not
there; this module holds the project's one broad `except`. Costs nothing where nothing raises, else log2(documents) more
passes for each that does.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import pyarrow as pa

from ..errors import MidtrainError
from ..filters.document import DocumentBatch
from ..filters.rules import Decision, Filter
from .parts import DROPPED, PartWriter
from .readers.records import Quarantined
from .recipe import Step

T = TypeVar("T")


def judge(step: Step, options: Filter, documents: DocumentBatch, writer: PartWriter) -> DocumentBatch:
    """Applies one filter; what it drops is written, what makes it raise is set aside, the rest is returned."""
    kept: list[pa.RecordBatch] = []
    for part, outcome in attempt(options, documents):
        if isinstance(outcome, Exception):
            row = part.record_batch.slice(0, 1)
            writer.set_aside([quarantined(step.name, row, described(outcome))])
            continue
        every = outcome.keep.all()  # then nothing is copied
        kept.append(part.record_batch if every else part.record_batch.filter(pa.array(outcome.keep)))
        write_dropped(step.name, part.record_batch, outcome, reasons(options, outcome), writer)
    if not kept:
        return DocumentBatch(documents.record_batch.slice(0, 0))
    return DocumentBatch(pa.concat_batches(kept) if len(kept) > 1 else kept[0])


def decided(options: Filter, documents: DocumentBatch) -> tuple[DocumentBatch, Decision]:
    """The documents as the filter annotates them, and its decision."""
    annotated = options.annotate(documents)
    return annotated, options.decide(annotated)


def attempt(
    options: Filter,
    documents: DocumentBatch,
    work: Callable[[Filter, DocumentBatch], tuple[DocumentBatch, T]] = decided,  # type: ignore[assignment]
) -> Iterator[tuple[DocumentBatch, T | Exception]]:
    """Does a filter's work on a batch; where code raises, the batch is halved until what does it stands alone.

    Yields:
        Documents with what came of them, in their order: of one that raises, as it was, the exception.
    """
    try:
        yield work(options, documents)
        return
    except MidtrainError:
        raise
    except Exception as error:  # noqa: BLE001 - a document that makes code raise is set aside, never lost
        raised = error
    if len(documents) == 1:
        yield documents, raised
        return
    half = len(documents) // 2
    yield from attempt(options, DocumentBatch(documents.record_batch.slice(0, half)), work)
    yield from attempt(options, DocumentBatch(documents.record_batch.slice(half)), work)


def described(error: Exception) -> str:
    """What the record of a document that was set aside says."""
    return f"{type(error).__name__}: {error}"


def quarantined(step: str, row: pa.RecordBatch, error: str) -> Quarantined:
    """The record of the document in a row that made a step raise."""
    identity = str(row.column("id")[0].as_py())
    return Quarantined(identity, str(row.column("source")[0].as_py()), step, error, f"document {identity}")


def reasons(options: Filter, decision: Decision) -> list[str]:
    """The name of the rule that dropped each document, of those that were."""
    names: Sequence[str] = [rule.name for rule in options.rules]
    return [names[rule] for rule in decision.rule[~decision.keep]]


def write_dropped(
    step: str, documents: pa.RecordBatch, decision: Decision, rules: Sequence[str], writer: PartWriter
) -> None:
    """Records what a step's decision drops of documents; `rules` names the reason of each that is dropped."""
    mask = ~decision.keep
    if not mask.any():
        return
    gone = documents.filter(pa.array(mask))
    columns = [
        gone.column("id"),
        gone.column("source"),
        pa.array([step] * gone.num_rows, pa.string()),
        pa.array(rules, pa.string()),
        pa.array(decision.value[mask]),
        pa.array(decision.threshold[mask]),
        pa.nulls(gone.num_rows, pa.string()),
    ]
    writer.drop(step, pa.record_batch(columns, schema=DROPPED))
