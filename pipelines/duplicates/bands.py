"""The signatures of near-duplicates: the keys of every document's bands, grouped by ranges of keys.

Documents that share a key are candidates, so whatever finds them needs the keys alone. One task a part, which reads no
column but the text. Costs one reading of the text, and 16 bytes a key on disk until the run is complete.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from ...filters.minhash_dedup import SimilarDedup
from ...filters.texts import text_slices
from .. import exchange, footprints
from ..read_parts import read_part
from ..recipe import Step
from ..stage import Stage, TaskResult
from . import sizes
from .numbers import by_range, numbers

if TYPE_CHECKING:
    from ..documents import DocumentStage

KEYS = pa.schema([pa.field("key", pa.uint64()), pa.field("document", pa.uint64())])


def minhash(step: Step) -> SimilarDedup:
    """The options of a step that finds near-duplicates."""
    assert isinstance(step.options, SimilarDedup)  # noqa: S101 - `barriers` makes these stages for no other
    return step.options


@dataclass(frozen=True)
class WriteBands(Stage):
    """The keys of one step's documents, one task a part.

    Args:
        upstream: the stage whose documents are compared.
        step: the barrier.
    """

    scratch: ClassVar[bool] = True
    upstream: "DocumentStage"
    step: Step

    @property
    def name(self) -> str:
        """`<step>-bands`."""
        return f"{self.step.name}-bands"

    @property
    def parents(self) -> tuple[Stage, ...]:
        """The stage whose documents are compared."""
        return (self.upstream,)

    def options(self) -> dict[str, Any]:
        """What keys depend on, and whose documents have some."""
        return {"parameters": minhash(self.step).parameters, "sources": list(self.step.sources)}

    def partitions(self) -> int:
        """As many as keep one in memory; from the number of documents alone."""
        return sizes.key_partitions(int(self.upstream.finished().counts["kept"]), minhash(self.step).bands)

    def memory(self) -> int:
        """As `footprints.bands`, of the largest part."""
        return footprints.bands(*self.upstream.largest_part(), minhash(self.step).bands)

    def tasks(self) -> int:
        """One a part."""
        return len(self.upstream.parts)

    def run(self, task: int) -> TaskResult:
        """Signs the texts of a part."""
        part, options = self.upstream.parts[task], minhash(self.step)
        documents, start, name = 0, 0, f"bands-{task:05d}.arrow"
        columns = list(dict.fromkeys(["text", *options.compared_by]))
        with exchange.Writer(self.folder, name, KEYS, self.partitions()) as writer:
            held = _Held(writer, self.partitions())
            batches = read_part(self.upstream.folder / part.path, columns, at_a_time=sizes.ROWS_AT_ONCE)
            compared = batches if part.source in self.step.sources else ()
            for batch in text_slices(compared, sizes.TEXT_AT_ONCE):
                signed = options.signed(*options.texts(batch))
                row = np.arange(start, start + batch.num_rows, dtype=np.int32)
                held.add(signed.keys, np.repeat(numbers(task, row), np.diff(signed.key_ends, prepend=0)))
                start += batch.num_rows
                documents += batch.num_rows
            held.flush()
            return TaskResult((writer.finish(),), {"documents": documents, "keys": writer.rows})


class _Held:
    """Keys that wait until there are enough for a block."""

    def __init__(self, writer: exchange.Writer, partitions: int) -> None:
        self._writer, self._partitions = writer, partitions
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0

    def add(self, keys: Any, documents: Any) -> None:
        self._waiting.append(pa.record_batch([pa.array(keys), pa.array(documents)], schema=KEYS))
        self._rows += len(keys)
        if self._rows >= sizes.BLOCK_KEYS:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            rows = pa.concat_batches(self._waiting)
            self._writer.write(rows, by_range(rows.column("key").to_numpy(), self._partitions))
            self._waiting, self._rows = [], 0
