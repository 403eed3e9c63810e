"""Explaining a document: every rule's value, from scores or by judging again, agrees with what the run recorded."""

import dataclasses
import os
import re
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pytest
from midtrain.errors import ConfigError
from midtrain.filters.document import SCHEMA, DocumentBatch
from midtrain.filters.gopher_quality import GopherQuality
from midtrain.pipelines import explain_text, inputs
from midtrain.pipelines.explain import explain
from midtrain.pipelines.read_parts import read_part
from midtrain.pipelines.readers.records import derived_id

STEPS = [
    {"length": {"max_chunks": 75}},
    {"gopher_quality": {"sources": ["a", "b"], "min_words": 30}},
    {"exact_dedup": {}},
    {"gopher_quality": {"sources": ["a"], "min_words": 40}},
]


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(inputs, "MIN_SPLIT", 6_000)


def values(trail):
    return {f"{step.label}.{rule.rule}": rule.value for step in trail.steps for rule in step.rules}


def verdicts(trail):
    return {f"{step.label}.{rule.rule}": rule.verdict for step in trail.steps for rule in step.rules}


def as_batch(text):
    columns = {"id": ["d"], "text": [text], "source": ["a"]}
    arrays = [pa.array(columns.get(field.name, [None]), field.type) for field in SCHEMA]
    return DocumentBatch(pa.record_batch(arrays, schema=SCHEMA))


@pytest.mark.usefixtures("small")
def test_every_document_ends_as_was_recorded_with_scores_and_without(corpus, outcome):
    corpus.curate(steps=STEPS)
    corpus.curate(steps=STEPS, output=str(corpus.root / "scored"), scores=True)
    found = outcome(corpus.root / "out")
    step, texts = GopherQuality(min_words=30), texts_of(corpus)
    records = {row[0]: row for row in found.dropped}
    for identity in [*(row["id"] for row in found.kept), *records][::5]:
        (plain,), (scored,) = (explain(corpus.root / name, identity) for name in ("out", "scored"))
        assert plain.ended == scored.ended
        assert plain.notes == scored.notes == []
        assert verdicts(scored).items() <= verdicts(plain).items()
        assert values(scored).items() <= values(plain).items()
        if identity not in records:
            assert plain.ended == "kept"
            assert all(one.outcome == "kept" for one in plain.steps)
        else:
            _, source, name, rule, value, threshold, partner = records[identity]
            last = next(one for one in plain.steps if one.outcome == "dropped")
            (mine,) = (one for one in last.rules if one.verdict == "dropped")
            assert (plain.source, last.step, mine.rule, mine.value, last.partner) == (
                source,
                name,
                rule,
                value,
                partner,
            )
            assert threshold is None or threshold in (mine.low, mine.high)
            assert plain.ended == f"dropped by {last.label}.{rule}"
        if identity in texts:
            expected = {
                f"gopher_quality.{rule}": score[0] for rule, score in step.scores(as_batch(texts[identity])).items()
            }
            assert expected.items() <= values(plain).items()


def test_rules_behind_the_one_that_dropped_say_what_they_would_have_said(corpus):
    corpus.jsonl(
        "a.jsonl", [{"id": "hashes", "text": "# word " * 60 + "the and"}, *corpus.records("a", corpus.texts(90))]
    )
    corpus.curate(steps=STEPS)
    (trail,) = explain(corpus.root / "out", "hashes")
    assert trail.ended == "dropped by length.chunks"
    assert [one.outcome for one in trail.steps] == ["dropped", "not reached"]
    assert verdicts(trail)["gopher_quality.hash_ratio"] == "dropped"
    assert verdicts(trail)["gopher_quality.alphabetic_words"] == "breaks"
    assert verdicts(trail)["gopher_quality.words"] == "kept"
    text = explain_text.table([trail], "hashes").text
    assert "hashes of source a: dropped by length.chunks" in text
    assert "not reached (would be dropped)" in text


