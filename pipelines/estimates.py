"""What each stage of a curation will take: exact where it is done, else from a sample of its documents.

A sample's numbers are stretched by the bytes (or problems) that a source has of them, stage by stage, so that memory
and disk of each follow from what comes out of the one before. What a barrier drops is not foreseen, so that what comes
behind one is an upper bound. Costs nothing beside the sample.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from .. import storage
from ..manifest import Manifest
from . import footprints, pass_rates
from .cut import Cut
from .deciding import Decide
from .documents import DocumentStage
from .duplicates import estimates as near
from .duplicates import exact_estimates, piece_estimates
from .duplicates.bands import WriteBands
from .duplicates.components import Components
from .duplicates.estimates import Compared, NearStage
from .duplicates.exact import WriteKeys
from .duplicates.exact_estimates import ExactStage
from .duplicates.members import Members
from .duplicates.piece_estimates import PieceStage
from .duplicates.pieces import WritePieces
from .extents import Extent, largest_units
from .inputs import EXPANSION
from .pass_rates import RateStage, WriteVerdicts
from .read_documents import ReadDocuments
from .read_parts import kept_parts, largest_part
from .remove_duplicates import BY_ROWS, FromParts
from .remove_pieces import RemovePieces
from .sample import Judged, Sample, Sampled
from .stage import MARKERS, Stage

ID_BYTES = 32  # of a document without an id of its own
FILE_BYTES = 600  # of a task's entries in manifests
TASK_SECONDS = 0.02  # CPU time of a task that has nothing to do
PIECE_SECONDS = 3.5e-9  # CPU time a byte of text that is decompressed and written in pieces
PIECES_SIZE = 1.5  # bytes of the pieces a byte of a compressed file, where they are compressed: they are so less


@dataclass(frozen=True)
class StagePlan:
    """What is known and what is estimated of a stage.

    Args:
        estimated: whether documents, disk and memory are; else they are what a finished stage came to.
        tasks, done: all of them, and those that are behind us.
        documents, kept: that come in and go on; of a stage that passes none on, its rows.
        memory: bytes of a worker at its peak; 0 where nothing is to be done.
        disk, held: bytes that its folder takes in the end, and takes now.
        seconds: CPU time that is left.
    """

    stage: Stage
    estimated: bool
    tasks: int
    done: int
    documents: int = 0
    kept: int = 0
    memory: int = 0
    disk: int = 0
    held: int = 0
    seconds: float = 0.0


@dataclass
class Passed:
    """What a stage of documents passes on, by source: documents, bytes of text, parts; bytes on disk in all."""

    kept: dict[str, float] = field(default_factory=dict)
    text: dict[str, float] = field(default_factory=dict)
    parts: dict[str, int] = field(default_factory=dict)
    stored: float = 0.0
    largest: tuple[int, int] = (0, 0)  # text and rows of the largest part

    @classmethod
    def of(cls, done: Manifest) -> "Passed":
        """What a finished stage passes on."""
        counts = done.counts["sources"]
        parts = kept_parts(done)
        return cls(
            {source: own["kept"] for source, own in counts.items()},
            {source: own["text_bytes"] for source, own in counts.items()},
            dict(Counter(part.source for part in parts)),
            sum(part.bytes for part in parts),
            largest_part(done),
        )


def in_order(last: Stage) -> list[Stage]:
    """A stage and all that it is made from, each behind its parents."""
    found: dict[str, Stage] = {}

    def visit(stage: Stage) -> None:
        if stage.fingerprint not in found:
            for parent in stage.parents:
                visit(parent)
            found[stage.fingerprint] = stage

    visit(last)
    return list(found.values())


class Estimator:
    """Goes through the stages in order; every stage's numbers follow from those before it.

    Args:
        finished: the manifests of the stages that are done, by fingerprint.
        unneeded: fingerprints of stages that nothing asks for any more: they were done, and removed as scratch.
        sampled: the sample; None where nothing is left to estimate.
        first: the stage that the sample went through first.
        extents: how much there is of each source, where that stage reads inputs.
    """

    def __init__(
        self,
        finished: Mapping[str, Manifest],
        unneeded: set[str],
        sampled: Sampled | None,
        first: DocumentStage | None,
        extents: Mapping[str, Extent],
    ) -> None:
        self.finished, self.unneeded = finished, unneeded
        self.sampled, self.first, self.extents = sampled, first, extents
        self._passed: dict[str, Passed] = {}
        self._factors: dict[str, float] = {}
        self._judged = -1  # the place of the latest stage in each sample's stages

    def plan(self, stage: Stage) -> StagePlan:
        """What a stage takes; its parents were asked for before it."""
        done = self.finished.get(stage.fingerprint)
        if done is not None:
            return self._known(stage, done)
        if stage.fingerprint in self.unneeded:
            return StagePlan(stage, False, 0, 0)
        if isinstance(stage, DocumentStage):
            return self._documents(stage)
        if isinstance(stage, Cut):
            return self._pieces(stage)
        if isinstance(stage, ExactStage | NearStage | PieceStage | RateStage):
            return self._compared(stage)
        tasks = stage.tasks()
        return StagePlan(stage, True, tasks, _markers(stage), memory=self._memory(stage, 0))

    def _known(self, stage: Stage, done: Manifest) -> StagePlan:
        if isinstance(stage, DocumentStage):
            self._passed[stage.fingerprint] = Passed.of(done)
        size = sum(file.bytes for file in done.files)
        documents = int(done.counts.get("documents", 0))
        kept = int(done.counts.get("kept", documents))
        tasks = sum(tasks_of(done).values()) if isinstance(stage, DocumentStage) else len(done.files)
        if isinstance(stage, Cut):
            tasks = stage.tasks()
        return StagePlan(stage, False, tasks, tasks, documents, kept, disk=size, held=size)

    def _pieces(self, stage: Cut) -> StagePlan:
        sizes = [file.size for file in stage.files]
        seconds = sum(sizes) * EXPANSION * PIECE_SECONDS
        plain = [stage.plain(task) for task in range(len(sizes))]
        disk = sum(size * (EXPANSION if own else PIECES_SIZE) for size, own in zip(sizes, plain, strict=True))
        return self._of(stage, stage.tasks(), 0, 0, stage.memory(), disk, seconds)

    def _compared(self, stage: ExactStage | NearStage | PieceStage | RateStage) -> StagePlan:
        upstream = stage.buckets.upstream if isinstance(stage, Components) else stage.upstream
        passed, sources = self._passed[upstream.fingerprint], stage.step.sources
        documents, text = (
            round(sum(count for source, count in of.items() if source in sources)) for of in (passed.kept, passed.text)
        )
        came = Compared(documents, text, sum(passed.parts.values()), passed.largest, self._identity())
        if isinstance(stage, ExactStage):
            taken = exact_estimates.taken(stage, came)
        elif isinstance(stage, RateStage):
            taken = pass_rates.taken(stage, came)
        else:
            taken = piece_estimates.taken(stage, came) if isinstance(stage, PieceStage) else near.taken(stage, came)
        seconds, disk = taken.seconds + taken.tasks * TASK_SECONDS, taken.disk + taken.tasks * FILE_BYTES
        memory = self._memory(stage, taken.memory)
        return self._of(stage, taken.tasks, taken.documents, taken.documents, memory, disk, seconds)

    def _documents(self, stage: DocumentStage) -> StagePlan:
        assert self.sampled is not None  # noqa: S101 - there is a stage to estimate
        self._judged += 1
        passed, documents, disk, seconds = Passed(), 0.0, 0.0, 0.0
        parts = self._parts(stage)
        for source, sample in self.sampled.samples.items():
            factor = self._factor(stage, source, sample)
            judged = sample.stages[self._judged]
            before = sample.stages[self._judged - 1].kept if self._judged else sample.documents
            documents += factor * before
            seconds += factor * judged.seconds
            disk += factor * (judged.stored + judged.beside)
            _pass_on(passed, source, factor, judged, parts.get(source, 0))
        self._passed[stage.fingerprint] = passed
        tasks = sum(parts.values())
        if isinstance(stage, FromParts) and stage.base is not None:
            columns = stage.columns() if isinstance(stage, Decide) else BY_ROWS
            memory = footprints.deciding(*self._passed[stage.upstream.fingerprint].largest, len(columns))
        elif isinstance(stage, FromParts):
            came = self._passed[stage.upstream.fingerprint]
            text = int(sum(came.text.values()))
            memory = footprints.passing(*came.largest, stage.steps, text)
            if isinstance(stage, RemovePieces):
                memory = footprints.cutting_out(*came.largest, stage.choice.dedup.min_length, stage.steps, text)
        else:
            memory = stage.memory()
        memory = self._memory(stage, memory)
        if isinstance(stage, FromParts) and stage.base is not None:
            passed.largest = self._passed[stage.upstream.fingerprint].largest  # whoever reads on goes through all of it
        elif stage is self.first:
            memory = max(memory, self.sampled.peak)
        disk += 2 * tasks * FILE_BYTES
        return self._of(stage, tasks, documents, sum(passed.kept.values()), memory, disk, seconds)

    def _parts(self, stage: DocumentStage) -> dict[str, int]:
        """The tasks of each source."""
        if isinstance(stage, ReadDocuments):
            return stage.tasks_by_source()
        assert isinstance(stage, FromParts)  # noqa: S101 - there are two kinds
        return self._passed[stage.upstream.fingerprint].parts

    def _factor(self, stage: DocumentStage, source: str, sample: Sample) -> float:
        """How many times the sample a source is: by documents where their number is known, else by bytes."""
        if stage is self.first:
            self._factors[source] = self._stretched(stage, source, sample)
        return self._factors[source]

    def _stretched(self, stage: DocumentStage, source: str, sample: Sample) -> float:
        if isinstance(stage, FromParts):
            return self._passed[stage.upstream.fingerprint].kept.get(source, 0) / max(sample.documents, 1)
        extent = self.extents[source]
        if sample.documents == 0:
            return 0.0
        if extent.problems:
            return extent.problems / max(sample.documents, 1)
        return (extent.plain + extent.compressed * sample.stretch) / max(sample.bytes, 1)

    def _memory(self, stage: Stage, otherwise: int) -> int:
        """Exact where the parents are finished, and more where the sample has seen a document larger than a batch."""
        known = all(parent.fingerprint in self.finished for parent in stage.parents)
        largest = max((one.largest for one in self.sampled.samples.values()), default=0) if self.sampled else 0
        memory = stage.memory() if known else otherwise
        if not isinstance(stage, DocumentStage | WriteKeys | WriteBands | Members | WritePieces | WriteVerdicts):
            return memory
        if isinstance(stage, DocumentStage) and stage.base is not None:
            return memory
        row_group = largest_units(stage.sources, stage.files)[0] if isinstance(stage, ReadDocuments) else 0
        return footprints.with_document(memory, largest, row_group)

    def _identity(self) -> float:
        samples = self.sampled.samples.values() if self.sampled else ()
        documents = sum(sample.documents for sample in samples)
        return sum(sample.identities for sample in samples) / documents if documents else ID_BYTES

    def _of(
        self, stage: Stage, tasks: int, documents: float, kept: float, memory: int, disk: float, seconds: float
    ) -> StagePlan:
        done = min(_markers(stage), tasks)
        left = 1 - done / tasks if tasks else 0.0
        return StagePlan(
            stage, True, tasks, done, round(documents), round(kept), memory, round(disk), _held(stage), seconds * left
        )


def _pass_on(passed: Passed, source: str, factor: float, judged: Judged, parts: int) -> None:
    kept, text = factor * judged.kept, factor * judged.text
    passed.kept[source], passed.text[source] = kept, text
    passed.parts[source] = parts if judged.kept else 0
    passed.stored += factor * judged.stored
    passed.largest = max(passed.largest, (int(text / max(parts, 1)), int(kept / max(parts, 1))))


def _markers(stage: Stage) -> int:
    return sum(name.endswith(".json") for name in storage.names(stage.folder / MARKERS))


def _held(stage: Stage) -> int:
    """Bytes that a stage's folder takes; of one in a store nobody has to know."""
    return storage.bytes_below(stage.folder) if isinstance(stage.folder, Path) else 0


def tasks_of(done: Manifest) -> dict[str, int]:
    """The tasks of each source that left a file in a finished stage of documents."""
    parts = {(file.source, PurePosixPath(file.path).stem) for file in done.files}
    return dict(Counter(source for source, _ in parts))


def needed(last: Stage, finished: Mapping[str, Manifest]) -> set[str]:
    """Fingerprints of the stages that have to run: what the last one is made from, down to what is done."""
    found: set[str] = set()
    waiting: Sequence[Stage] = [last]
    while waiting:
        stage, *rest = waiting
        waiting = rest
        if stage.fingerprint not in finished and stage.fingerprint not in found:
            found.add(stage.fingerprint)
            waiting = [*rest, *stage.parents]
    return found
