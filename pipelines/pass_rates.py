"""The barrier in front of a step that judges by pass rates: verdicts out by problem, rates back by part.

How often a problem is solved is known where all of its traces are, and they stand in any file of any source. Each
part's traces are judged once and their problems' keys written by partition; each partition then counts its problems.
Costs 25 bytes on disk a trace and 12 that stay, and 180 microseconds a trace with a plain answer, most of them for its
statement.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from ..errors import RunError
from ..filters import statements
from ..filters.answer_agreement import AnswerAgreement
from ..filters.difficulty import Difficulty
from ..filters.document import SCHEMA, DocumentBatch
from ..filters.rules import Filter
from ..storage import Location
from . import exchange, footprints
from .duplicates.estimates import Compared, Taken
from .duplicates.numbers import by_range
from .judging import attempt
from .read_parts import read_part
from .recipe import Step
from .stage import Counts, Stage, TaskResult

if TYPE_CHECKING:
    from ..filters.answers import Verdict
    from .documents import DocumentStage

ROWS_PER_PARTITION = 4_000_000  # traces of a partition at most, but for chance: about 300 MB while they are counted
ROWS_AT_ONCE = 1024  # of a part that are read and judged at a time
VERDICT, RATE, BATCH = 25, 12, 376  # bytes on disk of a trace's verdict, of its problem's rate, of a record batch
TRACE_SECONDS = 2e-4  # CPU time of a trace with a plain answer
OUTCOMES: Final = ("wrong", "right", "no_answer", "cannot_tell", "no_gold", "no_problem", "raised")
WRONG, RIGHT, NO_ANSWER, CANNOT_TELL, NO_GOLD, NO_PROBLEM, RAISED = range(len(OUTCOMES))
VERDICTS = pa.schema(
    [
        pa.field("low", pa.uint64()),
        pa.field("high", pa.uint64()),
        pa.field("part", pa.int32()),
        pa.field("row", pa.int32()),
        pa.field("outcome", pa.uint8()),
    ]
)
RATES = pa.schema([pa.field("row", pa.int32()), pa.field("right", pa.int32()), pa.field("traces", pa.int32())])

UInt64 = npt.NDArray[np.uint64]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RateStage(Stage):
    """What both stages share: the documents, and the step in front of which they stand."""

    upstream: "DocumentStage"
    step: Step

    @property
    def difficulty(self) -> Difficulty:
        """The step's options."""
        assert isinstance(self.step.options, Difficulty)  # noqa: S101 - the plan gives it no others
        return self.step.options

    def partitions(self) -> int:
        """As many as keep one in memory; from the number of documents alone."""
        return partitions_of(int(self.upstream.finished().counts["kept"]))


@dataclass(frozen=True)
class WriteVerdicts(RateStage):
    """Whether each trace ends in the gold answer, one task a part, grouped by the partition of its problem."""

    scratch: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """`<step>-verdicts`."""
        return f"{self.step.name}-verdicts"

    @property
    def parents(self) -> tuple[Stage, ...]:
        """The stage whose documents are traces."""
        return (self.upstream,)

    def options(self) -> dict[str, Any]:
        """What verdicts and keys depend on."""
        agreement = self.difficulty.agreement
        return {
            "agreement": {"version": agreement.version, **agreement.scoring},
            "statements": statements.VERSION,
            "sources": list(self.step.sources),
        }

    def memory(self) -> int:
        """As `footprints.keys`, of the largest part, and the processes that compare formulas."""
        return footprints.keys(*self.upstream.largest_part()) + self.difficulty.agreement.memory

    def tasks(self) -> int:
        """One a part."""
        return len(self.upstream.parts)

    def run(self, task: int) -> TaskResult:
        """Judges the traces of a part; none of a source that the step does not apply to."""
        part, agreement = self.upstream.parts[task], self.difficulty.agreement
        found, start = [], 0
        if part.source in self.step.sources:
            path = self.upstream.folder / part.path
            for batch in read_part(path, SCHEMA.names, at_a_time=ROWS_AT_ONCE):
                found.append(_rows(batch, agreement, task, start))
                start += batch.num_rows
        rows = pa.concat_batches(found or [pa.RecordBatch.from_pylist([], schema=VERDICTS)])
        partitions = self.partitions()
        partition = by_range(rows.column("high").to_numpy(), partitions)
        file = exchange.write(self.folder, f"verdicts-{task:05d}.arrow", rows, partition, partitions)
        return TaskResult((file,), {"documents": rows.num_rows})


