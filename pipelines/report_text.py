"""A report as tables for the terminal: the funnel in total, by source, by language, and every rule's bound.

Says in a page what to look at; the JSON and the page in HTML hold everything. Costs nothing.
"""

from collections.abc import Sequence

from ..tables import Table, clipped, columns
from . import copies_text, joint_table, outcomes, set_phrases
from .budget import spelled
from .funnel import Amount, Funnel, Group
from .languages import OTHER, UNKNOWN
from .report import Reading, Report
from .rule_values import RuleValues, Threshold

LONGEST_NAME = 80  # characters of step and rule
CUT = "  pieces cut out of texts"
MOST_TABLES = 12  # of length and difficulty, each a source's
MOST_COLUMNS = 10  # of difficulties
MOST_ROWS = 20  # languages, or sources, that the terminal shows one by one


def table(report: Report) -> Table:
    """The report as text and as data."""
    funnel = report.funnel
    read, kept = funnel.total.read, funnel.total.kept
    size = f" ({amount(read.text_bytes)} of text)" if read.text_bytes is not None else ""
    head = f"{report.output}: {report.name}, {read.documents:,} documents{size}, {percent(kept, read)} kept"
    parts = [head, columns(by_step(funnel))]
    if len(funnel.sources) > 1:
        parts.append(columns(by_group("source", funnel.sources)))
    if known_languages(funnel):
        parts.append(columns(by_group("language", known_languages(funnel))))
    if report.reasoning:
        parts.append(columns(by_repair(report.reasoning)))
    if report.outcomes:
        parts.append(columns(outcomes.by_source(report.outcomes)))
    if report.phrases:
        parts.append(columns(_clipped(set_phrases.by_source(report.phrases))))
    for joint in report.joint[:MOST_TABLES]:
        parts.append(f"{joint_table.title(joint)}\n{columns(joint_table.grid(joint, MOST_COLUMNS))}")
    if hidden := len(report.joint) - MOST_TABLES:
        parts += [f"{hidden:,} more tables of length and difficulty: --json"] if hidden > 0 else []
    if report.rules:
        parts.append(columns(by_rule(report.rules)))
        parts.append(f"A dropped document's values: midtrain explain {report.output} ID")
    parts += [copies_text.told(found) for found in report.copies]
    parts += [f"Note: {note}" for note in report.notes]
    return Table("\n\n".join(parts), report.data())


def _clipped(rows: list[list[str]]) -> list[list[str]]:
    """Rows of which texts of the corpus are made fit for a terminal."""
    return [[clipped(cell, LONGEST_NAME) for cell in row] for row in rows]


def known_languages(funnel: Funnel) -> Sequence[Group]:
    """The funnels by language; none where no document has a language."""
    groups = funnel.languages or ()
    return () if all(group.name == UNKNOWN for group in groups) else groups


def by_step(funnel: Funnel) -> list[list[str]]:
    """The funnel in total: what each step and rule dropped, of what it saw."""
    total = funnel.total
    rows = [["step and rule", "documents", "of seen", "text", "left"]]
    rows.append(["read", f"{total.read.documents:,}", "", amount(total.read.text_bytes), f"{total.read.documents:,}"])
    for step in total.steps:
        aside = [f"-{step.quarantined:,}", share(step.quarantined, step.seen), ""]
        if not step.drops:
            rows.append([f"set aside: {clipped(step.step)}", *aside, f"{step.left:,}"])
            continue
        rows.append([clipped(step.step), *_dropped(step.dropped, step.seen), f"{step.left:,}"])
        rows += [[f"  {clipped(rule)}", *_dropped(own, step.seen), ""] for rule, own in step.rules]
        if step.cut:
            changed = f"{step.cut.documents:,} changed"
            rows.append([CUT, changed, share(step.cut.documents, step.seen), _signed(-step.cut.text_bytes), ""])
        if step.quarantined:
            rows.append(["  set aside", *aside, ""])
    if total.removed_bytes:
        rows.append(["cut out of texts, or set aside", "", "", _signed(-total.removed_bytes), ""])
    kept = total.kept
    rows.append(["kept", f"{kept.documents:,}", percent(kept, total.read), amount(kept.text_bytes), ""])
    return rows


