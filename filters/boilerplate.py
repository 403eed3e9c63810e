"""The step `boilerplate`: drops refusals and a model's talk about itself, and counts what replies close with.

Phrases that one model says in every record are learned before anything else in them; a thought of a few letters is a
template's, not a thought. A report names the sentences with which many replies of a source begin or end, whatever they
say: `phrases` takes those that are to go.
Costs a search for each list of phrases, 7 to 22 ns a byte in all, and 10 microseconds a record for its sentences.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from pydantic import Field

from ..config import Count
from .rules import Filter, Rule, Scores

if TYPE_CHECKING:
    from .document import DocumentBatch, Spans

HEAD: Final = 256  # characters of a thought whose letters are counted
REACH: Final = 480  # bytes of a reply in which its first sentence, or its last, is looked for
LONGEST: Final = 160  # characters of a sentence that are compared
SOURCE: Final = "the recipe; phrases of this step"

# Of RE2, case folded. A refusal is told by how a reply begins, the others wherever they stand.
REFUSAL: Final = (
    r"^[\s*_#>]*(?:unfortunately,? |(?:i )?apologi[sz]e,? (?:but )?|my apologies,? (?:but )?)?"
    r"(?:(?:i'm|i am|i’m) (?:very |so |really )?sorry,? but (?:i|as an) |(?:i'm|i am|i’m) (?:unable|not able) to "
    r"|i (?:can't|can’t|cannot|can not|won't|won’t|will not) (?:help|assist|provide|fulfil|comply|"
    r"(?:answer|create|generate) (?:this|that|these|those|your|such|any|questions?|content|images?|text)\b)"
    r"|sorry,? (?:but )?i (?:can't|can’t|cannot) )"
)
SELF: Final = (
    r"\bas an? (?:ai|artificial intelligence|large language|language) (?:language )?(?:model|assistant)?\b"
    r"|\bi(?:'m| am|’m) (?:just |only )?an? (?:ai|large language model|language model)\b"
    r"|\bmy (?:training data|knowledge cutoff)\b"
)
CLOSING: Final = (
    r"\b(?:i hope this helps|hope that helps|let me know if you (?:have|need|would)|feel free to (?:ask|reach)"
    r"|is there anything else i can|if you have any (?:other |more |further )?questions)"
)


_END: Final = re.compile(r"(?<=[.!?。！？])\s+|\s*\n\s*")
_LETTER: Final = re.compile(r"[^\W\d_]")
_NUMBER: Final = re.compile(r"\d+(?:[.,]\d+)*")


class Boilerplate(Filter):
    """Keeps a record whose turns of the assistant are not made of set phrases.

    `refusals` counts replies that begin as a refusal, `self_talk` says how often the assistant speaks of itself as a
    model, `closings` how often it closes like a help desk (no bound unless one is set: a phrase at the end of a good
    answer), `phrases` how often one of the recipe's own stands there; `thought_letters` is the number of letters
    and digits among the first 256 characters of a thought, the smallest of a record's thoughts, 0 where there is none,
    and keeps records without one.
    """

    version: ClassVar[int] = 3
    bounds: ClassVar[tuple[str, ...]] = (
        "max_refusals", "max_self_talk", "max_closings", "max_phrases", "min_thought_letters",
    )  # fmt: skip

    max_refusals: Count | None = Field(default=0, ge=0, description="replies that begin as a refusal")
    max_self_talk: Count | None = Field(default=0, ge=0, description='"as an AI language model" and its kind')
    max_closings: Count | None = Field(default=None, ge=0, description='"I hope this helps" and its kind')
    max_phrases: Count | None = Field(default=0, ge=0, description="times that one of `phrases` stands there")
    min_thought_letters: Count | None = Field(default=10, ge=0, le=HEAD, description="letters and digits of a thought")
    phrases: tuple[str, ...] = Field(default=(), description="phrases of the recipe's own, in any letter case")

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Four rules of phrases and one of the thought."""
        counted = ("refusals", "self_talk", "closings", "phrases")
        return (
            *(Rule(name, partial(self._score, name), None, getattr(self, f"max_{name}"), SOURCE) for name in counted),
            Rule(
                "thought_letters", partial(self._score, "thought_letters"), self.min_thought_letters, None, SOURCE, 0.0
            ),
        )

    def shared_texts(self, batch: DocumentBatch) -> dict[str, list[str]]:
        """The first sentence of each last reply and its last one, folded, numbers as #; empty where there is none."""
        turns = batch.turns
        view, last = turns.replies.text.data, turns.last.tolist()
        start, stop = turns.replies.start.tolist(), turns.replies.stop.tolist()
        spans = [(start[place], stop[place]) if place >= 0 else (0, 0) for place in last]
        heads = (str(view[one : min(end, one + REACH)], "utf-8", "ignore").strip() for one, end in spans)
        tails = (str(view[max(one, end - REACH) : end], "utf-8", "ignore").strip() for one, end in spans)
        return {
            "opening": [_folded(_END.split(head, maxsplit=1)[0])[:LONGEST] for head in heads],
            "closing": [_folded(_END.split(tail)[-1])[-LONGEST:] for tail in tails],
        }

    def scores(self, batch: DocumentBatch) -> dict[str, Scores]:
        """float64[n] for each rule's name."""
        import pyarrow.compute as pc

        from .turns import owners, sums

        turns = batch.turns
        thoughts, replies = _texts(turns.thoughts), _texts(turns.replies)
        own = "|".join(re.escape(phrase) for phrase in self.phrases)
        found = {"refusals": _count(replies, REFUSAL).astype(np.float64)}
        for name, pattern in (("self_talk", SELF), ("closings", CLOSING), ("phrases", own)):
            found[name] = _count(replies, pattern).astype(np.float64) + _count(thoughts, pattern)
        scores = {name: sums(values, turns.replies.ends) for name, values in found.items()}
        letters = _count(pc.utf8_slice_codeunits(thoughts, 0, HEAD), r"[\pL\pN]").astype(np.float64)
        there = turns.thoughts.stop > turns.thoughts.start
        shortest = np.full(len(batch), np.inf)
        np.minimum.at(shortest, owners(turns.thoughts.ends)[there], np.maximum(letters[there], 0.5))
        return {**scores, "thought_letters": np.where(turns.thoughtful, shortest, 0.0)}

    def _score(self, name: str, batch: DocumentBatch) -> Scores:
        return self.scores(batch)[name]


def _folded(sentence: str) -> str:
    """Without case, white space and numbers; nothing where there is no letter: an end of a formula is no phrase."""
    return _NUMBER.sub("#", " ".join(sentence.split())).casefold() if _LETTER.search(sentence) else ""


def _texts(spans: Spans) -> Any:
    """The texts of m spans as an Arrow array, copied once."""
    import pyarrow as pa

    view = spans.text.data
    pairs = zip(spans.start.tolist(), spans.stop.tolist(), strict=True)
    return pa.array([view[start:stop].tobytes() for start, stop in pairs], pa.large_binary()).cast(pa.large_string())


def _count(texts: Any, pattern: str) -> Any:
    """int64[m]: how often the pattern stands in each text; 0 for no pattern."""
    import pyarrow.compute as pc

    if not pattern:
        return np.zeros(len(texts), np.int64)
    return np.asarray(pc.count_substring_regex(texts, f"(?i){pattern}"), np.int64)
