"""Decisions, reasons and every value are datatrove's; the fused decision is that of the scores."""

import hashlib
import re
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from datatrove.data import Document
from datatrove.pipeline.filters import gopher_repetition_filter as published
from datatrove.utils.text import split_into_words
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.config import parse, validate
from midtrain.errors import ConfigError
from midtrain.filters import chunk_cache
from midtrain.filters.document import DocumentBatch
from midtrain.filters.gopher_repetition import PAPER, GopherRepetition
from midtrain.filters.rules import first_broken

Make = Callable[[Sequence[str]], DocumentBatch]

REASONS = {
    "empty": "characters",
    "dup_para_frac": "duplicate_paragraphs",
    "dup_para_char_frac": "duplicate_paragraph_characters",
    "dup_line_frac": "duplicate_lines",
    "dup_line_char_frac": "duplicate_line_characters",
    **{f"top_{n}_gram": f"top_{n}_gram" for n in (2, 3, 4)},
    **{f"duplicated_{n}_n_grams": f"duplicate_{n}_grams" for n in range(5, 11)},
}
# Bounds so narrow that each rule drops some of a real corpus: the published options, then ours.
TOP, DUPLICATE = ((2, 0.03), (3, 0.025), (4, 0.02)), tuple((n, 0.05 - n / 1000) for n in range(5, 11))
NARROW = (
    {
        "dup_line_frac": 0.1,
        "dup_para_frac": 0.1,
        "dup_line_char_frac": 0.02,
        "dup_para_char_frac": 0.02,
        "top_n_grams": TOP,
        "dup_n_grams": DUPLICATE,
    },
    GopherRepetition(
        max_duplicate_lines=0.1,
        max_duplicate_paragraphs=0.1,
        max_duplicate_line_characters=0.02,
        max_duplicate_paragraph_characters=0.02,
        max_top_ngrams=dict(TOP),
        max_duplicate_ngrams=dict(DUPLICATE),
    ),
)
# Of few tokens, so that much is repeated, and of such as make other tokens when they are joined.
WORDS = ["a ", "ab ", "b ", "c ", "abc ", "a", "é ", "x" * 100 + " ", "\n", "\n\n", "\n\x0b\n", " \n", "(", ". "]


def published_reasons(step: published.GopherRepetitionFilter, texts: Sequence[str]) -> list[str]:
    answers = [step.filter(Document(text=text, id=str(i))) for i, text in enumerate(texts)]
    return ["" if answer is True else REASONS[answer[1]] for answer in answers]


def our_reasons(step: GopherRepetition, batch: DocumentBatch) -> list[str]:
    names = [rule.name for rule in step.rules]
    return ["" if rule < 0 else names[rule] for rule in step.decide(batch).rule]


def published_values(text: str, top: Sequence[int], duplicate: Sequence[int]) -> list[float]:
    """The values in the order of our rules, from datatrove's own functions."""
    if not text:
        return [0.0] * (5 + len(top) + len(duplicate))
    values = [float(len(text))]
    for pieces in (re.split(r"\n{2,}", text.strip()), re.split(r"\n+", text)):
        elements, characters = published.find_duplicates(pieces)
        values += [elements / len(pieces), characters / len(text)]
    words = split_into_words(text, "eng")
    for n in top:
        grams = published.get_n_grams(words, n)
        values.append(published.find_top_duplicate(grams) / len(text) if grams else 0.0)
    return values + [published.find_all_duplicate(words, n) / len(text) for n in duplicate]


def assert_scores_decide(step: GopherRepetition, batch: DocumentBatch) -> None:
    decision, expected = step.decide(batch), first_broken(step.rules, step.scores(batch), len(batch))
    for field in ("keep", "rule", "value", "threshold"):
        np.testing.assert_array_equal(getattr(decision, field), getattr(expected, field))


@pytest.fixture
def repeated_texts(hostile_texts: st.SearchStrategy[list[str]]) -> st.SearchStrategy[list[str]]:
    repeated = st.lists(st.lists(st.sampled_from(WORDS), max_size=60).map("".join), max_size=5)
    return st.one_of(hostile_texts, repeated)


@pytest.mark.parametrize(("name", "limit"), [("text/web_small.jsonl.gz", 60), ("multilingual/lid_gold.jsonl.gz", 500)])
def test_real_text_is_decided_as_published(
    make_batch: Make, real_texts: Callable[[str, int], list[str]], name: str, limit: int
) -> None:
    texts = real_texts(name, limit)
    assert len(texts) == limit
    batch = make_batch(texts)
    for theirs, ours in (({}, GopherRepetition()), NARROW):
        assert our_reasons(ours, batch) == published_reasons(published.GopherRepetitionFilter(**theirs), texts)
        assert_scores_decide(ours, batch)


