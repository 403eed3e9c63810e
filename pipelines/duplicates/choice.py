"""What every barrier of deduplication ends in: the documents that go, each with the one that stays in its place.

The stage behind a barrier reads nothing else of it, so that another way to find duplicates is another `Choice`. Costs
nothing: the rows of a duplicate are about 30 bytes beside its partner's id.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ...filters.deduplication import Deduplication
from ...manifest import OutputFile
from ...storage import Location
from ..picking import pick
from ..recipe import Step
from ..stage import Counts, Stage
from . import alarms, losses
from .alarms import Limits
from .clusters import Document
from .index_layer import Layer

if TYPE_CHECKING:
    from ..documents import DocumentStage

DUPLICATES = pa.schema(
    [
        pa.field("row", pa.int32()),
        pa.field("partner", pa.string()),
        pa.field("value", pa.float64()),
        pa.field("partner_source", pa.string()),
        pa.field("rule", pa.string()),
    ]
)


@dataclass(frozen=True)
class Choice(Stage):
    """Names the documents to drop, in files that `exchange.read` reads by the part that they stand in.

    Args:
        upstream: the stage whose documents are compared.
        step: the barrier.
        index: what they are compared with as well; None where the step names no index.
    """

    upstream: "DocumentStage"
    step: Step
    index: Layer | None = field(default=None, kw_only=True)

    @property
    def name(self) -> str:
        """`<step>-choice`."""
        return f"{self.step.name}-choice"

    def options(self) -> dict[str, Any]:
        """The step, and the version of the index."""
        return {**self.step.record(), **(self.index.record if self.index else {})}

    @property
    def threshold(self) -> float | None:
        """What the value of a dropped document is not less than; None where documents are the same or not."""
        return None

    def outputs(self) -> list[Location]:
        """The files of duplicates (`DUPLICATES`), for `exchange.read` by part."""
        return [self.folder / file.path for file in exchanged(self.finished().files)]

    def check(self, counts: Counts, files: Sequence[OutputFile]) -> None:
        """Compares what every source loses, and the largest cluster, with what the step allows.

        Raises:
            RunError: it is more; what was done is kept.
        """
        options = self.step.options
        if isinstance(options, Deduplication):
            limits = Limits(self.step.label, options.max_loss, options.allow_loss, options.max_cluster)
            lost = {name: sum(own.values()) for name, own in counts.get("between", {}).items()}
            found = losses.documents(self.upstream, options, lost)
            alarms.check_choice(limits, found, counts, self.folder, files, self._text_of)

    def _text_of(self, document: Document) -> str | None:
        """The text of a document that was compared; None of one that only an index knows."""
        if document.part is None or document.row is None:
            return None
        path = self.upstream.folder / self.upstream.parts[document.part].path
        return str(pick(path, [document.row], ["text"]).column("text")[0])


def exchanged(files: Sequence[OutputFile]) -> list[OutputFile]:
    """Those of a stage's files that are exchanges."""
    return [file for file in files if file.path.endswith(".arrow")]
