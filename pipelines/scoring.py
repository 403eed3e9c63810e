"""Scores of documents: what every step says of every document, whatever another one says, as columns beside the text.

A document that is left as soon as it is decided tells nothing of the thresholds that were not reached; with all values
in columns, another threshold is a comparison. Costs the work of every rule on every document, eight bytes a rule and
document (less in Parquet), and the writing of what is dropped later.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..filters.document import SCORE_PREFIX, DocumentBatch
from ..filters.rules import Decision, Filter, Scores, Transform
from ..filters.texts import hash_texts, text_view
from .judging import attempt, check_messages, decided, described, reasons
from .parts import HIDDEN, TEXT_BYTES, TEXT_HIGH, TEXT_LOW, text_sizes
from .recipe import Step

FAILED, ERROR = f"{HIDDEN}failed", f"{HIDDEN}error"  # the place of the step that raised, from 0, and what it said
BEFORE = "text_bytes_before"  # of each document, when a step that rewrites saw it
_VERDICT = {"rule": pa.string(), "value": pa.float64(), "threshold": pa.float64()}  # of a step without scores


def filters(steps: Sequence[Step]) -> list[tuple[int, Step, Filter]]:
    """The per-document steps, each with its place."""
    return [(place, step, step.options) for place, step in enumerate(steps) if isinstance(step.options, Filter)]


def score_columns(steps: Sequence[Step]) -> tuple[str, ...]:
    """The columns of rules' values, `score.<step>.<rule>`; the second step of a name has `score.<step>.2.<rule>`."""
    scored = [(step, options) for _, step, options in filters(steps) if options.scored]
    return tuple(_score(step, rule.name) for step, options in scored for rule in options.rules)


def hidden_columns(steps: Sequence[Step]) -> pa.Schema:
    """Size and hash of a text, and what a decision needs beside scores: columns that no reader of documents sees."""
    fields = [pa.field(TEXT_BYTES, pa.int64()), pa.field(TEXT_LOW, pa.uint64()), pa.field(TEXT_HIGH, pa.uint64())]
    return pa.schema([*fields, *(_decided_by(steps) if steps else ())])


def _decided_by(steps: Sequence[Step]) -> list[pa.Field]:
    fields = [pa.field(FAILED, pa.int16()), pa.field(ERROR, pa.string())]
    for _, step, options in filters(steps):
        if not options.scored:
            fields += [pa.field(_hidden(step, name), kind) for name, kind in _VERDICT.items()]
        if isinstance(options, Transform):
            fields.append(pa.field(_hidden(step, BEFORE), pa.int64()))
    return fields


def record(step: Step) -> dict[str, Any]:
    """What a step's scores depend on: as `Step.record`, without the bounds."""
    assert isinstance(step.options, Filter)  # noqa: S101 - no barrier has scores
    return {**step.record(), "options": step.options.scoring, "place": step.place}


def score(documents: DocumentBatch, steps: Sequence[Step], source: str, schema: pa.Schema) -> pa.RecordBatch:
    """Has every step that applies to a source annotate and measure all documents.

    A document that makes a step raise is seen by no later one; what the step said stands with it.

    Args:
        documents: n documents of the source.
        schema: of the result: documents, scores and hidden columns; what nobody filled is null.

    Returns:
        n rows, in the order of the documents.
    """
    rows = np.arange(len(documents))
    ended: list[pa.RecordBatch] = []
    order: list[npt.NDArray[np.int64]] = []
    for place, step, options in filters(steps):
        if source not in step.sources or len(documents) == 0:
            continue
        if isinstance(options, Transform):
            documents = documents.with_column(_hidden(step, BEFORE), pa.array(text_sizes(documents.record_batch)))
        going: list[DocumentBatch] = []
        left: list[npt.NDArray[np.int64]] = []
        for part, outcome in attempt(options, documents, measured if options.scored else judged):
            own, rows = rows[: len(part)], rows[len(part) :]
            if isinstance(outcome, Exception):
                ended.append(conform(_failed(part, place, outcome), schema))
                order.append(own)
            else:
                going.append(_with_columns(part, step, outcome))
                left.append(own)
        documents = _joined(going, documents)
        rows = np.concatenate([np.empty(0, np.int64), *left])
    found = conform(with_text_columns(documents.record_batch), schema)
    if not ended:
        return found
    place_of = np.concatenate([rows, *order])
    return pa.concat_batches([found, *ended]).take(pa.array(np.argsort(place_of)))


