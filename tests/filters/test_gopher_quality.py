"""Options are checked, the published decisions and reasons come out, and a change of output needs a new version."""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from datatrove.data import Document
from datatrove.pipeline.filters.gopher_quality_filter import GopherQualityFilter
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.config import parse, validate
from midtrain.errors import ConfigError
from midtrain.filters.document import DocumentBatch
from midtrain.filters.gopher_quality import PAPER, GopherQuality

from tests.sizes import sized

Make = Callable[[Sequence[str]], DocumentBatch]

GOLDEN_WORDS = "don't e.g. the Be of # ... • - naïve 日本語 word… 12 ... ١٢ x-y -- 'tis and\xa0that thing"

# Our rule, and whether its lower bound was broken, to the published reason.
REASONS = {
    ("words", True): "gopher_short_doc",
    ("words", False): "gopher_long_doc",
    ("mean_word_length", True): "gopher_below_avg_threshold",
    ("mean_word_length", False): "gopher_above_avg_threshold",
    ("hash_ratio", False): "gopher_too_many_hashes",
    ("ellipsis_ratio", False): "gopher_too_many_ellipsis",
    ("bullet_lines", False): "gopher_too_many_bullets",
    ("ellipsis_lines", False): "gopher_too_many_end_ellipsis",
    ("alphabetic_words", True): "gopher_below_alpha_threshold",
    ("stop_words", True): "gopher_enough_stop_words",
}
# Bounds so narrow that each rule drops some of a real corpus: the published options, then ours.
NARROW = (
    {
        "min_doc_words": 10,
        "max_doc_words": 2000,
        "min_avg_word_length": 4,
        "max_avg_word_length": 8,
        "max_symbol_word_ratio": 0.01,
        "max_bullet_lines_ratio": 0.1,
        "max_ellipsis_lines_ratio": 0.02,
        "max_non_alpha_words_ratio": 0.95,
        "min_stop_words": 5,
    },
    GopherQuality(
        min_words=10,
        max_words=2000,
        min_mean_word_length=4,
        max_mean_word_length=8,
        max_hash_ratio=0.01,
        max_ellipsis_ratio=0.01,
        max_bullet_lines=0.1,
        max_ellipsis_lines=0.02,
        min_alphabetic_words=0.95,
        min_stop_words=5,
    ),
)


def published_reasons(steps: Sequence[GopherQualityFilter], texts: Sequence[str]) -> list[list[str]]:
    """Each step's reasons; the steps of one text in turn, since datatrove remembers the words of the last few texts."""
    answers = [[step.filter(Document(text=text, id="")) for step in steps] for text in texts]
    reasons = [["" if answer is True else answer[1] for answer in row] for row in answers]
    return [list(column) for column in zip(*reasons, strict=True)]


def our_reasons(step: GopherQuality, batch: DocumentBatch) -> list[str]:
    decision, rules = step.decide(batch), step.rules
    return [
        "" if rule < 0 else REASONS[rules[rule].name, bool(value < threshold)]
        for rule, value, threshold in zip(decision.rule, decision.value, decision.threshold, strict=True)
    ]


def assert_decided_as_published(batch: DocumentBatch, texts: Sequence[str]) -> set[str]:
    """Compares the decisions with default and narrow options; gives the reasons that occurred."""
    theirs, ours = NARROW
    expected = published_reasons((GopherQualityFilter(), GopherQualityFilter(**theirs)), texts)
    assert [our_reasons(step, batch) for step in (GopherQuality(), ours)] == expected
    return {reason for reasons in expected for reason in reasons}


@pytest.mark.parametrize(("name", "limit"), [("text/web_small.jsonl.gz", 300), ("multilingual/lid_gold.jsonl.gz", 300)])
def test_real_text_is_decided_as_published(
    make_batch: Make, real_texts: Callable[[str, int], list[str]], name: str, limit: int
) -> None:
    texts = real_texts(name, limit)
    assert len(texts) == limit
    assert len(assert_decided_as_published(make_batch(texts), texts)) > 3


@pytest.mark.slow
def test_much_real_text_is_decided_as_published(make_batch: Make, real_texts: Callable[[str, int], list[str]]) -> None:
    texts = real_texts("text/web_small.jsonl.gz", 16_000)[:: sized(8, 30)]
    assert assert_decided_as_published(make_batch(texts), texts) == {"", *REASONS.values()}


