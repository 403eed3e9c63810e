"""The stages of exact deduplication: keys out by partition, one document of each group chosen, the others named.

Two stages of tasks that only read and write files: each part's keys are written once, grouped by hash, with what `keep`
asks of their documents; each partition then sees all documents of its keys and keeps one of each, in that order. Costs
28 bytes a document on disk beside its id, and memory for one partition.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from ...filters import keep_order
from ...filters.exact_dedup import ExactDedup, keepers
from ...filters.texts import text_view
from .. import exchange, footprints
from ..parts import TEXT_BYTES, TEXT_HIGH, TEXT_LOW
from ..read_parts import read_part
from ..recipe import Step
from ..stage import Stage, TaskResult
from . import clusters, index_join
from .choice import DUPLICATES, Choice
from .numbers import by_range

if TYPE_CHECKING:
    from ..documents import DocumentStage

ROWS_PER_PARTITION = 4_000_000  # about 300 MB while a partition is decided


def exact(step: Step) -> ExactDedup:
    """The step's options."""
    assert isinstance(step.options, ExactDedup)  # noqa: S101 - the plan gives these stages no others
    return step.options


def schema(options: ExactDedup) -> pa.Schema:
    """Of the exchanged rows: keys, where a document stands, its id, and what else its rank depends on."""
    names = {entry.removeprefix("-") for entry in options.keep}
    fields = [
        ("low", pa.uint64()),
        ("high", pa.uint64()),
        ("part", pa.int32()),
        ("row", pa.int32()),
        ("id", pa.string()),
    ]
    fields += [("text_low", pa.uint64()), ("text_high", pa.uint64())] if options.normalize else []
    fields += [("bytes", pa.int64())] if "length" in names else []
    fields += [("date", pa.string())] if "date" in names else []
    return pa.schema([*fields, *((name, pa.float64()) for name in keep_order.columns(options.keep))])


