"""The quality rules of Gopher: word counts, word lengths, symbols, bullets, ellipses and stop words.

They are the cheapest published rules that drop text which is no prose, and most later corpora apply them. The order,
the denominators and which words count are those of datatrove's GopherQualityFilter (0.10.1), with words delimited by
white space in place of spaCy's.
Costs about 5 ns per byte for a decision, of which two are for the words and lines that other rule sets share.
"""

from dataclasses import dataclass
from functools import cache, partial
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from ..config import Count
from .characters import classes
from .document import DocumentBatch
from .rules import Decision, Filter, Rule, Scores

_Bytes = npt.NDArray[np.uint8]
_Int64 = npt.NDArray[np.int64]
# What both kernels take: text; start, stop and ends of words; stop and ends of lines; offsets; classes; stop words.
_KernelArguments = tuple[
    _Bytes, _Int64, _Int64, _Int64, _Int64, _Int64, _Int64, _Bytes, _Bytes, _Int64, _Int64, npt.NDArray[np.uint64]
]

PAPER: Final = "Rae et al. 2021, arXiv 2112.11446, appendix A.1.1, Quality Filtering"
_BOUNDS: Final = (
    ("words", "min_words", "max_words"),
    ("mean_word_length", "min_mean_word_length", "max_mean_word_length"),
    ("hash_ratio", None, "max_hash_ratio"),
    ("ellipsis_ratio", None, "max_ellipsis_ratio"),
    ("bullet_lines", None, "max_bullet_lines"),
    ("ellipsis_lines", None, "max_ellipsis_lines"),
    ("alphabetic_words", "min_alphabetic_words", None),
    ("stop_words", "min_stop_words", None),
)


@dataclass(frozen=True, eq=False)
class StopWords:
    """Stop words laid out for kernels, ordered by their first byte.

    Args:
        text: uint8[...], their UTF-8 bytes one after another.
        ends: int64[k], one past each word's last byte.
        first: int64[257], the words that begin with byte b are `first[b]` to `first[b + 1]`.
        sizes: uint64[256], bit s of `sizes[b]` is set where a word of s bytes (63: or more) begins with byte b.
    """

    text: npt.NDArray[np.uint8]
    ends: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.uint64]


@cache
def lay_out(stop_words: tuple[str, ...]) -> StopWords:
    """The distinct words among `stop_words`, none of them empty, as a kernel reads them."""
    words = sorted({word.encode() for word in stop_words})
    starts = np.array([word[0] for word in words], np.int64)
    sizes = np.zeros(256, np.uint64)
    for word in words:
        sizes[word[0]] |= np.uint64(1) << np.uint64(min(len(word), 63))
    return StopWords(
        text=np.frombuffer(b"".join(words), np.uint8),
        ends=np.cumsum([len(word) for word in words], dtype=np.int64),
        first=np.searchsorted(starts, np.arange(257)).astype(np.int64),
        sizes=sizes,
    )


class GopherQuality(Filter):
    """Keeps a document whose every score lies within its bounds, the bounds included; null takes a bound away.

    A word is what stands between white space; a plain word is one that is not all punctuation. A share of nothing is
    0: an empty document has 0 words of mean length 0.
    """

    version: ClassVar[int] = 1
    bounds: ClassVar[tuple[str, ...]] = tuple(option for _, *ends in _BOUNDS for option in ends if option)

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
    def _can_keep_something(self) -> "GopherQuality":
        for name, low, high in _BOUNDS:
            least, most = self._bound(low), self._bound(high)
            if least is not None and most is not None and least > most:
                raise ValueError(f"no document can pass {name}: {low} {least:g} is above {high} {most:g}")
        for word in self.stop_words:
            if word.split() != [word]:
                raise ValueError(f"{word!r} can never be a word: a stop word is not empty and has no white space")
        distinct = len(set(self.stop_words))
        if self.min_stop_words is not None and self.min_stop_words > distinct:
            raise ValueError(f"min_stop_words {self.min_stop_words} is more than the {distinct} different stop_words")
        return self

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Eight rules, a rule without bounds among them, so that a rule's number means the same in every recipe."""
        return tuple(
            Rule(name, partial(self._score, name), self._bound(low), self._bound(high), self._source(low, high))
            for name, low, high in _BOUNDS
        )

    def scores(self, batch: DocumentBatch) -> dict[str, Scores]:
        """float64[n] for each rule's name, from one pass over words, bytes and lines."""
        from . import quality_kernels as kernels

        counts = kernels.count(*self._arguments(batch))
        plain, words, lines = counts[:, kernels.PLAIN_WORDS], counts[:, kernels.WORDS], counts[:, kernels.LINES]
        return {
            "words": plain.astype(np.float64),
            "mean_word_length": _share(counts[:, kernels.PLAIN_CHARACTERS], plain),
            "hash_ratio": _share(counts[:, kernels.HASHES], words),
            "ellipsis_ratio": _share(counts[:, kernels.ELLIPSES], words),
            "bullet_lines": _share(counts[:, kernels.BULLET_LINES], lines),
            "ellipsis_lines": _share(counts[:, kernels.ELLIPSIS_LINES], lines),
            "alphabetic_words": _share(counts[:, kernels.ALPHABETIC_WORDS], words),
            "stop_words": counts[:, kernels.STOP_WORDS].astype(np.float64),
        }

    def decide(self, batch: DocumentBatch) -> Decision:
        """What the scores give, without the work for rules behind the first that a document breaks."""
        from . import quality_kernels as kernels

        bounds = np.array([[self._bound(low), self._bound(high)] for _, low, high in _BOUNDS], np.float64)
        bounds[:, 0] = np.where(np.isnan(bounds[:, 0]), -np.inf, bounds[:, 0])
        bounds[:, 1] = np.where(np.isnan(bounds[:, 1]), np.inf, bounds[:, 1])
        enough = max(self.min_stop_words or 0, 1)
        rule, value, threshold = kernels.decide(*self._arguments(batch), bounds, enough)
        return Decision(rule < 0, rule, value, threshold)

    def _arguments(self, batch: DocumentBatch) -> _KernelArguments:
        text, offsets, words, lines = batch.text_bytes, batch.text_offsets, batch.chunks, batch.lines
        spans = words.start, words.stop, words.ends, lines.stop, lines.ends
        stop = lay_out(self.stop_words)
        return text, *spans, offsets, classes(), stop.text, stop.ends, stop.first, stop.sizes

    def _score(self, name: str, batch: DocumentBatch) -> Scores:
        return self.scores(batch)[name]

    def _bound(self, option: str | None) -> float | None:
        value = getattr(self, option) if option else None
        return None if value is None else float(value)

    def _source(self, low: str | None, high: str | None) -> str:
        published = all(
            getattr(self, option) == type(self).model_fields[option].default for option in (low, high) if option
        )
        return PAPER if published else f"the recipe; the rule is from {PAPER}"


def _share(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> Scores:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