@pytest.mark.parametrize("scores", [False, True])
def test_a_copy_names_the_document_that_was_kept(corpus, scores, outcome):
    corpus.curate(steps=STEPS, scores=scores)
    row = next(row for row in outcome(corpus.root / "out").dropped if row[3] == "duplicate" and row[1] == "a")
    (trail,) = explain(corpus.root / "out", row[0])
    assert [(one.step, one.outcome, one.partner) for one in trail.steps] == [
        ("length", "kept", None),
        ("gopher_quality", "kept", None),
        ("exact_dedup", "dropped", row[6]),
        ("gopher_quality", "not reached", None),
    ]
    assert f"dropped for {row[6]}" in explain_text.table([trail], row[0]).text


@pytest.fixture(scope="module")
def similar(tmp_path_factory, curated_workshop):
    """A workshop whose b holds near copies of a's first 40 documents, a few of which later steps drop."""
    found = type(curated_workshop)(tmp_path_factory.mktemp("similar"))
    texts = found.texts(90, seed=5)
    near = [text.replace(" ", " changed ", 1) for text in texts[:40]]
    found.jsonl("a.jsonl", found.records("a", texts))
    found.jsonl("b.jsonl", found.records("b", near))
    sources = [{"name": n, "path": f"{found.root}/data/{n}.jsonl"} for n in ("a", "b")]
    steps = [{"minhash_dedup": {"max_loss": None, "threshold": 0.7, "min_recall": 0}}, {"length": {"max_chunks": 60}}]
    steps += [{"exact_dedup": {}}, {"gopher_quality": {"min_words": 30}}]
    for name, scores in (("out", False), ("scored", True)):
        found.curate(sources=sources, steps=steps, output=str(found.root / name), scores=scores)
    return found


@pytest.mark.parametrize("output", ["out", "scored"])
def test_a_near_copy_names_its_partner_the_similarity_and_what_became_of_it(similar, outcome, output):
    out = similar.root / output
    found = outcome(out)
    left = {row[0]: f"dropped later by {row[2]}.{row[3]}" for row in found.dropped if row[3] != "duplicate"}
    kept = {row["id"]: row["source"] for row in found.kept}
    seen = {"kept": 0, "left": 0}
    for identity, source, step, rule, value, threshold, partner in found.dropped:
        if (step, rule) != ("minhash_dedup", "duplicate"):
            continue
        (trail,) = explain(out, identity)
        verdict = next(one for one in trail.steps if one.outcome == "dropped")
        assert (trail.source, verdict.step, verdict.partner) == (source, step, partner)
        assert verdict.rules[0].value == value >= verdict.rules[0].high == threshold == 0.7
        assert verdict.partner_source == ("a" if partner.startswith("a") else "b")
        if partner in kept:
            assert verdict.partner_became.startswith(f"kept: {out}/stages/gopher_quality-")
            assert is_at(verdict.partner_became, partner)
            seen["kept"] += 1
        else:
            assert verdict.partner_became == left[partner]
            seen["left"] += 1
        text = explain_text.table([trail], identity).text
        line = f"minhash_dedup: {value:.4f} similar, for {partner} of source {verdict.partner_source}, "
        assert line + verdict.partner_became in text.splitlines()
    assert min(seen.values()) >= 3


def is_at(told, identity):
    """Whether a document of the id stands where `became` says."""
    path, row = re.fullmatch(r"kept: (.*), row ([\d,]+)", told).groups()
    ids = [one for batch in read_part(Path(path), ["id"]) for one in batch.column("id").to_pylist()]
    return ids[int(row.replace(",", ""))] == identity


@pytest.mark.parametrize("scores", [False, True])
def test_of_documents_of_one_id_the_right_one_is_told_as_the_copy(corpus, scores):
    """The longest is kept, which is neither the first nor the last."""
    (text,) = corpus.texts(1, seed=9)
    versions = [text, text + " the stone", text + " the stone of the river", text + " the"]
    corpus.jsonl("a.jsonl", [{"id": "same", "text": one} for one in versions])
    source = {"name": "a", "path": f"{corpus.root}/data/a.jsonl"}
    steps = [{"minhash_dedup": {"max_loss": None, "threshold": 0.6, "min_recall": 0}}, {"length": {"max_chunks": 500}}]
    corpus.curate(sources=[source], steps=steps, scores=scores)
    trails = explain(corpus.root / "out", "same")
    assert [trail.ended for trail in trails] == [
        *["dropped by minhash_dedup.duplicate"] * 2,
        "kept",
        "dropped by minhash_dedup.duplicate",
    ]
    assert all(not trail.notes for trail in trails)
    for trail in (trails[0], trails[1], trails[3]):
        assert is_at(trail.steps[0].partner_became, "same")


