"""A datatrove block in a recipe: the same files whoever runs it, rewritten texts, reasons, and its failures."""

import importlib.util
import shutil
from collections import Counter
from pathlib import Path

import orjson
import pytest
from datatrove import io
from datatrove.data import Document
from datatrove.pipeline.filters import C4QualityFilter
from midtrain.errors import ConfigError
from midtrain.filters import datatrove_blocks
from midtrain.filters.language import installed_model

LINES = ("The river and the stone have a letter.", "javascript here.", "No mark at the end", "A window to the garden?")


@pytest.fixture
def plain(corpus):
    """The workshop with one source of plain text, some of it empty."""
    texts = ["\n".join(LINES[: 1 + number % 4] * (1 + number % 3)) for number in range(60)]
    corpus.jsonl("a.jsonl", corpus.records("a", [*texts[:50], "", *texts[50:]]))
    recipe = corpus.recipe(sources=[{"name": "a", "path": str(corpus.root / "data/a.jsonl")}])
    corpus.recipe = lambda **changed: {**recipe, "output": str(corpus.root / "out"), **changed}
    corpus.texts_read = texts
    return corpus


@pytest.mark.parametrize("workers", [0, 1])
def test_texts_and_reasons_are_those_of_datatrove(plain, workers):
    pytest.importorskip("spacy")
    step = {"datatrove": {"C4QualityFilter": {"min_num_sentences": 3}}}
    plain.curate(workers=workers, steps=[step])
    block = C4QualityFilter(min_num_sentences=3)
    kept, dropped = [], []
    for number, text in enumerate([*plain.texts_read[:50], "", *plain.texts_read[50:]]):
        document = Document(text=text, id=f"a{number}")
        answer = block.filter(document)
        if answer is True:
            kept.append((document.id, document.text))
        else:
            dropped.append((document.id, "datatrove", answer[1]))
    assert [(row["id"], row["text"]) for row in plain.rows("out")] == kept
    rows = plain.rows("out", "dropped")
    assert [(row["id"], row["step"], row["rule"]) for row in rows] == dropped
    assert {(row["value"], row["threshold"]) for row in rows} == {(None, None)}
    assert 10 < len(kept) < 50


def test_workers_and_cuts_change_nothing(plain, monkeypatch):
    from midtrain.pipelines import inputs

    steps = [{"datatrove": {"PIIFormatter": None}}, {"datatrove": {"SamplerFilter": {"rate": 0.5}}}]
    plain.curate(steps=steps)
    whole = plain.rows("out"), plain.rows("out", "dropped")
    monkeypatch.setattr(inputs, "MIN_SPLIT", 500)
    result = plain.curate(workers=1, steps=steps, output=str(plain.root / "cut"))
    assert result.tasks_run > 4
    assert (plain.rows("cut"), plain.rows("cut", "dropped")) == whole
    assert 10 < len(whole[0]) < 50


def test_a_document_that_makes_a_block_raise_is_set_aside(plain):
    pytest.importorskip("spacy")
    # datatrove divides by the words of an empty text.
    block = {"GopherQualityFilter": {"min_doc_words": None, "min_avg_word_length": None}}
    result = plain.curate(steps=[{"datatrove": block}])
    counts = result.stages[0][1]
    assert counts["quarantined"] == 1
    assert counts["documents"] == 61
    quarantine = next((plain.root / "out").rglob("quarantine/*.jsonl")).read_text()
    assert '"a50"' in quarantine
    assert "ZeroDivisionError" in quarantine


def test_formatters_are_refused_for_sources_with_messages(corpus):
    with pytest.raises(ConfigError, match="datatrove rewrites text"):
        corpus.curate(steps=[{"datatrove": {"PIIFormatter": {}}}])
    corpus.curate(steps=[{"datatrove": {"PIIFormatter": {}, "sources": ["a", "b"]}}])


def test_errors_have_line_and_exit_code(corpus, midtrain):
    wrong = corpus.yaml("wrong.yaml", corpus.recipe(steps=[{"datatrove": {"RegexFilter": {"regex": "a"}}}]))
    said = midtrain("curate", wrong, "--workers", "0")
    assert said.code == 2
    assert "wrong.yaml:" in said.err
    assert "steps.0.datatrove.RegexFilter.regex: unknown key regex" in said.err
    assert "did you mean regex_exp?" in said.err
    wrong = corpus.yaml("wrong.yaml", corpus.recipe(steps=[{"datatrove": {"RegexFilter": {"regex_exp": "("}}}]))
    said = midtrain("curate", wrong, "--workers", "0")
    assert (said.code, "unterminated subpattern" in said.err) == (2, True)


@pytest.fixture
def without_network(plain, monkeypatch):
    """No file can be downloaded, and none was; `bring` puts one to the place that an error names."""

    def unreachable(remote_path, local_path, progress=True):
        raise ConnectionError("Network is unreachable")

    def folder(namespace, subfolder, **_):
        found = plain.root / "assets" / namespace / subfolder
        found.mkdir(parents=True, exist_ok=True)
        return found

    monkeypatch.setattr(io, "download_file", unreachable)
    monkeypatch.setattr(io, "cached_assets_path", folder)
    datatrove_blocks._made.cache_clear()
    yield plain
    datatrove_blocks._made.cache_clear()