@dataclass(frozen=True)
class PassRates(RateStage):
    """The traces of each document's problem and how many are right, one task a partition, grouped by part.

    It stays where the run is complete, so that another `min_traces` or band judges nothing again.
    """

    verdicts: WriteVerdicts

    @property
    def name(self) -> str:
        """`<step>-rates`."""
        return f"{self.step.name}-rates"

    @property
    def parents(self) -> tuple[Stage, ...]:
        """The documents, for their parts and sources, and the verdicts."""
        return (self.upstream, self.verdicts)

    def options(self) -> dict[str, Any]:
        """What counts as a trace; all else is the verdicts'."""
        return {"no_answer": self.difficulty.no_answer}

    def memory(self) -> int:
        """As `footprints.choice`, of an even share of the verdicts."""
        return footprints.choice(int(self.verdicts.finished().counts.get("documents", 0)) // self.tasks())

    def tasks(self) -> int:
        """One a partition."""
        return self.partitions()

    def run(self, task: int) -> TaskResult:
        """Counts the traces of every problem; each document gets the counts of its own."""
        paths = [self.verdicts.folder / file.path for file in self.verdicts.finished().files]
        rows = exchange.read(paths, task, VERDICTS)
        low, high, part, row, outcome = (rows.column(name).to_numpy() for name in VERDICTS.names)
        told = (outcome == RIGHT) | (outcome == WRONG)
        if self.difficulty.no_answer == "wrong":
            told |= outcome == NO_ANSWER
        right, traces, problems = totals(low, high, outcome == RIGHT, told, outcome >= NO_PROBLEM)
        columns = [pa.array(row, pa.int32()), pa.array(right.astype(np.int32)), pa.array(traces.astype(np.int32))]
        rates = pa.record_batch(columns, schema=RATES)
        parts = self.upstream.parts
        file = exchange.write(self.folder, f"rates-{task:05d}.arrow", rates, part, len(parts))
        outcomes = _by_source(part, outcome, [one.source for one in parts])
        return TaskResult((file,), {"documents": rows.num_rows, "problems": problems, "outcomes": outcomes})


def rates_of(folder: Location, paths: Sequence[str], part: int) -> tuple[npt.NDArray[np.int32], pa.Table]:
    """The rows of a part that have rates, ascending, and these (`RATES`) in their order.

    Args:
        folder: of a finished stage of rates.
        paths: its files.
        part: the part's number.

    Raises:
        RunError: a file is gone or damaged.
    """
    found = exchange.read([folder / path for path in paths], part, RATES).sort_by("row")
    return found.column("row").to_numpy(), found


def totals(
    low: UInt64, high: UInt64, right: npt.NDArray[np.bool_], told: npt.NDArray[np.bool_], alone: npt.NDArray[np.bool_]
) -> tuple[Int64, Int64, int]:
    """Of each of m traces how many of its problem are right and how many are told; and the number of problems.

    Args:
        low, high: uint64[m], the halves of each problem's key.
        right, told: bool[m], whether a trace is right, and whether it counts.
        alone: bool[m], those that state no problem: nothing is counted for them, whatever their key.
    """
    order = np.lexsort((low, high, alone))
    opens = np.ones(len(order), np.bool_)
    opens[1:] = (low[order[1:]] != low[order[:-1]]) | (high[order[1:]] != high[order[:-1]]) | alone[order[1:]]
    problem = np.empty(len(order), np.int64)
    problem[order] = np.cumsum(opens) - 1
    count = int(opens.sum())
    sums = [
        np.bincount(problem, weights=which & ~alone, minlength=count).astype(np.int64)[problem]
        for which in (right & told, told)
    ]
    return sums[0], sums[1], count - int(alone.sum())


def _rows(batch: pa.RecordBatch, agreement: AnswerAgreement, part: int, start: int) -> pa.RecordBatch:
    """The verdicts (`VERDICTS`) of a part's documents, from a row on; one that makes code raise has none."""
    keys, outcomes = list[tuple[int, int] | None](), list[int]()
    for tried, judged in attempt(agreement, DocumentBatch(batch), _judged):
        found = [(None, RAISED)] * len(tried) if isinstance(judged, Exception) else judged
        keys += [key for key, _ in found]
        outcomes += [outcome for _, outcome in found]
    halves = np.array([key or (0, 0) for key in keys], np.uint64).reshape(-1, 2)
    row = np.arange(start, start + batch.num_rows, dtype=np.int32)
    columns = (halves[:, 1], halves[:, 0], np.full(len(row), part, np.int32), row, np.array(outcomes, np.uint8))
    return pa.record_batch([pa.array(column) for column in columns], schema=VERDICTS)


def _judged(
    agreement: Filter, documents: DocumentBatch
) -> tuple[DocumentBatch, list[tuple[tuple[int, int] | None, int]]]:
    """The documents, and of each its problem's key and whether it is right."""
    assert isinstance(agreement, AnswerAgreement)  # noqa: S101 - the only step that is asked
    keys = [_key(statement) for statement in _statements(documents.record_batch)]
    verdicts = agreement.verdicts(documents)
    pairs = zip(keys, verdicts, strict=True)
    return documents, [(key, _outcome(verdict) if key else NO_PROBLEM) for key, verdict in pairs]


def _statements(batch: pa.RecordBatch) -> list[str]:
    """What each record asks: the first message of its user, empty where there is none.

    Raises:
        RunError: a document has no messages at all.
    """
    found = []
    for row, turns in enumerate(batch.column("messages").to_pylist()):
        if turns is None:
            raise RunError(
                "a document has no messages, so it is no trace of a problem",
                where=f"document {batch.column('id')[row].as_py()} of source {batch.column('source')[row].as_py()}",
                expected="messages, the first of the user the statement, the last of the assistant the answer",
                fix="name the sources that have them in the step's option sources",
            )
        said = next((turn["content"] for turn in turns if turn["role"] == "user"), None)
        found.append(statements.stated(said) if said else "")
    return found


def _key(statement: str) -> tuple[int, int] | None:
    """The halves of a problem's key, high and low: of its normal form, and of what that leaves out, as brackets.

    None where the normal form is empty: nothing is asked.
    """
    form = statements.normal(statement)
    text = "\n".join([form, *map(str, statements.units(statement))])
    return divmod(xxhash.xxh3_128_intdigest(text.encode()), 1 << 64) if form else None


def _outcome(verdict: "Verdict") -> int:
    if verdict.value != "cannot_tell":
        return RIGHT if verdict.right else WRONG
    return {"no answer": NO_ANSWER, "no gold": NO_GOLD}.get(verdict.reason, CANNOT_TELL)


def _by_source(part: npt.NDArray[np.int32], outcome: npt.NDArray[np.uint8], sources: Sequence[str]) -> Counts:
    """The traces of each source by outcome."""
    pairs, counts = np.unique(part.astype(np.int64) * len(OUTCOMES) + outcome, return_counts=True)
    found: dict[str, Counter[str]] = {}
    for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        place, which = divmod(pair, len(OUTCOMES))
        found.setdefault(sources[place], Counter())[OUTCOMES[which]] += count
    return {source: dict(sorted(own.items())) for source, own in sorted(found.items())}


def partitions_of(documents: int) -> int:
    """The partitions of the problems of so many documents."""
    return max(1, -(-documents // ROWS_PER_PARTITION))


def taken(stage: RateStage, came: Compared) -> Taken:
    """What a stage takes before it has run; of formulas, whose number nobody knows, no time is foreseen."""
    rows, partitions = came.documents, partitions_of(came.documents)
    if isinstance(stage, WriteVerdicts):
        memory = footprints.keys(*came.largest) + stage.difficulty.agreement.memory
        disk = rows * VERDICT + came.parts * partitions * BATCH
        return Taken(came.parts, rows, memory, disk, rows * TRACE_SECONDS)
    disk = rows * RATE + partitions * came.parts * BATCH
    return Taken(partitions, rows, footprints.choice(rows // partitions), disk, rows * 1e-6)
