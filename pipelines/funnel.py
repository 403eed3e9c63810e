"""The funnel of a curation: what came in, what each step dropped for which rule, what was set aside, what was kept.

In total, by source and by language, in documents and in bytes of text. Nothing is estimated: counts of manifests and
rows of files are compared, and where they disagree there is an error in place of a report. Costs one pass over reason,
language and size of the dropped documents (no text), about 10 million a second.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..errors import RunError
from .curation import Curation, Reason, RuleRecord, StageRecord, StepRecord
from .languages import ByLanguage
from .parts import check_sum
from .readers.records import POISONED, READ

COLUMNS = ("step", "rule", "language", "bytes")  # of dropped documents, that a funnel is made of
MOST_LANGUAGES = 4096  # that are told apart while dropped documents are read
BEFORE_STEPS = {READ: "reading", POISONED: "kills its process"}  # where documents are set aside beside steps


@dataclass(frozen=True)
class Amount:
    """A number of documents and the UTF-8 bytes of their texts; None where the run did not record them."""

    documents: int
    text_bytes: int | None

    def __add__(self, other: "Amount") -> "Amount":
        known = self.text_bytes is not None and other.text_bytes is not None
        return Amount(
            self.documents + other.documents, (self.text_bytes or 0) + (other.text_bytes or 0) if known else None
        )


NOTHING = Amount(0, 0)


@dataclass(frozen=True)
class FunnelStep:
    """What became of a group's documents in one step.

    Args:
        stage: the folder of the stage that the step ran in.
        step: its name; of what was set aside outside of steps, what was done with it.
        seen: documents that the step looked at: those that reached it, from the sources that it applies to.
        dropped: all that it dropped.
        rules: what it dropped by rule, in the order of the rules.
        quarantined: documents that made it raise.
        left: documents of the group that went on, those that the step did not look at among them.
    """

    stage: str
    step: str
    seen: int
    dropped: Amount
    rules: tuple[tuple[str, Amount], ...]
    quarantined: int
    left: int

    @property
    def drops(self) -> bool:
        """Whether it is a step of the recipe; otherwise it says what was set aside outside of steps."""
        return self.step not in BEFORE_STEPS.values()


@dataclass(frozen=True)
class Group:
    """A funnel: of all documents, of a source's, or of a language's.

    Args:
        name: the source, the language (`languages.UNKNOWN`, `languages.OTHER`), or "".
        read: what came in, with the bytes of the texts as they were read (of a language, None).
        steps: in order; equal ones for all groups.
        quarantined: all that was set aside.
        kept: what is in the output.
        removed_bytes: of text that came in and is neither kept nor dropped: cut out by steps that rewrite, or of
            documents that a step set aside.
    """

    name: str
    read: Amount
    steps: tuple[FunnelStep, ...]
    quarantined: int
    kept: Amount
    removed_bytes: int | None


@dataclass(frozen=True)
class Funnel:
    """The funnel in total, by source in the recipe's order, and by language, the largest first.

    `languages` is None for a run that did not record them.
    """

    total: Group
    sources: tuple[Group, ...]
    languages: tuple[Group, ...] | None


@dataclass
class _Leaving:
    """What left a group, as it is counted."""

    dropped: dict[Reason, Amount] = field(default_factory=dict)
    quarantined: dict[tuple[str, str], int] = field(default_factory=dict)  # by stage and step

    def drop(self, reason: Reason, amount: Amount) -> None:
        self.dropped[reason] = self.dropped.get(reason, NOTHING) + amount

    def set_aside(self, stage: str, step: str) -> None:
        self.quarantined[stage, step] = self.quarantined.get((stage, step), 0) + 1


class FunnelCounter:
    """Counts a curation's funnel while its dropped rows pass by.

    Args:
        curation: what is reported on.
    """

    def __init__(self, curation: Curation) -> None:
        self.curation = curation
        self._dropped: dict[tuple[str, Reason], ByLanguage] = {}

    def add(
        self, stage: StageRecord, source: str, groups: Iterable[tuple[Reason, npt.NDArray[np.int64]]], rows: pa.Table
    ) -> None:
        """Counts rows with `COLUMNS`, grouped by reason as `by_reason` does."""
        there = rows.column_names
        for reason, place in groups:
            taken = pa.array(place)
            nothing = pa.nulls(len(place), pa.string())
            language = rows.column("language").combine_chunks().take(taken) if "language" in there else nothing
            size = np.zeros(len(place), np.int64)
            if "bytes" in there:
                size = rows.column("bytes").to_numpy()[place]
            self._dropped.setdefault((source, reason), ByLanguage(MOST_LANGUAGES)).add(language, size)

    def finish(self) -> Funnel:
        """The funnel, once all rows were seen.

        Raises:
            RunError: counts that do not add up, or a file of set aside documents that is gone or damaged.
        """
        curation = self.curation
        self._check_dropped()
        _check_chain(curation)
        by_source: dict[str, _Leaving] = {source: _Leaving() for source in curation.sources}
        by_language: dict[str, _Leaving] = {}
        for (source, reason), counter in self._dropped.items():
            for language, documents in counter.documents.items():
                amount = Amount(documents, counter.text_bytes[language] if curation.recorded else None)
                by_source.setdefault(source, _Leaving()).drop(reason, amount)
                by_language.setdefault(language, _Leaving()).drop(reason, amount)
        for stage, entry in curation.quarantined():
            by_source.setdefault(entry["source"], _Leaving()).set_aside(stage.name, entry["step"])
            by_language.setdefault("", _Leaving()).set_aside(stage.name, entry["step"])
        _check_quarantined(curation, by_source)
        _must_be_equal(f"{curation.root}, sources", list(by_source), curation.sources)
        order = _order(curation, by_source.values())
        sources = tuple(_of_source(curation, name, own, order) for name, own in by_source.items())
        languages = _of_languages(curation, by_language, order) if curation.recorded else None
        total = _sum(sources)
        counted = (curation.stages[0].counts["documents"], curation.stages[-1].counts["kept"])
        _must_be_equal(f"{curation.root}, read and kept", (total.read.documents, total.kept.documents), counted)
        return Funnel(total, sources, languages)

    def _check_dropped(self) -> None:
        """The rows of dropped documents are those that the stages counted."""
        seen: dict[tuple[str, str], dict[str, int]] = {}
        sizes: dict[tuple[str, str], int] = {}
        for (source, reason), counter in self._dropped.items():
            key = (reason.stage, source)
            seen.setdefault(key, {})[f"{reason.step}.{reason.rule}"] = sum(counter.documents.values())
            sizes[key] = sizes.get(key, 0) + sum(counter.text_bytes.values())
        for stage in self.curation.stages:
            for source, counts in stage.counts["sources"].items():
                key = (stage.name, source)
                where = f"{stage.folder}, dropped of source {source}"
                _must_be_equal(where, dict(sorted(seen.get(key, {}).items())), counts["dropped"])
                if self.curation.recorded:
                    _must_be_equal(f"{where}, bytes of text", sizes.get(key, 0), counts["dropped_text_bytes"])


def by_reason(stage: StageRecord, rows: pa.Table) -> list[tuple[Reason, npt.NDArray[np.int64]]]:
    """The reasons among n dropped rows, each with its rows' places (int64, rising)."""
    if rows.num_rows == 0:
        return []
    codes, names = [], []
    for column in ("step", "rule"):
        values = rows.column(column).combine_chunks()
        codes.append(values.indices.to_numpy(zero_copy_only=False).astype(np.int64))
        names.append(values.dictionary.to_pylist())
    code = codes[0] * len(names[1]) + codes[1]
    order = np.argsort(code, kind="stable")
    starts = np.flatnonzero(np.diff(code[order], prepend=-1))
    found = []
    for place, rest in zip(np.split(order, starts[1:]), code[order][starts].tolist(), strict=True):
        step, rule = divmod(rest, len(names[1]))
        found.append((Reason(stage.name, names[0][step], names[1][rule]), place))
    return found


