"""Stages that pass documents on: reading and every per-document step up to the next barrier, fused into one task.

A document is read, judged by all steps in turn, and written once, kept or dropped with the rule that dropped it, or set
aside with what is wrong; or it is written with every score, and `Decide` judges it by them. Costs one pass over the
text beside what the steps do.
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import pyarrow as pa

from ..errors import RunError
from ..filters.document import SCHEMA, DocumentBatch
from ..filters.rules import Filter
from ..manifest import Manifest, OutputFile
from ..mixtures.tasks import task
from ..storage import Location
from . import footprints, scoring, tasks
from .cut import Cut
from .extents import largest_units
from .inputs import Files, Task, text_bytes
from .judging import judge
from .parts import PartWriter, check_sum, kept_parts, largest_part, quarantine_sample, text_sizes
from .readers.selection import Selection
from .reading import read
from .recipe import LEAST_QUARANTINED, SourceSpec, Step
from .stage import Counts, Stage, TaskResult
from .tasks import Pieces, Stretch


@dataclass(frozen=True)
class DocumentStage(Stage):
    """What both kinds of document stages share: the fused steps, the columns, the quarantine's limit.

    Args:
        label: the folder's name: the last step's.
        steps: per-document steps, in order.
        scores: the score columns of every part, from this stage's steps and those before.
        max_quarantined: a share of a source's documents (10 documents at least), or a number of them. Not part of the
            fingerprint.
        scoring: whether all documents are passed on, with what the steps say of them in columns; the steps' bounds are
            then not part of the fingerprint.
    """

    label: str
    steps: tuple[Step, ...]
    scores: tuple[str, ...]
    max_quarantined: float
    scoring: bool

    version: ClassVar[int] = 2  # of what is written: languages and bytes of what was dropped
    divisible = True

    @property
    def name(self) -> str:
        """The last step's name; of scores, with that behind it."""
        return f"{self.label}-scores" if self.scoring else self.label

    @property
    def judges(self) -> tuple[Step, ...]:
        """Every step that drops documents here, in order."""
        return () if self.scoring else self.steps

    @property
    def base(self) -> "DocumentStage | None":
        """The stage in whose parts the documents stand, where this one keeps row numbers; None where it writes them."""
        return None

    def manifest(self) -> Manifest | None:
        """As every stage's; row numbers of parts that are gone are not done."""
        found = super().manifest()
        return found if self.base is None or self.base.manifest() is not None else None

    @cached_property
    def parts(self) -> list[OutputFile]:
        """The files of kept documents, once the stage is finished: found once, not once a task of what comes after."""
        return kept_parts(self.finished())

    def schema(self) -> pa.Schema:
        """The documents' columns and the scores so far; behind them what a decision by scores needs."""
        schema = SCHEMA
        for score in self.scores:
            schema = schema.append(pa.field(score, pa.float64()))
        return pa.schema([*schema, *scoring.hidden_columns(self.steps)]) if self.scoring else schema

    def judging(self) -> dict[str, Any]:
        """The options that steps and columns make."""
        if self.scoring:
            records = [scoring.record(step) for step in self.steps]
            return {"steps": records, "scores": list(self.scores), "scored": True}
        return {"steps": [step.record() for step in self.steps], "scores": list(self.scores)}

    def largest_part(self) -> tuple[int, int]:
        """Bytes of text and rows that one has to go through to read a part, at most."""
        return largest_part((self.base or self).finished())

    def text_bytes(self) -> int:
        """Bytes of text that are passed on, once the stage is finished."""
        return sum(int(own["text_bytes"]) for own in self.finished().counts["sources"].values())

    def check(self, counts: Counts, files: Sequence[OutputFile]) -> None:
        """Checks the sums, and the number of quarantined documents of each source.

        Raises:
            RunError: counts that do not add up, or too many quarantined.
        """
        check_sum(counts, self.folder.name)
        for source, own in counts["sources"].items():
            self.check_quarantined(source, own["documents"], own["quarantined"], files)

    def check_quarantined(self, source: str, documents: int, aside: int, files: Sequence[OutputFile]) -> None:
        """Compares what was set aside of a source with the limit.

        Raises:
            RunError: it is more, or all that there is: a source of which nothing is read is lost, however small.
        """
        limit = quarantine_limit(self.max_quarantined, documents)
        if aside > limit or 0 < aside == documents:
            sample = quarantine_sample(self.folder, [file for file in files if file.source == source])
            raise self._too_many(source, f"{aside:,} of {documents:,}", limit, sample)

    def _too_many(self, source: str, seen: str, limit: int, sample: Sequence[dict[str, Any]]) -> RunError:
        first = "; ".join(f"{row['place']}: {row['error']}" for row in sample)
        return RunError(
            f"source {source}: too many documents had to be set aside",
            where=str(self.folder / "quarantine"),
            seen=f"{seen}; the first: {first}",
            expected=f"at most {limit:,}",
            fix="mend the input, or raise max_quarantined in the recipe (the work done so far is kept)",
        )

    @abstractmethod
    def source_of(self, task: int) -> str:
        """The source that all documents of a task come from."""

    @abstractmethod
    def incoming(self, task: int, writer: PartWriter, selection: Selection | None) -> Iterator[pa.RecordBatch]:
        """The documents that the steps of a task see, in batches; what is not among them is told to the writer."""

    def writer(self, task: int, folder: Location | None = None) -> PartWriter:
        """Of a task's files, in the stage's folder or another one."""
        return PartWriter(folder or self.folder, task, self.source_of(task), self.schema())

    def run(self, task: int) -> TaskResult:
        """Takes a task's documents and judges them; records known to kill their process are set aside unread."""
        source, poisoned = self.source_of(task), self.poisoned(task)
        selection = Selection(poisoned=poisoned) if poisoned else None
        with self.writer(task) as writer:
            for batch in self.incoming(task, writer, selection):
                self.apply(batch, source, writer)
            return writer.finish()

    def probe(self, task: int, start: int, stop: int) -> int:
        """Reads and judges the task's records from `start` to `stop`, but for those known to kill their process.

        Returns:
            The number of the task's records.
        """
        source, selection = self.source_of(task), Selection.trial(start, stop, self.poisoned(task))
        with self.writer(task) as writer:
            for batch in self.incoming(task, writer, selection):
                self.apply(batch, source, writer)
            writer.abandon()
        return selection.seen

    def apply(self, batch: pa.RecordBatch, source: str, writer: PartWriter) -> None:
        """Runs the fused steps over documents of one source and writes what becomes of each."""
        documents = DocumentBatch(self._with_scores(batch))
        if self.scoring:
            writer.keep(scoring.score(documents, self.steps, source, self.schema()))
            return
        for step in self.steps:
            if source in step.sources and isinstance(step.options, Filter) and len(documents):
                documents = judge(step, step.options, documents, writer)
        writer.keep(documents.record_batch)

    def _with_scores(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch if self.scoring else scoring.conform(batch, self.schema())


@dataclass(frozen=True)
class ReadDocuments(DocumentStage):
    """Reads the recipe's inputs, each task an equal share of one source.

    Args:
        sources: how each source is read.
        files: what is there to read.
        size: the bytes of text that a task is to have.
        cutting: the pieces of large compressed files; None where there are no such files.
    """

    sources: tuple[SourceSpec, ...]
    files: Files
    size: int
    cutting: Cut | None

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
            **self.judging(),
        }

    @cached_property
    def cut(self) -> tuple[Stretch, ...]:
        """The tasks, once the large compressed files are in pieces."""
        return self._cut({} if self.cutting is None else self.cutting.pieces)

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
        sizes = [text_bytes(source, self.files) for source in self.sources]
        return footprints.reading(
            min(self.size, max(sizes)), sum(sizes), *largest_units(self.sources, self.files), self.steps
        )

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
        for chunk in read(self.splits(task), self._source(self.source_of(task)), selection):
            size = int(text_sizes(chunk.batch).sum())
            writer.read(chunk.batch.num_rows + len(chunk.quarantined), chunk.bytes, size)
            writer.set_aside(chunk.quarantined)
            yield chunk.batch


def quarantine_limit(most: float, documents: int) -> int:
    """How many documents may be set aside, of a source with so many.

    Args:
        most: as in a recipe's `max_quarantined`: a share, of which `LEAST_QUARANTINED` are always allowed, or a number.
        documents: those of the source.
    """
    if 0 < most < 1:
        return max(int(most * documents), LEAST_QUARANTINED)
    return int(most)


def _reading(source: SourceSpec) -> dict[str, Any]:
    """How a source is read; of generated problems, also the version of each family."""
    versions = {name: task(name).version for name in source.tasks}
    return {**source.model_dump(mode="json", exclude={"path"}), "versions": versions}
