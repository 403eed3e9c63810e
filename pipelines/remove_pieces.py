"""The stage behind a barrier of lines or paragraphs: cuts the chosen pieces out of the texts, and judges what is left.

Texts are rewritten here, so they are written again, and what was cut out of each is recorded beside them by its place.
Costs a read of each part, a search for its pieces (0.3 ns per byte), and a copy of all texts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..filters.pieces import Cuts, without
from ..filters.texts import text_view
from ..manifest import OutputFile
from . import footprints
from .dropped import dropped_rows
from .duplicates import losses
from .duplicates.alarms import Limits, check_losses
from .duplicates.pieces import ChoosePieces
from .parts import CUT, PartWriter, text_sizes
from .read_parts import read_part
from .readers.records import Quarantined
from .readers.selection import Selection
from .remove_duplicates import BehindBarrier, poisonous
from .stage import Counts

EMPTY = "empty"  # the rule of documents that have nothing left
MESSAGES = "the step rewrites a text that was made of messages, and would leave the messages as they are"


@dataclass(frozen=True)
class RemovePieces(BehindBarrier):
    """Passes on an earlier stage's documents without the pieces chosen, and judges them.

    Args:
        choice: the pieces.
    """

    choice: ChoosePieces

    def options(self) -> dict[str, Any]:
        """The steps after the barrier."""
        return self.judging()

    def memory(self) -> int:
        """As `footprints.cutting_out`, of the largest part."""
        text, rows = self.upstream.largest_part()
        return footprints.cutting_out(text, rows, self.choice.dedup.min_length, self.steps, self.upstream.text_kept())

    def check(self, counts: Counts, files: Sequence[OutputFile]) -> None:
        """As every stage of documents; and the share of its text, and of its documents, that each source loses.

        Raises:
            RunError: as the others, or a source loses more than the step allows.
        """
        super().check(counts, files)
        dedup, sources = self.choice.dedup, counts["sources"]
        limits = Limits(self.choice.step.label, dedup.max_loss, dedup.allow_loss, None)

        def more(source: str) -> str:
            own = losses.cut(sources[source])
            return (
                f"{own['pieces']:,} {dedup.piece}s cut out of {own['documents']:,} documents, others that have nothing "
                f"left had {own['emptied_bytes']:,} bytes"
            )

        check_losses(limits, losses.text(self.upstream, dedup, sources), "bytes of text", self.folder, more)
        reason = f"{self.choice.step.name}.{EMPTY}"
        emptied = {name: int(own["dropped"].get(reason, 0)) for name, own in sources.items()}
        check_losses(limits, losses.documents(self.upstream, dedup, emptied), "documents", self.folder, more)

    def incoming(self, task: int, writer: PartWriter, selection: Selection | None) -> Iterator[pa.RecordBatch]:
        """Reads a part, cuts pieces out, and drops what has nothing left."""
        part = self.upstream.parts[task]
        chosen = self.choice.chosen(task)
        start = number = 0
        for batch in read_part(self.upstream.folder / part.path, hidden=self.carried):
            sizes = text_sizes(batch)
            writer.read(batch.num_rows, batch.nbytes, int(sizes.sum()))
            going = np.ones(batch.num_rows, bool)
            for why, one, end in () if selection is None else selection.runs(batch.num_rows):
                going[one:end] = why is None
                if why:
                    writer.set_aside([poisonous(batch, row, part, start + row, why) for row in range(one, end)])
            if part.source in self.choice.step.sources:
                cuts = self.choice.dedup.find(batch.column("text"), number, chosen)
                number, chosen = cuts.next_number, chosen[len(cuts.start) :]
                if len(cuts.start):
                    batch = self._cut(batch, cuts, start, going, sizes, writer)
            yield batch if going.all() else batch.filter(pa.array(going))
            start += batch.num_rows

    def _cut(
        self,
        batch: pa.RecordBatch,
        cuts: Cuts,
        start: int,
        going: npt.NDArray[np.bool_],
        sizes: npt.NDArray[np.int64],
        writer: PartWriter,
    ) -> pa.RecordBatch:
        """The documents with their new texts; `going` loses those that are dropped or set aside."""
        step = self.choice.step.name
        pieces = np.diff(cuts.ends, prepend=0)
        touched = going & (pieces > 0)
        turns = touched & batch.column("messages").is_valid().to_numpy(zero_copy_only=False)
        writer.set_aside([_with_messages(batch, row, step) for row in np.flatnonzero(turns).tolist()])
        text, blank = without(batch.column("text"), cuts)
        empty = touched & ~turns & blank
        going &= ~(turns | empty)
        gone = batch.filter(pa.array(empty))
        if gone.num_rows:
            rules = pa.array([EMPTY] * gone.num_rows, pa.string())
            writer.drop(step, dropped_rows(step, gone, sizes[empty], rules))
            writer.emptied(int(sizes[empty].sum()))
        changed = batch.set_column(batch.schema.get_field_index("text"), batch.schema.field("text"), text)
        rewritten = touched & going
        if rewritten.any():
            writer.cut(cut_rows(batch, start, cuts, rewritten), int((sizes - text_sizes(changed))[rewritten].sum()))
        return changed


def cut_rows(batch: pa.RecordBatch, start: int, cuts: Cuts, which: npt.NDArray[np.bool_]) -> pa.RecordBatch:
    """The records (`CUT`) of what was cut out of some documents of a batch.

    Args:
        batch: n documents as they were.
        start: the row of the first in its part.
        cuts: the pieces.
        which: bool[n], those that are recorded.
    """
    offsets = text_view(batch.column("text"))[1]
    pieces = np.diff(cuts.ends, prepend=0)
    own = np.repeat(which, pieces)
    begin = np.repeat(offsets[:-1], pieces)[own]
    ends = np.concatenate([[0], np.cumsum(pieces[which])]).astype(np.int32)
    places = [(one[own] - begin).astype(np.int32) for one in (cuts.start, cuts.stop)]
    lists = [pa.ListArray.from_arrays(pa.array(ends), pa.array(one)) for one in places]
    rows = pa.array((np.flatnonzero(which) + start).astype(np.int32))
    return pa.record_batch([batch.column("id").filter(pa.array(which)), rows, *lists], schema=CUT)


def _with_messages(batch: pa.RecordBatch, row: int, step: str) -> Quarantined:
    identity, source = (str(batch.column(name)[row].as_py()) for name in ("id", "source"))
    return Quarantined(identity, source, step, MESSAGES, f"document {identity}")
