"""What each rule measured: its values' histogram, how many break each bound, and dropped documents to look at.

A bound is judged by what lies next to it, so the examples are those nearest to it and a few by chance: by a hash of the
id, which another bound or another cut of the input leaves as it is. Costs 10 ns a value, and 0.2 µs a dropped document,
of which most is the hash; memory for one row group and a few KiB a rule.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from ..filters.document import SCORE_PREFIX
from .curation import Curation, Reason, RuleRecord, StageRecord, read_files
from .dropped import PARTNERED
from .funnel import FunnelStep
from .read_parts import kept_parts
from .value_sketch import Bound, ValueSketch

COLUMNS = ("step", "rule", "id", "value", "threshold", "partner")  # of dropped documents
EXAMPLES = 5
Scope = Literal["all", "dropped", "none"]
Side = Literal["low", "high"]


@dataclass(frozen=True)
class Example:
    """A dropped document; value and threshold are None where the rule has none, partner where nothing stands for it."""

    id: str
    source: str
    value: float | None
    threshold: float | None
    partner: str | None


@dataclass(frozen=True)
class Threshold:
    """A bound and the documents on its wrong side.

    Args:
        side: whether values below it (`low`) or above it (`high`) are dropped.
        bound: the last value that is kept; where it is `strict`, the first that is dropped.
        source: where it comes from; "" where the run did not record it.
        broken: documents on the wrong side, of those whose value is known, without those of a value that is exempt.
        of: the documents that have a value (scope `all`), or that the step saw.
    """

    side: Side
    bound: float
    source: str
    broken: int
    of: int
    strict: bool = False


@dataclass(frozen=True)
class Histogram:
    """Counts of values between edges: bin i is `edges[i] <= value < edges[i + 1]`.

    Args:
        log: whether the bins are equal steps of the logarithm; values below `edges[1]` are then in a bin that begins
            at 0.
        edges: n + 1 values, rising.
        counts: n numbers of values.
        outside: n numbers of those that are on the wrong side of a bound.
    """

    log: bool
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    outside: tuple[int, ...]


@dataclass(frozen=True)
class RuleValues:
    """What is known of a rule's values.

    Args:
        reason: stage, step and rule.
        scope: whose values: of all documents, of those alone that the rule dropped, or `none` where it has no values.
        dropped: documents that the rule dropped.
        count: values.
        minimum: the smallest value, None without values; so are `median` (to 0.1 %) and `maximum`.
        histogram: of the values; None without any.
        thresholds: the rule's bounds.
        nearest: dropped documents whose values are nearest to the bound that they broke, for its size.
        random: dropped documents by a hash of their ids.
    """

    reason: Reason
    scope: Scope
    dropped: int
    count: int
    minimum: float | None
    median: float | None
    maximum: float | None
    histogram: Histogram | None
    thresholds: tuple[Threshold, ...]
    nearest: tuple[Example, ...]
    random: tuple[Example, ...]


@dataclass
class _Values:
    """A rule's values as they come: all of them, and those on the wrong side of a bound."""

    sketch: ValueSketch = field(default_factory=ValueSketch)
    outside: ValueSketch = field(default_factory=ValueSketch)
    broken: dict[tuple[Side, float], int] = field(default_factory=dict)
    dropped: int = 0
    nearest: list[tuple[float, int, Example]] = field(default_factory=list)
    random: list[tuple[int, Example]] = field(default_factory=list)

    def add_dropped(self, values: npt.NDArray[np.float64], thresholds: npt.NDArray[np.float64]) -> None:
        """Counts documents that the rule dropped, by the bound that they broke."""
        self.dropped += len(values)
        self.sketch.add(values)
        self.outside.add(values)
        finite = np.isfinite(values) & np.isfinite(thresholds)
        for bound in np.unique(thresholds[finite]).tolist():
            own = values[finite & (thresholds == bound)]
            below = int((own < bound).sum())
            if below:
                self._add("low", bound, below)
            if below < len(own):
                self._add("high", bound, len(own) - below)

    def add_all(self, values: npt.NDArray[np.float64], rule: RuleRecord) -> None:
        """Counts documents of any kind against the rule's own bounds; one value may be exempt from them."""
        self.sketch.add(values)
        outside = np.zeros(len(values), np.bool_)
        judged = np.ones(len(values), np.bool_) if rule.exempt is None else values != rule.exempt
        for side, bound in _bounds(rule):
            broken = judged & (values < bound if side == "low" else values > bound)
            self._add(side, bound, int(broken.sum()))
            outside |= broken
        self.outside.add(values[outside])

    def histogram(self, thresholds: Sequence[Threshold]) -> Histogram | None:
        """Of the values, with bins that end at bounds."""
        kept = self.sketch.count > self.outside.count
        bins = self.sketch.bins([Bound(one.bound, one.side == "low", kept) for one in thresholds])
        if bins is None:
            return None
        return Histogram(bins.log, bins.edges, self.sketch.counts(bins), self.outside.counts(bins))

    def _add(self, side: Side, bound: float, count: int) -> None:
        self.broken[side, bound] = self.broken.get((side, bound), 0) + count


