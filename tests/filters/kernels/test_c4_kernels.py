"""Lines removed are counted as plain Python counts them, and no document is too large for the walk."""

import re
import resource
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from datatrove.utils.text import split_into_sentences
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.filters.c4 import C4
from midtrain.filters.document import DocumentBatch
from midtrain.filters.kernels import c4_kernels as kernels
from midtrain.filters.kernels.c4_citations import digits

Make = Callable[[Sequence[str]], DocumentBatch]

POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
GIANT = 50_000_000  # bytes


def reference(text: str, step: C4) -> list[int]:
    """The counts, in the order of RULES, as Python reads the text."""
    counts = dict.fromkeys(kernels.RULES, 0)
    for line in text.splitlines() if step.pieces == "lines" else split_into_sentences(text):
        counts["lines"] += 1
        words = line.split()
        if step.max_word_length is not None and max(map(len, words), default=0) > step.max_word_length:
            counts["removed_long_word"] += 1
            continue
        left = line.strip()
        if step.remove_citations:
            left = re.sub(r"\[(\d*|edit|citation needed)\]", "", left)
        if step.terminal_marks and (left[-1:] not in {".", "?", "!", '"', "'"} or left.endswith("...")):
            counts["removed_no_terminal_mark"] += 1
            continue
        if len(words) < (step.min_line_words or 0):
            counts["removed_few_words"] += 1
            continue
        lower = left.lower()
        if step.drop_lorem_ipsum and "lorem ipsum" in lower:
            counts["lorem_ipsum"] += 1
            break
        if step.remove_javascript and "javascript" in lower:
            counts["removed_javascript"] += 1
            continue
        if step.drop_curly_bracket and "{" in left:
            counts["curly_bracket"] += 1
            break
        if step.remove_policy and any(policy in lower for policy in POLICIES):
            counts["removed_policy"] += 1
            continue
        counts["sentences"] += len(split_into_sentences(left)) if step.pieces == "lines" else 1
    return list(counts.values())


@st.composite
def options(draw: st.DrawFn) -> dict[str, Any]:
    switches = [name for name in C4.model_fields if name.startswith(("drop_", "remove_")) or name == "terminal_marks"]
    return {
        "pieces": draw(st.sampled_from(["lines", "lines", "sentences"])),
        "min_line_words": draw(st.sampled_from([None, 0, 1, 3])),
        "max_word_length": draw(st.sampled_from([None, 0, 3, 6])),
        **{name: draw(st.booleans()) for name in switches},
    }


PHRASES = st.sampled_from(["Use Cookies", "JAVAscript", "lorem IPSUM", "{", "[1]", "[edit]", "privacy policy", "...\n"])


def test_the_counts_are_pythons(make_batch: Make, hostile_texts: st.SearchStrategy[list[str]]) -> None:
    @settings(max_examples=400, deadline=None)
    @given(hostile_texts, st.lists(PHRASES, max_size=6), options())
    def check(texts: list[str], phrases: list[str], chosen: dict[str, Any]) -> None:
        step = C4.model_validate(chosen)
        mixed = [text[: 7 * at] + " ".join(phrases[at:]) + text[7 * at :] for at, text in enumerate(texts)]
        scores = step.scores(make_batch(mixed))
        assert tuple(scores) == kernels.RULES
        found = np.stack(list(scores.values()), axis=1)
        assert found.tolist() == [reference(text, step) for text in mixed]

    check()


def test_digits_are_those_of_regular_expressions() -> None:
    bits = np.unpackbits(digits(), bitorder="little")
    assert np.flatnonzero(bits).tolist() == [point for point in range(0x110000) if re.match(r"\d", chr(point))]


def test_many_lines_are_counted_exactly(make_batch: Make) -> None:
    """More lines than are held at a time, with an edited one at each place of the buffer's edge."""
    texts = [
        "".join(f"It is {n}. So is it[{n}].\n" if n % 3 == edited else "It is. So be it. Yes!\n" for n in range(lines))
        for lines in (255, 256, 257, 512, 513, 1000)
        for edited in (0, 1, 2)
    ]
    step = C4(min_line_words=2)
    scores = step.scores(make_batch(texts))
    assert scores["sentences"].tolist() == [reference(text, step)[kernels.SENTENCES] for text in texts]
    for bound in (255, 256, 257, 600, 3000):
        exact = C4(min_line_words=2, min_sentences=bound).decide(make_batch(texts))
        assert exact.keep.tolist() == (scores["sentences"] >= bound).tolist()


GIANTS = {
    "one word": "a" * GIANT,
    "one bracket": ")" * GIANT,
    "one line": "so it is " * (GIANT // 9),
    "one line of full stops": "so. " * (GIANT // 4),
    "hints": "coo{oki java[em i " * (GIANT // 18),
    "wide": "日本。" * (GIANT // 9),
    "short lines": "a b\n" * (GIANT // 4),
    "empty lines": "\n" * GIANT,
    "citations": "[1" * (GIANT // 2),
    "cookies": "use cookie " * (GIANT // 11),
}


@pytest.mark.measures
@pytest.mark.slow
@pytest.mark.parametrize("kind", GIANTS)
@pytest.mark.parametrize(
    "chosen",
    [{}, {"terminal_marks": False}, {"terminal_marks": False, "max_word_length": None, "min_line_words": None}],
    ids=["c4", "fineweb", "all kept"],
)
def test_a_giant_takes_less_than_ten_seconds_and_little_memory(
    make_batch: Make, kind: str, chosen: dict[str, Any]
) -> None:
    step = C4.model_validate(chosen)
    step.rewrite(make_batch(["warm. Up is this."]))
    batch = make_batch([GIANTS[kind]])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    tracemalloc.start()
    try:
        step.rewrite(batch)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 10
    assert peak < 6 * GIANT
