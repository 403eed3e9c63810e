"""The rule sets and their peers: what of ours answers to which block of datatrove, and which reason to which rule.

The benchmark and the comparison over whole corpora must mean the same by "the same decision".
Costs nothing by itself; datatrove's blocks load spaCy when they see their first text (two seconds).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.filters.base_filter import BaseFilter
from midtrain.filters.c4 import C4
from midtrain.filters.document import DocumentBatch
from midtrain.filters.fineweb_quality import FinewebQuality
from midtrain.filters.gopher_quality import GopherQuality
from midtrain.filters.gopher_repetition import GopherRepetition
from midtrain.filters.rules import Decision, Filter, Transform

# datatrove's reason by (step, rule, side of the bounds): the side is "low" or "high".
REASONS: Final = {
    ("GopherRepetition", "characters", "low"): "empty",
    ("GopherRepetition", "duplicate_paragraphs", "high"): "dup_para_frac",
    ("GopherRepetition", "duplicate_paragraph_characters", "high"): "dup_para_char_frac",
    ("GopherRepetition", "duplicate_lines", "high"): "dup_line_frac",
    ("GopherRepetition", "duplicate_line_characters", "high"): "dup_line_char_frac",
    **{("GopherRepetition", f"top_{n}_gram", "high"): f"top_{n}_gram" for n in (2, 3, 4)},
    **{("GopherRepetition", f"duplicate_{n}_grams", "high"): f"duplicated_{n}_n_grams" for n in range(5, 11)},
    ("GopherQuality", "words", "low"): "gopher_short_doc",
    ("GopherQuality", "words", "high"): "gopher_long_doc",
    ("GopherQuality", "mean_word_length", "low"): "gopher_below_avg_threshold",
    ("GopherQuality", "mean_word_length", "high"): "gopher_above_avg_threshold",
    ("GopherQuality", "hash_ratio", "high"): "gopher_too_many_hashes",
    ("GopherQuality", "ellipsis_ratio", "high"): "gopher_too_many_ellipsis",
    ("GopherQuality", "bullet_lines", "high"): "gopher_too_many_bullets",
    ("GopherQuality", "ellipsis_lines", "high"): "gopher_too_many_end_ellipsis",
    ("GopherQuality", "alphabetic_words", "low"): "gopher_below_alpha_threshold",
    ("GopherQuality", "stop_words", "low"): "gopher_enough_stop_words",
    ("C4", "lorem_ipsum", "high"): "lorem_ipsum",
    ("C4", "curly_bracket", "high"): "curly_bracket",
    ("C4", "sentences", "low"): "too_few_sentences",
    ("FinewebQuality", "lines", "low"): "empty",
    ("FinewebQuality", "punctuated_lines", "low"): "line_punct_ratio",
    ("FinewebQuality", "short_lines", "high"): "short_line_ratio",
    ("FinewebQuality", "duplicate_line_characters", "high"): "char_dup_ratio",
    ("FinewebQuality", "newlines_per_word", "high"): "list_ratio",
}
KEPT: Final = ""


@dataclass(frozen=True)
class Pair:
    """Steps of ours and the blocks of datatrove that are to decide the same.

    Args:
        name: what tables call it.
        ours, theirs: in the order in which they are applied.
        empty, steady: the ratio of speeds to reach with an empty cache, and after 250 MB of other text.
    """

    name: str
    ours: tuple[Filter, ...]
    theirs: tuple[BaseFilter, ...]
    empty: float
    steady: float


@dataclass(frozen=True)
class Verdict:
    """What became of a document: datatrove's reason or `KEPT`, and the text that is kept."""

    reason: str
    text: str


def pairs() -> list[Pair]:
    """Each rule set by itself, C4 with both sets of options, and the chain that made FineWeb."""
    fineweb_c4, published_c4 = C4(terminal_marks=False), C4QualityFilter(filter_no_terminal_punct=False)
    repetition, quality, fineweb = GopherRepetition(), GopherQuality(), FinewebQuality()
    their_repetition, their_quality, their_fineweb = (
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        FineWebQualityFilter(),
    )
    return [
        Pair("gopher_repetition", (repetition,), (their_repetition,), 100, 140),
        Pair("gopher_quality", (quality,), (their_quality,), 120, 300),
        Pair("c4", (C4(),), (C4QualityFilter(),), 100, 150),
        Pair("c4, FineWeb's options", (fineweb_c4,), (published_c4,), 100, 150),
        Pair("fineweb_quality", (fineweb,), (their_fineweb,), 300, 300),
        Pair(
            "chain of the four",
            (repetition, quality, fineweb_c4, fineweb),
            (their_repetition, their_quality, published_c4, their_fineweb),
            100,
            150,
        ),
    ]


def decide(steps: Sequence[Filter], batch: DocumentBatch) -> tuple[list[Decision], DocumentBatch]:
    """Applies the steps in turn, each to what the ones before keep; the last batch is what all of them keep."""
    decisions = []
    for step in steps:
        if isinstance(step, Transform):
            batch, decision = step.rewrite(batch)
        else:
            decision = step.decide(batch)
        decisions.append(decision)
        batch = batch.keep(decision.keep)
    return decisions, batch


def verdicts(steps: Sequence[Filter], batch: DocumentBatch) -> list[Verdict]:
    """What became of each document, told in datatrove's words."""
    decisions, kept = decide(steps, batch)
    found = [Verdict(KEPT, "")] * len(batch)
    left = list(range(len(batch)))
    for step, decision in zip(steps, decisions, strict=True):
        for place, row in enumerate(left):
            if not decision.keep[place]:
                found[row] = Verdict(_reason(step, decision, place), "")
        left = [row for place, row in enumerate(left) if decision.keep[place]]
    for row, text in zip(left, kept.column("text").to_pylist(), strict=True):
        found[row] = Verdict(KEPT, text)
    return found


def _reason(step: Filter, decision: Decision, place: int) -> str:
    rule = step.rules[decision.rule[place]].name
    side = "low" if decision.value[place] < decision.threshold[place] else "high"
    return REASONS[type(step).__name__, rule, side]


def their_verdict(blocks: Sequence[BaseFilter], document: Document) -> Verdict:
    """What datatrove's blocks make of a document, whose text they may change."""
    for block in blocks:
        answer = block.filter(document)
        if answer is not True:
            return Verdict(answer[1], "")
    return Verdict(KEPT, document.text)
