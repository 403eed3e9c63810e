"""The funnel of a curation: what came in, what each step dropped for which rule, what was set aside, what was kept.

In total, by source and by language, in documents and in bytes of text. Nothing is estimated: counts of manifests and
rows of files are compared, and where they disagree there is an error in place of a report. Costs one pass over reason,
language and size of the dropped documents (no text), about 4 million a second together with the rules' values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import RunError
from .curation import Curation, Reason, StepRecord
from .readers.records import POISONED, READ

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
class Cut:
    """What a step cut out of texts whose documents went on: how many of these, pieces, and UTF-8 bytes."""

    documents: int
    pieces: int
    text_bytes: int

    def __add__(self, other: "Cut") -> "Cut":
        return Cut(self.documents + other.documents, self.pieces + other.pieces, self.text_bytes + other.text_bytes)


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
        cut: what it cut out of the texts of some of these; None where it cuts nothing, and of a language.
    """

    stage: str
    step: str
    seen: int
    dropped: Amount
    rules: tuple[tuple[str, Amount], ...]
    quarantined: int
    left: int
    cut: Cut | None = None

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
class Leaving:
    """What left a group, by reason, as it is counted."""

    dropped: dict[Reason, Amount] = field(default_factory=dict)
    quarantined: dict[tuple[str, str], int] = field(default_factory=dict)  # by stage and step

    def drop(self, reason: Reason, amount: Amount) -> None:
        """Counts dropped documents."""
        self.dropped[reason] = self.dropped.get(reason, NOTHING) + amount

    def set_aside(self, stage: str, step: str) -> None:
        """Counts a document that was set aside."""
        self.quarantined[stage, step] = self.quarantined.get((stage, step), 0) + 1


def of_source(curation: Curation, name: str, leaving: Leaving, order: Sequence[StepRecord]) -> Group:
    """The funnel of a source, by the counts of the first and the last stage and what left between them.

    Raises:
        RunError: the counts do not add up.
    """
    first = curation.stages[0].counts["sources"][name]
    last = curation.stages[-1].counts["sources"].get(name, {"kept": 0, "text_bytes": 0})
    read = Amount(first["documents"], first["read_text_bytes"] if curation.recorded else None)
    kept = Amount(last["kept"], last["text_bytes"])
    applies = {(step.stage, step.name): name in step.sources for step in order}
    return _group(name, read, kept, leaving, order, applies, _cuts(curation, name))


def _cuts(curation: Curation, source: str) -> dict[tuple[str, str], Cut]:
    """What was cut out of a source's texts, by stage and step: a stage that cuts does so in its first step."""
    first: dict[str, str] = {}
    for step in curation.steps:
        first.setdefault(step.stage, step.name)
    counts = {stage.name: stage.counts["sources"].get(source, {}).get("cut") for stage in curation.stages}
    return {
        (stage, first[stage]): Cut(own["documents"], own["pieces"], own["bytes"])
        for stage, own in counts.items()
        if own is not None
    }


def of_languages(curation: Curation, leaving: dict[str, Leaving], order: Sequence[StepRecord]) -> tuple[Group, ...]:
    """The funnels by language, the largest first, by what the last stage kept and what left before.

    Raises:
        RunError: the counts do not add up.
    """
    kept: dict[str, Amount] = {}
    for source, counts in curation.stages[-1].counts["sources"].items():
        of_source = NOTHING
        for language, own in counts["languages"].items():
            amount = Amount(own["kept"], own["text_bytes"])
            kept[language] = kept.get(language, NOTHING) + amount
            of_source += amount
        where = f"{curation.stages[-1].folder}, kept of source {source} by language"
        must_be_equal(where, of_source, Amount(counts["kept"], counts["text_bytes"]))
    applies = {(step.stage, step.name): True for step in order}
    found = []
    for language in dict.fromkeys([*kept, *leaving]):
        own = leaving.get(language, Leaving())
        end = kept.get(language, NOTHING)
        gone = sum(amount.documents for amount in own.dropped.values()) + sum(own.quarantined.values())
        found.append(_group(language, Amount(end.documents + gone, None), end, own, order, applies))
    read = sum(group.read.documents for group in found)
    must_be_equal(f"{curation.root}, documents by language", read, curation.stages[0].counts["documents"])
    return tuple(sorted(found, key=lambda group: (-group.read.documents, group.name)))


def _group(
    name: str,
    read: Amount,
    kept: Amount,
    leaving: Leaving,
    order: Sequence[StepRecord],
    applies: Mapping[tuple[str, str], bool],
    cuts: Mapping[tuple[str, str], Cut] | None = None,
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
        cut = (cuts or {}).get((step.stage, step.name))
        steps.append(FunnelStep(step.stage, label, seen, dropped, rules, aside, left, cut))
        all_dropped += dropped
    must_be_equal(f"{name}: documents left after the last step", left, kept.documents)
    removed = None
    if read.text_bytes is not None and all_dropped.text_bytes is not None and kept.text_bytes is not None:
        removed = read.text_bytes - all_dropped.text_bytes - kept.text_bytes
    return Group(name, read, tuple(steps), sum(leaving.quarantined.values()), kept, removed)


def sum_of(groups: Sequence[Group]) -> Group:
    """All groups as one; their steps and rules are the same."""
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
                sum((step.cut for step in own if step.cut), Cut(0, 0, 0)) if any(step.cut for step in own) else None,
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


def must_be_equal(where: str, seen: object, expected: object) -> None:
    """Compares what is known twice.

    Raises:
        RunError: it is not the same.
    """
    if seen != expected:
        raise RunError(
            "the counts do not add up",
            where=where,
            seen=seen,
            expected=expected,
            fix="a file of the output was changed, or this is a fault of midtrain: run midtrain curate again into "
            "another output and compare",
        )