def test_hostile_text_is_decided_as_published(make_batch: Make, hostile_texts: st.SearchStrategy[list[str]]) -> None:
    theirs = GopherQualityFilter(min_doc_words=1, max_doc_words=12, max_symbol_word_ratio=0.3)
    ours = GopherQuality(min_words=1, max_words=12, max_hash_ratio=0.3, max_ellipsis_ratio=0.3)

    @settings(max_examples=200, deadline=None)
    @given(hostile_texts.filter(len))
    def check(texts: list[str]) -> None:
        assert [our_reasons(ours, make_batch(texts))] == published_reasons([theirs], texts)

    check()


def test_an_empty_document_has_no_words_and_divides_by_nothing(make_batch: Make) -> None:
    batch = make_batch(["", " \n ", "# ... # -"])
    decision = GopherQuality().decide(batch)
    assert decision.rule.tolist() == [0, 0, 0]
    assert decision.value.tolist() == [0, 0, 0]
    with np.errstate(all="raise"):
        scores = GopherQuality().scores(batch)
    assert [values[0] for values in scores.values()] == [0] * 8
    assert [values[2] for values in scores.values()] == [0, 0, 0.5, 0.25, 0, 0, 0, 0]
    assert GopherQuality(min_words=None).decide(batch).rule.tolist() == [1, 1, 1]


def test_null_takes_a_bound_away(make_batch: Make) -> None:
    batch = make_batch(["", "#", "a b", "…\n…", "x" * 1000])
    off = {name: None for name in GopherQuality.model_fields if name != "stop_words"}
    step = GopherQuality.model_validate(off)
    assert step.decide(batch).keep.all()
    assert all(rule.low is None and rule.high is None for rule in step.rules)


def test_bounds_are_included(make_batch: Make) -> None:
    text = "the be " * 25
    assert GopherQuality(min_mean_word_length=2.5).decide(make_batch([text])).keep.all()
    longer = GopherQuality(min_mean_word_length=2.5, min_words=51).decide(make_batch([text]))
    assert (longer.rule[0], longer.value[0], longer.threshold[0]) == (0, 50, 51)


def test_rules_cite_the_paper_unless_the_recipe_moves_a_bound() -> None:
    assert {rule.source for rule in GopherQuality().rules} == {PAPER}
    moved = {rule.name: rule.source for rule in GopherQuality(min_words=10, max_hash_ratio=None).rules}
    assert moved["words"].startswith("the recipe")
    assert moved["hash_ratio"].startswith("the recipe")
    assert moved["stop_words"] == PAPER


def test_a_rule_alone_gives_its_score(make_batch: Make) -> None:
    batch, step = make_batch(["the cat sat …", "- # #"]), GopherQuality()
    together = step.scores(batch)
    for rule in step.rules:
        np.testing.assert_array_equal(rule.score(batch), together[rule.name])


def test_options_are_read_from_yaml() -> None:
    step = validate(
        parse("min_words: 1K\nmax_hash_ratio: null\nstop_words: [der, die]\n", "r.yaml"), GopherQuality
    ).value
    assert (step.min_words, step.max_hash_ratio, step.stop_words) == (1000, None, ("der", "die"))
    # A whole number is the same option as the float, so that its fingerprint is the same.
    written = validate(parse("min_mean_word_length: 3\n", "r.yaml"), GopherQuality).value
    assert written.model_dump_json() == GopherQuality().model_dump_json()


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("min_wrods: 50", "did you mean min_words"),
        ("min_words: 200_000", "no document can pass words"),
        ("min_mean_word_length: 11", "no document can pass mean_word_length"),
        ("max_bullet_lines: 90", "less than or equal to 1"),
        ("min_words: -1", "greater than or equal to 0"),
        ("stop_words: [the, in spite of]", "can never be a word"),
        ('stop_words: [the, ""]', "can never be a word"),
        ("stop_words: [the, the]", "more than the 1 different"),
        ("min_stop_words: 9", "more than the 8 different"),
        ("min_words: fifty", "not a count"),
    ],
)
def test_options_that_cannot_be_meant_are_errors(yaml: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(parse(yaml, "recipe.yaml"), GopherQuality)


def test_a_changed_score_needs_a_new_version(make_batch: Make) -> None:
    words = GOLDEN_WORDS.split(" ")
    texts = [
        " ".join(words[(7 * i + j * j) % len(words)] + "\n" * (j % 5 == i % 5) for j in range(i)) for i in range(90)
    ]
    step = GopherQuality(min_words=10)
    batch = make_batch(texts)
    digest = hashlib.sha256()
    for values in step.scores(batch).values():
        digest.update(values.tobytes())
    digest.update(step.decide(batch).rule.tobytes())
    assert (GopherQuality.version, digest.hexdigest()[:16]) == (2, "d7cba69ee56ee226")
