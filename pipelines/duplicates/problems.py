"""The choice among records of one problem: the best so many are kept, and a suspected gold answer takes its records.

What `similar` finds to be near one record is one problem; which of its records stay is decided here, where all of them
are known. Costs about 1,000 bytes for each record in a component beside what `similar` costs, 300 microseconds
for each that is similar to another one and not its copy, and a comparison of answers for each where gold answers are
to be suspected.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ...filters.problem_dedup import GOLD_SUSPECTED, SAME_PROBLEM, TRACE_CAP, ProblemDedup
from ...filters.statements import Statement, told_apart
from .. import footprints
from . import clusters
from .in_order import Members, Rows
from .rooms import Rooms
from .similar import ChooseSimilar

Int64 = npt.NDArray[np.int64]

LEAST = 3  # different traces that a suspicion takes
MOST = 100  # problems of a component that were parted from another one, and that its records are compared with
HELD = 1_000  # records whose statements stay read, about 8 kB each
RULES = (SAME_PROBLEM, TRACE_CAP, GOLD_SUSPECTED)


@dataclass(frozen=True)
class Problem:
    """What a record asks, its gold answer, its source's number."""

    statement: Statement
    gold: str | None
    source: int = 0

    @functools.cached_property
    def units(self) -> frozenset[int]:
        """What the statement is compared by."""
        return frozenset(self.statement.units())


@dataclass(frozen=True)
class ChooseProblems(ChooseSimilar):
    """Names the records of a problem that go, one task a partition of components."""

    version: ClassVar[int] = 3

    @property
    def options_of_step(self) -> ProblemDedup:
        """The step's."""
        assert isinstance(self.step.options, ProblemDedup)  # noqa: S101 - `barriers` makes this stage for no other
        return self.step.options

    def memory(self) -> int:
        """As `footprints.problems`, of an even share of the records, or of the largest component."""
        records = int(self.members.finished().counts.get("documents", 0)) // self.members.partitions()
        return footprints.problems(max(records, int(self.members.labels.largest())))

    def _compared(self, members: Members, rows: Rows, rooms: Rooms) -> tuple[clusters.Compared, int]:
        """As among similar documents; more than one of a problem may be kept, or none."""
        seen, compared = super()._compared(members, rows, rooms)
        order, first = np.asarray(members.order), np.array(seen.keeper)
        similarity = np.array(seen.similarity)
        self._part(members, first, similarity, rows)
        suspected = self._suspected(order, first, rows)
        keeper = kept_of(order, first, suspected >= 0, self.options_of_step.max_traces)
        keeper[suspected >= 0] = suspected[suspected >= 0]
        rule = np.full(len(keeper), RULES.index(SAME_PROBLEM if self.options_of_step.max_traces == 1 else TRACE_CAP))
        rule[suspected >= 0] = RULES.index(GOLD_SUSPECTED)
        similarity[first == np.arange(len(first))] = 1.0
        found = replace(seen, keeper=keeper, similarity=similarity, rules=RULES, rule=rule.astype(np.uint8))
        return found, compared

    def _part(self, members: Members, first: Int64, similarity: npt.NDArray[np.float64], rows: Rows) -> None:
        """Parts what is alike and is not one problem; changes `first` and `similarity`.

        The records of a component follow each other in the order of keeping: each goes to the one that it is similar
        to, else to the first of those that were parted from such a one and are its own problem, else it stays.
        """
        alone = first == np.arange(len(first))
        if alone.all():
            return
        statement, gold = _column(rows, "statement").to_pylist(), _column(rows, "gold").to_pylist()

        @functools.lru_cache(maxsize=HELD)
        def problem(record: int) -> Problem:
            return Problem(Statement(statement[record]), gold[record], int(members.source[record]))

        for records in _components(members):
            if alone[records].all():
                continue
            opened, parted = set[int](), list[int]()
            for record in records.tolist():
                near = int(first[record])
                if near in opened and not another(problem(near), problem(record)):
                    continue
                found = next((other for other in parted if self._same(problem(other), problem(record))), None)
                if found is not None:
                    first[record], similarity[record] = found, self._similarity(problem(found), problem(record))
                    continue
                first[record] = record
                opened.add(record)
                if near != record and len(parted) < MOST:
                    parted.append(record)

    def _same(self, one: "Problem", other: "Problem") -> bool:
        """Whether a record that was compared with neither is one problem with the first one of another problem."""
        if self.options_of_step.across and one.source == other.source:
            return False
        return self._similarity(one, other) >= self.options_of_step.threshold and not another(one, other)

    def _similarity(self, one: "Problem", other: "Problem") -> float:
        """That of two statements, as the step measures it."""
        of_all = one.units | other.units if self.options_of_step.similarity == "jaccard" else other.units
        return len(one.units & other.units) / len(of_all) if of_all else 1.0

    def _suspected(self, order: Int64, first: Int64, rows: Rows) -> Int64:
        """int64[m]: of each record whose gold answer is suspected one that says otherwise, -1 of all others."""
        found = np.full(len(first), -1, np.int64)
        if self.options_of_step.suspect_gold == "off":
            return found
        columns = [_column(rows, name).to_pylist() for name in ("final", "gold", "low", "high")]
        for problem in _problems(order, first):
            if len(problem) >= LEAST:
                for record, other in suspects(problem.tolist(), *columns):
                    found[record] = other
        return found