def place_of(said):
    """The place in an error's `bring it to PLACE by hand`."""
    return Path(said.err.partition("bring it to ")[2].partition(" by hand")[0])


def bring(content, place):
    shutil.copy(content, place)
    Path(f"{place}.completed").touch()


def test_a_language_model_that_cannot_be_downloaded_is_missed_before_the_run(without_network, midtrain):
    german = "Der Rat der Stadt hat am Freitag beschlossen, die alte Brücke über den Fluss zu erneuern."
    english = "The committee will meet again on Thursday to discuss the new rules of the old library."
    records = [{"id": f"d{n}", "text": (german, english)[n % 2], "language": "fr"} for n in range(8)]
    without_network.jsonl("a.jsonl", records)
    block = {"LanguageFilter": {"languages": ["en"], "language_threshold": 0.6}}
    recipe = without_network.yaml("language.yaml", without_network.recipe(steps=[{"datatrove": block}]))
    said = midtrain("curate", recipe, "--workers", "0")
    assert said.code == 2
    assert "Traceback" not in said.err
    assert "fasttext/supervised-models/lid.176.bin, which a block of datatrove needs, cannot be had" in said.err
    assert not (without_network.root / "out/stages").exists()
    bring(installed_model(), place_of(said))
    assert midtrain("curate", recipe, "--workers", "0").code == 0
    rows = without_network.rows("out")
    assert [(row["id"], row["language"]) for row in rows] == [(f"d{n}", "en") for n in (1, 3, 5, 7)]
    assert all(orjson.loads(row["metadata"])["language_score"] > 0.6 for row in rows)
    dropped = without_network.rows("out", "dropped")
    assert {(row["rule"], row["language"]) for row in dropped} == {("LanguageFilter", "de")}


def test_a_list_of_words_that_cannot_be_downloaded_is_missed_before_the_run(without_network, midtrain, tmp_path):
    block = {"C4BadWordsFilter": {}}
    recipe = without_network.yaml("words.yaml", without_network.recipe(steps=[{"datatrove": block}]))
    said = midtrain("curate", recipe, "--workers", "0")
    assert said.code == 2
    assert "cannot be had: ConnectionError: Network is unreachable" in said.err
    (tmp_path / "words.txt").write_text("javascript\nnone of these\n")
    bring(tmp_path / "words.txt", place_of(said))
    assert midtrain("curate", recipe, "--workers", "0").code == 0
    dropped = without_network.rows("out", "dropped")
    assert {row["rule"] for row in dropped} == {"document_removed_with_badwords"}
    texts = without_network.texts_read
    assert len(dropped) == sum("javascript" in text for text in texts) > 0
    assert len(without_network.rows("out")) == len(texts) + 1 - len(dropped)


def test_a_list_for_one_language_that_is_missed_during_the_run_ends_it(without_network, midtrain, tmp_path):
    without_network.jsonl("a.jsonl", [{"id": "a", "text": "Ein Text."}, {"id": "b", "text": "x", "language": "de"}])
    recipe = without_network.yaml("words.yaml", without_network.recipe(steps=[{"datatrove": {"C4BadWordsFilter": {}}}]))
    (tmp_path / "words.txt").write_text("javascript\n")
    bring(tmp_path / "words.txt", place_of(midtrain("curate", recipe, "--workers", "0")))
    said = midtrain("curate", recipe, "--workers", "0")
    assert said.code == 2
    assert "Traceback" not in said.err
    assert said.err.count("/de, which a block of datatrove needs, cannot be had") == 1


def test_addresses_are_filtered_and_a_document_without_one_is_set_aside(plain):
    hosts = ("bad.com", "www.bad.com", "good.com", "casino-xxx.com")
    records = [{"id": f"d{n}", "text": "A text.", "url": f"https://{hosts[n % 4]}/{n}"} for n in range(40)]
    plain.jsonl("a.jsonl", [*records, {"id": "none", "text": "A text."}])
    block = {"URLFilter": {"use_integrated_lists": False, "extra_domains": ["bad.com"], "banned_words": ["xxx"]}}
    result = plain.curate(steps=[{"datatrove": block}])
    assert {row["id"] for row in plain.rows("out")} == {f"d{n}" for n in range(2, 40, 4)}
    assert Counter(row["rule"] for row in plain.rows("out", "dropped")) == {"domain": 20, "hard_blacklisted": 10}
    assert result.stages[0][1]["quarantined"] == 1


@pytest.mark.skipif(importlib.util.find_spec("ftfy") is not None, reason="ftfy is installed")
def test_a_package_that_is_missing_is_told_with_the_command(plain, midtrain):
    recipe = plain.yaml("ftfy.yaml", plain.recipe(steps=[{"datatrove": {"FTFYFormatter": {}}}]))
    said = midtrain("curate", recipe, "--workers", "0")
    assert said.code == 2
    assert "datatrove's FTFYFormatter needs ftfy, not installed" in said.err
    assert "fix:      pip install ftfy\n" in said.err


def test_a_writer_for_what_is_dropped_is_refused(plain, midtrain):
    block = {"C4QualityFilter": {"exclusion_writer": "dropped.jsonl"}}
    said = midtrain("curate", plain.yaml("w.yaml", plain.recipe(steps=[{"datatrove": block}])), "--workers", "0")
    assert said.code == 2
    assert "unknown key exclusion_writer" in said.err
