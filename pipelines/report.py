"""`midtrain report`: what a finished curation did to its documents, read from its output's files alone.

The funnel and the rules' values come from one pass over what was dropped, so that a report of a corpus costs seconds
where curating it cost hours; of text it reads the few clusters of copies that it shows. That of web_small, 112 MB,
takes 0.6 s, of which most is the imports; three million dropped documents take 0.7 s more, and 260 MB of memory in all.

`--json` prints, with `null` where a thing is not known:

    output, name, fingerprint     the folder, the recipe's name, the fingerprint of the output
    notes                         [text]: what this report cannot say, and why
    total                         GROUP
    sources                       [{source, …GROUP}] in the recipe's order
    languages                     [{language, …GROUP}], the largest first; null where the run did not record them.
                                  language is null where it is not known, "*" for values that are no language tags
    rules                         [RULE] in the order in which they are applied
    deduplication                 [DEDUPLICATION] in the order in which they are applied
    reasoning                     [{source, documents, layouts: {name: n}, repairs: {name: n}}]: how many records were
                                  read so, of sources of which some were repaired, or whose layout was found
    outcomes                      [{stage, step, problems, sources: {name: {right, wrong, no_answer, cannot_tell,
                                  no_gold, no_problem, raised}}}]: the traces where a step took pass rates from
                                  answers; what is 0 is left out
    phrases                       [{source, step, place, text, records, of}]: sentences with which the last replies of
                                  at least 5 % of the records that came to boilerplate begin (place "opening") or end
                                  ("closing"), folded, numbers as #; records may miss 2 % of them
    joint                         [JOINT] of the sources whose documents have messages, or whose pass rates a step
                                  looks at: length and difficulty as they were read

    GROUP   read, kept            {documents, text_bytes}: UTF-8 bytes of text; of a language, read.text_bytes is null
            quarantined           documents that were set aside
            removed_text_bytes    text that came in and is neither dropped nor kept: cut out by steps, or set aside
            steps                 [{stage, step, seen, dropped: {documents, text_bytes}, quarantined, left,
                                    rules: [{rule, documents, text_bytes}],
                                    cut: {documents, pieces, text_bytes}}]: cut out of texts whose documents went on;
                                  null where the step cuts nothing, and by language
    RULE    stage, step, rule, dropped
            values                "all" (of every document since the last deduplication before it), "dropped" (of those
                                  that it dropped), "none"
            count, minimum, median, maximum
            histogram             {log, edges: [n + 1], counts: [n], outside: [n]}; null without values. Values in
                                  edges[i] <= value < edges[i + 1], and those on the wrong side of a bound
            thresholds            [{side: "low" | "high", bound, source, broken, of, share, strict}]; what is at a
                                  strict bound is dropped too
            nearest, random       [{id, source, value, threshold, partner}], at most 5 dropped documents each
    DEDUPLICATION
            stage, step
            documents, duplicates those that came to the step, and that were dropped for one that is kept
            sizes                 [{size, clusters}], a cluster being a kept document and those dropped for it; size is
                                  "2", …, "16", "17-32", "33-64", …
            between               [{dropped, kept, documents}]: documents of one source dropped for those of another
            largest, sampled      CLUSTER or null; [CLUSTER], at most 20, by a hash of the kept documents' ids
    JOINT   source, unread        its name, and the records that could not be read, which are in no cell
            read, kept            {documents, characters}: of all cells; characters of what was measured
            cells                 [{of, low, high, field, difficulty, read, kept}], those that are not empty: what was
                                  measured ("thought" of all of the assistant's turns, where there is none "reply",
                                  without messages "text"), low <= characters < high, the field of the metadata that
                                  states a difficulty, and the level or the band of pass rates; both null where none
                                  does, "*" for what is neither
    CLUSTER size, id, source      documents in it; of the one that is kept
            copies                [{id, source, similarity, differences: [{kind, text}]}], at most 5, the least similar
                                  first. kind is "same", "kept" or "dropped" (only that one has it), "gap" (text tells
                                  what is left out); differences is null where the kept text is not at hand
"""

from dataclasses import asdict, dataclass
from typing import Any

from ..storage import Location
from . import copies as counted_copies
from . import funnel_counter, joint_table, outcomes, rule_values, set_phrases
from .copies import Copies, CopiesCounter
from .curation import Curation, open_curation
from .funnel import Amount, Funnel, Group
from .funnel_counter import FunnelCounter, by_reason
from .joint_table import JointTable
from .languages import UNKNOWN
from .outcomes import Outcomes
from .rule_values import RuleCounter, RuleValues
from .set_phrases import SetPhrase

ONLY_DROPPED = "values of dropped documents only; run curate with --scores for all"
NOT_RECORDED = (
    "this output was made before languages, sizes and bounds of what is dropped were recorded: there is no funnel by "
    "language and in bytes, and a bound that dropped nothing is not known; curate again for them"
)


@dataclass(frozen=True)
class Reading:
    """How the records of a reasoning source were read.

    Args:
        source: its name.
        documents: that were read, or set aside.
        layouts: of how many which layout was taken; none where the recipe spells the fields out.
        repairs: how many were repaired in which way.
    """

    source: str
    documents: int
    layouts: dict[str, int]
    repairs: dict[str, int]