def _components(members: Members) -> Iterator[Int64]:
    """The records of each component, in the order of keeping."""
    component = members.component[members.order]
    yield from np.split(np.asarray(members.order), np.flatnonzero(component[1:] != component[:-1]) + 1)


def another(one: Problem, other: Problem) -> bool:
    """Whether two similar statements are two problems: by what they say, or by their gold answers.

    The same statement with two gold answers is one problem, of which one answer is wrong.
    """
    from ...filters.answers import agree

    if one.statement.text == other.statement.text or one.statement.words == other.statement.words:
        return False
    if told_apart(one.statement, other.statement) is not None:
        return True
    return one.gold is not None and other.gold is not None and agree(one.gold, other.gold).value == "wrong"


def _column(rows: Rows, name: str) -> pa.ChunkedArray:
    """A column of all rows of a partition."""
    return pa.chunked_array([batch.column(name) for batch in rows.batches()] or [pa.array([], pa.string())])


def kept_of(order: Int64, first: Int64, gone: npt.NDArray[np.bool_], most: int) -> Int64:
    """Which record stays in the place of each, where so many of each problem stay: int64[m].

    Args:
        order: int64[m], all records, the best of each problem before its others.
        first: int64[m], the first of each record's problem.
        gone: bool[m], those that do not count, whose own place says nothing.
        most: records of a problem that are kept.
    """
    keeper = np.arange(len(first))
    left = order[~gone[order]]
    by_problem = left[np.argsort(first[left], kind="stable")]
    problem = first[by_problem]
    opens = np.ones(len(by_problem), np.bool_)
    opens[1:] = problem[1:] != problem[:-1]
    start = np.flatnonzero(opens)[np.cumsum(opens) - 1] if len(opens) else np.empty(0, np.int64)
    over = np.arange(len(by_problem)) - start >= most
    keeper[by_problem[over]] = by_problem[start[over]]
    return keeper


def suspects(
    problem: list[int], finals: list[object], golds: list[object], low: list[object], high: list[object]
) -> Iterator[tuple[int, int]]:
    """The records of a problem whose gold answer is suspected, each with another one that says otherwise.

    Args:
        problem: the records, the best first.
        finals: the final answer of every record, None where it gives none.
        golds: its gold answer.
        low, high: the halves of its text's hash: copies are one voice.
    """
    from ...filters.answers import agree, suspect

    voices = list({(low[record], high[record]): record for record in reversed(problem)}.values())[::-1]
    answers = [str(finals[record]) if finals[record] else None for record in voices]
    for gold in dict.fromkeys(golds[record] for record in problem if golds[record]):
        suspicion = suspect(answers, str(gold), LEAST)
        if suspicion is None:
            continue
        said = [one for one, own in zip(voices, answers, strict=True) if own and agree(own, suspicion.answer).right]
        for record in problem:
            if golds[record] == gold:
                yield record, next(one for one in said if one != record)


def _problems(order: Int64, first: Int64) -> Iterator[Int64]:
    """The records of each problem, the best first."""
    by_problem = order[np.argsort(first[order], kind="stable")]
    yield from np.split(by_problem, np.flatnonzero(np.diff(first[by_problem])) + 1)
