"""The documents that share keys, with all that choosing among them takes, brought together by component.

Only these are read a second time, and row groups without one are passed by: their keys and sets of shingles are made
anew, which costs less than keeping those of every document. One task a part. Costs 8 bytes a shingle on disk, about
1.3 bytes a byte of English text, until the run is complete.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from ...filters import keep_order
from ...filters.texts import hash_texts, text_slices, text_view
from .. import exchange, footprints
from ..read_parts import read_rows
from ..recipe import Step
from ..stage import Stage, TaskResult
from . import index_join, sizes
from .bands import minhash
from .components import LABELS, Labels
from .index_layer import Layer
from .numbers import INDEXED, UInt64, rows_of, spread

if TYPE_CHECKING:
    from ..documents import DocumentStage


@dataclass(frozen=True)
class Members(Stage):
    """The documents of one step that are in components, one task a part, grouped by ranges of components.

    Args:
        upstream: the stage whose documents are compared.
        step: the barrier.
        labels: the components.
        index: whose documents may be in components as well.
    """

    scratch: ClassVar[bool] = True
    upstream: "DocumentStage"
    step: Step
    labels: Labels
    index: Layer | None = None

    @property
    def name(self) -> str:
        """`<step>-members`."""
        return f"{self.step.name}-members"

    @property
    def parents(self) -> tuple[Stage, ...]:
        """The documents and their components."""
        return (self.upstream, self.labels)

    def options(self) -> dict[str, Any]:
        """What keys and sets depend on, and the scores that the order of keeping asks for."""
        options = minhash(self.step)
        return {
            "parameters": options.parameters,
            "scores": list(keep_order.columns(options.keep)),
            "told": list(options.told),
        }

    def schema(self) -> pa.Schema:
        """What `keep_order` asks for, and keys and set of each document."""
        scores = [pa.field(name, pa.float64()) for name in keep_order.columns(minhash(self.step).keep)]
        told = [pa.field(name, pa.string()) for name in minhash(self.step).told]
        return pa.schema([*_MEMBERS, *scores, *told])

    def partitions(self) -> int:
        """As many as keep one in memory; from what is known of all documents and the number of those in components."""
        return sizes.member_partitions(
            int(self.labels.finished().counts["linked"]), self._text(), minhash(self.step).bands
        )

    def _text(self) -> float:
        """Bytes of a text, on average."""
        return self.upstream.text_kept() / max(int(self.upstream.finished().counts["kept"]), 1)

    def memory(self) -> int:
        """As `footprints.members`, of the largest part."""
        return footprints.members(*self.upstream.largest_part(), minhash(self.step).bands)

    def tasks(self) -> int:
        """One a part."""
        return len(self.upstream.parts)

    def run(self, task: int) -> TaskResult:
        """Reads a part's documents that are in components, and those of an index that are dealt to the part."""
        labels = exchange.read(self.labels.outputs(), task, LABELS)
        documents, component = (labels.column(name).to_numpy() for name in LABELS.names)
        order = np.argsort(documents)
        documents, component = documents[order], component[order]
        name, block = f"members-{task:05d}.arrow", min(sizes.BLOCK_BYTES, self.partitions() * sizes.SLICE_BYTES)
        with exchange.Writer(self.folder, name, self.schema(), self.partitions()) as writer:
            held: list[pa.RecordBatch] = []
            for rows in chain(self._rows(task, documents, component), self._known(documents, component)):
                held.append(rows)
                if sum(one.nbytes for one in held) >= block:
                    self._write(writer, held)
                    held = []
            self._write(writer, held)
            return TaskResult((writer.finish(),), {"documents": writer.rows})

    def _write(self, writer: exchange.Writer, held: list[pa.RecordBatch]) -> None:
        if held:
            rows = pa.concat_batches(held)
            writer.write(rows, spread(rows.column("component").to_numpy(), self.partitions()))

    def _rows(self, task: int, documents: UInt64, component: UInt64) -> Iterator[pa.RecordBatch]:
        """The rows of a part's documents (uint64[m], ascending) in these components (uint64[m])."""
        part, options, start = self.upstream.parts[task], minhash(self.step), 0
        scores = keep_order.columns(options.keep)
        place = self.upstream.source_order.index(part.source)
        numbers = rows_of(documents[documents < INDEXED])
        path = self.upstream.folder / part.path
        columns = list(dict.fromkeys(["id", "text", "date", *options.compared_by, *scores]))
        batches = read_rows(path, numbers, columns, sizes.ROWS_AT_ONCE)
        for batch in text_slices(batches, sizes.TEXT_AT_ONCE):
            count, texts = batch.num_rows, text_view(batch.column("text"))
            stop = start + count
            hashes, (signed, sets) = hash_texts(*texts), options.compared(*options.texts(batch))
            columns = [
                pa.array(component[start:stop]),
                pa.array(np.full(count, task, np.int32)),
                pa.array(numbers[start:stop]),
                pa.array(np.full(count, place, np.int32)),
                pa.array(np.diff(texts[1])),
                batch.column("date"),
                pa.array(hashes[:, 0]),
                pa.array(hashes[:, 1]),
                batch.column("id"),
                _lists(signed.keys, signed.key_ends),
                _lists(*sets),
                *(batch.column(name) for name in scores),
                *options.tell(batch),
            ]
            yield pa.record_batch(columns, schema=self.schema())
            start = stop

    def _known(self, documents: UInt64, component: UInt64) -> Iterator[pa.RecordBatch]:
        if self.index is not None:
            known = documents >= INDEXED
            first = len(self.upstream.source_order)
            yield from index_join.members(self.index, documents[known], component[known], first, self.schema())


_MEMBERS = pa.schema(
    [
        pa.field("component", pa.uint64()),
        pa.field("part", pa.int32()),
        pa.field("row", pa.int32()),
        pa.field("source", pa.int32()),
        pa.field("bytes", pa.int64()),
        pa.field("date", pa.string()),
        pa.field("low", pa.uint64()),
        pa.field("high", pa.uint64()),
        pa.field("id", pa.string()),
        pa.field("keys", pa.large_list(pa.uint64())),
        pa.field("shingles", pa.large_list(pa.uint64())),
    ]
)


def _lists(values: UInt64, ends: Any) -> pa.Array:
    """n lists of numbers, each with its end (int64[n])."""
    return pa.LargeListArray.from_arrays(pa.array(np.concatenate([np.zeros(1, np.int64), ends])), pa.array(values))