@pytest.mark.parametrize("scores", [False, True])
def test_all_documents_of_an_id_are_told(corpus, scores, midtrain):
    texts = ["short", *corpus.texts(3), corpus.texts(1)[0]]
    corpus.jsonl("a.jsonl", [{"id": "same", "text": text} for text in texts])
    corpus.curate(steps=STEPS, scores=scores)
    trails = explain(corpus.root / "out", "same")
    assert len(trails) == 5
    assert [trail.ended for trail in trails].count("dropped by exact_dedup.duplicate") == 1
    assert trails[0].ended == "dropped by gopher_quality.words"
    assert trails[4].notes == []
    assert trails[4].ended == "dropped by exact_dedup.duplicate"
    data = orjson.loads(midtrain("explain", corpus.root / "out", "same", "--json").out)
    assert [one["ended"] for one in data["documents"]] == [trail.ended for trail in trails]


def test_an_id_gives_the_terminal_no_commands(corpus, midtrain):
    identity = "\x1b[31mred\x9b1m\x07"
    corpus.jsonl("a.jsonl", [{"id": identity, "text": "A text."}, {"id": "b", "text": "A longer text."}])
    source = {"name": "a", "path": str(corpus.root / "data/a.jsonl")}
    corpus.curate(sources=[source], steps=[{"length": {"min_bytes": 10}}])
    said = midtrain("explain", corpus.root / "out", identity)
    assert said.out.startswith("�[31mred�1m� of source a: dropped by length.bytes")
    missing = midtrain("explain", corpus.root / "out", "red")
    assert (missing.code, "did you mean �[31mred�1m�?" in missing.err) == (2, True)
    told = orjson.loads(midtrain("explain", corpus.root / "out", identity, "--json").out)
    assert told["documents"][0]["id"] == identity


@pytest.mark.parametrize("scores", [False, True])
def test_what_was_set_aside_shows_its_error(corpus, scores):
    corpus.curate(steps=STEPS, scores=scores)
    data = (corpus.root / "data/b-2.jsonl").read_bytes()
    identity = derived_id("b", "b-2.jsonl", data.index(b"{not json"))
    (trail,) = explain(corpus.root / "out", identity)
    assert trail.source == "b"
    assert trail.ended.startswith("set aside: ")
    assert "b-2.jsonl, byte" in trail.ended


@pytest.mark.parametrize("scores", [False, True])
def test_a_step_without_scores_is_told_by_its_reason(corpus, scores, outcome):
    block = {"datatrove": {"GopherQualityFilter": {"min_doc_words": 40}, "sources": ["a"]}}
    corpus.curate(steps=[block, STEPS[1]], scores=scores)
    row = next(row for row in outcome(corpus.root / "out").dropped if row[2] == "datatrove")
    (trail,) = explain(corpus.root / "out", row[0])
    assert trail.ended == f"dropped by datatrove.{row[3]}"
    assert trail.steps[1].outcome == "not reached"
    kept = next(row for row in outcome(corpus.root / "out").kept if row["source"] == "a")
    (trail,) = explain(corpus.root / "out", kept["id"])
    assert [one.outcome for one in trail.steps] == ["kept", "kept"]


