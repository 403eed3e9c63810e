"""Decisions from scores: which documents of a scored part are kept, and for the others the rule that drops them.

Another threshold needs no text: what an earlier stage measured stands in columns, and what is kept is written as row
numbers of its parts. Costs a read of the scores' columns, 4 bytes a kept document, and the records of dropped ones.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ..manifest import OutputFile
from ..storage import Location
from . import footprints, scoring
from .documents import DocumentStage
from .judging import quarantined, write_dropped
from .parts import PartWriter, check_sum, text_sizes
from .read_parts import read_part
from .readers.selection import Selection
from .remove_duplicates import FromParts
from .stage import Counts, Stage

AHEAD = 64 << 10  # bytes that a request to a store brings beyond a column: the next one is another score


@dataclass(frozen=True)
class Decide(FromParts):
    """Judges documents by the scores that stand in an earlier stage's columns; reads no text and writes none.

    What is kept are numbers of rows of the earlier stage's parts, which `read_parts` follows.
    """

    divisible = False

    @property
    def parents(self) -> tuple[Stage, ...]:
        """The scores."""
        return (self.upstream,)

    def options(self) -> dict[str, Any]:
        """The steps with their bounds; all else is the earlier stage's."""
        steps = [
            {"step": step.name, "place": step.place, "options": step.options.model_dump(mode="json")}
            for step in self.steps
        ]
        return {"steps": steps, "scores": list(self.scores), "scored": False}

    @property
    def base(self) -> DocumentStage:
        """The scores."""
        return self.upstream

    def memory(self) -> int:
        """As `footprints.deciding`, of the largest part."""
        return footprints.deciding(*self.upstream.largest_part(), len(self.columns()))

    def columns(self) -> list[str]:
        """What is read of a part."""
        return ["id", "source", "language", *self.carried, *scoring.needed(self.steps)]

    def writer(self, task: int, folder: Location | None = None) -> PartWriter:
        """Of the numbers of kept rows."""
        part = f"{self.upstream.folder.name}/{self.upstream.parts[task].path}"
        return PartWriter(folder or self.folder, task, self.source_of(task), self.schema(), rows_of=part)

    def incoming(self, task: int, writer: PartWriter, selection: Selection | None) -> Iterator[pa.RecordBatch]:
        """Reads a part's scores."""
        path = self.upstream.folder / self.upstream.parts[task].path
        for batch in read_part(path, self.columns(), AHEAD):
            writer.read(batch.num_rows, batch.nbytes, int(text_sizes(batch).sum()))
            yield batch

    def apply(self, batch: pa.RecordBatch, source: str, writer: PartWriter) -> None:
        """Applies the steps in turn to those that the steps before keep, as if they had seen no others."""
        start = writer.documents - batch.num_rows
        rows = np.arange(batch.num_rows, dtype=np.int32)
        failed = batch.column(scoring.FAILED).fill_null(-1).to_numpy()
        for place, step, options in scoring.filters(self.steps):
            if source not in step.sources or len(rows) == 0:
                continue
            for row in rows[failed[rows] == place].tolist():
                one = batch.slice(row, 1)
                writer.set_aside([quarantined(step.name, one, str(one.column(scoring.ERROR)[0].as_py()))])
            rows = rows[failed[rows] != place]
            seen = batch.take(pa.array(rows))
            decision, rules = scoring.decide(seen, step, options)
            write_dropped(step.name, seen, scoring.sizes_before(seen, self.steps, place), decision, rules, writer)
            rows = rows[decision.keep]
        writer.keep_rows(rows + np.int32(start), batch.take(pa.array(rows)))

    def check(self, counts: Counts, files: Sequence[OutputFile]) -> None:
        """As every stage of documents; what could not be read counts as set aside here, as where nothing is scored.

        Raises:
            RunError: counts that do not add up, or too many quarantined.
        """
        check_sum(counts, self.folder.name)
        read = self.upstream.finished().counts["sources"]
        for source, own in counts["sources"].items():
            self.check_quarantined(
                source, read[source]["documents"], own["quarantined"] + read[source]["quarantined"], files
            )
