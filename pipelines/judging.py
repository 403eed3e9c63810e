"""One step applied to documents: what it keeps, what it drops with the rule, and what makes it raise.

A document that makes a step raise is set aside with the error, and every other document is judged as if it were not
there; this module holds the project's one broad `except`. Costs nothing where nothing raises, else log2(documents) more
passes for each that does.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import MidtrainError
from ..filters.document import DocumentBatch
from ..filters.rules import Decision, Filter, Transform
from .dropped import dropped_rows
from .parts import PartWriter, text_sizes
from .readers.records import Quarantined
from .recipe import Step

T = TypeVar("T")


def judge(step: Step, options: Filter, documents: DocumentBatch, writer: PartWriter) -> DocumentBatch:
    """Applies one filter; what it drops is written, what makes it raise is set aside, the rest is returned."""
    kept: list[pa.RecordBatch] = []
    sizes, done = text_sizes(documents.record_batch), 0
    for part, outcome in attempt(options, documents):
        own = sizes[done : done + len(part)]
        done += len(part)
        if isinstance(outcome, Exception):
            row = part.record_batch.slice(0, 1)
            writer.set_aside([quarantined(step.name, row, described(outcome))])
            continue
        every = outcome.keep.all()  # then nothing is copied
        kept.append(part.record_batch if every else part.record_batch.filter(pa.array(outcome.keep)))
        write_dropped(step.name, part.record_batch, own, outcome, reasons(options, outcome), writer)
    if not kept:
        return DocumentBatch(documents.record_batch.slice(0, 0))
    return DocumentBatch(pa.concat_batches(kept) if len(kept) > 1 else kept[0])


def decided(options: Filter, documents: DocumentBatch) -> tuple[DocumentBatch, Decision]:
    """The documents as a step leaves them, with its columns, and rewritten where it is a transform; its decision."""
    annotated = options.annotate(documents)
    if isinstance(options, Transform):
        return rewritten(options, annotated)
    return annotated, options.decide(annotated)


def rewritten(options: Transform, documents: DocumentBatch) -> tuple[DocumentBatch, Decision]:
    """The documents with their new texts, and the decision.

    Raises:
        ValueError: a document that is kept has messages and another text than before: they would not say the same.
    """
    changed, decision = options.rewrite(documents)
    check_messages(documents, changed, decision.keep)
    return changed, decision


def check_messages(before: DocumentBatch, after: DocumentBatch, keep: npt.NDArray[np.bool_]) -> None:
    """Raises ValueError where one of the documents to be kept has messages and another text than before."""
    turns = before.record_batch.column("messages")
    if turns.null_count == len(turns):
        return
    same = pc.equal(before.column("text"), after.column("text")).to_numpy(zero_copy_only=False)
    if (~same & turns.is_valid().to_numpy(zero_copy_only=False) & keep).any():
        raise ValueError("the step rewrites a text that was made of messages, and would leave the messages as they are")


def attempt(
    options: Filter,
    documents: DocumentBatch,
    work: Callable[[Filter, DocumentBatch], tuple[DocumentBatch, T]] = decided,  # type: ignore[assignment]
) -> Iterator[tuple[DocumentBatch, T | Exception]]:
    """Does a filter's work on a batch; where code raises, the batch is halved until what does it stands alone.

    Yields:
        Documents with what came of them, in their order: of one that raises, as it was, the exception.
    """
    outcome: tuple[DocumentBatch, T | Exception]
    try:
        outcome = work(options, documents)
    except MidtrainError:
        raise
    except Exception as error:  # noqa: BLE001 - a document that makes code raise is set aside, never lost
        outcome = documents, error
    if not isinstance(outcome[1], Exception) or len(documents) == 1:
        yield outcome
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
    names: Sequence[str] = [rule.name for rule in options.rules] if decision.reasons is None else decision.reasons
    return [names[rule] for rule in decision.rule[~decision.keep]]


def write_dropped(
    step: str,
    documents: pa.RecordBatch,
    sizes: npt.NDArray[np.int64],
    decision: Decision,
    rules: Sequence[str],
    writer: PartWriter,
) -> None:
    """Records what a step's decision drops.

    Args:
        step: its name.
        documents: n documents.
        sizes: int64[n], bytes of their texts before the step rewrote any.
        decision: of the n documents.
        rules: the reason of each that is dropped.
        writer: of the task's files.
    """
    mask = ~decision.keep
    if not mask.any():
        return
    gone = documents.filter(pa.array(mask))
    # a reason without a score has NaN, which becomes null
    values, bounds = (pa.array(one[mask], from_pandas=True) for one in (decision.value, decision.threshold))
    writer.drop(step, dropped_rows(step, gone, sizes[mask], pa.array(rules, pa.string()), values, bounds))
