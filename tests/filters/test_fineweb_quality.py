"""Options are checked, the published decisions and reasons come out, and a change of output needs a new version."""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from datatrove.data import Document
from datatrove.pipeline.filters.fineweb_quality_filter import FineWebQualityFilter
from datatrove.utils.text import TERMINAL_PUNCTUATION
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.config import parse, validate
from midtrain.errors import ConfigError
from midtrain.filters.document import DocumentBatch
from midtrain.filters.fineweb_quality import TERMINAL, FinewebQuality

from tests.sizes import sized

Make = Callable[[Sequence[str]], DocumentBatch]

REASONS = {
    "lines": "empty",
    "punctuated_lines": "line_punct_ratio",
    "short_lines": "short_line_ratio",
    "duplicate_line_characters": "char_dup_ratio",
    "newlines_per_word": "list_ratio",
}
# The published options, then ours; every one of them moved.
OPTIONS: tuple[tuple[dict[str, object], FinewebQuality], ...] = (
    ({}, FinewebQuality()),
    (
        {
            "line_punct_thr": 0.5,
            "line_punct_exclude_zero": True,
            "stop_chars": (".", '."', "the", "。"),
            "short_line_thr": 0.5,
            "short_line_length": 60,
            "char_duplicates_ratio": 0.001,
            "new_line_ratio": 0.06,
        },
        FinewebQuality(
            min_punctuated_lines=0.5,
            allow_unpunctuated=True,
            line_endings=(".", '."', "the", "。"),
            max_short_lines=0.5,
            short_line_length=60,
            max_duplicate_line_characters=0.001,
            max_newlines_per_word=0.06,
        ),
    ),
)


def assert_decided_as_published(batch: DocumentBatch, texts: Sequence[str]) -> set[str]:
    """Compares the decisions under both sets of options; gives the reasons that occurred."""
    seen = set()
    for theirs, ours in OPTIONS:
        step, decision, rules = FineWebQualityFilter(**theirs), ours.decide(batch), ours.rules
        answers = [step.filter(Document(text=text, id="")) for text in texts]
        expected = ["" if answer is True else answer[1] for answer in answers]
        assert ["" if rule < 0 else REASONS[rules[rule].name] for rule in decision.rule] == expected
        seen.update(expected)
    return seen


@pytest.mark.parametrize(("name", "limit"), [("text/web_small.jsonl.gz", 300), ("multilingual/lid_gold.jsonl.gz", 300)])
def test_real_text_is_decided_as_published(
    make_batch: Make, real_texts: Callable[[str, int], list[str]], name: str, limit: int
) -> None:
    texts = real_texts(name, limit)
    assert len(texts) == limit
    assert len(assert_decided_as_published(make_batch(texts), texts)) > 2


@pytest.mark.slow
def test_much_real_text_is_decided_as_published(make_batch: Make, real_texts: Callable[[str, int], list[str]]) -> None:
    texts = real_texts("text/web_small.jsonl.gz", 16_000)[:: sized(8, 30)]
    assert assert_decided_as_published(make_batch(texts), texts) >= {"", *REASONS.values()} - {"empty"}


def test_hostile_text_is_decided_as_published(make_batch: Make, hostile_texts: st.SearchStrategy[list[str]]) -> None:
    @settings(max_examples=200, deadline=None)
    @given(hostile_texts)
    def check(texts: list[str]) -> None:
        assert_decided_as_published(make_batch(texts), texts)

    check()


def test_endings_are_datatroves() -> None:
    assert set(TERMINAL) == TERMINAL_PUNCTUATION
    assert len(TERMINAL) == len(TERMINAL_PUNCTUATION)


def test_an_empty_document_has_no_lines_and_divides_by_nothing(make_batch: Make) -> None:
    batch = make_batch(["", " \n\u3000\n", "\n"])
    assert FinewebQuality().decide(batch).rule.tolist() == [0, 0, 0]
    with np.errstate(all="raise"):
        scores = FinewebQuality().scores(batch)
    assert [values.tolist() for values in scores.values()] == [[0, 0, 0]] * 5
    assert FinewebQuality(min_lines=None).decide(batch).rule.tolist() == [1, 1, 1]


def test_null_takes_a_bound_away(make_batch: Make) -> None:
    batch = make_batch(["", "a", "a\n" * 50, "\n" * 99 + "."])
    bounds = [option for _, *pair in FinewebQuality.rule_options for option in pair if option]
    step = FinewebQuality.model_validate(dict.fromkeys(bounds))
    assert step.decide(batch).keep.all()
    assert all(rule.low is None and rule.high is None for rule in step.rules)


def test_bounds_are_included(make_batch: Make) -> None:
    batch = make_batch(["a first line of thirty-five letters.\nand a second one of some forty letters"])
    assert FinewebQuality(min_punctuated_lines=0.5, max_newlines_per_word=1 / 17).decide(batch).keep.all()
    below = FinewebQuality(min_punctuated_lines=0.51).decide(batch)
    assert (below.rule[0], below.value[0], below.threshold[0]) == (1, 0.5, 0.51)
    above = FinewebQuality(max_newlines_per_word=0.05).decide(batch)
    assert (above.rule[0], above.value[0], above.threshold[0]) == (4, 1 / 17, 0.05)


def test_a_document_without_any_ending_may_be_kept(make_batch: Make) -> None:
    rest = "\nand this is a line of words that does not end"
    batch = make_batch(
        ["this is a line of words that does not end", "this is a line of words that does end." + rest * 9]
    )
    assert FinewebQuality().decide(batch).rule.tolist() == [1, 1]
    allowed = FinewebQuality(allow_unpunctuated=True, max_duplicate_line_characters=None)
    assert allowed.decide(batch).rule.tolist() == [-1, 1]


def test_rules_cite_their_source_unless_the_recipe_moves_a_bound() -> None:
    assert {rule.source for rule in FinewebQuality().rules} == {FinewebQuality.paper}
    moved = {rule.name: rule.source for rule in FinewebQuality(max_short_lines=None).rules}
    assert moved["short_lines"].startswith("the recipe")
    assert moved["lines"] == FinewebQuality.paper


def test_options_are_read_from_yaml() -> None:
    yaml = "max_short_lines: null\nshort_line_length: 40\nline_endings: ['.', '。']\n"
    step = validate(parse(yaml, "r.yaml"), FinewebQuality).value
    assert (step.max_short_lines, step.short_line_length, step.line_endings) == (None, 40, (".", "。"))


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("max_short_line: 0.5", "did you mean max_short_lines"),
        ("min_punctuated_lines: 12", "less than or equal to 1"),
        ("max_newlines_per_word: -1", "greater than or equal to 0"),
        ('line_endings: [".\\n"]', "no line can end with"),
        ("short_line_length: many", "not a count"),
    ],
)
def test_options_that_cannot_be_meant_are_errors(yaml: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(parse(yaml, "recipe.yaml"), FinewebQuality)


def test_a_changed_score_needs_a_new_version(make_batch: Make) -> None:
    lines = [
        "The river.",
        "the stone",
        "a line of more than thirty characters",
        "don't",
        "",
        " \t",
        "日本語。",
        "naïve\r",
    ]
    texts = ["\n".join(lines[(7 * i + j * j) % len(lines)] + "x" * (j % 7) for j in range(i)) for i in range(90)]
    batch, digest = make_batch(texts), hashlib.sha256()
    for values in FinewebQuality().scores(batch).values():
        digest.update(values.tobytes())
    digest.update(FinewebQuality().decide(batch).rule.tobytes())
    assert (FinewebQuality.version, digest.hexdigest()[:16]) == (1, "7a8fac4b9338c09d")