@dataclass(frozen=True)
class WriteKeys(Stage):
    """The keys of one step's documents, one task a part, grouped by partition."""

    scratch: ClassVar[bool] = True
    upstream: "DocumentStage"
    step: Step

    @property
    def name(self) -> str:
        """`<step>-keys`."""
        return f"{self.step.name}-keys"

    @property
    def parents(self) -> tuple[Stage, ...]:
        """The stage whose documents are compared."""
        return (self.upstream,)

    def options(self) -> dict[str, Any]:
        """What keys depend on, and what is said beside them."""
        options = exact(self.step)
        return {"parameters": options.parameters, "rows": schema(options).names, "sources": list(self.step.sources)}

    def partitions(self) -> int:
        """As many as keep one in memory; from the number of documents alone."""
        return max(1, -(-int(self.upstream.finished().counts["kept"]) // ROWS_PER_PARTITION))

    def memory(self) -> int:
        """As `footprints.keys`, of the largest part."""
        return footprints.keys(*self.upstream.largest_part(), exact(self.step).normalize)

    def tasks(self) -> int:
        """One a part."""
        return len(self.upstream.parts)

    def run(self, task: int) -> TaskResult:
        """Takes the hashes of a part's texts; none of a source that the step does not apply to."""
        part, options = self.upstream.parts[task], exact(self.step)
        columns = ["text"] if options.normalize else []
        columns += [name for name in schema(options).names if name in self.upstream.schema().names]
        found, start = [], 0
        if part.source in self.step.sources:
            for batch in read_part(self.upstream.folder / part.path, [*columns, TEXT_BYTES, TEXT_LOW, TEXT_HIGH]):
                found.append(_rows(batch, options, task, start))
                start += batch.num_rows
        rows = pa.concat_batches(found or [pa.RecordBatch.from_pylist([], schema=schema(options))])
        partitions = self.partitions()
        partition = by_range(rows.column("high").to_numpy(), partitions)
        file = exchange.write(self.folder, f"keys-{task:05d}.arrow", rows, partition, partitions)
        return TaskResult((file,), {"documents": rows.num_rows})


def _rows(batch: pa.RecordBatch, options: ExactDedup, part: int, start: int) -> pa.RecordBatch:
    """What is exchanged of a part's documents, from a row on: of texts their hashes, which stand beside them."""
    count, (low, high) = batch.num_rows, (batch.column(name) for name in (TEXT_LOW, TEXT_HIGH))
    known = {
        "low": low,
        "high": high,
        "part": pa.array(np.full(count, part, np.int32)),
        "row": pa.array(np.arange(start, start + count, dtype=np.int32)),
        "bytes": batch.column(TEXT_BYTES),
    }
    if options.normalize:
        keys = options.keyed(*text_view(batch.column("text")))
        known |= {"low": pa.array(keys[:, 0]), "high": pa.array(keys[:, 1]), "text_low": low, "text_high": high}
    columns = [known[name] if name in known else batch.column(name) for name in schema(options).names]
    return pa.record_batch(columns, schema=schema(options))


@dataclass(frozen=True)
class ChooseExact(Choice):
    """Names the documents to drop, one task a partition of keys, grouped by the part they stand in."""

    version: ClassVar[int] = 2
    keys: WriteKeys

    @property
    def parents(self) -> tuple[Stage, ...]:
        """The documents, for their number of parts, and the keys."""
        return (self.upstream, self.keys)

    def memory(self) -> int:
        """As `footprints.choice`, of an even share of the keys."""
        return footprints.choice(int(self.keys.finished().counts["documents"]) // self.keys.partitions())

    def tasks(self) -> int:
        """One a partition."""
        return self.keys.partitions()

    def run(self, task: int) -> TaskResult:
        """Chooses one document of every key; the others go, with its id as their partner."""
        options, paths = exact(self.step), [self.keys.folder / file.path for file in self.keys.finished().files]
        rows = self._ranked(exchange.read(paths, task, schema(options)))
        part, row = rows.column("part").to_numpy(), rows.column("row").to_numpy()
        kept = keepers(rows.column("key_low").to_numpy(), rows.column("key_high").to_numpy(), rows, options.keep)
        kept = np.where(part < 0, np.arange(len(kept)), kept)  # of an index nothing goes
        gone = np.flatnonzero(kept != np.arange(len(kept)))
        ids, sources = (rows.column(name).combine_chunks() for name in ("id", "source_name"))
        compared = clusters.Compared(ids, sources, part, row, kept)
        partner = pa.array(kept[gone])
        columns = [
            pa.array(row[gone], pa.int32()),
            ids.take(partner),
            pa.nulls(len(gone), pa.float64()),
            sources.take(partner),
            compared.rules_of(gone),
        ]
        chosen = pa.record_batch(columns, schema=DUPLICATES)
        file = exchange.write(self.folder, f"choice-{task:05d}.arrow", chosen, part[gone], len(self.upstream.parts))
        return TaskResult((file, clusters.write(self.folder, task, compared)), clusters.counts(compared))

    def _ranked(self, rows: pa.Table) -> pa.Table:
        """The rows as `keep_order` asks for them, with keys and source's name; behind them those of the index."""
        part, names = rows.column("part").combine_chunks(), [part.source for part in self.upstream.parts]
        order = self.upstream.source_order
        places = pa.array([order.index(name) for name in names], pa.int32())
        rows = rows.rename_columns(["key_low", "key_high", *rows.column_names[2:]])
        content = ("text_low", "text_high") if "text_low" in rows.column_names else ("key_low", "key_high")
        for name, of in zip(("low", "high"), content, strict=True):
            rows = rows.append_column(name, rows.column(of))
        rows = rows.append_column("source", places.take(part))
        rows = rows.append_column("source_name", pa.array(names, pa.string()).take(part))
        return rows if self.index is None else pa.concat_tables([rows, self._known(rows)])

    def _known(self, rows: pa.Table) -> pa.Table:
        """The documents of the index that have a key of the rows, as rows."""
        assert self.index is not None  # noqa: S101 - asked before
        low, high = (rows.column(name).to_numpy() for name in ("key_low", "key_high"))
        known = index_join.known_texts(self.index, low, high)
        count = known.num_rows
        columns = {
            "key_low": known.column("low"),
            "key_high": known.column("high"),
            "part": pa.array(np.full(count, -1, np.int32)),
            "row": pa.array(np.arange(count, dtype=np.int32)),
            "id": known.column("id"),
            "bytes": pa.array(np.zeros(count, np.int64)),
            "low": known.column("low"),
            "high": known.column("high"),
            "source": pa.array(np.full(count, -1, np.int32)),
            "source_name": known.column("source"),
        }
        arrays = [columns.get(field.name, pa.nulls(count, field.type)) for field in rows.schema]
        return pa.table(arrays, schema=rows.schema)
