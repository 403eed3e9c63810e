"""C4's decisions, reasons and new texts are the published ones; options are checked; a change needs a new version."""

import hashlib
import io
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import zstandard
from datatrove.data import Document
from datatrove.pipeline.filters.c4_filters import C4QualityFilter
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.config import parse, validate
from midtrain.errors import ConfigError
from midtrain.filters.c4 import C4, PAPER
from midtrain.filters.document import DocumentBatch
from midtrain.filters.rules import first_broken

from tests.sizes import sized

Make = Callable[[Sequence[str]], DocumentBatch]
Outcome = tuple[str, str]  # the reason for which a document is dropped, or else its new text

REASONS = {"lorem_ipsum": "lorem_ipsum", "curly_bracket": "curly_bracket", "sentences": "too_few_sentences"}
FINEWEB: dict[str, Any] = {"filter_no_terminal_punct": False}
OPTIONS = {
    "remove_citations": "remove_citations",
    "filter_no_terminal_punct": "terminal_marks",
    "min_num_sentences": "min_sentences",
    "min_words_per_line": "min_line_words",
    "max_word_length": "max_word_length",
    "filter_lorem_ipsum": "drop_lorem_ipsum",
    "filter_javascript": "remove_javascript",
    "filter_curly_bracket": "drop_curly_bracket",
    "filter_policy": "remove_policy",
}
PIECES = (
    *("\n", "\r\n", "\r", "\x85", "\u2028", "\x1c", "\x0b", " ", "  ", "\t", "\xa0", "\u3000"),
    *("[1]", "[", "]", "[]", "[edit]", "[citation needed]", "[٣]", "[²]", "{", "lorem ipsum", "Lorem IPSUM", "lorem"),
    *(
        "javascript",
        "Java",
        "script",
        "JAVASCR\u0130PT",
        "JavaScript",
        "terms of use",
        "Terms of Use",
        "privacy policy",
    ),
    *(
        "cookie policy",
        "coo\u212aie Policy",
        "uses cookies",
        "use of coo\u212aies",
        "use cookies",
        "of use",
        "terms ",
        "ipsum",
    ),
    *(
        "word",
        "a b c",
        "the ",
        "xxxxxxx",
        "éééé",
        "...",
        ".",
        "?",
        "!",
        '"',
        "'",
        "”",
        "\u212a",
        "\u0130",
        "日本",
        "。",
        "a.\n",
    ),
    *("b c d.\n", "e f g?\nh i j!\n", "Mr. X", "e.g. ", ":) ", "(x.) "),
)
GOLDEN = (
    *(
        "It",
        "is",
        "so.",
        "We",
        "said",
        "it[3]!",
        "Use",
        "cookies?",
        "a",
        "b",
        "c.",
        "Is",
        "it",
        "“so”?",
        "{x}",
        "lorem",
    ),
    *("ipsum", "javascript", "Mr.", "X's", "", "\u2028", "", "\n\r\n", "٣"),
)


def settled(options: dict[str, Any]) -> tuple[C4QualityFilter, C4]:
    """The published filter with its options, and ours with the same."""
    ours: dict[str, Any] = {"pieces": "lines" if options.get("split_paragraph", True) else "sentences"}
    for name, value in options.items():
        if name in OPTIONS:
            ours[OPTIONS[name]] = None if value == -1 else value
    return C4QualityFilter(**options), C4.model_validate(ours)


def published_outcomes(step: C4QualityFilter, texts: Sequence[str]) -> list[Outcome]:
    documents = [Document(text=text, id=str(i)) for i, text in enumerate(texts)]
    answers = [step.filter(document) for document in documents]
    return [
        ("", document.text) if answer is True else (answer[1], "")
        for document, answer in zip(documents, answers, strict=True)
    ]


def our_outcomes(step: C4, batch: DocumentBatch) -> list[Outcome]:
    new, decision = step.rewrite(batch)
    names = [rule.name for rule in step.rules]
    texts = new.column("text").to_pylist()
    return [
        ("", text) if keep else (REASONS[names[rule]], "")
        for keep, rule, text in zip(decision.keep, decision.rule, texts, strict=True)
    ]


def differences(step: tuple[C4QualityFilter, C4], make_batch: Make, texts: Sequence[str]) -> list[str]:
    theirs, ours = published_outcomes(step[0], texts), our_outcomes(step[1], make_batch(texts))
    return [text for text, one, other in zip(texts, theirs, ours, strict=True) if one != other]


@st.composite
def published_options(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "split_paragraph": draw(st.sampled_from([True, True, False])),
        "min_num_sentences": draw(st.sampled_from([-1, 0, 1, 2, 5])),
        "min_words_per_line": draw(st.sampled_from([-1, 0, 1, 2, 3])),
        "max_word_length": draw(st.sampled_from([-1, 0, 3, 5, 6, 1000])),
        **{name: draw(st.booleans()) for name in OPTIONS if name.startswith(("filter_", "remove_"))},
    }


