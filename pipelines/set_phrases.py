"""Sentences with which many replies of a source begin or end: counted while a step judges them, shown by a report.

What one model says in nearly every record is learned before anything else in it, and no list of phrases knows it. Each
task names the sentences that at least a fiftieth of its records share, so that a sum may miss a fiftieth of a source.
Costs 10 microseconds a record, and memory for the sentences of a task.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .stage import Counts

if TYPE_CHECKING:
    from .curation import Curation

LEAST: Final = 0.02  # share of a task's records that a sentence is in to be named
SHOWN: Final = 0.05  # share of a source's records, by what was named, that it is in to be reported
MOST: Final = 10  # sentences that are reported of a source and a place


class Phrases:
    """Counts texts of the documents that come to steps, by step and place."""

    def __init__(self) -> None:
        self._records: Counter[str] = Counter()
        self._texts: dict[tuple[str, str], Counter[str]] = {}

    def add(self, label: str, records: int, texts: Mapping[str, Sequence[str]]) -> None:
        """Counts the texts of so many documents, by place; empty ones are none."""
        if texts:
            self._records[label] += records
        for place, own in texts.items():
            self._texts.setdefault((label, place), Counter()).update(filter(None, own))

    def counts(self) -> Counts:
        """`{step: {"records": n, place: {text: documents}}}` of what at least `LEAST` of the documents share."""
        found: Counts = {label: {"records": records} for label, records in sorted(self._records.items())}
        for (label, place), texts in sorted(self._texts.items()):
            least = max(2, LEAST * self._records[label])
            found[label][place] = {text: count for text, count in sorted(texts.items()) if count >= least}
        return found


@dataclass(frozen=True)
class SetPhrase:
    """A sentence that many records of a source share.

    Args:
        source, step: whose records, and the step that saw them.
        place: `opening` or `closing` of the last reply.
        text: the sentence, without case, its numbers as #.
        records: that have it, at least.
        of: that came to the step.
    """

    source: str
    step: str
    place: str
    text: str
    records: int
    of: int


def read(curation: "Curation") -> tuple[SetPhrase, ...]:
    """What a report shows, by source, step and place, the commonest first."""
    found = []
    for stage in curation.stages:
        for source, own in stage.counts["sources"].items():
            for step, counted in own.get("phrases", {}).items():
                for place in sorted(counted.keys() - {"records"}):
                    common = sorted(counted[place].items(), key=lambda one: (-one[1], one[0]))
                    of = counted["records"]
                    texts = [(text, count) for text, count in common if count >= SHOWN * of][:MOST]
                    found += [SetPhrase(source, step, place, text, count, of) for text, count in texts]
    return tuple(found)


def by_source(phrases: Sequence[SetPhrase]) -> list[list[str]]:
    """A row a sentence: where it stands, how many records have it, which it is."""
    rows = [["set phrases", "place", "records", "", "sentence"]]
    for one in phrases:
        rows.append([one.source, one.place, f"{one.records:,}", f"{100 * one.records / one.of:.1f} %", one.text])
    return rows
