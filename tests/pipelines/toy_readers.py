"""Readers that die in native code at marked records; a module, so that workers import it with the step it brings.

Importing it changes the readers of the process; the driver, which reads nothing, takes that back with `mend`.
"""

import ctypes
import dataclasses
import os
import signal
from types import SimpleNamespace

import numpy as np
import orjson
from midtrain.filters.rules import Decision, Filter
from midtrain.pipelines import curate as curation
from midtrain.pipelines import recipe as recipes
from midtrain.pipelines.processes import local
from midtrain.pipelines.readers import jsonl, parquet, reasoning, records, text
from midtrain.pipelines.recipe import Step
from midtrain.progress import Progress

PARSE, CONVERT, MAKE = "deadly-parse", "deadly-convert", "deadly-make"
ORIGINALS = {
    (jsonl, "orjson"): orjson,
    (text, "_record"): text._record,
    (parquet, "_rows"): parquet._rows,
    (reasoning, "row"): reasoning.row,
    (records.Builder, "take"): records.Builder.take,
}


def _loads(content):
    if PARSE.encode() in content:
        ctypes.string_at(0)
    return orjson.loads(content)


def _record(offset, content):
    if PARSE.encode() in content:
        os.kill(os.getpid(), signal.SIGKILL)
    return ORIGINALS[text, "_record"](offset, content)


def _rows(batch, position, size):
    if any(PARSE in value for value in batch.column("text").to_pylist()):
        ctypes.string_at(0)
    return ORIGINALS[parquet, "_rows"](batch, position, size)


def _row(record, fields):
    if any(MAKE in str(value) for value in record.values()):
        ctypes.string_at(0)
    return ORIGINALS[reasoning, "row"](record, fields)


def _take(builder):
    if any(CONVERT in row.text for _, row in builder.rows):
        os.kill(os.getpid(), signal.SIGKILL)
    return ORIGINALS[records.Builder, "take"](builder)


jsonl.orjson = SimpleNamespace(loads=_loads, JSONDecodeError=orjson.JSONDecodeError)
text._record, parquet._rows, reasoning.row, records.Builder.take = _record, _rows, _row, _take


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
