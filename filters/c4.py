"""The rules of C4: lines that are no sentences or that come from a page's machinery are removed, then documents judged.

They made C4, the first large corpus of web text that was cleaned by rules alone, and most later ones took them over.
Order, details and defaults are those of datatrove's C4QualityFilter (0.10.1); its bad words are a filter of their own.
Costs about 2 ns per byte: one walk decides and writes the new text, and copies nothing but that.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from ..config import Count
from .chunk_cache import opened
from .document import DocumentBatch
from .rules import Decision, Rule, Scores, Transform

PAPER: Final = "Raffel et al. 2020, JMLR 21:140, section 2.2"
_NOTHING: Final = "counted, never judged"
_ALL: Final = 1 << 62  # more sentences than there can be


class C4(Transform):
    """Removes lines, then keeps the documents that have enough sentences left, and no filler text or code.

    A line is stripped of white space and loses its citations. Then it is asked, in this order and up to the first yes:
    is a word too long, is there no terminal mark at its end, has it too few words, does it say lorem ipsum, JavaScript,
    a curly bracket, a policy. Lorem ipsum and a curly bracket drop the document, the others remove the line. The lines
    that are kept are joined by newlines (sentences by spaces), and white space around them is stripped.

    The scores are those of a walk that ends at the line which drops the document, and that looks for nothing which is
    switched off. Null takes a bound away.
    """

    version: ClassVar[int] = 1
    looks_up_chunks: ClassVar[bool] = True
    bounds: ClassVar[tuple[str, ...]] = ("min_sentences",)

    pieces: Literal["lines", "sentences"] = Field(
        default="lines", description="what is removed or kept: the paper's lines, or each sentence of the document"
    )
    remove_citations: bool = Field(default=True, description="take [1], [], [edit] and [citation needed] out of lines")
    terminal_marks: bool = Field(
        default=True, description="""remove lines that do not end in one of .?!"' or do in ..."""
    )
    min_line_words: Count | None = Field(default=3, ge=0, description="words of a line, before citations are removed")
    max_word_length: Count | None = Field(default=1000, ge=0, description="characters of the longest word of a line")
    drop_lorem_ipsum: bool = Field(default=True, description="drop documents that have a line with lorem ipsum")
    drop_curly_bracket: bool = Field(default=True, description="drop documents that have a line with {")
    remove_javascript: bool = Field(default=True, description="remove lines that name JavaScript")
    remove_policy: bool = Field(default=True, description="remove lines about terms of use, privacy or cookies")
    min_sentences: Count | None = Field(default=5, ge=0, description="sentences in the lines that are kept")
    language: Literal["en"] = Field(
        default="en", description="whose sentences are counted; for others use the step datatrove"
    )

    @property
    def rules(self) -> tuple[Rule, ...]:
        """What drops a document, in order; then, without bounds, the lines and what removed them."""
        from .kernels.c4_kernels import RULES

        low = None if self.min_sentences is None else float(self.min_sentences)
        sentences = PAPER if low == 5 else f"the recipe; the rule is from {PAPER}"
        judged = {
            "lorem_ipsum": (None, 0.0 if self.drop_lorem_ipsum else None, PAPER),
            "curly_bracket": (None, 0.0 if self.drop_curly_bracket else None, PAPER),
            "sentences": (low, None, sentences),
        }
        return tuple(
            Rule(name, partial(self._score, name), *judged.get(name, (None, None, _NOTHING))) for name in RULES
        )

    def scores(self, batch: DocumentBatch) -> dict[str, Scores]:
        """For each rule's name the lines that it speaks of, of each document; for `sentences` their number."""
        from .kernels.c4_kernels import RULES

        counts, _, _ = self._walk(batch, enough=_ALL, keep_all=True)
        return {name: counts[:, place].astype(np.float64) for place, name in enumerate(RULES)}

    def decide(self, batch: DocumentBatch) -> Decision:
        """The decision that the scores give, by a walk that leaves a document as soon as it is decided."""
        return self.rewrite(batch)[1]

    def apply(self, batch: DocumentBatch) -> DocumentBatch:
        """The documents with their lines removed; of one with a line that drops it, what stands before that line."""
        return batch.with_column("text", self._walk(batch, enough=0, keep_all=True)[1])

    def rewrite(self, batch: DocumentBatch) -> tuple[DocumentBatch, Decision]:
        """The decision, and the documents with their lines removed; those that are not kept have no text."""
        counts, text, rule = self._walk(batch, enough=self.min_sentences or 0, keep_all=False)
        keep, everywhere = rule < 0, np.arange(len(batch))
        value = np.where(keep, np.nan, counts[everywhere, np.maximum(rule, 0)])
        bounds = np.array([0.0, 0.0, float(self.min_sentences or 0), np.nan])
        return batch.with_column("text", text), Decision(keep, rule, value, bounds[rule])

    def _walk(
        self, batch: DocumentBatch, enough: int, keep_all: bool
    ) -> tuple[npt.NDArray[np.int64], pa.Array[str], npt.NDArray[np.int16]]:
        """Counts of each document by rule, the new texts, and the rule that drops each document (-1: none)."""
        from .kernels import c4_kernels as kernels
        from .kernels.c4_citations import digits

        offsets = batch.text_offsets
        room = int(offsets[-1] - offsets[0])
        nothing = np.empty(0, np.int64)
        start, stop, ends = nothing, nothing, nothing
        if self.pieces == "sentences":
            sentences = batch.sentences
            start, stop, ends = sentences.start, sentences.stop, sentences.ends
            room += len(sentences)
        out = np.empty(room, np.uint8)
        read = out[:]
        read.flags.writeable = False
        with opened(batch) as words:
            options = self._options(enough, keep_all)
            counts, new_offsets, rule = kernels.walk(
                batch.text_bytes, offsets, start, stop, ends, options, digits(), out, read, words
            )
        text = pa.LargeStringArray.from_buffers(len(batch), pa.py_buffer(new_offsets), pa.py_buffer(read))
        return counts, text, rule

    def _options(self, enough: int, keep_all: bool) -> npt.NDArray[np.int64]:
        from .kernels import c4_kernels as kernels
        from .kernels.c4_scan import CURLY, JAVASCRIPT, LOREM, POLICY

        options = np.zeros(kernels.OPTIONS, np.int64)
        options[kernels.BY_SENTENCE] = self.pieces == "sentences"
        options[kernels.REMOVE_CITATIONS] = self.remove_citations
        options[kernels.TERMINAL_MARKS] = self.terminal_marks
        options[kernels.MIN_WORDS] = self.min_line_words or 0
        options[kernels.MAX_WORD] = -1 if self.max_word_length is None else self.max_word_length
        options[kernels.CHECKS] = (
            self.drop_lorem_ipsum * LOREM
            | self.drop_curly_bracket * CURLY
            | self.remove_javascript * JAVASCRIPT
            | self.remove_policy * POLICY
        )
        options[kernels.ENOUGH] = enough
        options[kernels.KEEP_ALL] = keep_all
        return options

    def _score(self, name: str, batch: DocumentBatch) -> Scores:
        return self.scores(batch)[name]
