"""The count of a funnel: dropped rows pass by once, and what they come to is compared with what the stages counted.

A report that is wrong by one document is worth nothing, so every sum that is known twice is compared. Costs as
`funnel.py` says.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .curation import Curation, Reason, RuleRecord, StageRecord, StepRecord
from .funnel import BEFORE_STEPS, Amount, Funnel, Leaving, must_be_equal, of_languages, of_source, sum_of
from .languages import ByLanguage
from .parts import check_sum

COLUMNS = ("step", "rule", "language", "bytes")  # of dropped documents, that a funnel is made of
MOST_LANGUAGES = 4096  # that are told apart while dropped documents are read


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
        by_source: dict[str, Leaving] = {source: Leaving() for source in curation.sources}
        by_language: dict[str, Leaving] = {}
        for (source, reason), counter in self._dropped.items():
            for language, documents in counter.documents.items():
                amount = Amount(documents, counter.text_bytes[language] if curation.recorded else None)
                by_source.setdefault(source, Leaving()).drop(reason, amount)
                by_language.setdefault(language, Leaving()).drop(reason, amount)
        for stage, entry in curation.quarantined():
            by_source.setdefault(entry["source"], Leaving()).set_aside(stage.name, entry["step"])
            by_language.setdefault("", Leaving()).set_aside(stage.name, entry["step"])
        _check_quarantined(curation, by_source)
        must_be_equal(f"{curation.root}, sources", list(by_source), curation.sources)
        order = _order(curation, by_source.values())
        sources = tuple(of_source(curation, name, own, order) for name, own in by_source.items())
        languages = of_languages(curation, by_language, order) if curation.recorded else None
        total = sum_of(sources)
        counted = (curation.stages[0].counts["documents"], curation.stages[-1].counts["kept"])
        must_be_equal(f"{curation.root}, read and kept", (total.read.documents, total.kept.documents), counted)
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
                must_be_equal(where, dict(sorted(seen.get(key, {}).items())), counts["dropped"])
                if self.curation.recorded:
                    must_be_equal(f"{where}, bytes of text", sizes.get(key, 0), counts["dropped_text_bytes"])


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


def _order(curation: Curation, groups: Iterable[Leaving]) -> list[StepRecord]:
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


def _check_chain(curation: Curation) -> None:
    """Every stage's sums add up, and each got what the one before it kept."""
    for stage in curation.stages:
        check_sum(stage.counts, str(stage.folder))
        for source, counts in stage.counts["sources"].items():
            check_sum(counts, f"{stage.folder}, source {source}")
    for before, stage in pairwise(curation.stages):
        kept = {name: counts["kept"] for name, counts in before.counts["sources"].items() if counts["kept"]}
        came = {name: counts["documents"] for name, counts in stage.counts["sources"].items() if counts["documents"]}
        must_be_equal(f"{stage.folder}, documents that came in", came, kept)


def _check_quarantined(curation: Curation, by_source: Mapping[str, Leaving]) -> None:
    for stage in curation.stages:
        for source, counts in stage.counts["sources"].items():
            seen = sum(count for (at, _), count in by_source[source].quarantined.items() if at == stage.name)
            must_be_equal(f"{stage.folder}, set aside of source {source}", seen, counts["quarantined"])