@pytest.mark.slow
def test_nearly_every_reason_is_met_by_real_text(make_batch: Make, real_texts: Callable[[str, int], list[str]]) -> None:
    texts = real_texts("text/web_small.jsonl.gz", 4000)
    theirs, ours = NARROW
    seen = set(our_reasons(ours, make_batch(texts)))
    unmet = set(REASONS.values()) - {"characters"} - seen
    assert unmet <= {"duplicate_8_grams", "duplicate_10_grams"}  # of which a shorter n drops what they would
    dropped = [text for text, reason in zip(texts, our_reasons(ours, make_batch(texts)), strict=True) if reason]
    sample = sorted(dropped, key=len)[:1500]
    assert our_reasons(ours, make_batch(sample)) == published_reasons(
        published.GopherRepetitionFilter(**theirs), sample
    )


def test_real_values_are_the_published_ones(make_batch: Make, real_texts: Callable[[str, int], list[str]]) -> None:
    texts = real_texts("text/web_small.jsonl.gz", 80)
    scores = GopherRepetition().scores(make_batch(texts))
    expected = np.array([published_values(text, (2, 3, 4), range(5, 11)) for text in texts])
    np.testing.assert_allclose(np.stack(list(scores.values()), axis=1), expected, rtol=0, atol=1e-12)


def test_values_are_the_published_ones(make_batch: Make, repeated_texts: st.SearchStrategy[list[str]]) -> None:
    top, duplicate = (1, 2, 4), (1, 3, 5, 20)
    step = GopherRepetition(max_top_ngrams=dict.fromkeys(top), max_duplicate_ngrams=dict.fromkeys(duplicate))

    @settings(max_examples=250, deadline=None)
    @given(repeated_texts)
    def check(texts: list[str]) -> None:
        scores = step.scores(make_batch(texts))
        for row, text in enumerate(texts):
            found = [values[row] for values in scores.values()]
            np.testing.assert_allclose(found, published_values(text, top, duplicate), rtol=0, atol=1e-12)

    check()


def test_decisions_are_those_of_scores(make_batch: Make, repeated_texts: st.SearchStrategy[list[str]]) -> None:
    bounds = st.one_of(st.none(), st.floats(0, 0.6))
    grams = st.dictionaries(st.integers(1, 12), bounds, max_size=4)
    steps = st.builds(
        GopherRepetition,
        max_duplicate_lines=bounds,
        max_duplicate_line_characters=bounds,
        max_duplicate_paragraphs=bounds,
        max_duplicate_paragraph_characters=bounds,
        max_top_ngrams=grams,
        max_duplicate_ngrams=grams,
    )

    @settings(max_examples=400, deadline=None)
    @given(repeated_texts, steps)
    def check(texts: list[str], step: GopherRepetition) -> None:
        assert_scores_decide(step, make_batch(texts))

    check()


