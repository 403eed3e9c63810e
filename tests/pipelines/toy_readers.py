"""Readers that die in native code at marked records; a module, so that workers import it with the step it brings.

Importing it changes the readers of the process; the driver, which reads nothing, takes that back with `mend`.
"""

import ctypes
import dataclasses
import os
import signal
from types import SimpleNamespace

import numpy as np
from midtrain.filters import exact_json
from midtrain.filters.rules import Decision, Filter
from midtrain.pipelines import curate as curation
from midtrain.pipelines import recipe as recipes
from midtrain.pipelines.processes import local
from midtrain.pipelines.readers import columns, json_texts, jsonl, parquet, reasoning, records, text
from midtrain.pipelines.recipe import Step
from midtrain.progress import Progress

PARSE, CONVERT, MAKE = "deadly-parse", "deadly-convert", "deadly-make"
ORIGINALS = {
    (jsonl, "exact_json"): exact_json,
    (text, "_record"): text._record,
    (parquet, "_rows"): parquet._rows,
    (columns, "documents"): columns.documents,
    (json_texts, "batches"): json_texts.batches,
    (reasoning, "row"): reasoning.row,
    (records.Builder, "take"): records.Builder.take,
}


def _loads(content):
    if PARSE.encode() in content:
        ctypes.string_at(0)
    return exact_json.loads(content)


def _record(offset, content):
    if PARSE.encode() in content:
        os.kill(os.getpid(), signal.SIGKILL)
    return ORIGINALS[text, "_record"](offset, content)


def _rows(batch, position, size):
    if any(PARSE in value for value in batch.column("text").to_pylist()):
        ctypes.string_at(0)
    return ORIGINALS[parquet, "_rows"](batch, position, size)


def _documents(rows, *place):
    if any(PARSE in value for value in rows.column("text").to_pylist()):
        ctypes.string_at(0)
    return ORIGINALS[columns, "documents"](rows, *place)


def _batches(block, *place):
    if PARSE.encode() in block:
        ctypes.string_at(0)
    return ORIGINALS[json_texts, "batches"](block, *place)


def _row(record, *how):
    if any(MAKE in str(value) for value in record.values()):
        ctypes.string_at(0)
    return ORIGINALS[reasoning, "row"](record, *how)


def _take(builder):
    texts = [row.text for _, row in builder.rows]
    texts += [text for batch in builder.batches for text in batch.column("text").to_pylist()]
    if any(CONVERT in text for text in texts):
        os.kill(os.getpid(), signal.SIGKILL)
    return ORIGINALS[records.Builder, "take"](builder)


jsonl.exact_json = SimpleNamespace(loads=_loads)
text._record, parquet._rows, reasoning.row, records.Builder.take = _record, _rows, _row, _take
columns.documents = _documents
json_texts.batches = _batches


def mend():
    """Gives this process its readers back."""
    for (where, name), original in ORIGINALS.items():
        setattr(where, name, original)


class Harmless(Filter):
    """Keeps all."""

    @property
    def rules(self):
        return ()

    def decide(self, batch):
        nothing = np.zeros(len(batch))
        return Decision(np.ones(len(batch), np.bool_), np.full(len(batch), -1, np.int16), nothing, nothing)


def curate(path, workers):
    """Runs a recipe file with a step in front that makes each worker import this module."""
    loaded = recipes.load(path)
    names = tuple(source.name for source in loaded.spec.sources)
    harmless = dataclasses.replace(loaded, steps=(Step("harmless", Harmless(), names), *loaded.steps))
    return curation.curate(harmless, local(workers), Progress(shown=False))
