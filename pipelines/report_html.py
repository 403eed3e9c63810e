"""A report as one static page: no script and nothing from elsewhere, so that it can be sent to anyone.

Names and ids are text of the input and stay text: jinja escapes whatever it writes, and the page forbids itself
scripts, pictures and addresses. Costs a few KiB a rule.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from .. import pages
from ..tables import clipped
from . import copies_text, joint_table, outcomes, report_text, set_phrases
from .copies import Copies, CopiesOf
from .differences import Difference
from .funnel import Group
from .report import ONLY_DROPPED, Report
from .report_chart import chart
from .report_text import (
    LONGEST_NAME,
    amount,
    keeps,
    known_languages,
    label,
    number,
    percent,
    rule_name,
    share,
)
from .rule_values import Example, RuleValues

TEMPLATE = "report.html.jinja"
MOST_GROUPS = 60  # languages, or sources, that have rows of their own
MOST_COLUMNS = 16  # of them that have columns of their own where rules are rows
LONGEST_ID = 200  # characters
UNKNOWN = Difference("gap", "the one that is kept stands in an index, which holds no texts")
UNSAFE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
ALL = "of all documents since the last deduplication before it, those that a rule in between drops among them"


def write(report: Report, file: str, overwrite: bool = False) -> None:
    """Writes the page, as a whole or not at all.

    Args:
        report: what was read.
        file: where the page goes, on this machine or in a store.
        overwrite: whether a file that stands there may be replaced.

    Raises:
        ConfigError: something stands there, or there is no such folder.
    """
    pages.write(file, overwrite, "report.html", lambda: render(report))


def render(report: Report) -> str:
    """The page's HTML."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    funnel = report.funnel
    return environment.get_template(TEMPLATE).render(
        report=report,
        read=funnel.total.read,
        kept=funnel.total.kept,
        kept_share=percent(funnel.total.kept, funnel.total.read),
        size=amount(funnel.total.read.text_bytes),
        steps=_steps(funnel.total),
        groups=_groups(report),
        readings=report_text.by_repair(report.reasoning) if report.reasoning else [],
        outcomes=outcomes.by_source(report.outcomes) if report.outcomes else [],
        phrases=set_phrases.by_source(report.phrases) if report.phrases else [],
        joint=[
            {"title": joint_table.title(one), "rows": joint_table.grid(one, MOST_COLUMNS)}
            for one in report.joint[:MOST_GROUPS]
        ],
        copies=[_copies(found) for found in report.copies],
        rules=[_rule(rule) for rule in report.rules if rule.dropped or rule.histogram is not None],
        silent=[_silent(rule) for rule in report.rules if not rule.dropped and rule.histogram is None],
    )


def _steps(total: Group) -> list[dict[str, Any]]:
    """The rows of the funnel, each with the share of all documents that is left, in percent."""
    whole = total.read.documents or 1
    rows = [_row("read", total.read.documents, "", amount(total.read.text_bytes), total.read.documents, 100.0, "")]
    for step in total.steps:
        part = 100 * step.left / whole
        if not step.drops:
            gone = share(step.quarantined, step.seen)
            rows.append(_row(f"set aside: {step.step}", step.quarantined, gone, "", step.left, part, ""))
            continue
        dropped = step.dropped
        gone = share(dropped.documents, step.seen)
        rows.append(_row(step.step, dropped.documents, gone, amount(dropped.text_bytes), step.left, part, "step"))
        for rule, own in step.rules:
            part_of, size = share(own.documents, step.seen), amount(own.text_bytes)
            rows.append(_row(rule, own.documents, part_of, size, None, None, "rule"))
        if step.cut:
            changed = share(step.cut.documents, step.seen)
            size = amount(step.cut.text_bytes)
            rows.append(_row("pieces cut out of texts of", step.cut.documents, changed, size, None, None, "rule"))
        if step.quarantined:
            gone = share(step.quarantined, step.seen)
            rows.append(_row("set aside", step.quarantined, gone, "", None, None, "rule"))
    if total.removed_bytes:
        rows.append(_row("cut out of texts, or set aside", None, "", amount(total.removed_bytes), None, None, ""))
    kept, part = total.kept, 100 * total.kept.documents / whole
    rows.append(_row("kept", kept.documents, f"{part:.2f} %", amount(kept.text_bytes), None, part, "step"))
    return rows


def _row(
    name: str, documents: int | None, part: str, size: str, left: int | None, bar: float | None, kind: str
) -> dict[str, Any]:
    return {
        "name": clipped(name, LONGEST_NAME),
        "documents": "" if documents is None else f"{documents:,}",
        "share": part if documents else "",
        "size": size if documents != 0 else "",
        "left": "" if left is None else f"{left:,}",
        "bar": None if bar is None else f"{bar:.2f}",
        "kind": kind,
    }


