"""`midtrain report`: what a finished curation did to its documents, read from its output's files alone.

The funnel and the rules' values come from one pass over what was dropped, so that a report of a corpus costs seconds
where curating it cost hours. That of web_small, 112 MB, takes 0.6 s, of which most is the imports; three million
dropped documents take 0.7 s more, and 260 MB of memory in all.

`--json` prints, with `null` where a thing is not known:

    output, name, fingerprint     the folder, the recipe's name, the fingerprint of the output
    notes                         [text]: what this report cannot say, and why
    total                         GROUP
    sources                       [{source, …GROUP}] in the recipe's order
    languages                     [{language, …GROUP}], the largest first; null where the run did not record them.
                                  language is null where it is not known, "*" for values that are no language tags
    rules                         [RULE] in the order in which they are applied

    GROUP   read, kept            {documents, text_bytes}: UTF-8 bytes of text; of a language, read.text_bytes is null
            quarantined           documents that were set aside
            removed_text_bytes    text that came in and is neither dropped nor kept: cut out by steps, or set aside
            steps                 [{stage, step, seen, dropped: {documents, text_bytes}, quarantined, left,
                                    rules: [{rule, documents, text_bytes}]}]
    RULE    stage, step, rule, dropped
            values                "all" (of every document since the last deduplication before it), "dropped" (of those
                                  that it dropped), "none"
            count, minimum, median, maximum
            histogram             {log, edges: [n + 1], counts: [n], outside: [n]}; null without values. Values in
                                  edges[i] <= value < edges[i + 1], and those on the wrong side of a bound
            thresholds            [{side: "low" | "high", bound, source, broken, of, share}]
            nearest, random       [{id, source, value, threshold, partner}], at most 5 dropped documents each
"""

from dataclasses import asdict, dataclass
from typing import Any

from ..storage import Location
from . import funnel_counter, rule_values
from .curation import Curation, open_curation
from .funnel import Amount, Funnel, Group
from .funnel_counter import FunnelCounter, by_reason
from .languages import UNKNOWN
from .rule_values import RuleCounter, RuleValues

ONLY_DROPPED = "values of dropped documents only; run curate with --scores for all"
NOT_RECORDED = (
    "this output was made before languages, sizes and bounds of what is dropped were recorded: there is no funnel by "
    "language and in bytes, and a bound that dropped nothing is not known; curate again for them"
)


@dataclass(frozen=True)
class Report:
    """A curation's funnel and rules.

    Args:
        output: the folder.
        name: the recipe's name.
        fingerprint: of the output.
        funnel: in total, by source, by language.
        rules: in the order in which they are applied.
        notes: what the report cannot say, and why.
    """

    output: str
    name: str
    fingerprint: str
    funnel: Funnel
    rules: tuple[RuleValues, ...]
    notes: tuple[str, ...]

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
        }


def read(output: str | Location) -> Report:
    """Reads the output of a finished curation.

    Raises:
        ConfigError: there is none.
        RunError: the run is not complete, a file is gone or damaged, or the counts do not add up.
    """
    curation = open_curation(output)
    funnel, rules = FunnelCounter(curation), RuleCounter(curation)
    columns = tuple(dict.fromkeys([*funnel_counter.COLUMNS, *rule_values.COLUMNS]))
    for stage, source, rows in curation.dropped(columns):
        groups = by_reason(stage, rows)
        funnel.add(stage, source, groups, rows)
        rules.add(stage, source, groups, rows)
    rules.add_scores()
    found = funnel.finish()
    values = rules.finish(found.total.steps)
    return Report(
        str(curation.root), curation.name, curation.manifest.fingerprint, found, values, _notes(curation, values)
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
            }
            for step in group.steps
        ],
        "quarantined": group.quarantined,
        "kept": _amount(group.kept),
        "removed_text_bytes": group.removed_bytes,
    }


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