@pytest.mark.parametrize("options", [{}, FINEWEB, {"split_paragraph": False}], ids=["c4", "fineweb", "sentences"])
@pytest.mark.parametrize(("name", "limit"), [("text/web_small.jsonl.gz", 400), ("multilingual/lid_gold.jsonl.gz", 500)])
def test_real_text_is_decided_and_rewritten_as_published(
    make_batch: Make,
    real_texts: Callable[[str, int], list[str]],
    name: str,
    limit: int,
    options: dict[str, Any],
) -> None:
    texts = real_texts(name, limit)
    assert len(texts) == limit
    step = settled(options)
    assert differences(step, make_batch, texts) == []
    if name.startswith("text/"):
        reasons = Counter(reason for reason, _ in our_outcomes(step[1], make_batch(texts)))
        assert reasons[""] > 50
        assert set(reasons) >= {"", "curly_bracket", "too_few_sentences"}


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, FINEWEB], ids=["c4", "fineweb"])
def test_a_share_of_every_corpus_is_decided_and_rewritten_as_published(
    make_batch: Make, options: dict[str, Any]
) -> None:
    folder = os.environ.get("MIDTRAIN_DATA")
    if not folder:
        pytest.skip("MIDTRAIN_DATA names no folder of real corpora")
    step, looked = settled(options), 0
    for path in sorted((Path(folder) / "text").glob("*.zst")):
        with zstandard.open(path, "rb") as stream:
            texts = [str(orjson.loads(line)["text"]) for line in io.BufferedReader(stream)]
        some = texts[:: max(sum(map(len, texts)) // sized(3_000_000, 800_000), 1)]
        assert differences(step, make_batch, some) == [], path.name
        looked += len(some)
    assert looked > sized(2000, 500)


def test_hostile_text_is_decided_and_rewritten_as_published(make_batch: Make) -> None:
    documents = st.lists(st.lists(st.sampled_from(PIECES), max_size=40).map("".join), max_size=8)

    @settings(max_examples=300, deadline=None)
    @given(documents, published_options())
    def check(texts: list[str], options: dict[str, Any]) -> None:
        assert differences(settled(options), make_batch, texts) == []

    check()


def test_any_text_is_decided_and_rewritten_as_published(
    make_batch: Make, hostile_texts: st.SearchStrategy[list[str]]
) -> None:
    @settings(max_examples=200, deadline=None)
    @given(hostile_texts, published_options())
    def check(texts: list[str], options: dict[str, Any]) -> None:
        assert differences(settled(options), make_batch, texts) == []

    check()


def test_decisions_and_texts_fit_the_scores(make_batch: Make) -> None:
    documents = st.lists(st.lists(st.sampled_from(PIECES), max_size=40).map("".join), max_size=8)

    @settings(max_examples=300, deadline=None)
    @given(documents, published_options())
    def check(texts: list[str], options: dict[str, Any]) -> None:
        step, batch = settled(options)[1], make_batch(texts)
        new, decision = step.rewrite(batch)
        plain = first_broken(step.rules, step.scores(batch), len(batch))
        for name in ("keep", "rule", "value", "threshold"):
            np.testing.assert_array_equal(getattr(decision, name), getattr(plain, name))
            np.testing.assert_array_equal(getattr(step.decide(batch), name), getattr(plain, name))
        applied, rewritten = (one.column("text").to_pylist() for one in (step.apply(batch), new))
        kept = decision.keep.tolist()
        assert rewritten == [text if keep else "" for text, keep in zip(applied, kept, strict=True)]

    check()


@pytest.mark.slow
def test_every_code_point_strips_and_lowers_as_in_python(make_batch: Make) -> None:
    points = [chr(point) for point in range(0x110000) if not 0xD800 <= point <= 0xDFFF]
    step = settled({"min_num_sentences": -1, "filter_no_terminal_punct": False, "min_words_per_line": -1})
    lines = [f"{point}x y[{point}] z{point}\n" for point in points]
    assert differences(step, make_batch, ["".join(lines[at : at + 500]) for at in range(0, len(lines), 500)]) == []
    folded = [point for point in points if any(letter < "\x80" for letter in point.lower()) and point > "\x7f"]
    assert folded == ["\u0130", "\u212a"]
    phrases = ("javascript", "privacy policy", "use of cookies", "lorem ipsum", "terms of use")
    texts = [
        f"a {phrase[:at]}{point}{phrase[at + 1 :]} b"
        for phrase in phrases
        for at in range(len(phrase))
        for point in (*folded, phrase[at].upper(), phrase[at])
    ]
    assert differences(step, make_batch, texts) == []
    assert {reason for reason, _ in our_outcomes(step[1], make_batch(texts))} == {"", "lorem_ipsum"}


def test_a_phrase_is_found_wherever_it_stands_and_not_across_lines(make_batch: Make) -> None:
    step = settled({"min_num_sentences": -1, "filter_no_terminal_punct": False})
    phrases = ("javascript", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "lorem ipsum", "{")
    texts = [
        f"{'x ' * before}{phrase}{' y' * after}" for phrase in phrases for before in range(2, 72) for after in (1, 40)
    ]
    assert differences(step, make_batch, texts) == []
    new, decision = step[1].rewrite(make_batch(texts))
    assert not any(new.column("text").to_pylist())
    assert decision.keep.sum() == 5 * 140
    across = [f"a b c {phrase[:at]}\n{phrase[at:]} d e f" for phrase in phrases for at in range(1, len(phrase))]
    assert differences(step, make_batch, across) == []
    assert step[1].scores(make_batch(across))["removed_policy"].sum() == 0


def test_a_slice_of_a_batch_is_rewritten_alone(make_batch: Make) -> None:
    texts = ["One is here. Two is here.", "ab [1] is c.\nd e", "Three is here.", "x" * 100 + " is so."] * 9
    step = C4(min_sentences=1)
    whole = our_outcomes(step, make_batch(texts))
    sliced = DocumentBatch(make_batch(texts).record_batch.slice(5, 20))
    assert our_outcomes(step, sliced) == whole[5:25]
    assert our_outcomes(step, make_batch([])) == []


def test_the_lines_removed_are_counted_by_cause(make_batch: Make) -> None:
    lines = [
        "This line is kept[1]. It says two things.",
        "no mark here",
        "and this one trails off...",
        "Too few.",
        "We know JavaScript is on.",
        "Read our Privacy Policy now.",
        "x" * 1001 + " is too long.",
        "This is kept too!",
    ]
    step = C4()
    scores = {name: values.tolist() for name, values in step.scores(make_batch(["\n".join(lines)])).items()}
    assert scores == {
        "lorem_ipsum": [0],
        "curly_bracket": [0],
        "sentences": [3],
        "lines": [8],
        "removed_long_word": [1],
        "removed_no_terminal_mark": [2],
        "removed_few_words": [1],
        "removed_javascript": [1],
        "removed_policy": [1],
    }
    assert set(scores) == {rule.name for rule in step.rules}
    decision = step.decide(make_batch(["\n".join(lines)]))
    assert (decision.value.tolist(), decision.threshold.tolist()) == ([3], [5])
    for rule in step.rules:
        np.testing.assert_array_equal(rule.score(make_batch(["\n".join(lines)])), scores[rule.name])


def test_rules_cite_the_paper_unless_the_recipe_moves_a_bound() -> None:
    assert {rule.name: rule.source for rule in C4().rules}["sentences"] == PAPER
    assert {rule.name: rule.source for rule in C4(min_sentences=3).rules}["sentences"].startswith("the recipe")
    off = C4(min_sentences=None, drop_lorem_ipsum=False, drop_curly_bracket=False)
    assert all(rule.low is None and rule.high is None for rule in off.rules)


def test_options_are_read_from_yaml() -> None:
    yaml = "pieces: sentences\nterminal_marks: false\nmax_word_length: null\nmin_sentences: 1K\n"
    step = validate(parse(yaml, "recipe.yaml"), C4).value
    assert (step.pieces, step.terminal_marks, step.max_word_length, step.min_sentences) == (
        "sentences",
        False,
        None,
        1000,
    )


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("min_sentence: 5", "did you mean min_sentences"),
        ("min_sentences: -1", "greater than or equal to 0"),
        ("max_word_length: -1", "greater than or equal to 0"),
        ("pieces: words", "'lines' or 'sentences'"),
        ("language: de", "'en'"),
        ("remove_policy: 1.5", "must be true or false"),
    ],
)
def test_options_that_cannot_be_meant_are_errors(yaml: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(parse(yaml, "recipe.yaml"), C4)


def test_a_changed_decision_or_text_needs_a_new_version(make_batch: Make) -> None:
    texts = [
        " ".join(GOLDEN[(5 * i + j * j) % len(GOLDEN)] + "\n" * (j % 6 == i % 6) for j in range(i)) for i in range(120)
    ]
    digest = hashlib.sha256()
    for step in (C4(min_sentences=2), C4(min_sentences=2, terminal_marks=False), C4(pieces="sentences")):
        batch = make_batch(texts)
        for values in step.scores(batch).values():
            digest.update(values.tobytes())
        digest.update("\0".join(step.apply(batch).column("text").to_pylist()).encode())
        digest.update(step.decide(batch).rule.tobytes())
    assert (C4.version, digest.hexdigest()[:16]) == (1, "886d317c197765a8")