def test_what_was_in_pieces_is_read_from_end_to_end(corpus, monkeypatch, compress, outcome):
    monkeypatch.setattr(inputs, "MIN_SPLIT", 6_000)
    plain = (corpus.root / "data/a.jsonl").read_bytes()
    (corpus.root / "data/a.jsonl.zst").write_bytes(compress(plain, ".zst"))
    recipe = corpus.recipe(steps=STEPS)
    recipe["sources"][0]["path"] = str(corpus.root / "data/a.jsonl.zst")
    corpus.curate(steps=STEPS, sources=recipe["sources"])
    assert not list((corpus.root / "out/stages").glob("cut-*"))
    dropped = [row for row in outcome(corpus.root / "out").dropped if row[1] == "a" and row[3] == "words"]
    for row in dropped[:: len(dropped) // 3]:
        (trail,) = explain(corpus.root / "out", row[0])
        assert trail.notes == []
        assert row[4] in [rule.value for step in trail.steps for rule in step.rules if rule.verdict == "dropped"]


def test_without_its_input_what_was_recorded_is_told(corpus, outcome):
    corpus.curate(steps=STEPS)
    rows = outcome(corpus.root / "out")
    row = next(row for row in rows.dropped if row[3] == "words" and row[1] == "a" and row[5] == 30)
    (corpus.root / "data/a.jsonl").unlink()
    (trail,) = explain(corpus.root / "out", row[0])
    assert "only what was recorded is known" in trail.notes[0]
    assert values(trail) == {"gopher_quality.words": row[4]}
    kept = next(row for row in rows.kept if row["source"] == "a")
    (trail,) = explain(corpus.root / "out", kept["id"])
    assert (trail.ended, trail.notes) == ("kept", [])
    assert values(trail)["gopher_quality.words"] >= 40


def test_a_changed_input_is_not_taken_for_the_old_one(corpus, outcome):
    corpus.curate(steps=STEPS)
    row = next(row for row in outcome(corpus.root / "out").dropped if row[1] == "a" and row[5] == 30)
    records = corpus.records("a", [text + " and more words" * 40 for text in corpus.texts(90)])
    corpus.jsonl("a.jsonl", records)
    (trail,) = explain(corpus.root / "out", row[0])
    assert "it was changed" in trail.notes[0]
    assert values(trail)["gopher_quality.words"] == row[4]


# What is wrong


def test_an_unknown_id_is_an_error_with_one_that_is_like_it(corpus, midtrain):
    corpus.curate(steps=STEPS)
    for asked, meant in (("A17", "a17"), ("twim17", "twin17")):
        said = midtrain("explain", corpus.root / "out", asked)
        assert said.code == 2
        assert f"no document has the id {asked}" in said.err
        assert meant in said.err.rpartition("fix:")[2]
    assert midtrain("explain", corpus.root / "out", "something else altogether").code == 2


@pytest.mark.parametrize("scores", [False, True])
def test_an_id_that_is_not_utf_8_is_one_that_no_document_has(corpus, midtrain, scores):
    corpus.curate(steps=STEPS, scores=scores)
    said = midtrain("explain", corpus.root / "out", os.fsdecode(b"a1\xff"))
    assert (said.code, said.out) == (2, "")
    assert "no document has the id a1\\udcff" in said.err


def test_what_is_no_curated_output_is_told(built_workshop, workshop):
    with pytest.raises(ConfigError, match="not a curated output") as caught:
        explain(built_workshop.root / "shards", "a1")
    assert caught.value.seen == "an output of build"
    with pytest.raises(ConfigError, match="no curated output"):
        explain(workshop.root / "nothing", "a1")


def test_another_recipe_beside_the_output_is_told(corpus):
    corpus.curate(steps=STEPS)
    path = corpus.root / "out/recipe.yaml"
    path.write_text(path.read_text().replace("min_words: 30", "min_words: 31"))
    with pytest.raises(ConfigError, match="not the one that made it"):
        explain(corpus.root / "out", "a1")
    path.unlink()
    with pytest.raises(ConfigError, match="the output has no recipe"):
        explain(corpus.root / "out", "a1")


def test_verdicts_are_plain_data(corpus):
    corpus.curate(steps=STEPS, scores=True)
    trails = explain(corpus.root / "out", "a1")
    data = explain_text.table(trails, "a1").data
    assert orjson.loads(orjson.dumps(data)) == {"documents": [{"id": "a1", **plain(dataclasses.asdict(trails[0]))}]}
    assert np.isfinite([value for value in values(trails[0]).values() if value is not None]).all()


def plain(value):
    return orjson.loads(orjson.dumps(value))


def texts_of(shop):
    paths = [shop.root / "data" / name for name in ("a.jsonl", "b-1.jsonl", "b-2.jsonl")]
    lines = (line for path in paths for line in path.read_bytes().splitlines() if not line.startswith(b"{not"))
    return {record["id"]: record["text"] for record in map(orjson.loads, lines)}