@dataclass(frozen=True)
class Report:
    """A curation's funnel and rules.

    Args:
        output: the folder.
        name: the recipe's name.
        fingerprint: of the output.
        funnel: in total, by source, by language.
        rules: in the order in which they are applied.
        copies: what each deduplication found.
        notes: what the report cannot say, and why.
        reasoning: how the records of reasoning sources were read, by source.
        joint: length by difficulty of their records, by source.
        outcomes: of the traces whose answers a step's pass rates are from, by step.
        phrases: sentences that many replies share.
    """

    output: str
    name: str
    fingerprint: str
    funnel: Funnel
    rules: tuple[RuleValues, ...]
    copies: tuple[Copies, ...]
    notes: tuple[str, ...]
    reasoning: tuple[Reading, ...]
    joint: tuple[JointTable, ...]
    outcomes: tuple[Outcomes, ...]
    phrases: tuple[SetPhrase, ...]

    def data(self) -> dict[str, Any]:
        """The report as JSON values; the module's first lines say which."""
        languages = self.funnel.languages
        return {
            "output": self.output,
            "name": self.name,
            "fingerprint": self.fingerprint,
            "notes": list(self.notes),
            "total": _group(self.funnel.total),
            "sources": [{"source": group.name, **_group(group)} for group in self.funnel.sources],
            "languages": None
            if languages is None
            else [{"language": None if group.name == UNKNOWN else group.name, **_group(group)} for group in languages],
            "rules": [_rule(rule) for rule in self.rules],
            "deduplication": [_copies(found) for found in self.copies],
            "reasoning": [asdict(reading) for reading in self.reasoning],
            "outcomes": [asdict(one) for one in self.outcomes],
            "phrases": [asdict(one) for one in self.phrases],
            "joint": [table.data() for table in self.joint],
        }


def read(output: str | Location) -> Report:
    """Reads the output of a finished curation.

    Raises:
        ConfigError: there is none.
        RunError: the run is not complete, a file is gone or damaged, or the counts do not add up.
    """
    curation = open_curation(output)
    funnel, rules, copies = FunnelCounter(curation), RuleCounter(curation), CopiesCounter(curation)
    columns = tuple(dict.fromkeys([*funnel_counter.COLUMNS, *rule_values.COLUMNS, *counted_copies.COLUMNS]))
    for stage, source, rows in curation.dropped(columns):
        groups = by_reason(stage, rows)
        funnel.add(stage, source, groups, rows)
        rules.add(stage, source, groups, rows)
        copies.add(stage, source, groups, rows)
    rules.add_scores()
    found = funnel.finish()
    values = rules.finish(found.total.steps)
    return Report(
        str(curation.root),
        curation.name,
        curation.manifest.fingerprint,
        found,
        values,
        copies.finish(),
        _notes(curation, values),
        _readings(curation),
        joint_table.read(curation),
        outcomes.read(curation),
        set_phrases.read(curation),
    )


def _readings(curation: Curation) -> tuple[Reading, ...]:
    first = curation.stages[0].counts["sources"]
    return tuple(
        Reading(source, own["documents"], own["reasoning"].get("layouts", {}), own["reasoning"].get("repairs", {}))
        for source, own in first.items()
        if "reasoning" in own
    )


def _notes(curation: Curation, rules: tuple[RuleValues, ...]) -> tuple[str, ...]:
    notes = [] if curation.recorded else [NOT_RECORDED]
    if any(rule.scope == "dropped" for rule in rules) and not any(stage.scored for stage in curation.stages):
        notes.append(f"histograms are of {ONLY_DROPPED}")
    return tuple(notes)


def _group(group: Group) -> dict[str, Any]:
    return {
        "read": _amount(group.read),
        "steps": [
            {
                "stage": step.stage,
                "step": step.step,
                "seen": step.seen,
                "dropped": _amount(step.dropped),
                "quarantined": step.quarantined,
                "left": step.left,
                "rules": [{"rule": rule, **_amount(amount)} for rule, amount in step.rules],
                "cut": None if step.cut is None else asdict(step.cut),
            }
            for step in group.steps
        ],
        "quarantined": group.quarantined,
        "kept": _amount(group.kept),
        "removed_text_bytes": group.removed_bytes,
    }


def _copies(found: Copies) -> dict[str, Any]:
    sizes = [{"size": size, "clusters": clusters} for size, clusters in found.sizes]
    return {**asdict(found), "sizes": sizes}


def _amount(amount: Amount) -> dict[str, Any]:
    return {"documents": amount.documents, "text_bytes": amount.text_bytes}


def _rule(rule: RuleValues) -> dict[str, Any]:
    return {
        **rule.reason._asdict(),
        "dropped": rule.dropped,
        "values": rule.scope,
        "count": rule.count,
        "minimum": rule.minimum,
        "median": rule.median,
        "maximum": rule.maximum,
        "histogram": None if rule.histogram is None else asdict(rule.histogram),
        "thresholds": [{**asdict(one), "share": one.broken / one.of if one.of else None} for one in rule.thresholds],
        "nearest": [asdict(one) for one in rule.nearest],
        "random": [asdict(one) for one in rule.random],
    }
