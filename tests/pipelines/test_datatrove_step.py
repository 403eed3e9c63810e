"""A datatrove block in a recipe: the same files whoever runs it, rewritten texts, reasons, and its failures."""

import pytest
from datatrove.data import Document
from datatrove.pipeline.filters import C4QualityFilter
from midtrain.errors import ConfigError

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
