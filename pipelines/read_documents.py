"""The stage that reads a recipe's inputs, with every step up to the first barrier fused into it.

A task is an equal share of one source's bytes, so that one large file keeps all workers busy; what cannot be read is
set aside with its place and the reason. Costs what reading and the steps cost.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from ..errors import RunError
from ..manifest import OutputFile, fingerprint
from ..mixtures.tasks import task
from . import cells, footprints, tasks
from .cells import CELL, Measurer, Rated
from .cut import Cut
from .documents import DocumentStage
from .extents import largest_units
from .inputs import Files, Task, text_bytes
from .parts import PartWriter, text_sizes
from .readers.selection import Selection
from .reading import read
from .recipe import SourceSpec
from .stage import Counts, Stage
from .tasks import Pieces, Stretch


@dataclass(frozen=True)
class ReadDocuments(DocumentStage):
    """Reads the recipe's inputs, each task an equal share of one source.

    Args:
        sources: how each source is read.
        files: what is there to read.
        size: the bytes of text that a task is to have.
        cutting: the pieces of large compressed files; None where there are no such files.
        rated: the pass rates that steps look at.
    """

    sources: tuple[SourceSpec, ...]
    files: Files
    size: int
    cutting: Cut | None
    rated: tuple[Rated, ...] = ()

    @property
    def parents(self) -> tuple[Stage, ...]:
        """The pieces of large compressed files."""
        return () if self.cutting is None else (self.cutting,)

    def options(self) -> dict[str, Any]:
        """Inputs with their hashes, how they are cut, how each source is read, the steps."""
        return {
            "inputs": self.files.describe(),
            "size": self.size,
            "cutting": tasks.VERSION,
            "sources": [_reading(source) for source in self.sources],
            **(
                {"cells": {"version": cells.VERSION, "rated": [one._asdict() for one in self.rated]}}
                if self.carried
                else {}
            ),
            **self.judging(),
        }

    @property
    def given(self) -> str:
        """A hash of all that there is to read: the same in two recipes that are given the same, whatever they do."""
        made = [source.model_dump(mode="json") for source in self.sources if source.path is None]
        return fingerprint([self.files.describe(), made])

    @cached_property
    def carried(self) -> tuple[str, ...]:
        """The cells, where a source has messages or pass rates."""
        return (CELL,) if any(self._measurer(source) for source in self.sources) else ()

    def _measurer(self, source: SourceSpec) -> Measurer | None:
        """What finds the cells of a source's documents; None where they have none."""
        rated = next((one for one in self.rated if one.source == source.name), None)
        taken = source.fields.values() if isinstance(source.fields, dict) else ()
        names = {name for own in taken for name in ([own] if isinstance(own, str) else own)}
        return Measurer(rated, names) if rated or source.format in ("reasoning", "generated") else None

    @cached_property
    def cut(self) -> tuple[Stretch, ...]:
        """The tasks, once the large compressed files are in pieces."""
        return self._cut({} if self.cutting is None else self.cutting.pieces)

    @property
    def source_order(self) -> tuple[str, ...]:
        """As the recipe has them."""
        return tuple(source.name for source in self.sources)

    def tasks(self) -> int:
        """As many as there are shares of about the size."""
        return len(self.cut)

    def _cut(self, pieces: Pieces) -> tuple[Stretch, ...]:
        pairs = zip(self.sources, self.files.sources, strict=True)
        return tuple(one for source, own in pairs for one in tasks.stretches(source, own, self.size, pieces))

    def splits(self, task: int) -> Task:
        """What a task reads, in order."""
        stretch = self.cut[task]
        source, pieces = self._source(stretch.source), {} if self.cutting is None else self.cutting.pieces
        return tasks.splits(stretch, source, self.files.by_source[source.name], pieces)

    def _source(self, name: str) -> SourceSpec:
        return next(one for one in self.sources if one.name == name)

    def memory(self) -> int:
        """As `footprints.reading`; a document larger than a batch is not foreseen: only a sample can tell."""
        texts = [text_bytes(source, self.files) for source in self.sources]
        text = min(self.size, max(texts))
        return footprints.reading(text, *largest_units(self.sources, self.files), self.steps, sum(texts))

    def tasks_by_source(self) -> dict[str, int]:
        """The number of tasks that read each source; about, where large compressed files are not in pieces yet."""
        return dict(Counter(stretch.source for stretch in self.foreseen))

    @cached_property
    def foreseen(self) -> tuple[Stretch, ...]:
        """The tasks as they are, or as they are expected to be."""
        if self.cutting is None or self.cutting.manifest() is not None:
            return self.cut
        return self._cut(self.cutting.expected)

    def check(self, counts: Counts, files: Sequence[OutputFile]) -> None:
        """As every stage of documents, and no source may be empty.

        Raises:
            RunError: a source without a document; counts that do not add up, or too many quarantined.
        """
        for source in self.sources:
            if not counts.get("sources", {}).get(source.name, {}).get("documents"):
                raise RunError(
                    f"source {source.name} is empty: there is no document in its files",
                    where=source.path or source.name,
                    fix="correct its path or its format, or take it out of the recipe",
                )
        super().check(counts, files)

    def source_of(self, task: int) -> str:
        """The source that the task is a share of."""
        return self.cut[task].source

    def incoming(self, task: int, writer: PartWriter, selection: Selection | None) -> Iterator[pa.RecordBatch]:
        """Reads the task's splits; what cannot be read is set aside."""
        source = self._source(self.source_of(task))
        measurer = self._measurer(source)
        for chunk in read(self.splits(task), source, selection, measurer):
            batch, unread = chunk.batch, len(chunk.quarantined)
            writer.read(batch.num_rows + unread, chunk.bytes, int(text_sizes(batch).sum()))
            writer.set_aside(chunk.quarantined)
            writer.count_reasoning(chunk.reasoning)
            if measurer is not None:
                batch = batch.append_column(CELL, measurer.cells(batch, chunk.stated))
                writer.count_cells(batch.column(CELL), unread)
            yield batch


def _reading(source: SourceSpec) -> dict[str, Any]:
    """How a source is read; of generated problems, also the version of each family."""
    versions = {name: task(name).version for name in source.tasks}
    return {**source.model_dump(mode="json", exclude={"path"}), "versions": versions}
