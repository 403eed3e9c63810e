"""The paragraph rule of mC4: a document needs some lines that are long enough to be paragraphs.

In languages of which no sentence is known how to end, length tells running text from lists and menus. As datatrove's
C4ParagraphFilter (0.10.1) has it: three lines of at least 200 characters, where only a newline ends a line.
Costs about 0.5 ns per byte, and less where the first lines are long.
"""

from typing import ClassVar, Final

import numpy as np
from pydantic import Field

from ..config import Count
from .document import DocumentBatch
from .rules import Decision, Filter, Rule, Scores

PAPER: Final = "Xue et al. 2021, arXiv 2010.11934, section 3.1"


class C4Paragraphs(Filter):
    """Keeps a document with at least `min_paragraphs` lines of at least `min_length` characters each."""

    version: ClassVar[int] = 1
    bounds: ClassVar[tuple[str, ...]] = ("min_paragraphs",)

    min_paragraphs: Count = Field(default=3, ge=1, description="paragraphs in the document")
    min_length: Count = Field(default=200, ge=0, description="characters of a paragraph")

    @property
    def rules(self) -> tuple[Rule, ...]:
        """One rule: the number of paragraphs."""
        published = (self.min_paragraphs, self.min_length) == (3, 200)
        source = PAPER if published else f"the recipe; the rule is from {PAPER}"
        return (Rule("paragraphs", self._score, float(self.min_paragraphs), None, source),)

    def decide(self, batch: DocumentBatch) -> Decision:
        """The decision that the scores give; a document is left at its last paragraph that is needed."""
        found = self._count(batch, self.min_paragraphs)
        keep = found >= self.min_paragraphs
        return Decision(
            keep,
            np.where(keep, -1, 0).astype(np.int16),
            np.where(keep, np.nan, found),
            np.where(keep, np.nan, float(self.min_paragraphs)),
        )

    def _score(self, batch: DocumentBatch) -> Scores:
        return self._count(batch, 1 << 62)

    def _count(self, batch: DocumentBatch, enough: int) -> Scores:
        from .kernels.paragraph_kernels import count_paragraphs

        return np.asarray(count_paragraphs(batch.text_bytes, batch.text_offsets, self.min_length, enough))
