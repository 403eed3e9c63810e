"""The quality rules of Gopher: word counts, word lengths, symbols, bullets, ellipses and stop words.

They are the cheapest published rules that drop text which is no prose, and most later corpora apply them. The order,
the denominators and which words count are those of datatrove's GopherQualityFilter (0.10.1); words are spaCy's.
Costs about 0.3 ns per byte for a decision, and what the words cost: 2 to 4 ns where the chunk cache knows most of them.
"""

from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from ..config import Count
from .document import DocumentBatch
from .published import Published, bounding, judge_last, shares
from .rules import Decision, Scores

PAPER: Final = "Rae et al. 2021, arXiv 2112.11446, appendix A.1.1, Quality Filtering"

_LAST: Final = 7  # the last rule, whose words may have to be looked for


class GopherQuality(Published):
    """Keeps a document whose every score lies within its bounds, the bounds included; null takes a bound away.

    A word is one of spaCy's English tokens that is no white space; a plain word is one that is not all punctuation. A
    share of nothing is 0: an empty document has 0 words of mean length 0.
    """

    version: ClassVar[int] = 2
    looked_up: ClassVar[float] = 1.0
    paper: ClassVar[str] = PAPER
    rule_options: ClassVar = (
        ("words", "min_words", "max_words"),
        ("mean_word_length", "min_mean_word_length", "max_mean_word_length"),
        ("hash_ratio", None, "max_hash_ratio"),
        ("ellipsis_ratio", None, "max_ellipsis_ratio"),
        ("bullet_lines", None, "max_bullet_lines"),
        ("ellipsis_lines", None, "max_ellipsis_lines"),
        ("alphabetic_words", "min_alphabetic_words", None),
        ("stop_words", "min_stop_words", None),
    )
    bounds: ClassVar[tuple[str, ...]] = bounding(rule_options)

    min_words: Count | None = Field(default=50, ge=0, description="plain words in the document")
    max_words: Count | None = Field(default=100_000, ge=0)
    min_mean_word_length: float | None = Field(default=3.0, ge=0, description="characters per plain word")
    max_mean_word_length: float | None = Field(default=10.0, ge=0)
    max_hash_ratio: float | None = Field(default=0.1, ge=0, description="hash characters per word")
    max_ellipsis_ratio: float | None = Field(default=0.1, ge=0, description='"..." and "…" per word')
    max_bullet_lines: float | None = Field(
        default=0.9, ge=0, le=1, description="share of lines that begin with a bullet"
    )
    max_ellipsis_lines: float | None = Field(
        default=0.3, ge=0, le=1, description="share of lines that end with an ellipsis"
    )
    min_alphabetic_words: float | None = Field(default=0.8, ge=0, le=1, description="share of words with a letter")
    min_stop_words: Count | None = Field(
        default=2, ge=0, description="distinct stop words in the document, case as given"
    )
    stop_words: tuple[str, ...] = ("the", "be", "to", "of", "and", "that", "have", "with")

    @model_validator(mode="after")
    def _stop_words_can_occur(self) -> "GopherQuality":
        for word in self.stop_words:
            if word.split() != [word]:
                raise ValueError(f"{word!r} can never be a word: a stop word is not empty and has no white space")
        distinct = len(set(self.stop_words))
        if self.min_stop_words is not None and self.min_stop_words > distinct:
            raise ValueError(f"min_stop_words {self.min_stop_words} is more than the {distinct} different stop_words")
        return self

    def scores(self, batch: DocumentBatch) -> dict[str, Scores]:
        """float64[n] for each rule's name, from one pass over words, one over bytes and one over lines."""
        from .kernels import quality_kernels as kernels
        from .kernels import word_kernels as sums

        of_words, counts = batch.word_sums, kernels.count(batch.text_bytes, batch.text_offsets)
        words, plain, lines = of_words[:, sums.WORDS], of_words[:, sums.PLAIN_WORDS], counts[:, kernels.LINES]
        return {
            "words": plain.astype(np.float64),
            "mean_word_length": shares(of_words[:, sums.PLAIN_CHARACTERS], plain),
            "hash_ratio": shares(counts[:, kernels.HASHES], words),
            "ellipsis_ratio": shares(counts[:, kernels.ELLIPSES], words),
            "bullet_lines": shares(counts[:, kernels.BULLET_LINES], lines),
            "ellipsis_lines": shares(counts[:, kernels.ELLIPSIS_LINES], lines),
            "alphabetic_words": shares(of_words[:, sums.ALPHABETIC_WORDS], words),
            "stop_words": self._count_stop_words(batch, np.arange(len(batch)), len(self.stop_words)),
        }

    def decide(self, batch: DocumentBatch) -> Decision:
        """What the scores give, without the work for rules behind the first that a document breaks."""
        from .kernels import quality_kernels as kernels

        bounds = self.bound_table()
        rule, value, threshold = kernels.decide(batch.text_bytes, batch.text_offsets, batch.word_sums, bounds)
        if self.min_stop_words is not None:
            asked = np.flatnonzero(rule < 0)
            stops = self._count_stop_words(batch, asked, max(self.min_stop_words, 1))
            judge_last(_LAST, bounds[_LAST], asked, stops, rule, value, threshold)
        return Decision(rule < 0, rule, value, threshold)

    def _count_stop_words(self, batch: DocumentBatch, documents: npt.NDArray[np.int64], enough: int) -> Scores:
        """float64[m]: the distinct stop words in each of the documents; unpublished ones are looked for to `enough`."""
        from .kernels.word_kernels import DEFAULT_STOP_WORDS, STOP_WORDS
        from .word_sums import count_words_among

        if set(self.stop_words) == set(DEFAULT_STOP_WORDS):
            return np.asarray(np.bitwise_count(batch.word_sums[documents, STOP_WORDS]), np.float64)
        return count_words_among(batch, documents, self.stop_words, enough).astype(np.float64)