def _order(curation: Curation, groups: Iterable[_Leaving]) -> list[StepRecord]:
    """Every stage's steps, each name once: first what set documents aside without being one, last what is not known."""
    groups = list(groups)
    found: list[StepRecord] = []
    for stage in curation.stages:
        aside = {step for group in groups for at, step in group.quarantined if at == stage.name}
        sources = tuple(stage.counts["sources"])
        found += [StepRecord(stage.name, step, step, sources, ()) for step in BEFORE_STEPS if step in aside]
        named: dict[str, StepRecord] = {}
        for step in curation.steps:
            if step.stage == stage.name:
                before = named.get(step.name)
                named[step.name] = step if before is None else _joined(before, step)
        for name in sorted(aside - named.keys() - BEFORE_STEPS.keys()):
            named[name] = StepRecord(stage.name, name, name, sources, ())
        for reason in sorted({reason for group in groups for reason in group.dropped if reason.stage == stage.name}):
            step = named.setdefault(reason.step, StepRecord(stage.name, reason.step, reason.step, sources, ()))
            if all(reason.rule != rule.name for rule in step.rules):
                more = RuleRecord(reason.rule, None, None, "")
                named[reason.step] = replace(step, rules=(*step.rules, more))
        found += named.values()
    return found


def _joined(one: StepRecord, other: StepRecord) -> StepRecord:
    """Steps of one name in one stage, which their rows do not tell apart."""
    rules = (*one.rules, *(rule for rule in other.rules if rule not in one.rules))
    return replace(one, sources=tuple(dict.fromkeys([*one.sources, *other.sources])), rules=rules)


def _of_source(curation: Curation, name: str, leaving: _Leaving, order: Sequence[StepRecord]) -> Group:
    first = curation.stages[0].counts["sources"][name]
    last = curation.stages[-1].counts["sources"].get(name, {"kept": 0, "text_bytes": 0})
    read = Amount(first["documents"], first["read_text_bytes"] if curation.recorded else None)
    kept = Amount(last["kept"], last["text_bytes"])
    applies = {(step.stage, step.name): name in step.sources for step in order}
    return _group(name, read, kept, leaving, order, applies)