def by_group(what: str, groups: Sequence[Group], most: int = MOST_ROWS) -> list[list[str]]:
    """A row a source or language: read, dropped by each step, set aside, kept; those beyond `most` are one row."""
    names = [_heading(groups, place) for place, _ in enumerate(groups[0].steps)]
    dropping = [place for place, step in enumerate(groups[0].steps) if step.drops]
    rows = [[what, "read", *(names[place] for place in dropping), "set aside", "kept", "", "text kept"]]
    shown = groups if len(groups) <= most + 1 else groups[:most]
    for group in shown:
        rows.append([label(what, group.name), *_cells([group], dropping)])
    if len(shown) < len(groups):
        rest = groups[len(shown) :]
        rows.append([f"{len(rest):,} more", *_cells(rest, dropping)])
    return rows


def by_repair(readings: Sequence[Reading]) -> list[list[str]]:
    """A row a layout and a row a repair of each reasoning source: how many of its records were read so."""
    rows = [["reasoning", "read as", "records", ""]]
    for reading in readings:
        for sort, counts in (("layout", reading.layouts), ("repair", reading.repairs)):
            for name, count in counts.items():
                of_all = share(count, reading.documents)
                rows.append([label("source", reading.source), f"{sort} {name}", f"{count:,}", of_all])
    return rows


def by_rule(rules: Sequence[RuleValues]) -> list[list[str]]:
    """A row a bound: what it keeps, the documents on its wrong side, and the dropped document nearest to it."""
    outside = "dropped" if all(rule.scope != "all" for rule in rules) else "on the wrong side"
    rows = [["rule", "keeps", outside, "", "nearest", "document"]]
    for rule in rules:
        name = rule_name(rule)
        if not rule.thresholds:
            rows.append([name, "", f"{rule.dropped:,}", "", "", ""])
        for bound in rule.thresholds:
            near = next((one for one in rule.nearest if one.threshold == bound.bound), None)
            found = ["", ""] if near is None else [number(near.value), clipped(near.id)]
            rows.append([name, keeps(bound), f"{bound.broken:,}", share(bound.broken, bound.of), *found])
    return rows


def rule_name(rule: RuleValues) -> str:
    """Step and rule, as tables show them."""
    return clipped(f"{rule.reason.step}.{rule.reason.rule}", LONGEST_NAME)


def keeps(bound: Threshold) -> str:
    """What a bound keeps, as `≥ 50`, or `< 0.8` where the bound itself is dropped."""
    signs = ("≥", ">") if bound.side == "low" else ("≤", "<")
    return f"{signs[bound.strict]} {number(bound.bound)}"


def number(value: float | None) -> str:
    """A value in six digits, whole numbers in full."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e9 else f"{value:.6g}"


def amount(size: int | None) -> str:
    """Bytes as people read them; nothing where they are not known."""
    if size is None:
        return ""
    digits = spelled(size)
    return f"{digits.rstrip('TGMKB')} {digits.lstrip('0123456789.')}"


def share(part: int, whole: int) -> str:
    """A part in percent; nothing of nothing, and no part that is there as none."""
    if not whole:
        return ""
    return "< 0.01 %" if 0 < part < whole / 20_000 else f"{100 * part / whole:.2f} %"


def percent(part: Amount, whole: Amount) -> str:
    """A part's documents in percent."""
    return share(part.documents, whole.documents)


def label(what: str, name: str) -> str:
    """The name of a source or a language as a table shows it: of one line, and of no more than 40 characters."""
    if what == "language" and name in (UNKNOWN, OTHER):
        return "(unknown)" if name == UNKNOWN else "(no language tag)"
    return clipped(name)


def _heading(groups: Sequence[Group], place: int) -> str:
    """A step's name; with its stage's number where another step has the name too."""
    steps = groups[0].steps
    name = steps[place].step
    same = [at for at, step in enumerate(steps) if step.step == name]
    return clipped(name) if len(same) == 1 else f"{clipped(name)} ({same.index(place) + 1})"


def _cells(groups: Sequence[Group], steps: Sequence[int]) -> list[str]:
    read, kept = sum(g.read.documents for g in groups), sum(g.kept.documents for g in groups)
    dropped = [sum(group.steps[place].dropped.documents for group in groups) for place in steps]
    aside = sum(group.quarantined for group in groups)
    size = sum(group.kept.text_bytes or 0 for group in groups)
    return [
        f"{read:,}",
        *(f"{count:,}" for count in dropped),
        f"{aside:,}",
        f"{kept:,}",
        share(kept, read),
        amount(size),
    ]


def _dropped(own: Amount, seen: int) -> list[str]:
    if not own.documents:
        return ["0", "", ""]
    return [f"-{own.documents:,}", share(own.documents, seen), amount(own.text_bytes)]


def _signed(size: int) -> str:
    return f"-{amount(-size)}" if size < 0 else amount(size)
