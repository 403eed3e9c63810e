"""Stages over an earlier stage's parts; the one that leaves out the duplicates that a barrier has chosen.

The documents that are left are judged by the steps up to the next barrier and written, or, where they stand in scored
parts and there are no such steps, kept as row numbers of these. Costs a read of each part, and a copy of what is kept
where it is written.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ..manifest import OutputFile
from ..storage import Location
from . import exchange, footprints
from .documents import DocumentStage
from .dropped import dropped_rows
from .duplicates.choice import DUPLICATES, Choice
from .duplicates.pieces import ChoosePieces
from .parts import ROW, TEXT_BYTES, PartWriter, text_sizes
from .read_parts import is_rows, numbered, part_of_rows, read_part
from .readers.records import POISONED, Quarantined
from .readers.selection import Selection
from .recipe import Step
from .stage import Counts, Stage

BY_ROWS = ("id", "source", "language", TEXT_BYTES)  # what is read of documents whose row numbers are passed on


@dataclass(frozen=True)
class FromParts(DocumentStage):
    """A stage that passes on an earlier one's documents; one task a part."""

    upstream: DocumentStage

    @property
    def earlier(self) -> DocumentStage:
        """As given."""
        return self.upstream

    def tasks(self) -> int:
        """One a part of the earlier stage."""
        return len(self.upstream.parts)

    @property
    def source_order(self) -> tuple[str, ...]:
        """As the earlier stage has them."""
        return self.upstream.source_order

    @property
    def carried(self) -> tuple[str, ...]:
        """As the earlier stage has them."""
        return self.upstream.carried

    def source_of(self, task: int) -> str:
        """The source of the part."""
        return self.upstream.parts[task].source


@dataclass(frozen=True)
class BehindBarrier(FromParts):
    """A stage that carries out what a barrier has chosen, and then its own steps.

    Args:
        choice: what the barrier's last stage has chosen.
    """

    choice: Choice | ChoosePieces

    @property
    def parents(self) -> tuple[Stage, ...]:
        """The documents and the choice."""
        return (self.upstream, self.choice)

    @property
    def barrier(self) -> Step:
        """The choice's."""
        return self.choice.step

    @property
    def judges(self) -> tuple[Step, ...]:
        """The barrier, then the steps after it."""
        return (self.choice.step, *super().judges)


@dataclass(frozen=True)
class RemoveDuplicates(BehindBarrier):
    """Passes on an earlier stage's documents without the duplicates chosen and judges them.

    Args:
        choice: the duplicates.
        by_rows: whether numbers of rows of the earlier stage's parts are kept, or of those that it keeps numbers of;
            there are no steps then.
    """

    choice: Choice
    by_rows: bool

    def options(self) -> dict[str, Any]:
        """The steps after the barrier."""
        return {**self.judging(), **({"by_rows": True} if self.by_rows else {})}

    @property
    def base(self) -> DocumentStage | None:
        """The earlier stage, or its base, where rows are kept by number."""
        return (self.upstream.base or self.upstream) if self.by_rows else None

    def writer(self, task: int, folder: Location | None = None) -> PartWriter:
        """Of documents, or of the numbers of kept rows."""
        if not self.by_rows:
            return super().writer(task, folder)
        part = self.upstream.folder / self.upstream.parts[task].path
        part = part_of_rows(part)[0] if is_rows(part) else part
        name = "/".join(str(part).rsplit("/", 2)[1:])
        return PartWriter(folder or self.folder, task, self.source_of(task), self.schema(), rows_of=name)

    def check(self, counts: Counts, files: Sequence[OutputFile]) -> None:
        """As every stage of documents; and the choice's alarms, which may be lower than when it was made.

        Raises:
            RunError: as both.
        """
        super().check(counts, files)
        chosen = self.choice.manifest()
        if chosen is not None:
            self.choice.check(chosen.counts, chosen.files)

    def memory(self) -> int:
        """As `footprints.passing`, of the largest part; of row numbers as `footprints.deciding`."""
        if self.by_rows:
            return footprints.deciding(*self.upstream.largest_part(), len(BY_ROWS) + len(self.carried))
        return footprints.passing(*self.upstream.largest_part(), self.steps, self.upstream.text_kept())

    def apply(self, batch: pa.RecordBatch, source: str, writer: PartWriter) -> None:
        """As every stage of documents; keeps the numbers of rows where the texts stand already."""
        if self.by_rows:
            writer.keep_rows(batch.column(ROW).to_numpy(), batch)
        else:
            super().apply(batch, source, writer)

    def incoming(self, task: int, writer: PartWriter, selection: Selection | None) -> Iterator[pa.RecordBatch]:
        """Reads a part and leaves out its duplicates."""
        part = self.upstream.parts[task]
        duplicates = exchange.read(self.choice.outputs(), task, DUPLICATES).sort_by("row")
        rows = duplicates.column("row").to_numpy()
        start = 0
        path = self.upstream.folder / part.path
        columns = (*BY_ROWS, *self.carried)
        for batch in numbered(path, columns) if self.by_rows else read_part(path, hidden=self.carried):
            first, last = np.searchsorted(rows, [start, start + batch.num_rows])
            inside = duplicates.slice(int(first), int(last - first))
            writer.read(batch.num_rows, batch.nbytes, int(text_sizes(batch).sum()))
            keep = np.ones(batch.num_rows, bool)
            keep[rows[first:last] - start] = False
            self._drop(batch, ~keep, inside, writer)
            if selection is not None:
                for verdict, one, end in selection.runs(batch.num_rows):
                    if verdict:
                        poisoned = (np.flatnonzero(keep[one:end]) + one).tolist()
                        writer.set_aside([poisonous(batch, row, part, start + row, verdict) for row in poisoned])
                    keep[one:end] &= verdict is None
            yield batch if keep.all() else batch.filter(pa.array(keep))
            start += batch.num_rows

    def _drop(self, batch: pa.RecordBatch, mask: np.ndarray[Any, Any], chosen: pa.Table, writer: PartWriter) -> None:
        gone = batch.filter(pa.array(mask))
        count = gone.num_rows
        if count == 0:
            return
        step, threshold = self.choice.step.name, self.choice.threshold
        bounds = pa.array([threshold] * count, pa.float64())
        names = ("rule", "value", "partner", "partner_source")
        rules, values, *partners = (chosen.column(name).combine_chunks() for name in names)
        writer.drop(step, dropped_rows(step, gone, text_sizes(gone), rules, values, bounds, *partners))


def poisonous(batch: pa.RecordBatch, row: int, part: OutputFile, number: int, why: str) -> Quarantined:
    """The record of a document of a part, in a row of a batch, that kills its process."""
    identity = str(batch.column("id")[row].as_py())
    return Quarantined(identity, part.source, POISONED, why, f"{part.path}, row {number}")