def _of_languages(curation: Curation, leaving: dict[str, _Leaving], order: Sequence[StepRecord]) -> tuple[Group, ...]:
    kept: dict[str, Amount] = {}
    for source, counts in curation.stages[-1].counts["sources"].items():
        of_source = NOTHING
        for language, own in counts["languages"].items():
            amount = Amount(own["kept"], own["text_bytes"])
            kept[language] = kept.get(language, NOTHING) + amount
            of_source += amount
        where = f"{curation.stages[-1].folder}, kept of source {source} by language"
        _must_be_equal(where, of_source, Amount(counts["kept"], counts["text_bytes"]))
    applies = {(step.stage, step.name): True for step in order}
    found = []
    for language in dict.fromkeys([*kept, *leaving]):
        own = leaving.get(language, _Leaving())
        end = kept.get(language, NOTHING)
        gone = sum(amount.documents for amount in own.dropped.values()) + sum(own.quarantined.values())
        found.append(_group(language, Amount(end.documents + gone, None), end, own, order, applies))
    read = sum(group.read.documents for group in found)
    _must_be_equal(f"{curation.root}, documents by language", read, curation.stages[0].counts["documents"])
    return tuple(sorted(found, key=lambda group: (-group.read.documents, group.name)))


def _group(
    name: str,
    read: Amount,
    kept: Amount,
    leaving: _Leaving,
    order: Sequence[StepRecord],
    applies: Mapping[tuple[str, str], bool],
) -> Group:
    left, steps, all_dropped = read.documents, [], Amount(0, 0)
    for step in order:
        own = {r.rule: amount for r, amount in leaving.dropped.items() if (r.stage, r.step) == (step.stage, step.name)}
        rules = tuple((rule, own.get(rule, NOTHING)) for rule in dict.fromkeys(rule.name for rule in step.rules))
        dropped = sum((amount for _, amount in rules), NOTHING)
        aside = leaving.quarantined.get((step.stage, step.name), 0)
        seen = left if applies[step.stage, step.name] else 0
        left -= dropped.documents + aside
        label = BEFORE_STEPS.get(step.name, step.name)
        steps.append(FunnelStep(step.stage, label, seen, dropped, rules, aside, left))
        all_dropped += dropped
    _must_be_equal(f"{name}: documents left after the last step", left, kept.documents)
    removed = None
    if read.text_bytes is not None and all_dropped.text_bytes is not None and kept.text_bytes is not None:
        removed = read.text_bytes - all_dropped.text_bytes - kept.text_bytes
    return Group(name, read, tuple(steps), sum(leaving.quarantined.values()), kept, removed)


def _sum(groups: Sequence[Group]) -> Group:
    """All groups as one; their steps are the same."""
    steps = []
    for own in zip(*(group.steps for group in groups), strict=True):
        amounts: dict[str, Amount] = {}
        for step in own:
            for rule, amount in step.rules:
                amounts[rule] = amounts.get(rule, NOTHING) + amount
        steps.append(
            FunnelStep(
                own[0].stage,
                own[0].step,
                sum(step.seen for step in own),
                sum((step.dropped for step in own), NOTHING),
                tuple(amounts.items()),
                sum(step.quarantined for step in own),
                sum(step.left for step in own),
            )
        )
    removed = [group.removed_bytes for group in groups]
    return Group(
        "",
        sum((group.read for group in groups), NOTHING),
        tuple(steps),
        sum(group.quarantined for group in groups),
        sum((group.kept for group in groups), NOTHING),
        None if None in removed else sum(size or 0 for size in removed),
    )


def _check_chain(curation: Curation) -> None:
    """Every stage's sums add up, and each got what the one before it kept."""
    for stage in curation.stages:
        check_sum(stage.counts, str(stage.folder))
        for source, counts in stage.counts["sources"].items():
            check_sum(counts, f"{stage.folder}, source {source}")
    for before, stage in zip(curation.stages, curation.stages[1:], strict=False):
        kept = {name: counts["kept"] for name, counts in before.counts["sources"].items() if counts["kept"]}
        came = {name: counts["documents"] for name, counts in stage.counts["sources"].items() if counts["documents"]}
        _must_be_equal(f"{stage.folder}, documents that came in", came, kept)


def _check_quarantined(curation: Curation, by_source: Mapping[str, _Leaving]) -> None:
    for stage in curation.stages:
        for source, counts in stage.counts["sources"].items():
            seen = sum(count for (at, _), count in by_source[source].quarantined.items() if at == stage.name)
            _must_be_equal(f"{stage.folder}, set aside of source {source}", seen, counts["quarantined"])


def _must_be_equal(where: str, seen: object, expected: object) -> None:
    if seen != expected:
        raise RunError(
            "the counts do not add up",
            where=where,
            seen=seen,
            expected=expected,
            fix="a file of the output was changed, or this is a fault of midtrain: run midtrain curate again into "
            "another output and compare",
        )