class RuleCounter:
    """Counts the rules' values while a curation's dropped rows pass by; then, where there are any, all scores.

    Args:
        curation: what is reported on.
    """

    def __init__(self, curation: Curation) -> None:
        self.curation = curation
        self._dropped: dict[Reason, _Values] = {}
        self._all: dict[Reason, _Values] = {}

    def add(
        self, stage: StageRecord, source: str, groups: Iterable[tuple[Reason, npt.NDArray[np.int64]]], rows: pa.Table
    ) -> None:
        """Counts rows with `COLUMNS`, grouped by reason as `funnel_counter.by_reason` does."""
        ids, partners = rows.column("id").combine_chunks(), rows.column("partner").combine_chunks()
        digest = xxhash.xxh3_64_intdigest
        hashes = np.fromiter((digest(one) for one in ids.cast(pa.binary()).to_pylist()), np.uint64, len(ids))
        values, thresholds = (_floats(rows.column(name)) for name in ("value", "threshold"))

        def example(row: int) -> Example:
            return Example(
                ids[row].as_py(), source, _number(values[row]), _number(thresholds[row]), partners[row].as_py()
            )

        for reason, place in groups:
            found = self._dropped.setdefault(reason, _Values())
            found.add_dropped(values[place], thresholds[place])
            first = place[_least(hashes[place])]
            found.random += [(int(hashes[row]), example(int(row))) for row in first]
            found.random = sorted(found.random, key=lambda one: one[0])[:EXAMPLES]
            distance = np.abs(values[place] - thresholds[place]) / np.maximum(np.abs(thresholds[place]), 1e-9)
            distance = np.where(np.isfinite(distance), distance, np.inf)
            close = _least(distance, hashes[place])
            found.nearest += [
                (float(distance[at]), int(hashes[place[at]]), example(int(place[at])))
                for at in close
                if np.isfinite(distance[at])
            ]
            found.nearest = sorted(found.nearest, key=lambda one: one[:2])[:EXAMPLES]

    def add_scores(self) -> None:
        """Reads the score columns of all documents, where the run wrote them.

        Raises:
            RunError: a file is gone or damaged.
        """
        for stage, judge in pairwise(self.curation.stages):
            if not stage.scored:
                continue
            columns = {
                f"{SCORE_PREFIX}{step.label}.{rule.name}": (Reason(judge.name, step.name, rule.name), rule)
                for step in self.curation.steps
                if step.stage == judge.name
                for rule in step.rules
            }
            for _, rows in read_files(stage.folder, kept_parts(stage.manifest), list(columns)):
                for name in rows.column_names:
                    reason, rule = columns[name]
                    self._all.setdefault(reason, _Values()).add_all(_floats(rows.column(name)), rule)

    def finish(self, steps: Iterable[FunnelStep]) -> tuple[RuleValues, ...]:
        """Every rule, in the funnel's order; those without bounds and without values among them."""
        recorded: dict[Reason, list[RuleRecord]] = {}
        for record in self.curation.steps:
            for rule in record.rules:
                recorded.setdefault(Reason(record.stage, record.name, rule.name), []).append(rule)
        found = []
        for step in steps:
            for name, _ in step.rules:
                reason = Reason(step.stage, step.step, name)
                found.append(self._rule(reason, recorded.get(reason, []), step.seen))
        return tuple(found)

    def _rule(self, reason: Reason, rules: list[RuleRecord], seen: int) -> RuleValues:
        dropped = self._dropped.get(reason, _Values())
        known = self._all.get(reason, dropped)
        count = known.sketch.count
        scope: Scope = "all" if reason in self._all else "dropped" if count else "none"
        sources = {(side, bound): rule.source for rule in rules for side, bound in _bounds(rule)}
        bounds = sorted({*sources, *known.broken}, key=lambda key: (key[1], key[0]))
        of = count if scope == "all" else seen
        thresholds = tuple(
            Threshold(
                side,
                bound,
                sources.get((side, bound), ""),
                known.broken.get((side, bound), 0),
                of,
                strict=reason.rule in PARTNERED,
            )
            for side, bound in bounds
        )
        return RuleValues(
            reason,
            scope,
            dropped.dropped,
            count,
            _number(known.sketch.low),
            _number(known.sketch.quantile(0.5)),
            _number(known.sketch.high),
            known.histogram(thresholds),
            thresholds,
            tuple(example for *_, example in dropped.nearest),
            tuple(example for _, example in dropped.random),
        )


def _least(keys: npt.NDArray[Any], ties: npt.NDArray[Any] | None = None) -> npt.NDArray[np.int64]:
    """The places of the few smallest of n keys, in order; of equal ones, those with the smallest of n other keys."""
    few = np.arange(len(keys))
    if len(keys) > EXAMPLES:
        few = np.flatnonzero(keys <= np.partition(keys, EXAMPLES - 1)[EXAMPLES - 1])
    order = np.argsort(keys[few], kind="stable") if ties is None else np.lexsort((ties[few], keys[few]))
    return few[order[:EXAMPLES]]


def _bounds(rule: RuleRecord) -> list[tuple[Side, float]]:
    """The rule's finite bounds."""
    found: list[tuple[Side, float | None]] = [("low", rule.low), ("high", rule.high)]
    return [(side, bound) for side, bound in found if bound is not None]


def _floats(column: Any) -> npt.NDArray[np.float64]:
    """float64[n], NaN where there is no value."""
    return np.asarray(column.to_numpy(), np.float64)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
