"""Stages that pass documents on: reading and every per-document step up to the next barrier, fused into one task.

A document is read, judged by all steps in turn, and written once, kept or dropped with the rule that dropped it, or set
aside with what is wrong; or it is written with every score, and `Decide` judges it by them. Costs one pass over the
text beside what the steps do.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import pyarrow as pa

from ..errors import RunError
from ..filters.document import SCHEMA, DocumentBatch
from ..filters.rules import Filter
from ..manifest import Manifest, OutputFile
from ..storage import Location
from . import scoring
from .cells import CELL_TYPE
from .judging import judge
from .parts import PartWriter, check_sum
from .read_parts import kept_parts, largest_part, quarantine_sample
from .readers.selection import Selection
from .recipe import LEAST_QUARANTINED, Step
from .stage import Counts, Stage, TaskResult


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

    version: ClassVar[int] = 8  # of what is written: reasoning records repaired
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
    def earlier(self) -> "DocumentStage | None":
        """The stage whose documents come in; None where they are read."""
        return None

    @property
    def barrier(self) -> Step | None:
        """The step whose choice is carried out here, before all others; None where there is none."""
        return None

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

    @property
    @abstractmethod
    def carried(self) -> tuple[str, ...]:
        """The hidden columns that go with documents from the reading on: their cells, where any have one."""

    @property
    @abstractmethod
    def source_order(self) -> tuple[str, ...]:
        """The recipe's sources, in its order."""

    def schema(self) -> pa.Schema:
        """The documents' columns, the scores so far, the bytes of each text, and what a decision by scores needs."""
        return pa.schema([*self._seen(), *scoring.hidden_columns(self.steps if self.scoring else ())])

    def _seen(self) -> pa.Schema:
        """The columns that documents have while steps judge them."""
        scores = (pa.field(score, pa.float64()) for score in self.scores)
        return pa.schema([*SCHEMA, *scores, *(pa.field(name, CELL_TYPE) for name in self.carried)])

    def judging(self) -> dict[str, Any]:
        """The options that steps and columns make."""
        if self.scoring:
            records = [scoring.record(step) for step in self.steps]
            return {"steps": records, "scores": list(self.scores), "scored": True}
        return {"steps": [step.record() for step in self.steps], "scores": list(self.scores)}

    def text_kept(self) -> int:
        """Bytes of text of the documents that are kept, once the stage is finished."""
        return sum(own["text_bytes"] for own in self.finished().counts["sources"].values())

    def largest_part(self) -> tuple[int, int]:
        """Bytes of text and rows that one has to go through to read a part, at most."""
        return largest_part((self.base or self).finished())

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
            expected=f"at most {limit:,}, and never all of a source",
            fix="mend the input, or raise max_quarantined in the recipe (the work done so far is kept)",
        )

    @abstractmethod
    def source_of(self, task: int) -> str:
        """The source that all documents of a task come from."""

    @abstractmethod
    def incoming(self, task: int, writer: PartWriter, selection: Selection | None) -> Iterator[pa.RecordBatch]:
        """The documents that the steps of a task see, in batches; what is not among them is told to the writer."""

    def foreseen_documents(self, batch: pa.RecordBatch, source: str) -> pa.RecordBatch:
        """A sample's documents of a source as the steps may find them, where a barrier before them has not run."""
        return batch

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
        if self.scoring:
            documents = DocumentBatch(batch)
            for step, options in self._applied(source):
                writer.count_phrases(step.label, len(documents), options.shared_texts(documents))
            writer.keep(scoring.score(documents, self.steps, source, self.schema()))
            return
        documents = DocumentBatch(scoring.conform(batch, self._seen()))
        for step, options in self._applied(source):
            if len(documents):
                writer.count_phrases(step.label, len(documents), options.shared_texts(documents))
                documents = judge(step, options, documents, writer)
        writer.keep(scoring.with_text_columns(documents.record_batch))

    def _applied(self, source: str) -> Iterator[tuple[Step, Filter]]:
        """The steps that apply to a source."""
        for step in self.steps:
            if source in step.sources and isinstance(step.options, Filter):
                yield step, step.options


def quarantine_limit(most: float, documents: int) -> int:
    """How many documents may be set aside, of a source with so many.

    Args:
        most: as in a recipe's `max_quarantined`: a share, of which `LEAST_QUARANTINED` are always allowed, or a number.
        documents: those of the source.
    """
    if 0 < most < 1:
        return max(int(most * documents), LEAST_QUARANTINED)
    return int(most)