def _groups(report: Report) -> list[dict[str, Any]]:
    """The funnel by source and by language: a table of steps, and one of rules."""
    found = []
    for what, groups in (("source", report.funnel.sources), ("language", known_languages(report.funnel))):
        if groups:
            found.append(
                {
                    "what": what,
                    "rows": report_text.by_group(what, groups, MOST_GROUPS),
                    "rules": _by_rule(what, groups[:MOST_COLUMNS]),
                    "hidden": max(len(groups) - MOST_COLUMNS, 0),
                }
            )
    return found


def _by_rule(what: str, groups: Sequence[Group]) -> list[list[str]]:
    """A row a rule, a column a group: documents dropped."""
    rows = [["dropped by", *(label(what, group.name) for group in groups)]]
    for place, step in enumerate(groups[0].steps):
        for at, (rule, _) in enumerate(step.rules):
            counts = [group.steps[place].rules[at][1].documents for group in groups]
            rows.append([clipped(f"{step.step}.{rule}", LONGEST_NAME), *(f"{count:,}" for count in counts)])
    return rows


def _rule(rule: RuleValues) -> dict[str, Any]:
    sources = list(dict.fromkeys(bound.source for bound in rule.thresholds if bound.source))
    return {
        "name": rule_name(rule),
        "dropped": f"{rule.dropped:,}",
        "bounds": ", ".join(keeps(bound) for bound in rule.thresholds),
        "sources": sources,
        "chart": chart(rule),
        "caption": _caption(rule),
        "nearest": [_example(one) for one in rule.nearest],
        "random": [_example(one) for one in rule.random if rule.dropped > len(rule.nearest)],
        "partners": any(one.partner is not None for one in rule.random),
    }


def _copies(found: Copies) -> dict[str, Any]:
    most = max((count for _, count in found.sizes), default=0)
    shown = len(found.sampled)
    pieces = (piece.kind for one in found.sampled for copy in one.copies for piece in copy.differences or ())
    return {
        "step": clipped(found.step, LONGEST_NAME),
        "documents": f"{found.documents:,}",
        "duplicates": f"{found.duplicates:,}",
        "clusters": f"{found.clusters:,}",
        "sizes": [
            {
                "size": size.replace("-", " to "),
                "clusters": f"{count:,}",
                "share": share(count, found.clusters),
                "bar": f"{100 * math.log1p(count) / math.log1p(most):.2f}",
            }
            for size, count in found.sizes
        ],
        "matrix": copies_text.matrix(found.between, MOST_COLUMNS),
        "shown": "All clusters" if shown == found.clusters else f"{shown} clusters, by a hash of the ids",
        "marked": any(kind in ("kept", "dropped") for kind in pieces),
        "sampled": [_cluster(one) for one in found.sampled],
    }


def _cluster(one: CopiesOf) -> dict[str, Any]:
    copies = [
        {
            "id": clipped(copy.id, LONGEST_ID),
            "source": clipped(copy.source),
            "similarity": "" if copy.similarity is None else f"{copy.similarity:.4f}",
            "pieces": [{"kind": piece.kind, "text": harmless(piece.text)} for piece in copy.differences or (UNKNOWN,)],
        }
        for copy in one.copies
    ]
    names = {"id": clipped(one.id, LONGEST_ID), "source": clipped(one.source)}
    return {**names, "dropped": f"{one.size - 1:,}", "copies": copies}


def harmless(text: str) -> str:
    """Text of the input without characters that a page cannot hold or that turn round what stands beside them."""
    return UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text)


def _caption(rule: RuleValues) -> str:
    """What the chart shows, or why there is none."""
    if rule.scope == "none":
        return "This rule has no values: there is no chart."
    about = f"{rule.count:,} values from {number(rule.minimum)} to {number(rule.maximum)}, median {number(rule.median)}"
    return f"{about}: " + (ALL if rule.scope == "all" else ONLY_DROPPED) + "."


def _example(one: Example) -> dict[str, str]:
    return {
        "id": clipped(one.id, LONGEST_ID),
        "source": clipped(one.source),
        "value": number(one.value),
        "partner": clipped(one.partner or "", LONGEST_ID),
    }


def _silent(rule: RuleValues) -> str:
    bounds = ", ".join(keeps(bound) for bound in rule.thresholds)
    return rule_name(rule) + (f" ({bounds})" if bounds else "")
