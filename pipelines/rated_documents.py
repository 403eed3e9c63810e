"""The stage behind a barrier of pass rates: adds each problem's rate to its documents, and judges them.

A rate stands in columns beside the text, so the step that keeps a band of them is a filter like others: its bounds can
be changed by `midtrain decide`, and a mixture can ask for the column. Costs a read and a copy of each part.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ..filters.difficulty import SOLVED, TRACES
from ..filters.document import DocumentBatch
from . import footprints
from .parts import PartWriter, text_sizes
from .pass_rates import PassRates, rates_of
from .read_parts import read_part
from .readers.selection import Selection
from .remove_duplicates import FromParts, poisonous
from .stage import Stage


@dataclass(frozen=True)
class RatedDocuments(FromParts):
    """Passes on an earlier stage's documents with the rates of their problems, and judges them.

    Args:
        rates: of the problems.
    """

    rates: PassRates

    @property
    def parents(self) -> tuple[Stage, ...]:
        """The documents and the rates."""
        return (self.upstream, self.rates)

    def options(self) -> dict[str, Any]:
        """The steps."""
        return self.judging()

    def memory(self) -> int:
        """As `footprints.passing`, of the largest part."""
        return footprints.passing(*self.upstream.largest_part(), self.steps, self.upstream.text_kept())

    def foreseen_documents(self, batch: pa.RecordBatch, source: str) -> pa.RecordBatch:
        """A sample's documents with a rate that the step keeps: what is dropped is known only where all traces are."""
        if source not in self.rates.step.sources:
            return batch
        options = self.rates.difficulty
        counts = np.full(batch.num_rows, options.min_traces, np.int32)
        rates = pa.record_batch([pa.array(counts * options.high), pa.array(counts)], names=["right", "traces"])
        return with_rates(batch, rates)

    def incoming(self, task: int, writer: PartWriter, selection: Selection | None) -> Iterator[pa.RecordBatch]:
        """Reads a part, and adds the rates where its source has any."""
        part = self.upstream.parts[task]
        rated = part.source in self.rates.step.sources
        paths = [file.path for file in self.rates.finished().files]
        rows, rates = rates_of(self.rates.folder, paths, task) if rated else (np.empty(0, np.int32), pa.table({}))
        start = 0
        for batch in read_part(self.upstream.folder / part.path, hidden=self.carried):
            stop = start + batch.num_rows
            writer.read(batch.num_rows, batch.nbytes, int(text_sizes(batch).sum()))
            going = np.ones(batch.num_rows, bool)
            for why, one, end in () if selection is None else selection.runs(batch.num_rows):
                going[one:end] = why is None
                if why:
                    writer.set_aside([poisonous(batch, row, part, start + row, why) for row in range(one, end)])
            if rated:
                first, last = np.searchsorted(rows, [start, stop])
                batch = with_rates(batch, rates.slice(int(first), int(last - first)).combine_chunks())
            yield batch if going.all() else batch.filter(pa.array(going))
            start = stop


def with_rates(batch: pa.RecordBatch, rates: pa.RecordBatch | pa.Table) -> pa.RecordBatch:
    """Documents with the columns `SOLVED` and `TRACES`.

    Args:
        batch: n documents.
        rates: n rows with `right` and `traces`, in their order.
    """
    right, traces = (np.asarray(rates.column(name).to_numpy(), np.float64) for name in ("right", "traces"))
    solved = pa.array(right / np.maximum(traces, 1), mask=traces == 0)
    return DocumentBatch(batch).with_column(SOLVED, solved).with_column(TRACES, traces).record_batch
