"""The quality rules of FineWeb: how lines end, short lines, repeated lines, and lines of few words.

They drop lists, menus and boilerplate that the rules of Gopher keep. Order, denominators and which lines count are
those of datatrove's FineWebQualityFilter (0.10.1): lines are split at newlines only and are not stripped.
Costs about 1 ns per byte for a decision, which rarely needs words; the scores cost what counting all words costs.
"""

from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from ..config import Count
from .document import DocumentBatch
from .kernels.characters import TERMINAL_RANGES
from .published import Published, bounding, judge_last, shares
from .rules import Decision, Scores

_Bytes = npt.NDArray[np.uint8]
_Int64 = npt.NDArray[np.int64]
_UInt64 = npt.NDArray[np.uint64]

_LAST: Final = 4  # the last rule, which alone asks for words
TERMINAL: Final = tuple(chr(point) for first, last in TERMINAL_RANGES for point in range(first, last + 1))


@dataclass(frozen=True, eq=False)
class Endings:
    """Endings of lines laid out for kernels, ordered by their last byte.

    Args:
        text: uint8[...], their UTF-8 bytes one after another.
        stops: uint64[k], one past each ending's last byte.
        first: uint64[257], the endings whose last byte is b are `first[b]` to `first[b + 1]`.
        kinds: uint8[256], by a line's last byte: 0 no ending, 1 an ending, 2 an ending if more bytes agree.
    """

    text: npt.NDArray[np.uint8]
    stops: npt.NDArray[np.uint64]
    first: npt.NDArray[np.uint64]
    kinds: npt.NDArray[np.uint8]


@cache
def lay_out(endings: tuple[str, ...]) -> Endings:
    """The endings as a kernel reads them; an empty one is at the end of every line, as for `str.endswith`."""
    from .kernels import fineweb_kernels as kernels

    parts = sorted({ending.encode() for ending in endings if ending}, key=lambda part: part[-1])
    last = np.array([part[-1] for part in parts], np.int64)
    kinds = np.full(256, kernels.NO_ENDING, np.uint8)
    kinds[last] = kernels.PERHAPS
    kinds[[part[-1] for part in parts if len(part) == 1]] = kernels.AN_ENDING
    if "" in endings:
        kinds[:] = kernels.AN_ENDING
    return Endings(
        text=np.frombuffer(b"".join(parts), np.uint8),
        stops=np.cumsum([len(part) for part in parts], dtype=np.uint64),
        first=np.searchsorted(last, np.arange(257)).astype(np.uint64),
        kinds=kinds,
    )


class FinewebQuality(Published):
    """Keeps a document whose every score lies within its bounds, the bounds included; null takes a bound away.

    Lines are the pieces between newlines that are not blank; words are spaCy's English tokens. A line's length is in
    characters and counts the white space around it, and an ending must stand at its very end. A share of nothing is 0,
    so a document without words has no newlines per word.
    """

    version: ClassVar[int] = 1
    looks_up_chunks: ClassVar[bool] = True
    paper: ClassVar[str] = "Penedo et al. 2024, arXiv 2406.17557, with the bounds of datatrove 0.10.1"
    rule_options: ClassVar = (
        ("lines", "min_lines", None),
        ("punctuated_lines", "min_punctuated_lines", None),
        ("short_lines", None, "max_short_lines"),
        ("duplicate_line_characters", None, "max_duplicate_line_characters"),
        ("newlines_per_word", None, "max_newlines_per_word"),
    )
    bounds: ClassVar[tuple[str, ...]] = (*bounding(rule_options), "allow_unpunctuated")

    min_lines: Count | None = Field(default=1, ge=0, description="lines that are not blank")
    min_punctuated_lines: float | None = Field(
        default=0.12, ge=0, le=1, description="share of lines that end with one of line_endings"
    )
    allow_unpunctuated: bool = Field(
        default=False, description="keep a document of which no line at all ends with one of line_endings"
    )
    line_endings: tuple[str, ...] = Field(default=TERMINAL, description="sentence-terminal punctuation of all scripts")
    max_short_lines: float | None = Field(default=0.67, ge=0, le=1, description="share of short lines")
    short_line_length: Count = Field(default=30, ge=0, description="characters of the longest line that is short")
    max_duplicate_line_characters: float | None = Field(
        default=0.01, ge=0, le=1, description="share of characters that stand in repeats of earlier lines"
    )
    max_newlines_per_word: float | None = Field(default=0.3, ge=0, description="newlines, of blank lines too, per word")

    @model_validator(mode="after")
    def _endings_can_end_a_line(self) -> "FinewebQuality":
        for ending in self.line_endings:
            if "\n" in ending:
                raise ValueError(f"no line can end with {ending!r}: a line has no newline")
        return self

    def scores(self, batch: DocumentBatch) -> dict[str, Scores]:
        """float64[n] for each rule's name, from one pass over lines and one over words."""
        from .kernels import fineweb_kernels as kernels
        from .kernels.word_kernels import WORDS

        counts = kernels.count(*self._arguments(batch))
        lines = counts[:, kernels.LINES]
        return {
            "lines": lines.astype(np.float64),
            "punctuated_lines": shares(counts[:, kernels.PUNCTUATED_LINES], lines),
            "short_lines": shares(counts[:, kernels.SHORT_LINES], lines),
            "duplicate_line_characters": shares(counts[:, kernels.DUPLICATE_CHARACTERS], counts[:, kernels.CHARACTERS]),
            "newlines_per_word": shares(counts[:, kernels.NEWLINES], batch.word_sums[:, WORDS]),
        }

    def decide(self, batch: DocumentBatch) -> Decision:
        """What the scores give, without the work for rules behind the first that a document breaks."""
        from .kernels import fineweb_kernels as kernels
        from .kernels.word_kernels import WORDS
        from .word_sums import sum_documents

        bounds = self.bound_table()
        rule, value, threshold, newlines = kernels.decide(*self._arguments(batch), bounds, self.allow_unpunctuated)
        asked = np.flatnonzero(newlines >= 0)
        ratios = shares(newlines[asked], sum_documents(batch, asked)[:, WORDS])
        judge_last(_LAST, bounds[_LAST], asked, ratios, rule, value, threshold)
        return Decision(rule < 0, rule, value, threshold)

    def _exempt(self, rule: str) -> float | None:
        return 0.0 if self.allow_unpunctuated and rule == "punctuated_lines" else None

    def _arguments(self, batch: DocumentBatch) -> tuple[_Bytes, _Int64, int, _Bytes, _UInt64, _UInt64, _Bytes]:
        endings = lay_out(self.line_endings)
        limit = min(self.short_line_length, 2**48)
        return batch.text_bytes, batch.text_offsets, limit, endings.text, endings.stops, endings.first, endings.kinds