def decide(batch: pa.RecordBatch, step: Step, options: Filter) -> tuple[Decision, list[str]]:
    """A step's decision on documents whose scores stand in columns, and the names of the rules of what it drops."""
    if options.scored:
        scores = {rule.name: _values(batch, _score(step, rule.name)) for rule in options.rules}
        decision = options.decide_scores(scores, batch.num_rows)
        return decision, reasons(options, decision)
    rule = batch.column(_hidden(step, "rule"))
    keep = rule.is_null().to_numpy(zero_copy_only=False)
    value, threshold = (_values(batch, _hidden(step, name)) for name in ("value", "threshold"))
    decision = Decision(keep, np.where(keep, -1, 0).astype(np.int16), value, threshold)
    return decision, [str(name) for name in rule.drop_null().to_pylist()]


def sizes_before(batch: pa.RecordBatch, steps: Sequence[Step], place: int) -> npt.NDArray[np.int64]:
    """int64[n]: the bytes of each document's text as the step at a place saw it.

    It is what the next step that rewrites found, that step included; behind the last one, or where none applied or came
    to the document, what the text has now.
    """
    later = [
        _hidden(step, BEFORE) for at, step, options in filters(steps) if at >= place and isinstance(options, Transform)
    ]
    return np.asarray(pc.coalesce(*(batch.column(name) for name in (*later, TEXT_BYTES))), np.int64)


def value_of(row: pa.RecordBatch, step: Step, rule: str) -> float:
    """A rule's value of the first of some documents, from its column."""
    return float(_values(row, _score(step, rule))[0])


def needed(steps: Sequence[Step]) -> list[str]:
    """The columns that `decide` reads, beside those that name a document."""
    return [*score_columns(steps), TEXT_BYTES, *(field.name for field in _decided_by(steps))]


def measured(options: Filter, documents: DocumentBatch) -> tuple[DocumentBatch, dict[str, Any]]:
    """The documents as a step leaves them, and float64[n] by rule.

    Raises:
        ValueError: a document with messages has another text than before, whatever would become of it.
    """
    batch, scores = options.measure(documents)
    if isinstance(options, Transform):
        check_messages(documents, batch, np.ones(len(batch), np.bool_))
    return batch, {rule.name: scores[rule.name] for rule in options.rules}


def judged(options: Filter, documents: DocumentBatch) -> tuple[DocumentBatch, dict[str, Any]]:
    """The documents as a step without scores leaves them, and its verdict as hidden columns have it."""
    batch, decision = decided(options, documents)
    names = np.full(len(batch), None, object)
    names[~decision.keep] = reasons(options, decision)
    verdict = {"rule": pa.array(names, pa.string()), "value": decision.value, "threshold": decision.threshold}
    return batch, verdict


def conform(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The columns of a schema, in its order; those that the batch has not are null."""
    names = batch.schema.names
    arrays = [
        batch.column(field.name) if field.name in names else pa.nulls(batch.num_rows, field.type) for field in schema
    ]
    return pa.record_batch(arrays, schema=schema)


def _with_columns(batch: DocumentBatch, step: Step, outcome: dict[str, Any]) -> DocumentBatch:
    assert isinstance(step.options, Filter)  # noqa: S101 - no barrier has scores
    name = _score if step.options.scored else _hidden
    for rule, column in outcome.items():
        batch = batch.with_column(name(step, rule), column)
    return batch


def _failed(part: DocumentBatch, place: int, error: Exception) -> pa.RecordBatch:
    batch = with_text_columns(part.record_batch)
    batch = batch.append_column(FAILED, pa.array([place], pa.int16()))
    return batch.append_column(ERROR, pa.array([described(error)], pa.string()))


def with_text_columns(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The documents with the hidden columns of the size and the hash of their texts."""
    text, offsets = text_view(batch.column("text"))
    hashes = hash_texts(text, offsets)
    columns = {TEXT_BYTES: np.diff(offsets), TEXT_LOW: hashes[:, 0], TEXT_HIGH: hashes[:, 1]}
    for name, column in columns.items():
        batch = batch.append_column(name, pa.array(column))
    return batch


def _joined(batches: Sequence[DocumentBatch], otherwise: DocumentBatch) -> DocumentBatch:
    """One batch of several; of one alone the views of its text stay."""
    if len(batches) == 1:
        return batches[0]
    found = [batch.record_batch for batch in batches]
    return DocumentBatch(pa.concat_batches(found) if found else otherwise.record_batch.slice(0, 0))


def _values(batch: pa.RecordBatch, name: str) -> Scores:
    return np.asarray(batch.column(name).to_numpy(zero_copy_only=False), np.float64)


def _score(step: Step, rule: str) -> str:
    return f"{SCORE_PREFIX}{step.label}.{rule}"


def _hidden(step: Step, name: str) -> str:
    return f"{HIDDEN}{step.label}.{name}"