def test_what_the_cache_holds_changes_nothing(make_batch: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [" ".join(f"w{(i * i) % (97 + size)},x;y:z" for i in range(size)) for size in range(0, 1500, 100)]
    batch, step = make_batch(texts), GopherRepetition()
    chunk_cache.clear()
    empty, warm = step.scores(batch), step.scores(batch)
    monkeypatch.setattr(chunk_cache, "_cache", chunk_cache.ChunkCache(entries=600, slots=1024, arena=30_000))
    full = step.scores(batch)
    for name, values in empty.items():
        np.testing.assert_array_equal(values, warm[name])
        np.testing.assert_array_equal(values, full[name])


def test_paragraphs_are_of_the_stripped_text_and_lines_are_not(make_batch: Make) -> None:
    scores = GopherRepetition().scores(make_batch(["\nhello world foo bar\n", "\n\na\n\nb\n\na\n\n"]))
    assert scores["duplicate_lines"].tolist() == [1 / 3, 2 / 5]
    assert scores["duplicate_paragraphs"].tolist() == [0, 1 / 3]


def test_blank_documents(make_batch: Make) -> None:
    batch = make_batch(["", " \t ", "\n"])
    assert our_reasons(GopherRepetition(), batch) == ["characters", "", "duplicate_lines"]
    off = GopherRepetition.model_validate(
        {name: {} if "ngrams" in name else None for name in GopherRepetition.model_fields}
    )
    assert our_reasons(off, batch) == ["characters", "", ""]
    assert len(off.rules) == 5


def test_rules_cite_the_paper_unless_the_recipe_moves_a_bound() -> None:
    step = GopherRepetition(max_duplicate_lines=0.5, max_top_ngrams={2: 0.2, 3: 0.3, 6: None})
    sources = {rule.name: rule.source for rule in step.rules}
    moved = [name for name, source in sources.items() if source.startswith("the recipe")]
    assert moved == ["duplicate_lines", "top_3_gram", "top_6_gram"]
    assert sources["duplicate_10_grams"] == PAPER


def test_options_are_read_from_yaml() -> None:
    text = "max_duplicate_lines: null\nmax_top_ngrams: {2: 0.3, 6: null}\n"
    step = validate(parse(text, "r.yaml"), GopherRepetition).value
    assert (step.max_duplicate_lines, dict(step.max_top_ngrams)) == (None, {2: 0.3, 6: None})


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("max_duplicate_line: 0.3", "did you mean max_duplicate_lines"),
        ("max_duplicate_lines: -0.1", "greater than or equal to 0"),
        ("max_top_ngrams: {0: 0.2}", "greater than or equal to 1"),
        ("max_top_ngrams: {2: -0.2}", "greater than or equal to 0"),
        ("max_top_ngrams: {two: 0.2}", "must be a whole number"),
    ],
)
def test_options_that_cannot_be_meant_are_errors(yaml: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(parse(yaml, "recipe.yaml"), GopherRepetition)


def test_a_changed_score_needs_a_new_version(make_batch: Make) -> None:
    words = ["the", "Be", "of", "#", "...", "•", "-", "naïve", "日本語", "word…", "12", "١٢", "x-y", "--", "'tis"]
    words += ["and\xa0that", "don't", "U.S.", "a,b"]
    texts = [
        " ".join(words[(7 * i + j * j) % (i % 17 + 1)] + "\n" * (j % 5 == i % 5) * (i % 3) for j in range(i))
        for i in range(90)
    ]
    step = GopherRepetition(max_top_ngrams={2: 0.2, 7: 0.3}, max_duplicate_ngrams={5: 0.2, 2: 0.1})
    batch = make_batch(texts)
    digest = hashlib.sha256()
    for values in step.scores(batch).values():
        digest.update(values.tobytes())
    digest.update(step.decide(batch).rule.tobytes())
    assert (GopherRepetition.version, digest.hexdigest()[:16]) == (1, "c88d6f3d42e9d6f7")


@pytest.mark.measures
@pytest.mark.slow
@pytest.mark.parametrize("text", [")" * 50_000_000, "a" * 50_000_000, "word, " * 8_000_000])
def test_a_giant_document_takes_seconds(make_batch: Make, text: str) -> None:
    batch = make_batch([text])
    GopherRepetition().decide(make_batch(["warm"]))
    start = time.process_time()
    assert not GopherRepetition().decide(batch).keep[0] or text[1] == "a"
    assert time.process_time() - start < 30  # 7 where brackets are tokens, on a busy machine


@pytest.mark.slow
def test_duplicates_among_many_tokens_are_the_published_ones(make_batch: Make) -> None:
    """More than 2^20 tokens are told apart by places in place of keys, in a table that grows many times."""
    rng = np.random.default_rng(3)
    known = np.array(["".join(rng.choice(list("bdfgkz"), 5)) for _ in range(300)])
    first = known[rng.integers(0, len(known), 900_000)]
    pieces = [first[start : start + length] for start, length in zip(*rng.integers(1, 890_000, (2, 9)), strict=True)]
    again = [piece[: rng.integers(4, 60_000)] for piece in pieces]
    words = np.concatenate([first, *again, known[rng.integers(0, 4, 50_000)]])
    assert len(words) > 1 << 20
    text = " ".join(words)
    step = GopherRepetition(max_top_ngrams={}, max_duplicate_ngrams={2: 0.1, 5: 0.1, 10: 0.1})
    ours = step.scores(make_batch([text]))
    for n in step.max_duplicate_ngrams:
        theirs = published.find_all_duplicate(words.tolist(), n) / len(text)
        assert theirs > 0.05
        assert ours[f"duplicate_{n}_grams"][0] == pytest.approx(theirs, abs=1e-12)
