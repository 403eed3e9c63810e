"""What deduplication found: how large clusters are, which sources share copies, and clusters to judge it by.

Whether a threshold is right shows in what it called copies: of a few clusters, taken by a hash of their keepers' ids,
the texts are read again and compared word by word. Costs a small read for each task of a choice, the row groups that
the few clusters stand in, and one pass over the sources of dropped copies, which are counted against the choice.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from .curation import Curation, Reason, StageRecord
from .differences import Difference, differences
from .dropped import PARTNERED
from .duplicates import clusters
from .duplicates.clusters import Cluster, Document
from .funnel import must_be_equal
from .picking import pick
from .read_parts import kept_parts

COLUMNS = ("partner_source",)  # of dropped documents
MOST_READ = 1_000_000  # characters of a text that are held and compared


@dataclass(frozen=True)
class Copy:
    """A dropped document of a cluster.

    Args:
        id, source: its own.
        similarity: to the one kept; None where documents are the same or not.
        differences: where it differs from the one kept; None where that one's text is not at hand.
    """

    id: str
    source: str
    similarity: float | None
    differences: tuple[Difference, ...] | None


@dataclass(frozen=True)
class CopiesOf:
    """A cluster.

    Args:
        size: its documents, the kept one among them.
        id, source: of the one kept.
        copies: some that were dropped for it, the least similar first.
    """

    size: int
    id: str
    source: str
    copies: tuple[Copy, ...]


@dataclass(frozen=True)
class Between:
    """How many documents of one source were dropped for documents of another, or of the same."""

    dropped: str
    kept: str
    documents: int


@dataclass(frozen=True)
class Copies:
    """What one step of deduplication found.

    Args:
        stage, step: where.
        documents: those that came to it, of the sources that it applies to.
        duplicates: those that it dropped.
        sizes: clusters by size, as `clusters.size_name` spells it, rising.
        between: pairs of sources that share copies, in the order of the recipe.
        largest: the largest cluster; None where there is none.
        sampled: clusters by a hash of the kept documents' ids.
    """

    stage: str
    step: str
    documents: int
    duplicates: int
    sizes: tuple[tuple[str, int], ...]
    between: tuple[Between, ...]
    largest: CopiesOf | None
    sampled: tuple[CopiesOf, ...]

    @property
    def clusters(self) -> int:
        """Their number."""
        return sum(count for _, count in self.sizes)


class CopiesCounter:
    """Counts copies between sources while a curation's dropped rows pass by; then reads the choices' clusters.

    Args:
        curation: what is reported on.
    """

    def __init__(self, curation: Curation) -> None:
        self.curation = curation
        self._between: dict[str, Counter[tuple[str, str]]] = {}

    def add(
        self, stage: StageRecord, source: str, groups: Iterable[tuple[Reason, npt.NDArray[np.int64]]], rows: pa.Table
    ) -> None:
        """Counts rows with `COLUMNS`, grouped by reason as `funnel_counter.by_reason` does."""
        choice = self.curation.choices.get(stage.name)
        for reason, place in groups:
            if choice is not None and reason.rule in PARTNERED and reason.step == _step(choice):
                partners = rows.column("partner_source").combine_chunks().take(pa.array(place))
                found = self._between.setdefault(stage.name, Counter())
                for entry in pc.value_counts(partners.cast(pa.string())).to_pylist():
                    found[source, str(entry["values"])] += entry["counts"]

    def finish(self) -> tuple[Copies, ...]:
        """What each step found, in their order, once all rows were seen.

        Raises:
            RunError: the rows are not those that the choice counted; a file is gone or damaged.
        """
        return tuple(self._copies(stage, place) for place, stage in enumerate(self.curation.stages) if self._has(stage))

    def _has(self, stage: StageRecord) -> bool:
        return stage.name in self.curation.choices

    def _copies(self, stage: StageRecord, place: int) -> Copies:
        choice = self.curation.choices[stage.name]
        counts, upstream = choice.counts, self.curation.stages[place - 1]
        came = (upstream.counts["sources"].get(name, {"kept": 0}) for name in choice.manifest.options["sources"])
        between = {(dropped, kept): n for dropped, own in counts["between"].items() for kept, n in own.items()}
        must_be_equal(f"{stage.folder}, copies between sources", dict(self._between.get(stage.name, {})), between)
        found = clusters.read(choice.folder, choice.manifest.files)
        texts = self._texts(upstream, [*found.sampled, *([found.largest] if found.largest else [])])
        order = {name: at for at, name in enumerate(self.curation.sources)}
        return Copies(
            stage.name,
            _step(choice),
            sum(own["kept"] for own in came),
            counts["duplicates"],
            tuple(sorted(counts["cluster_sizes"].items(), key=lambda item: clusters.largest_of(item[0]))),
            tuple(
                Between(*pair, between[pair])
                for pair in sorted(between, key=lambda pair: [order.get(name, len(order)) for name in pair])
            ),
            None if found.largest is None else _shown(found.largest, texts),
            tuple(_shown(one, texts) for one in found.sampled),
        )

    def _texts(self, upstream: StageRecord, shown: Iterable[Cluster]) -> dict[Document, str]:
        """The texts of clusters' documents as the step saw them, those that only an index knows left out."""
        by_part: dict[int, set[Document]] = {}
        for cluster in shown:
            for document in (cluster.keeper, *cluster.members):
                if document.part is not None:
                    by_part.setdefault(document.part, set()).add(document)
        parts = kept_parts(upstream.manifest)
        found: dict[Document, str] = {}
        for part, documents in sorted(by_part.items()):
            path, listed = upstream.folder / parts[part].path, list(documents)
            rows = pick(path, [one.row or 0 for one in listed], ["id", "text"])
            must_be_equal(f"{path}, ids", rows.column("id").to_pylist(), [one.id for one in listed])
            texts = pc.utf8_slice_codeunits(rows.column("text"), 0, MOST_READ)
            found.update(zip(listed, texts.to_pylist(), strict=True))
        return found


def _step(choice: StageRecord) -> str:
    return str(choice.manifest.options["step"])


def _shown(cluster: Cluster, texts: dict[Document, str]) -> CopiesOf:
    kept = texts.get(cluster.keeper)
    copies = tuple(
        Copy(one.id, one.source, one.similarity, None if kept is None else differences(kept, texts[one]))
        for one in cluster.members
    )
    return CopiesOf(cluster.size, cluster.keeper.id, cluster.keeper.source, copies)
