"""The repetition rules of Gopher: shares of a document in repeated lines, paragraphs and n-grams of words.

Much of the web's text that is no prose says the same again and again, and models that are trained on it do so too. The
order, the denominators and what counts as a repetition are those of datatrove's GopherRepetitionFilter (0.10.1).
Costs about 8 ns per byte for a decision and 15 for all values, and 12 bytes per token of the longest document.
"""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, Field

from .chunk_cache import opened
from .document import DocumentBatch
from .rules import Decision, Filter, Rule, Scores

PAPER: Final = "Rae et al. 2021, arXiv 2112.11446, table A1"
_TOP: Final[Mapping[int, float | None]] = {2: 0.20, 3: 0.18, 4: 0.16}
_DUPLICATE: Final[Mapping[int, float | None]] = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
_Share = Annotated[float, Field(ge=0)]
_PIECES: Final = (
    ("duplicate_paragraphs", "max_duplicate_paragraphs"),
    ("duplicate_paragraph_characters", "max_duplicate_paragraph_characters"),
    ("duplicate_lines", "max_duplicate_lines"),
    ("duplicate_line_characters", "max_duplicate_line_characters"),
)


def _number(key: object) -> object:
    """A key of YAML or JSON, which is a string, as the number that it stands for."""
    return int(key) if isinstance(key, str) and key.isdecimal() else key


_N = Annotated[int, Field(ge=1, le=1000), BeforeValidator(_number)]


class GopherRepetition(Filter):
    """Keeps a document that is not empty, and of which no more is repeated than the bounds allow.

    A bound itself is allowed, and null takes it away; 0 allows no repetition, where datatrove's 0 switches a rule of
    lines or paragraphs off. Words are spaCy's English tokens. Shares of characters are of all of the document's; that
    of n-grams can be above 1, since a top n-gram's spaces are counted.
    """

    version: ClassVar[int] = 1
    looked_up: ClassVar[float] = 1.0
    bounds: ClassVar[tuple[str, ...]] = (*(option for _, option in _PIECES), "max_top_ngrams", "max_duplicate_ngrams")

    max_duplicate_paragraphs: _Share | None = Field(
        default=0.3, description="share of paragraphs that stood before in the document"
    )
    max_duplicate_paragraph_characters: _Share | None = Field(
        default=0.2, description="share of characters in such paragraphs"
    )
    max_duplicate_lines: _Share | None = Field(
        default=0.3, description="share of lines that stood before in the document"
    )
    max_duplicate_line_characters: _Share | None = Field(default=0.2, description="share of characters in such lines")
    max_top_ngrams: Mapping[_N, _Share | None] = Field(
        default=_TOP, description="for each n, share of characters in the most frequent n-gram of words"
    )
    max_duplicate_ngrams: Mapping[_N, _Share | None] = Field(
        default=_DUPLICATE, description="for each n, share of characters in n-grams that stood before in the document"
    )

    @property
    def rules(self) -> tuple[Rule, ...]:
        """`characters`, four rules of paragraphs and lines, and one for each n of the two kinds of n-grams."""
        bounds: list[tuple[str, float | None, bool]] = []
        for name, option in _PIECES:
            bound = getattr(self, option)
            bounds.append((name, bound, bound == type(self).model_fields[option].default))
        bounds += [(f"top_{n}_gram", bound, n in _TOP and bound == _TOP[n]) for n, bound in self.max_top_ngrams.items()]
        bounds += [
            (f"duplicate_{n}_grams", bound, n in _DUPLICATE and bound == _DUPLICATE[n])
            for n, bound in self.max_duplicate_ngrams.items()
        ]
        not_empty = Rule("characters", partial(self._score, "characters"), 1.0, None, "datatrove 0.10.1: no empty text")
        return not_empty, *(
            Rule(name, partial(self._score, name), None, bound, _source(published)) for name, bound, published in bounds
        )

    @property
    def scoring(self) -> dict[str, Any]:
        """All but the bounds, and which n have a rule: a null bound leaves the value there."""
        sizes = {"top_ngrams": list(self.max_top_ngrams), "duplicate_ngrams": list(self.max_duplicate_ngrams)}
        return {**super().scoring, **sizes}

    def scores(self, batch: DocumentBatch) -> dict[str, Scores]:
        """float64[n] for each rule's name, from one pass."""
        values, _ = self._measure(batch, decide=False)
        return {rule.name: values[:, place].copy() for place, rule in enumerate(self.rules)}

    def decide(self, batch: DocumentBatch) -> Decision:
        """What the scores give, without the work for rules behind the first that a document breaks."""
        values, broken = self._measure(batch, decide=True)
        keep = broken < 0
        bounds = np.array([1.0, *self._highs()[1:]])
        value = values[np.arange(len(batch)), np.maximum(broken, 0)]
        return Decision(keep, broken, np.where(keep, np.nan, value), np.where(keep, np.nan, bounds[broken]))

    def _highs(self) -> npt.NDArray[np.float64]:
        """float64[rules]: the largest value of each rule that is kept."""
        return np.array([np.inf if rule.high is None else rule.high for rule in self.rules])

    def _measure(self, batch: DocumentBatch, decide: bool) -> tuple[Scores, npt.NDArray[np.int16]]:
        from .kernels import ngram_kernels
        from .kernels.hash_table import room
        from .kernels.repetition_kernels import measure
        from .kernels.spans import white_space

        bounds = self._highs()
        values, rules = np.empty((len(batch), len(bounds)), np.float64), np.empty(len(batch), np.int16)
        longest = int(np.diff(batch.text_offsets).max(initial=0))
        prefixes, sizes = np.empty(longest + 1, np.uint64), np.empty(longest + 3, np.uint32)
        cells, table = np.empty(3 * ngram_kernels.MOST_CELLS, np.uint32), np.empty(room(longest), np.uint64)
        text, offsets, powers = batch.text_bytes, batch.text_offsets, ngram_kernels.powers()
        top = np.array(list(self.max_top_ngrams), np.uint64)
        duplicate = np.array(list(self.max_duplicate_ngrams), np.uint64)
        # A chunk's token stops lie in the end of `sizes`: each is read before what takes its place is written.
        with opened(batch, sizes.view(np.int32)) as words:
            measure(
                text, offsets, words, white_space(), powers, top, duplicate, bounds, prefixes, sizes, cells, table,
                values, rules, decide,
            )  # fmt: skip
        return values, rules

    def _score(self, name: str, batch: DocumentBatch) -> Scores:
        return self.scores(batch)[name]


def _source(published: bool) -> str:
    return PAPER if published else f"the recipe; the rule is from {PAPER}"
