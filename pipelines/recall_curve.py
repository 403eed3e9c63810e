"""What bands and rows find: the probability that two documents are compared, against their Jaccard similarity.

A pair that shares no band is never compared, so it stays however alike it is; the curve says before a run how many of
those there are. Costs nothing.
"""

from dataclasses import asdict, dataclass
from typing import Any

from ..filters.minhash_dedup import SimilarDedup, probability
from ..tables import columns
from .recipe import Recipe

JACCARDS = tuple(number / 20 for number in range(10, 21))  # .5, .55, …, 1
BAR = 40  # characters of a probability of 1
EQUAL_SIZES = (
    "  by containment that holds for documents of equal size: of small texts that stand in large ones far fewer are "
    "compared"
)


@dataclass(frozen=True)
class RecallCurve:
    """The curve of one step.

    Args:
        step: its label in the recipe.
        bands, rows: of its signatures.
        similarity: what its threshold is of, `jaccard` or `containment`.
        threshold: from which documents are duplicates.
        recall: the probability that a pair at the threshold is compared.
        min_recall: the least that the recipe allows.
        points: Jaccard similarity, rising, and the probability that such a pair is compared.
    """

    step: str
    bands: int
    rows: int
    similarity: str
    threshold: float
    recall: float
    min_recall: float
    points: tuple[tuple[float, float], ...]

    def text(self) -> str:
        """The curve for people: a line a point, the threshold's marked."""
        head = (
            f"{self.step}: {self.bands} bands of {self.rows} rows compare {100 * self.recall:.2f} % of pairs at the "
            f"threshold, {self.similarity} {self.threshold:g} (min_recall: {self.min_recall:g})"
        )
        cells = [["Jaccard", "compared"], *([f"{at:.4g}", f"{100 * share:.2f} %"] for at, share in self.points)]
        bars = ["", *(self._bar(at, share) for at, share in self.points)]
        lines = zip(columns(cells).splitlines(), bars, strict=True)
        notes = [EQUAL_SIZES] if self.similarity == "containment" else []
        return "\n".join([head, *notes, *(f"{line}  {bar}".rstrip() for line, bar in lines)])

    def data(self) -> dict[str, Any]:
        """The curve for machines."""
        return {**asdict(self), "points": [{"jaccard": at, "compared": share} for at, share in self.points]}

    def _bar(self, jaccard: float, share: float) -> str:
        bar = "#" * round(share * BAR)
        return f"{bar:{BAR}}  threshold" if self.similarity == "jaccard" and jaccard == self.threshold else bar


def curves(recipe: Recipe) -> tuple[RecallCurve, ...]:
    """Those of a recipe's steps that compare similar documents, in their order."""
    return tuple(curve(one.label, one.options) for one in recipe.steps if isinstance(one.options, SimilarDedup))


def curve(label: str, options: SimilarDedup) -> RecallCurve:
    """The curve of a step; the threshold is among its points where it is a Jaccard similarity."""
    own = {options.threshold} if options.similarity == "jaccard" else set()
    points = tuple((at, probability(at, options.bands, options.rows)) for at in sorted({*JACCARDS, *own}))
    return RecallCurve(
        label,
        options.bands,
        options.rows,
        options.similarity,
        options.threshold,
        options.recall,
        options.min_recall,
        points,
    )
